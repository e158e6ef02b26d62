//! Phase 1: file systems are mounted, a TDX device is there, the status disk can be written.

use std::path::Path;

use protocol::status::{self as codes, Phase, Refusal};
use tee::TdxGuest;

use crate::disks::Disks;
use crate::halt::Halt;
use crate::{mounts, status};

/// Holding one says: the kernel's file systems are mounted, a driver named `tdx_guest` is bound,
/// and the status disk was written.
pub struct Mounted {
    pub(super) tdx: TdxGuest,
    pub(super) disks: Disks,
}

impl Mounted {
    /// Mounts just enough to look for the device and to say so, and goes on only where it exists.
    pub fn enter() -> Result<Self, Halt> {
        let halt = |refusal, cause: String| Halt::new(Phase::Mounted, refusal, cause);
        mounts::first().map_err(|error| halt(Refusal::MountFailed, error.to_string()))?;
        let disks = Disks::scan(Path::new("/"))
            .map_err(|error| halt(Refusal::Internal, format!("disks: {error}")))?;
        let written = open_status_disk(&disks);
        let tdx = TdxGuest::open(Path::new("/"))
            .map_err(|error| halt(Refusal::NoTee, error.to_string()))?;
        written.map_err(|cause| halt(Refusal::StatusDiskMissing, cause))?;
        mounts::rest().map_err(|error| halt(Refusal::MountFailed, error.to_string()))?;
        status::reached(Phase::Mounted);
        Ok(Self { tdx, disks })
    }
}

fn open_status_disk(disks: &Disks) -> Result<(), String> {
    let node = disks.node(codes::DISK_SERIAL);
    let node =
        node.ok_or_else(|| format!("not exactly one disk has the serial {}", codes::DISK_SERIAL))?;
    status::open(node).map_err(|error| format!("{}: {error}", node.display()))
}
