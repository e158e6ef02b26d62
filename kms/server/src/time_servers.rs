//! Asks the time servers that the measured file names, again and again.
//!
//! Network Time Security: a key exchange over TLS with a server whose certificate has its name, and
//! one authenticated query under the keys of that exchange. The network can delay and drop packets,
//! which moves the time by no more than the bound, or leaves none. What the servers' words are
//! worth, the library says.

mod certificates;
mod query;

use std::time::Duration;

use kms_rules::time::{NoTime, Sample, StepRefused, agree};
use protocol::error::chain;
use protocol::kms::TimeServer;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock::Clock;

pub use certificates::Roots;
use query::Asking;

/// How often servers are asked that agreed: the longest step of NTP's own, within which a count
/// drifts by half a second at most.
const EVERY: Duration = Duration::from_secs(1024);
/// How long until they are asked again where they did not.
const AGAIN: Duration = Duration::from_secs(15);

/// Why there is no new time.
#[derive(Debug, thiserror::Error)]
pub enum TimeError {
    /// the servers
    #[error(transparent)]
    None(#[from] NoTime),
    /// a jump
    #[error(transparent)]
    Step(#[from] StepRefused),
}

/// What the ledger knows of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// A time that has passed, in seconds since 1970.
    pub not_before_secs: u64,
    /// When the newest collateral that was judged was issued.
    pub newest_collateral_secs: u64,
}

/// The servers that are named.
#[derive(Debug, Clone)]
pub struct TimeServers {
    servers: Vec<TimeServer>,
    roots: Roots,
}

impl TimeServers {
    /// These, whose certificates lead to these roots.
    pub fn new(servers: Vec<TimeServer>, roots: Roots) -> Self {
        Self { servers, roots }
    }

    /// Keeps a clock until the task is ended. `passed` says what the ledger knows at each time.
    pub async fn keep(&self, clock: &Clock, passed: impl Fn() -> Passed) {
        if self.servers.is_empty() {
            return std::future::pending().await; // the clock is the machine's
        }
        loop {
            match self.ask(clock, passed()).await {
                Ok(()) => {
                    tracing::debug!("time servers: {:?}", clock.reading());
                    sleep(EVERY).await;
                }
                Err(error) => {
                    let kept = if clock.reading().is_some() { "is kept" } else { "is unknown" };
                    tracing::warn!("the time {kept}: {error}");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Asks all servers once, at the same time.
    ///
    /// # Errors
    /// If no majority agrees, or what it says is not believed.
    pub async fn ask(&self, clock: &Clock, passed: Passed) -> Result<(), TimeError> {
        let mut tasks = JoinSet::new();
        for server in self.servers.clone() {
            let (roots, started) = (self.roots.clone(), clock.started());
            let not_before_secs = passed.not_before_secs;
            let asking = Asking { server, roots, started, not_before_secs };
            tasks.spawn(async move {
                let sampled = asking.sample().await;
                sampled.map_err(|error| (asking.server, error))
            });
        }
        let samples: Vec<Sample> = tasks
            .join_all()
            .await
            .into_iter()
            .filter_map(|sampled| match sampled {
                Ok(sample) => Some(sample),
                Err((server, error)) => {
                    tracing::info!("the time server {server}: {}", chain(&error));
                    None
                }
            })
            .collect();
        let agreed = agree(&samples, self.servers.len())?;
        Ok(clock.take(agreed, clock.count_ms(), passed.newest_collateral_secs)?)
    }
}

#[cfg(test)]
mod tests;
