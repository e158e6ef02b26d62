//! Phase `DiskOpened`: the data disk is open, and where a KMS anchors it, the KMS knows this mount.

use std::sync::Arc;

use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::status::Phase;

use super::{BootError, KeysReleased, PhaseError};
use crate::anchors::Anchors;
use crate::disk::{self, DiskError, Opening};
use crate::memory::Memory;
use crate::reports::Reports;

/// Holding one says: the data disk is mounted with the file system that the measured file asks for,
/// the log says so, and a disk with a KMS has the first anchor of this mount.
#[derive(Debug)]
pub struct DiskOpened {
    pub(super) keys: KeysReleased,
    pub(super) anchors: Option<Arc<Anchors>>,
}

impl DiskOpened {
    /// Opens this machine's data disk, or finds it open.
    pub async fn enter(
        keys: KeysReleased,
        memory: &Memory,
        reports: &Reports,
    ) -> Result<Self, PhaseError> {
        let opening = keys.opening(reports);
        let disks = keys.read.handover.disks.clone();
        Self::with(keys, &opening, disk::open(&disks, &opening, memory))
            .await
            .map_err(BootError::entering(Phase::DiskOpened))
    }

    /// The same with whatever opens the disk.
    pub(super) async fn with(
        keys: KeysReleased,
        opening: &Opening,
        open: impl Future<Output = Result<Option<Arc<Anchors>>, DiskError>>,
    ) -> Result<Self, BootError> {
        let anchors = open.await?;
        let file_system = opening.file_system().name();
        keys.read.log.ensure(&RuntimeEvent::new(event_name::STORAGE_FS, file_system))?;
        Ok(Self { keys, anchors })
    }
}
