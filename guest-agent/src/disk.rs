//! Phase `DiskOpened`: `/var` becomes an encrypted file system on the data disk, made anew at every
//! boot under a key that nobody is told.
//!
//! The disk is the host's: nothing on it is read before it was written in this boot, and nothing on
//! it chooses a parameter. The kernel encrypts it by a table that is fixed here, with a key that
//! was drawn here. What goes onto it first is a file system that was made with the image, which is
//! then grown to the disk's size. An agent that starts again finds its predecessor's file system in
//! place and goes on with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use protocol::app_compose::StorageFs;
use protocol::data_disk::{DISK_SERIAL, MIN_BYTES};
use protocol::disk_template::{self, TemplateError};
use protocol::status::Refusal;

use crate::memory::{DiskState, Kept, Memory, MemoryError};
use crate::sys;
use key::Key;
use mapper::{Mapper, MapperError};
use mounted::Mounted;

mod filling;
mod key;
mod mapper;
mod mounted;

/// Where everything that the app brings and writes lies: images, volumes, containers' changes,
/// logs.
const MOUNT_POINT: &str = "/var";
/// The device mapper's name for the open disk.
const NAME: &str = "dstyx-data";
/// Bytes of the sectors in which sysfs and the device mapper count.
const SECTOR_BYTES: u64 = 512;

/// Why there is no data disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// the host gave none, or two
    #[error("not exactly one disk has the serial {DISK_SERIAL}")]
    Missing,
    /// the host gave a small one
    #[error("{node} has {bytes} bytes, at least {MIN_BYTES} are needed")]
    TooSmall {
        /// Its node.
        node: String,
        /// Its size.
        bytes: u64,
    },
    /// the host gave one that cannot be written
    #[error("{0} is read-only")]
    ReadOnly(String),
    /// a file of the kernel, of the image, or the disk itself
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// the kernel's encryption
    #[error(transparent)]
    Mapper(#[from] MapperError),
    /// the image's file system
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// what earlier agents kept of it
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// the file system of an earlier agent is not there
    #[error(
        "nothing is mounted at {MOUNT_POINT}, where an earlier agent of this boot had opened the data disk"
    )]
    Gone,
    /// something else is mounted there
    #[error("{MOUNT_POINT} is {found}, expected {expected} on the data disk")]
    Foreign {
        /// What is mounted.
        found: String,
        /// What the measured file asks for.
        expected: &'static str,
    },
}

impl DiskError {
    /// The code for the status disk: is it the host's disk, or what was done with it?
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Missing | Self::TooSmall { .. } | Self::ReadOnly(_) => Refusal::DiskMissing,
            Self::Io { .. }
            | Self::Mapper(_)
            | Self::Template(_)
            | Self::Memory(_)
            | Self::Gone
            | Self::Foreign { .. } => Refusal::DiskFailed,
        }
    }
}

/// Opens the data disk among `disks` (serial → node) with a file system of this kind, or finds it
/// open.
///
/// # Errors
/// If the host gave no usable disk, or the kernel refuses a step; nothing is mounted then.
pub fn open(
    disks: &BTreeMap<String, String>,
    kind: StorageFs,
    memory: &Memory,
) -> Result<(), DiskError> {
    let expected = kind.name();
    let mounted = Mounted::at(MOUNT_POINT).map_err(io_error("/proc/self/mountinfo"))?;
    let device = match opened(mounted, memory.read()?.disk, expected)? {
        Some(device) => device,
        None => {
            memory.keep(&Kept { disk: DiskState::Opening })?;
            make(disks, kind)?
        }
    };
    memory.keep(&Kept { disk: DiskState::Open })?;
    grow(&device, kind)?;
    let size = statvfs(MOUNT_POINT).map_err(|errno| io_error(MOUNT_POINT)(errno.into()))?;
    let bytes = size.blocks().saturating_mul(size.fragment_size());
    tracing::info!("the data disk is open: {expected}, {} MiB", bytes >> 20);
    Ok(())
}

