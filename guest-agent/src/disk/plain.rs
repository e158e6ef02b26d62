//! A data disk that is not encrypted and is kept: it holds the app's named volumes, and nothing
//! else.
//!
//! The host can write every byte of it at any time. So nothing that the guest trusts lies on it:
//! images, what containers write to their roots, and logs are in memory, since a program that runs
//! from a plain disk would be the host's to choose. The disk is mounted so that no program on it
//! runs and no link on it leads elsewhere. Whether it holds data decides the host; an app with such
//! a disk seals all that it stores, and bears the loss of it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::mount::{MsFlags, mount};
use protocol::app_compose::StorageFs;

use super::filling::FIRST_BYTES;
use super::mounted::Mounted;
use super::{Disk, DiskError, MOUNT_POINT, fill, generations, io_error, refused_mount};
use crate::memory::DiskState;

/// Where the disk is mounted: the named volumes of the app.
pub(super) const VOLUMES: &str = "/var/lib/dstyx/volumes";
/// Name and source of the file system in memory.
const MEMORY: &str = "tmpfs";
/// Where the superblock of a btrfs has its magic number: 64 bytes into the superblock at 64 KiB.
const MAGIC_OFFSET: usize = 64 * 1024 + 64;
/// The magic number.
const MAGIC: &[u8] = b"_BHRfS_M";
/// Links are not followed; nix has no name for it.
const NO_SYMLINKS: MsFlags = MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);

/// Mounts memory and, in it, the disk, each unless an earlier agent of this boot did; gives the
/// device.
pub(super) fn open(disk: &Disk, state: DiskState) -> Result<PathBuf, DiskError> {
    let device = PathBuf::from(&disk.node);
    let at = |place| Mounted::at(place).map_err(io_error("/proc/self/mountinfo"));
    if is_missing(at(MOUNT_POINT)?, MEMORY, Path::new(MEMORY), state)? {
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some(MEMORY), MOUNT_POINT, Some(MEMORY), flags, Some("mode=0755"))
            .map_err(|errno| io_error(MOUNT_POINT)(errno.into()))?;
    }
    let kind = StorageFs::BtrfsPlain.kernel_name();
    if is_missing(at(VOLUMES)?, kind, &device, state)? {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(VOLUMES);
        made.map_err(io_error(VOLUMES))?;
        match Content::of(&device).map_err(io_error(&disk.node))? {
            Content::Nothing => fill(&device, disk.bytes(), StorageFs::BtrfsPlain)?,
            Content::Btrfs => {}
            Content::Foreign => return Err(DiskError::Content(disk.node.clone())),
        }
        let flags = MsFlags::MS_NODEV
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME
            | NO_SYMLINKS;
        mount(Some(&device), VOLUMES, Some(kind), flags, Some(generations::without_kms()))
            .map_err(refused_mount)?;
    }
    let private = fs::set_permissions(VOLUMES, fs::Permissions::from_mode(0o700));
    private.map_err(io_error(VOLUMES))?;
    Ok(device)
}

/// Whether this is still to be mounted. What is mounted without an agent having begun it is
/// foreign, and what an agent had finished and is not there is not replaced.
fn is_missing(
    found: Option<Mounted>,
    kind: &'static str,
    source: &Path,
    state: DiskState,
) -> Result<bool, DiskError> {
    match (found, state) {
        (None, DiskState::Open) => Err(DiskError::Gone),
        (None, DiskState::Closed | DiskState::Opening) => Ok(true),
        (Some(found), DiskState::Opening | DiskState::Open)
            if found.kind == kind && found.source == source =>
        {
            Ok(false)
        }
        (Some(found), _) => Err(DiskError::Foreign { found: found.to_string(), expected: kind }),
    }
}

/// What the first part of a disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Zeros: nobody has used the disk yet.
    Nothing,
    /// A btrfs.
    Btrfs,
    /// Anything else, which is not overwritten.
    Foreign,
}

impl Content {
    /// Reads the first part of the device or file `path`.
    fn of(path: &Path) -> io::Result<Self> {
        let mut first = Vec::new();
        File::open(path)?.take(FIRST_BYTES).read_to_end(&mut first)?;
        Ok(Self::in_bytes(&first))
    }

    fn in_bytes(first: &[u8]) -> Self {
        if first.iter().all(|byte| *byte == 0) {
            return Self::Nothing;
        }
        match first.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()) {
            Some(MAGIC) => Self::Btrfs,
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_are_overwritten_and_only_a_btrfs_is_mounted() {
        let mut disk = vec![0; 1 << 20];
        assert_eq!(Content::in_bytes(&disk), Content::Nothing);
        *disk.last_mut().unwrap() = 1;
        assert_eq!(Content::in_bytes(&disk), Content::Foreign);
        disk[MAGIC_OFFSET..][..8].copy_from_slice(MAGIC);
        assert_eq!(Content::in_bytes(&disk), Content::Btrfs);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &disk).unwrap();
        assert_eq!(Content::of(file.path()).unwrap(), Content::Btrfs);
        fs::write(file.path(), b"short").unwrap();
        assert_eq!(Content::of(file.path()).unwrap(), Content::Foreign);
    }

    #[test]
    fn a_restarted_agent_goes_on_where_its_predecessor_was_killed() {
        use DiskState::{Closed, Open, Opening};
        let node = Path::new("/dev/vdc");
        let found = |kind: &str, source: &str| {
            Some(Mounted { kind: kind.to_owned(), source: source.into() })
        };
        let disk = || found("btrfs", "/dev/vdc");
        for state in [Closed, Opening] {
            assert!(is_missing(None, "btrfs", node, state).unwrap(), "{state:?}");
        }
        for state in [Opening, Open] {
            assert!(!is_missing(disk(), "btrfs", node, state).unwrap(), "{state:?}");
        }
        assert!(matches!(is_missing(None, "btrfs", node, Open), Err(DiskError::Gone)));
        for (found, state) in [
            (disk(), Closed),
            (found("btrfs", "/dev/dm-0"), Open),
            (found("tmpfs", "tmpfs"), Opening),
        ] {
            let refused = is_missing(found, "btrfs", node, state);
            assert!(matches!(refused, Err(DiskError::Foreign { .. })));
        }
    }
}
