//! The one place where quotes are asked for: evidence for anybody who sends a nonce, and quotes for
//! the app's own containers.
//!
//! Quotes are slow and the device takes one request at a time. So one is made at a time, a bounded
//! number of requests waits, and the next is told to come again: a flood costs time, never memory,
//! and one from the network takes no place of a container's or of the agent's own.
//!
//! A container chooses all 64 bytes of its report data. What begins with a tag of the guest's own
//! roles is refused to it, here and therefore in every call and on every socket, so that a quote
//! with such a tag was asked for by the role itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::channel::Binding;
use protocol::digest::ReportData;
use protocol::report_data::{self, NONCE_BYTES, Role, TAG_BYTES};
use protocol::status::{Phase, Refusal};
use tee::event_log::{EventLogError, LogSnapshot};
use tee::{EventLog, Tee, TeeError};
use tokio::sync::{Mutex, Semaphore};

use crate::reports::Reports;

/// The TEE as the agent's parts share it.
pub type SharedTee = Arc<dyn Tee>;

/// Requests of each side that may wait for a quote: a quote takes 10 to 100 ms, so the last one
/// waits a few seconds.
const MAX_WAITING: usize = 32;

/// Why there is no quote now.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    /// report data that belongs to the guest's own roles
    #[error(
        "report data {found:?} is reserved: of all that begins with \"dstyx-\", a container is quoted \
         {expected:?} only"
    )]
    Reserved {
        /// The first bytes of the report data.
        found: String,
        /// The one tag that a container may use.
        expected: &'static str,
    },
    /// a channel on which the agent is not itself
    #[error("the agent proves itself on channels in its own roles only, not as {0:?}")]
    Role(protocol::channel::Role),
    /// too many are asking
    #[error("{MAX_WAITING} requests for quotes are waiting already")]
    Busy,
    /// the device
    #[error(transparent)]
    Quote(#[from] TeeError),
    /// the log
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// the thread that talks to the device was lost
    #[error("the quote was not finished: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// A side from which quotes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// The public port: the guest's own role, over a nonce of the client; or a key of the app's.
    Anybody,
    /// The agent itself, on a channel that it opens.
    Agent,
    /// A container of the app, over bytes that it chose.
    Container,
}

/// A quote, and the event log that explains its RTMR3.
#[derive(Debug)]
pub struct Quoted {
    /// The quote's bytes.
    pub quote: Vec<u8>,
    /// The event log as it stood when the quote was made; it is read when an answer is written.
    pub log: LogSnapshot,
}

/// The one place where quotes are asked for.
#[derive(Debug)]
pub struct QuoteDesk {
    log: Arc<EventLog<SharedTee>>,
    reports: Reports,
    failure_reported: AtomicBool,
    anybody: Semaphore,
    agent: Semaphore,
    containers: Semaphore,
    device: Arc<Mutex<()>>,
}

impl QuoteDesk {
    /// A desk that nobody waits at.
    pub fn new(log: Arc<EventLog<SharedTee>>, reports: Reports) -> Self {
        let [anybody, agent, containers] = [(); 3].map(|()| Semaphore::new(MAX_WAITING));
        Self {
            log,
            reports,
            failure_reported: AtomicBool::new(false),
            anybody,
            agent,
            containers,
            device: Arc::default(),
        }
    }

    /// What evidence over `nonce` is made of.
    pub async fn evidence(&self, nonce: &[u8; NONCE_BYTES]) -> Result<Quoted, QuoteError> {
        self.quote(Asker::Anybody, report_data::evidence(nonce)).await
    }

    /// A quote by which the agent proves itself on the channel of `binding`: as the guest's agent,
    /// or as the middleware of Pads, whose process is its child and has no device.
    pub async fn quote_for_channel(&self, binding: &Binding) -> Result<Quoted, QuoteError> {
        use protocol::channel::Role::{Agent, Pads};
        match binding.report_data().filter(|_| matches!(binding.own, Agent | Pads)) {
            Some(report_data) => self.quote(Asker::Agent, report_data).await,
            None => Err(QuoteError::Role(binding.own)),
        }
    }

