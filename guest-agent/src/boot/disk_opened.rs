//! Phase `DiskOpened`: it is recorded who gave the keys (nobody yet), and the data disk is open.

use std::collections::BTreeMap;

use protocol::app_compose::StorageFs;
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::status::Phase;

use super::{BootError, HandoverRead, PhaseError};
use crate::disk::{self, DiskError};
use crate::memory::Memory;

/// Payload of `key-provider` in a guest without keys.
const NO_KEY_PROVIDER: &str = r#"{"name":"none","id":""}"#;

/// Holding one says: the data disk is mounted with the file system that the measured file asks for,
/// and the log says so.
#[derive(Debug)]
pub struct DiskOpened(pub(super) HandoverRead);

impl DiskOpened {
    /// Opens this machine's data disk, or finds it open.
    pub fn enter(read: HandoverRead, memory: &Memory) -> Result<Self, PhaseError> {
        Self::with(read, |disks, kind| disk::open(disks, kind, memory))
            .map_err(BootError::entering(Phase::DiskOpened))
    }

    /// The same with whatever opens the disk of a kind among those by serial.
    pub(super) fn with(
        read: HandoverRead,
        open: impl FnOnce(&BTreeMap<String, String>, StorageFs) -> Result<(), DiskError>,
    ) -> Result<Self, BootError> {
        let storage_fs = read.app.storage_fs;
        read.log.ensure(&RuntimeEvent::new(event_name::KEY_PROVIDER, NO_KEY_PROVIDER))?;
        open(&read.handover.disks, storage_fs)?;
        read.log.ensure(&RuntimeEvent::new(event_name::STORAGE_FS, storage_fs.name()))?;
        Ok(Self(read))
    }
}
