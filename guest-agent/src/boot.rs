//! What is left of the boot when init hands over, as a line of types: each phase consumes the one
//! before it, so that none can run early.
//!
//! `HandoverRead → KeysReleased → DiskOpened → EnvironmentOpened → SystemReady`. No key of the disk
//! exists before the second. `system-ready` stands in the log before anything of the app runs. Each
//! event is recorded once, however often the agent starts.

use std::io;
use std::sync::Arc;

use compose::{ComposeError, ComposeFile};
use protocol::app_compose::{AppCompose, AppComposeError};
use protocol::handover::Handover;
use protocol::status::{Phase, Refusal};
use protocol::strict_json::JsonError;
use tee::event_log::EventLogError;
use tee::{EventLog, TeeError};

use crate::anchors::Anchors;
use crate::disk::DiskError;
use crate::keys::{AppKeys, KeysError};
use crate::kms_client::{KmsClient, KmsError};
use crate::memory::MemoryError;
use crate::quotes::SharedTee;

mod disk_opened;
mod environment_opened;
mod handover_read;
mod keys_released;
mod system_ready;

pub use disk_opened::DiskOpened;
pub use environment_opened::{EnvironmentFault, EnvironmentOpened};
pub use handover_read::HandoverRead;
pub use keys_released::KeysReleased;
pub use system_ready::SystemReady;

/// a phase that was not reached, and why
#[derive(Debug, thiserror::Error)]
#[error("halted while entering {phase:?}: {cause}")]
pub struct PhaseError {
    /// The phase that was being entered.
    pub phase: Phase,
    /// What prevented it.
    pub cause: BootError,
}