    /// A quote for a container, over bytes that it chose; reserved ones are refused.
    pub async fn quote_for_container(&self, report_data: ReportData) -> Result<Quoted, QuoteError> {
        self.quote(Asker::Container, report_data).await
    }

    /// A quote that anybody may ask for, over the public half of the app's signing key.
    pub async fn of_app_key(&self, report_data: ReportData) -> Result<Quoted, QuoteError> {
        self.quote(Asker::Anybody, report_data).await
    }

    /// The only door to the device. The request's turn is lost when its future is dropped.
    async fn quote(&self, asker: Asker, report_data: ReportData) -> Result<Quoted, QuoteError> {
        if asker == Asker::Container && !report_data::is_open_to_containers(&report_data) {
            return Err(reserved(&report_data));
        }
        let permits = match asker {
            Asker::Anybody => &self.anybody,
            Asker::Agent => &self.agent,
            Asker::Container => &self.containers,
        };
        let _permit = permits.try_acquire().map_err(|_| QuoteError::Busy)?;
        let turn = Arc::clone(&self.device).lock_owned().await;
        let log = Arc::clone(&self.log);
        // The turn moves along: a client that hangs up does not let the next one into the device.
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            make(&log, &report_data)
        });
        let quoted = made.await?;
        // Where the agent needs one itself, the phase that fails says so.
        let to_tell = quoted.is_err() && asker != Asker::Agent;
        if to_tell && !self.failure_reported.swap(true, Ordering::Relaxed) {
            self.reports.send(Phase::SystemReady, Refusal::QuoteFailed);
        }
        quoted
    }
}

fn reserved(report_data: &ReportData) -> QuoteError {
    let tag = &report_data.as_bytes()[..TAG_BYTES];
    let expected = str::from_utf8(Role::App.tag()).expect("tags are ASCII");
    QuoteError::Reserved { found: tag.escape_ascii().to_string(), expected }
}

fn make(log: &EventLog<SharedTee>, report_data: &ReportData) -> Result<Quoted, QuoteError> {
    let (log, quote) = log.snapshot(|tee| tee.quote(report_data))?;
    Ok(Quoted { quote: quote?, log })
}

#[cfg(test)]
pub mod tests {
    use protocol::event_log;
    use tee::fixtures::SoftwareTee;

    use super::*;
    use crate::boot::tests::measured_log;

    /// A desk of a guest whose app is measured.
    pub fn desk(directory: &std::path::Path) -> QuoteDesk {
        let log = measured_log(directory, Arc::new(SoftwareTee::default()));
        QuoteDesk::new(Arc::new(log), Reports::to_file(tempfile::tempfile().unwrap()))
    }

    #[tokio::test]
    async fn the_quote_holds_the_nonce_and_the_register_of_the_log_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(directory.path());
        let Quoted { quote, log } = desk.evidence(&[5; 32]).await.unwrap();
        let later = event_log::RuntimeEvent::new(protocol::event_name::SYSTEM_READY, "");
        desk.log.append(&later).unwrap();
        let replayed =
            event_log::replay(&event_log::runtime_events(&log.events().unwrap()).unwrap());
        assert_eq!(quote[..48], replayed.0, "and no event that came later");
        assert_eq!(quote[48..], report_data::evidence(&[5; 32]).0);
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_those_who_wait_and_containers_are_served() {
        let directory = tempfile::tempdir().unwrap();
        let desk = Arc::new(desk(directory.path()));
        let device_in_use = Arc::clone(&desk.device).lock_owned().await;
        let ask = |asker| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.quote(asker, ReportData::ZERO).await.map(|_| ()) })
        };
        let requests: Vec<_> = (0..100).map(|_| ask(Asker::Anybody)).collect();
        let container = ask(Asker::Container);
        // One thread: after this every request has asked for its place.
        tokio::task::yield_now().await;
        drop(device_in_use);
        let (mut served, mut busy) = (0, 0);
        for request in requests {
            match request.await.unwrap() {
                Ok(()) => served += 1,
                Err(QuoteError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((served, busy), (MAX_WAITING, 100 - MAX_WAITING));
        container.await.unwrap().unwrap();
    }
}