/// The device that an earlier agent of this boot has mounted; none if the disk is still to be
/// opened. What is mounted without an agent having begun it is not the data disk, and an open disk
/// that is not mounted is not replaced by an empty one: the app would go on without its data.
fn opened(
    mounted: Option<Mounted>,
    state: DiskState,
    expected: &'static str,
) -> Result<Option<PathBuf>, DiskError> {
    match (mounted, state) {
        (Some(mounted), DiskState::Opening | DiskState::Open)
            if mounted.kind == expected && is_ours(&mounted.source) =>
        {
            Ok(Some(mounted.source))
        }
        (Some(mounted), _) => Err(DiskError::Foreign { found: mounted.to_string(), expected }),
        (None, DiskState::Open) => Err(DiskError::Gone),
        (None, DiskState::Closed | DiskState::Opening) => Ok(None),
    }
}

/// Encrypts the disk under a new key, fills and mounts it; gives the device that is mounted.
fn make(disks: &BTreeMap<String, String>, kind: StorageFs) -> Result<PathBuf, DiskError> {
    let disk = Disk::find(Path::new("/"), disks)?;
    let mapper = Mapper::open()?;
    // Left by an agent that was killed before it could mount: under its key nothing was ever kept.
    mapper.remove_if_there(NAME)?;
    let key = Key::random().map_err(io_error("a random key"))?;
    let device = mapper.encrypt(NAME, &disk.node, disk.sectors, &key)?;
    drop(key);
    fill_and_mount(&device, disk.bytes(), kind).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = mapper.remove_if_there(NAME);
    })?;
    Ok(device)
}

fn fill_and_mount(device: &Path, device_bytes: u64, kind: StorageFs) -> Result<(), DiskError> {
    let path = template(kind);
    let template = fs::read(path).map_err(io_error(path))?;
    let template = disk_template::decode(&template)?;
    filling::fill(device, device_bytes, &template)
        .map_err(io_error(&device.display().to_string()))?;
    // Image layers bring set-user-id programs and device nodes, which count inside containers only:
    // their roots are mounts of their own. For the guest itself nothing on the disk has either
    // power.
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    let options = match kind {
        StorageFs::Btrfs => "",
        // What the host has damaged is not made worse.
        StorageFs::Ext4 => "errors=remount-ro",
    };
    mount(Some(device), MOUNT_POINT, Some(kind.name()), flags, Some(options))
        .map_err(|errno| io_error("mounting the data disk")(errno.into()))
}

/// Has no effect on a file system that fills its device, so a killed agent's work is finished by
/// the next one.
fn grow(device: &Path, kind: StorageFs) -> Result<(), DiskError> {
    let mount_point = File::open(MOUNT_POINT).map_err(io_error(MOUNT_POINT))?;
    let grown = match kind {
        StorageFs::Btrfs => sys::grow_btrfs(&mount_point),
        StorageFs::Ext4 => {
            let bytes = block_bytes(Path::new("/"), device)?;
            sys::grow_ext4(&mount_point, bytes / disk_template::BLOCK_BYTES as u64)
        }
    };
    grown.map_err(io_error("growing the data disk's file system"))
}

/// Where the image has the empty file system of a kind.
fn template(kind: StorageFs) -> &'static str {
    match kind {
        StorageFs::Btrfs => "/usr/share/dstyx/btrfs.template",
        StorageFs::Ext4 => "/usr/share/dstyx/ext4.template",
    }
}

/// Only this agent's devices are made by the device mapper.
fn is_ours(source: &Path) -> bool {
    source.to_str().is_some_and(|source| source.starts_with("/dev/dm-"))
}

/// The host's disk, as far as it can be used.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    node: String,
    sectors: u64,
}

impl Disk {
    /// Looks at the disk's size and mode in sysfs below `root`, which is `/` but in tests.
    fn find(root: &Path, disks: &BTreeMap<String, String>) -> Result<Self, DiskError> {
        let node = disks.get(DISK_SERIAL).ok_or(DiskError::Missing)?.clone();
        let bytes = block_bytes(root, Path::new(&node))?;
        if bytes < MIN_BYTES {
            return Err(DiskError::TooSmall { node, bytes });
        }
        if block_file(root, Path::new(&node), "ro")? != "0" {
            return Err(DiskError::ReadOnly(node));
        }
        let blocks = bytes / disk_template::BLOCK_BYTES as u64;
        Ok(Self { node, sectors: blocks * (disk_template::BLOCK_BYTES as u64 / SECTOR_BYTES) })
    }

