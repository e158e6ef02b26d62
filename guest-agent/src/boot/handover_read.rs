//! Phase `HandoverRead`: what init measured and handed over is known.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::app_compose::{self, AppCompose};
use protocol::handover::{self, Handover};
use protocol::status::Phase;
use tee::{EventLog, TdxGuest};

use super::{BootError, PhaseError};
use crate::quotes::SharedTee;

/// Holding one says: the handover is init's, and the event log and the register behind it are open.
#[derive(Debug)]
pub struct HandoverRead {
    pub(super) handover: Handover,
    pub(super) app_compose: Vec<u8>,
    pub(super) app: AppCompose,
    pub(super) log: Arc<EventLog<SharedTee>>,
}

impl HandoverRead {
    /// Reads this machine's.
    pub fn enter() -> Result<Self, PhaseError> {
        let entered = || {
            let tee: SharedTee = Arc::new(TdxGuest::open(Path::new("/"))?);
            let log = EventLog::new(handover::EVENT_LOG_PATH, tee);
            Self::of(&read(Path::new(handover::PATH))?, log)
        };
        entered().map_err(BootError::entering(Phase::AgentStarted))
    }

    /// The same from the handover's bytes and any log.
    pub(super) fn of(handover: &[u8], log: EventLog<SharedTee>) -> Result<Self, BootError> {
        let handover = Handover::parse(handover)?;
        let app_compose = STANDARD.decode(&handover.app_compose)?;
        let app = app_compose::parse(&app_compose)?;
        Ok(Self { handover, app_compose, app, log: Arc::new(log) })
    }

    /// The log, for the one door to quotes, through which the next phase goes already.
    pub fn log(&self) -> Arc<EventLog<SharedTee>> {
        Arc::clone(&self.log)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BootError> {
    let failed = |source| BootError::Handover { path: handover::PATH, source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(handover::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
