//! Phase `SystemReady`: the boot is complete, and the app may run.

use std::sync::Arc;

use compose::ComposeFile;
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::status::Phase;

use super::{
    Boot, BootError, DiskOpened, EnvironmentOpened, HandoverRead, KeysReleased, PhaseError,
};

/// Holding one says: the event log stands at `system-ready` or later; what is recorded from now on
/// belongs to the app.
#[derive(Debug)]
pub struct SystemReady {
    boot: Boot,
}

impl SystemReady {
    /// Records that the boot is complete.
    pub fn enter(opened: EnvironmentOpened) -> Result<Self, PhaseError> {
        Self::with(opened).map_err(BootError::entering(Phase::SystemReady))
    }

    pub(super) fn with(opened: EnvironmentOpened) -> Result<Self, BootError> {
        let EnvironmentOpened { disk: DiskOpened { keys, anchors }, environment } = opened;
        let KeysReleased { read, released } = keys;
        let HandoverRead { handover, app_compose, app, log } = read;
        log.ensure(&RuntimeEvent::new(event_name::SYSTEM_READY, ""))?;
        let compose =
            ComposeFile::of_app_in_guest(&app, &environment).map(Arc::new).map_err(Arc::new);
        let (handover, app) = (Arc::new(handover), Arc::new(app));
        let (keys, kms) = released.map(|released| (released.keys, released.kms)).unzip();
        let app_compose = app_compose.into();
        let environment = Arc::new(environment);
        Ok(Self {
            boot: Boot {
                handover,
                app_compose,
                app,
                environment,
                compose,
                log,
                keys,
                kms,
                anchors,
            },
        })
    }

    /// What the agent's parts share of it.
    pub fn boot(&self) -> &Boot {
        &self.boot
    }
}
