//! What time this process has: that of its time servers, or where none are named its machine's.
//!
//! The machine's clock is never set, and where servers are named it is not even read: what they
//! agree on is kept as a difference to the time since the start, which the processor counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kms_rules::time::{Agreement, Kept, Reading, StepRefused};

/// The clock of one process.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// What servers agreed on; `None` where none are named.
    servers: Option<Mutex<Kept>>,
}

impl Clock {
    /// The machine's, which its host sets.
    pub fn of_machine() -> Self {
        Self { started: Instant::now(), servers: None }
    }

    /// That of time servers, which has no time before they agreed.
    pub fn of_servers() -> Self {
        Self { started: Instant::now(), servers: Some(Mutex::default()) }
    }

    /// When milliseconds began to be counted.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Milliseconds since the start.
    pub fn count_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time, and what it rests on; none while named servers have not agreed.
    pub fn reading(&self) -> Option<Reading> {
        match &self.servers {
            Some(kept) => locked(kept).at(self.count_ms()),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                Some(Reading::Machine { time_ms })
            }
        }
    }

    /// The same in seconds since 1970.
    pub fn secs(&self) -> Option<u64> {
        self.reading().map(|reading| reading.secs())
    }

    /// Takes what servers agreed on when [`Self::count_ms`] was `count_ms`.
    ///
    /// # Errors
    /// If it is before collateral of `newest_collateral_secs`, or jumps.
    pub fn take(
        &self,
        agreed: Agreement,
        count_ms: u64,
        newest_collateral_secs: u64,
    ) -> Result<(), StepRefused> {
        match &self.servers {
            Some(kept) => locked(kept).take(agreed, count_ms, newest_collateral_secs),
            None => Ok(()),
        }
    }
}

/// What is kept is exchanged whole, so a thread that ended in between left nothing half done.
fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
