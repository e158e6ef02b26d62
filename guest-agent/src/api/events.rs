//! `EmitEvent`: events of the app, behind those of the boot.
//!
//! As dstack had it before 0.6: register and log go together under the log's own lock, and a quote
//! taken later explains itself. Names of the boot are refused by the log; a colon is refused here,
//! because the digest joins name and payload with one, and the same digest would read as another
//! event.

use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::prpc::EmitEventArgs;
use tee::event_log::EventLogError;
use tokio::sync::Semaphore;

use crate::boot::Boot;

/// Events that may wait for the log's lock, which a quote holds for as long as it takes.
const MAX_WAITING: usize = 16;

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// a name that could be read as another event
    #[error("event {0:?}: a name has no colon and no control character")]
    Name(String),
    /// too many are waiting
    #[error("{MAX_WAITING} events are waiting already")]
    Busy,
    /// refused by the log, or by the device
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// a thread that was lost
    #[error("the event was not finished: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// Records events for containers.
#[derive(Debug)]
pub(super) struct Emitter(Semaphore);

impl Default for Emitter {
    fn default() -> Self {
        Self(Semaphore::new(MAX_WAITING))
    }
}

impl Emitter {
    /// Records one event; it is recorded as a whole or not at all, also when the client hangs up.
    pub(super) async fn emit(&self, boot: &Boot, args: EmitEventArgs) -> Result<(), EmitError> {
        let EmitEventArgs { event, payload } = args;
        if !event_name::is_unambiguous(&event) {
            return Err(EmitError::Name(event.chars().take(64).collect()));
        }
        let _place = self.0.try_acquire().map_err(|_| EmitError::Busy)?;
        let log = std::sync::Arc::clone(&boot.log);
        let appended =
            tokio::task::spawn_blocking(move || log.append(&RuntimeEvent::new(event, payload)));
        Ok(appended.await??)
    }
}