    fn bytes(&self) -> u64 {
        self.sectors * SECTOR_BYTES
    }
}

fn block_bytes(root: &Path, node: &Path) -> Result<u64, DiskError> {
    let sectors = block_file(root, node, "size")?.parse().ok();
    let bytes = sectors.and_then(|sectors: u64| sectors.checked_mul(SECTOR_BYTES));
    bytes.ok_or_else(|| io_error(&node.display().to_string())(io::ErrorKind::InvalidData.into()))
}

fn block_file(root: &Path, node: &Path, file: &str) -> Result<String, DiskError> {
    let path = root.join("sys/block").join(node.file_name().unwrap_or_default()).join(file);
    let text = fs::read_to_string(&path).map_err(io_error(&path.display().to_string()))?;
    Ok(text.trim_end().to_owned())
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> DiskError {
    let what = what.to_owned();
    move |source| DiskError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(sectors: &str, read_only: &str) -> Result<Disk, DiskError> {
        let root = tempfile::tempdir().unwrap();
        let block = root.path().join("sys/block/vdc");
        fs::create_dir_all(&block).unwrap();
        fs::write(block.join("size"), sectors).unwrap();
        fs::write(block.join("ro"), read_only).unwrap();
        Disk::find(root.path(), &BTreeMap::from([(DISK_SERIAL.to_owned(), "/dev/vdc".to_owned())]))
    }

    #[test]
    fn a_disk_is_used_up_to_its_last_whole_block() {
        let disk = find("2097155\n", "0\n").unwrap();
        assert_eq!(disk, Disk { node: "/dev/vdc".into(), sectors: 2_097_152 });
        assert_eq!(disk.bytes(), MIN_BYTES);
    }

    #[test]
    fn what_cannot_be_used_is_the_hosts_fault_and_says_why() {
        let rows = [
            (find("2097151\n", "0\n"), "1073741312 bytes, at least 1073741824"),
            (find("4194304\n", "1\n"), "/dev/vdc is read-only"),
            (
                Disk::find(Path::new("/"), &BTreeMap::new()),
                "not exactly one disk has the serial dstyx-data",
            ),
        ];
        for (result, expected) in rows {
            let error = result.unwrap_err();
            assert_eq!(error.refusal(), Refusal::DiskMissing);
            assert!(error.to_string().contains(expected), "{error}");
        }
        for size in ["", "x", "36893488147419103232"] {
            assert_eq!(find(size, "0\n").unwrap_err().refusal(), Refusal::DiskFailed);
        }
    }

    #[test]
    fn what_earlier_agents_kept_decides_whether_the_disk_is_open() {
        use DiskState::{Closed, Open, Opening};
        let at = |kind: &str, source: &str| {
            Some(Mounted { kind: kind.to_owned(), source: source.into() })
        };
        let device = || at("btrfs", "/dev/dm-0");
        for state in [Opening, Open] {
            let found = opened(device(), state, "btrfs").unwrap();
            assert_eq!(found, Some("/dev/dm-0".into()), "{state:?}");
        }
        for state in [Closed, Opening] {
            assert_eq!(opened(None, state, "btrfs").unwrap(), None, "{state:?}");
        }
        assert!(matches!(opened(None, Open, "btrfs"), Err(DiskError::Gone)));
        for (mounted, state) in
            [(device(), Closed), (at("ext4", "/dev/dm-0"), Open), (at("btrfs", "/dev/vdc"), Open)]
        {
            let refused = opened(mounted, state, "btrfs").unwrap_err();
            assert!(matches!(refused, DiskError::Foreign { .. }), "{refused}");
            assert_eq!(refused.refusal(), Refusal::DiskFailed);
        }
    }

    #[test]
    fn only_a_mapped_device_counts_as_opened() {
        assert!(is_ours(Path::new("/dev/dm-0")));
        assert!(!is_ours(Path::new("/dev/vdc")) && !is_ours(Path::new("tmpfs")));
    }
}