/// Why a phase cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// init's file
    #[error("{path}: {source}")]
    Handover {
        /// The file.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// init's file is not what init writes
    #[error("handover: {0}")]
    Json(#[from] JsonError),
    /// the measured file inside it
    #[error("handover: app_compose: {0}")]
    Base64(#[from] base64::DecodeError),
    /// the measured file itself
    #[error(transparent)]
    AppCompose(#[from] AppComposeError),
    /// the device
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// the log
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// the KMS
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// what the KMS released
    #[error("the keys that the KMS released: {0}")]
    Keys(#[from] KeysError),
    /// what earlier agents kept
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// the data disk
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// the encrypted environment
    #[error(transparent)]
    Environment(#[from] EnvironmentFault),
}

impl BootError {
    /// The code with which the guest ends; none where the agent alone ends, and is started again.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Kms(error) => Some(error.refusal()),
            Self::Keys(_) => Some(Refusal::KmsRefused),
            Self::Disk(error) => Some(error.refusal()),
            Self::Environment(fault) => Some(fault.refusal()),
            Self::Handover { .. }
            | Self::Json(_)
            | Self::Base64(_)
            | Self::AppCompose(_)
            | Self::Tee(_)
            | Self::EventLog(_)
            | Self::Memory(_) => None,
        }
    }

    /// The error of entering `phase`.
    fn entering(phase: Phase) -> impl Fn(Self) -> PhaseError {
        move |cause| PhaseError { phase, cause }
    }
}

/// What the agent's parts share of a completed boot; only [`SystemReady`] has one.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Ids, claims and hints.
    pub handover: Arc<Handover>,
    /// Exact bytes of the measured file.
    pub app_compose: Arc<[u8]>,
    /// What they say.
    pub app: Arc<AppCompose>,
    /// What its encrypted environment brought.
    pub environment: Arc<compose::Environment>,
    /// Its compose file, or why it is refused: then nothing of it runs.
    pub compose: Result<Arc<ComposeFile>, Arc<ComposeError>>,
    /// The log and the device behind it.
    pub log: Arc<EventLog<SharedTee>>,
    /// What the KMS released; none in a guest without one.
    pub keys: Option<Arc<AppKeys>>,
    /// The KMS.
    pub kms: Option<Arc<KmsClient>>,
    /// The data disk, as far as the KMS is told of it.
    pub anchors: Option<Arc<Anchors>>,
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use protocol::app_compose;
    use protocol::digest::{AppId, ComposeHash, InstanceId};
    use protocol::event_log::RuntimeEvent;
    use protocol::{event_name, fixtures};
    use tee::fixtures::SoftwareTee;

    use super::*;
    use crate::memory::tests::memory;
    use crate::reports::Reports;

    pub fn handover(app_compose: &[u8]) -> Vec<u8> {
        Handover {
            app_compose: STANDARD.encode(app_compose),
            app_id: AppId([1; 20]),
            instance_id: Some(InstanceId([2; 20])),
            compose_hash: ComposeHash::of(app_compose),
            registry_mirrors: vec![],
            kms_urls: vec![],
            gateway_urls: vec![],
            encrypted_env: None,
            claims: fixtures::claims(),
            disks: BTreeMap::new(),
        }
        .to_json()
    }

    /// A log as init leaves it.
    pub fn measured_log(directory: &Path, tee: SharedTee) -> EventLog<SharedTee> {
        let log = EventLog::new(directory.join("log"), tee);
        for name in event_name::REQUIRED {
            log.append(&RuntimeEvent::new(name, "")).unwrap();
        }
        log
    }

    /// A completed boot of a generated app, with `change` made to its file.
    pub fn boot(directory: &Path, change: impl Fn(String) -> String) -> Boot {
        let app_compose = app_compose::generate("hello", "services: {}\n").unwrap();
        let app_compose = change(String::from_utf8(app_compose).unwrap());
        let log = measured_log(directory, Arc::new(SoftwareTee::default()));
        complete(&handover(app_compose.as_bytes()), log).unwrap()
    }

    /// All phases without a KMS, with a disk that opens.
    fn complete(handover: &[u8], log: EventLog<SharedTee>) -> Result<Boot, BootError> {
        let opened = EnvironmentOpened::without(open(handover, log, Ok(None))?);
        Ok(SystemReady::with(opened)?.boot().clone())
    }

    /// The phases up to a disk that opens, or not.
    fn open(
        handover: &[u8],
        log: EventLog<SharedTee>,
        disk: Result<Option<Arc<Anchors>>, DiskError>,
    ) -> Result<DiskOpened, BootError> {
        let read = HandoverRead::of(handover, log)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Tests have runtimes of their own, in which no other may be entered.
        let entered = std::thread::spawn(move || {
            runtime.block_on(async {
                let never = async |_| panic!("there is no KMS");
                let released = keys_released::release(&read, &memory(), never).await?.is_some();
                assert!(!released, "a guest without a KMS has no keys");
                let keys = KeysReleased { read, released: None };
                let reports = Reports::to_file(tempfile::tempfile().unwrap());
                let opening = keys.opening(&reports);
                DiskOpened::with(keys, &opening, async { disk }).await
            })
        });
        entered.join().unwrap()
    }

    #[test]
    fn a_restarted_agent_records_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let boot = boot(directory.path(), |file| file);
        let (log, register) = boot.log.snapshot(|tee| tee.runtime_register().unwrap()).unwrap();
        let events = log.events().unwrap();
        let last: Vec<_> = events[5..].iter().map(|event| event.event.as_str()).collect();
        assert_eq!(
            last,
            [event_name::KEY_PROVIDER, event_name::STORAGE_FS, event_name::SYSTEM_READY]
        );
        assert_eq!(events[6].event_payload, hex::encode("btrfs"));

        let again = EventLog::new(directory.path().join("log"), boot.log.tee().clone());
        let again = complete(&handover(&boot.app_compose), again).unwrap();
        let (log, again) = again.log.snapshot(|tee| tee.runtime_register().unwrap()).unwrap();
        assert_eq!((log.events().unwrap(), again), (events, register));
    }

    #[test]
    fn another_app_compose_or_an_unknown_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let log = || measured_log(directory.path(), Arc::new(SoftwareTee::default()));
        assert!(matches!(complete(b"{}", log()), Err(BootError::Json(_))));
        std::fs::remove_file(directory.path().join("log")).unwrap();
        assert!(matches!(complete(&handover(b"{}"), log()), Err(BootError::AppCompose(_))));
    }

    #[test]
    fn without_a_disk_the_system_is_not_ready_and_the_measured_file_chooses_what_is_on_it() {
        for (field, name) in [
            (r#""storage_fs":"ext4","#, "ext4"),
            (r#""danger_host_readable_disk":true,"#, "btrfs-plain"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let tee: SharedTee = Arc::new(SoftwareTee::default());
            let log = measured_log(directory.path(), Arc::clone(&tee));
            let app_compose = app_compose::generate("hello", "services: {}\n").unwrap();
            let app_compose =
                String::from_utf8(app_compose).unwrap().replacen('{', &format!("{{{field}"), 1);
            let handover = handover(app_compose.as_bytes());
            let refused = open(&handover, log, Err(DiskError::Missing));
            let refused = refused.map_err(BootError::entering(Phase::DiskOpened)).unwrap_err();
            let text = "halted while entering DiskOpened: not exactly one disk has the serial";
            assert!(refused.to_string().starts_with(text), "{refused}");
            let last = |log: &EventLog<SharedTee>| {
                let events = log.snapshot(|_| ()).unwrap().0.events().unwrap();
                events.last().unwrap().clone()
            };
            let log = || EventLog::new(directory.path().join("log"), Arc::clone(&tee));
            assert_eq!(last(&log()).event, event_name::KEY_PROVIDER);
            open(&handover, log(), Ok(None)).unwrap();
            let storage = last(&log());
            assert_eq!(storage.event, event_name::STORAGE_FS);
            assert_eq!(storage.event_payload, hex::encode(name));
        }
    }
}
