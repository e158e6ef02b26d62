//! Phase `DiskOpened`: `/var` becomes a file system on the data disk.
//!
//! The disk is the host's: nothing on it chooses a parameter. Without a KMS it is encrypted under a
//! key that was drawn here, made anew at every boot and read only where this boot wrote it. With a
//! KMS it is encrypted under the key that the KMS released, and kept: whether it is made anew says
//! the KMS's anchor, never the disk, and the kernel's mount refuses an older state of it. Where the
//! KMS has a newer epoch, the disk is moved to its key before it is mounted. Where the
//! measured file says so by a word of danger, named volumes are on a disk without encryption that
//! is kept, and all else is in memory. What goes onto a disk first is a file system that was made
//! with the image, which is then grown to the disk's size. An agent that starts again finds its
//! predecessor's file system in place and goes on with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use nix::time::{ClockId, clock_gettime};
use protocol::app_compose::StorageFs;
use protocol::data_disk::{DISK_SERIAL, MIN_BYTES};
use protocol::disk_template::{self, TemplateError};
use protocol::kms::{OpenDiskRequest, OpenDiskResponse};
use protocol::status::{Phase, Refusal};

use crate::anchors::{AnchorError, Anchors, Ends, Mount, StatementEnd};
use crate::keys::AppKeys;
use crate::kms_client::{KmsClient, KmsError};
use crate::memory::{DiskState, Kept, Memory, MemoryError};
use crate::reports::Reports;
use crate::sys;
use device::Device;
use epoch::move_disk;
use generations::{Generations, GenerationsError};
use key::Key;
use mapper::{Mapper, MapperError};
use mounted::Mounted;
use moving::MoveError;

mod device;
mod epoch;
mod filling;
mod generations;
mod journal;
mod key;
mod mapper;
mod mounted;
mod moving;
mod plain;
mod xts;

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
    /// it is still under another epoch's key
    #[error(transparent)]
    Move(#[from] MoveError),
    /// the KMS gives no numbers for it
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// the KMS gives numbers that cannot be
    #[error(transparent)]
    Generations(#[from] GenerationsError),
    /// the KMS was not told of it
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// an older state than the KMS knows
    #[error("the data disk is older than the anchor that its KMS keeps")]
    Old,
    /// a newer state than any that the KMS let be written
    #[error("the data disk is newer than anything that its KMS has let be written")]
    Ahead,
    /// a plain disk that somebody else has used
    #[error("{0} holds neither zeros nor a btrfs of an earlier boot")]
    Content(String),
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
            Self::Old => Refusal::DiskOld,
            Self::Ahead => Refusal::DiskAhead,
            Self::Content(_) => Refusal::DiskForeign,
            Self::Kms(error) | Self::Anchor(AnchorError::Kms(error)) => error.refusal(),
            Self::Anchor(AnchorError::Unstated) => Refusal::StatementEnded,
            Self::Anchor(_)
            | Self::Generations(_)
            | Self::Io { .. }
            | Self::Mapper(_)
            | Self::Move(_)
            | Self::Template(_)
            | Self::Memory(_)
            | Self::Gone
            | Self::Foreign { .. } => Refusal::DiskFailed,
        }
    }
}

/// How the data disk of this guest is opened.
#[derive(Debug)]
pub enum Opening {
    /// Encrypted under a key of this boot, and made anew.
    ForThisBoot(StorageFs),
    /// Kept without encryption, for named volumes only; all else is in memory.
    Plain,
    /// Kept, encrypted under a released key, and anchored.
    Kept {
        /// What the KMS released.
        keys: Arc<AppKeys>,
        /// Who gives out open counters and keeps anchors.
        kms: Arc<KmsClient>,
        /// Where it is said that the disk was lost to a later boot.
        reports: Reports,
        /// How old the last anchor may become before the guest ends.
        anchor_max_age: Option<Duration>,
        /// Whether the guest ends with its release statement.
        stops: bool,
    },
}

impl Opening {
    /// What is on the disk.
    pub fn file_system(&self) -> StorageFs {
        match self {
            Self::ForThisBoot(file_system) => *file_system,
            Self::Plain => StorageFs::BtrfsPlain,
            Self::Kept { .. } => StorageFs::Btrfs,
        }
    }

    fn mount_point(&self) -> &'static str {
        match self {
            Self::ForThisBoot(_) | Self::Kept { .. } => MOUNT_POINT,
            Self::Plain => plain::VOLUMES,
        }
    }
}

/// Opens the data disk among `disks` (serial → node), or finds it open. A disk with a KMS has its
/// first anchor when this returns.
///
/// # Errors
/// If the host gave no usable disk, the kernel refuses a step, or the KMS does.
pub async fn open(
    disks: &BTreeMap<String, String>,
    opening: &Opening,
    memory: &Memory,
) -> Result<Option<Arc<Anchors>>, DiskError> {
    let kept = memory.read()?;
    let (file_system, mount_point) = (opening.file_system(), opening.mount_point());
    let found = match opening {
        // Two mounts, each with its own look.
        Opening::Plain => None,
        Opening::ForThisBoot(_) | Opening::Kept { .. } => {
            let mounted = Mounted::at(mount_point).map_err(io_error("/proc/self/mountinfo"))?;
            opened(mounted, kept.disk, file_system)?
        }
    };
    let device = match (found, opening) {
        (Some(device), _) => device,
        (None, Opening::Plain) => open_plain(&find(disks)?, memory)?,
        (None, Opening::ForThisBoot(_)) => make_for_this_boot(&find(disks)?, file_system, memory)?,
        (None, Opening::Kept { keys, kms, reports, .. }) => {
            mount_kept(&find(disks)?, keys, kms, memory, reports).await?
        }
    };
    grow(&device, mount_point, file_system)?;
    let anchors = match opening {
        Opening::Kept { keys, kms, reports, anchor_max_age, stops } => {
            let open_counter = memory.read()?.open_counter.ok_or(DiskError::Gone)?;
            let mount = Mount { open_counter, epoch: keys.epoch };
            let mount_point = File::open(mount_point).map_err(io_error(mount_point))?;
            let (kms, reports) = (Arc::clone(kms), reports.clone());
            Some(Arc::new(Anchors::new(
                kms,
                reports,
                move || sys::commit_btrfs(&mount_point),
                mount,
                Ends { max_age: *anchor_max_age, statement: statement_end(*stops, &kept, memory)? },
            )))
        }
        Opening::ForThisBoot(_) | Opening::Plain => None,
    };
    // An open disk was anchored by the agent that opened it.
    if let Some(anchors) = anchors.as_ref().filter(|_| kept.disk != DiskState::Open) {
        anchors.first().await?;
    }
    memory.update(|kept| kept.disk = DiskState::Open)?;
    let size = statvfs(mount_point).map_err(|errno| io_error(mount_point)(errno.into()))?;
    let bytes = size.blocks().saturating_mul(size.fragment_size());
    tracing::info!("the data disk is open: {}, {} MiB", file_system.name(), bytes >> 20);
    Ok(anchors)
}

/// The end of the release statement of a guest that ends with it, as earlier agents kept it. Where
/// it has ended, or they said that nothing of the app runs any more, nothing of it starts again.
fn statement_end(
    stops: bool,
    kept: &Kept,
    memory: &Memory,
) -> Result<Option<StatementEnd>, DiskError> {
    if !stops {
        return Ok(None);
    }
    let end = Duration::from_millis(kept.statement_ends_millis.unwrap_or_default());
    let left = end.saturating_sub(uptime());
    if kept.disk == DiskState::Open && left.is_zero() {
        return Err(AnchorError::Unstated.into());
    }
    let memory = memory.try_clone()?;
    let keep = move |left: Duration| {
        let end = (uptime() + left).as_millis();
        memory.update(|kept| kept.statement_ends_millis = Some(end.try_into().unwrap_or(0)))
    };
    Ok(Some(StatementEnd::new(left, Box::new(keep))))
}

/// How long the guest has been running.
fn uptime() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the boot clock exists on every Linux");
    now.into()
}

/// The device that an earlier agent of this boot has mounted; none if the disk is still to be
/// opened. What is mounted without an agent having begun it is not the data disk, and an open disk
/// that is not mounted is not replaced by an empty one: the app would go on without its data.
fn opened(
    mounted: Option<Mounted>,
    state: DiskState,
    file_system: StorageFs,
) -> Result<Option<PathBuf>, DiskError> {
    let expected = file_system.kernel_name();
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

fn find(disks: &BTreeMap<String, String>) -> Result<Disk, DiskError> {
    Disk::find(Path::new("/"), disks)
}

/// Mounts memory, and the disk in it, as far as earlier agents did not.
fn open_plain(disk: &Disk, memory: &Memory) -> Result<PathBuf, DiskError> {
    let before = memory.read()?.disk;
    if before == DiskState::Closed {
        memory.update(|kept| kept.disk = DiskState::Opening)?;
    }
    plain::open(disk, before)
}

/// Encrypts the disk under a new key, fills and mounts it; gives the device that is mounted.
fn make_for_this_boot(
    disk: &Disk,
    file_system: StorageFs,
    memory: &Memory,
) -> Result<PathBuf, DiskError> {
    memory.update(|kept| kept.disk = DiskState::Opening)?;
    let key = Key::random().map_err(io_error("a random key"))?;
    let options = match file_system {
        // What the host has damaged is not made worse.
        StorageFs::Ext4 => "errors=remount-ro",
        StorageFs::Btrfs | StorageFs::BtrfsPlain => "",
    };
    encrypted(disk, &key, |device| {
        fill(device, disk.bytes(), file_system)?;
        mount_at(device, file_system, options)
    })
}

/// Mounts the disk under the released key and the numbers of the KMS, filled anew where it was
/// never anchored, and moved where it is still under an older key; gives the device that is
/// mounted.
async fn mount_kept(
    disk: &Disk,
    keys: &AppKeys,
    kms: &KmsClient,
    memory: &Memory,
    reports: &Reports,
) -> Result<PathBuf, DiskError> {
    // Asked for anew by every agent that mounts: a number is never used twice, also not after a
    // mount that failed.
    let answer: OpenDiskResponse =
        kms.wait_for(Phase::KeysReleased, "OpenDisk", &OpenDiskRequest {}).await?;
    let generations = Generations::of(&answer)?;
    // Before the mount: whatever is mounted then has the number that was kept last.
    memory.update(|kept| {
        kept.disk = DiskState::Opening;
        kept.open_counter = Some(generations.open_counter());
    })?;
    if let Some(from) = keys.moves_from.as_ref().filter(|_| !generations.is_first()) {
        let device = Device::open(&disk.node, disk.blocks()).map_err(io_error(&disk.node))?;
        move_disk(device, from, &keys.disk, reports).await?;
    }
    encrypted(disk, &Key::released(&keys.disk), |device| {
        if generations.is_first() {
            fill(device, disk.bytes(), StorageFs::Btrfs)?;
        }
        mount_at(device, StorageFs::Btrfs, &generations.options())
    })
}

/// Encrypts the disk and lets `mount` mount it; gives the device that is mounted.
fn encrypted(
    disk: &Disk,
    key: &Key,
    mount: impl FnOnce(&Path) -> Result<(), DiskError>,
) -> Result<PathBuf, DiskError> {
    let mapper = Mapper::open()?;
    // Left by an agent that was killed before it could mount.
    mapper.remove_if_there(NAME)?;
    let device = mapper.encrypt(NAME, &disk.node, disk.sectors, key)?;
    mount(&device).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = mapper.remove_if_there(NAME);
    })?;
    Ok(device)
}

/// Writes the image's empty file system to a device.
fn fill(device: &Path, device_bytes: u64, file_system: StorageFs) -> Result<(), DiskError> {
    let path = template(file_system);
    let template = fs::read(path).map_err(io_error(path))?;
    let template = disk_template::decode(&template)?;
    filling::fill(device, device_bytes, &template).map_err(io_error(&device.display().to_string()))
}

fn mount_at(device: &Path, file_system: StorageFs, options: &str) -> Result<(), DiskError> {
    // Image layers bring set-user-id programs and device nodes, which count inside containers only:
    // their roots are mounts of their own. For the guest itself nothing on the disk has either
    // power.
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    let kind = file_system.kernel_name();
    mount(Some(device), MOUNT_POINT, Some(kind), flags, Some(options)).map_err(refused_mount)
}

/// The kernel's two words for a disk that is not as new as the KMS says
/// (`check_generation_options` in the patched btrfs).
fn refused_mount(errno: Errno) -> DiskError {
    match errno {
        Errno::ESTALE => DiskError::Old,
        Errno::ERANGE => DiskError::Ahead,
        other => io_error("mounting the data disk")(other.into()),
    }
}

/// Has no effect on a file system that fills its device, so a killed agent's work is finished by
/// the next one.
fn grow(device: &Path, mount_point: &str, kind: StorageFs) -> Result<(), DiskError> {
    let mount_point = File::open(mount_point).map_err(io_error(mount_point))?;
    let grown = match kind {
        StorageFs::Btrfs | StorageFs::BtrfsPlain => sys::grow_btrfs(&mount_point),
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
        StorageFs::Btrfs | StorageFs::BtrfsPlain => "/usr/share/dstyx/btrfs.template",
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

    fn blocks(&self) -> u64 {
        self.bytes() / disk_template::BLOCK_BYTES as u64
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
        let opened = |mounted, state| opened(mounted, state, StorageFs::Btrfs);
        for state in [Opening, Open] {
            let found = opened(device(), state).unwrap();
            assert_eq!(found, Some("/dev/dm-0".into()), "{state:?}");
        }
        for state in [Closed, Opening] {
            assert_eq!(opened(None, state).unwrap(), None, "{state:?}");
        }
        assert!(matches!(opened(None, Open), Err(DiskError::Gone)));
        for (mounted, state) in
            [(device(), Closed), (at("ext4", "/dev/dm-0"), Open), (at("btrfs", "/dev/vdc"), Open)]
        {
            let refused = opened(mounted, state).unwrap_err();
            assert!(matches!(refused, DiskError::Foreign { .. }), "{refused}");
            assert_eq!(refused.refusal(), Refusal::DiskFailed);
        }
    }

    #[tokio::test]
    async fn an_agent_that_is_started_again_goes_on_with_what_is_left_of_the_statement() {
        let memory = crate::memory::tests::memory();
        let end = |kept: &Kept| statement_end(true, kept, &memory);
        assert!(statement_end(false, &Kept::default(), &memory).unwrap().is_none());
        // The boot's first agent has none yet, and starts nothing before it has.
        let first = end(&Kept::default()).unwrap().unwrap();
        assert!(first.begins() <= tokio::time::Instant::now());
        first.renew(tokio::time::Instant::now(), Duration::from_secs(3600)).unwrap();
        memory.update(|kept| kept.disk = DiskState::Open).unwrap();
        let second = end(&memory.read().unwrap()).unwrap().unwrap();
        let differ = second.begins().max(first.begins()) - second.begins().min(first.begins());
        assert!(differ < Duration::from_secs(10), "{differ:?}");
        // Where nothing of the app runs any more, nothing of it starts again.
        second.over().unwrap();
        let refused = end(&memory.read().unwrap()).unwrap_err();
        assert_eq!(refused.refusal(), Refusal::StatementEnded);
        let unknown = Kept { disk: DiskState::Open, ..Kept::default() };
        assert_eq!(end(&unknown).unwrap_err().refusal(), Refusal::StatementEnded);
    }

    #[test]
    fn only_a_mapped_device_counts_as_opened() {
        assert!(is_ours(Path::new("/dev/dm-0")));
        assert!(!is_ours(Path::new("/dev/vdc")) && !is_ours(Path::new("tmpfs")));
    }

    #[test]
    fn an_older_disk_and_a_newer_one_have_words_of_their_own() {
        let refusal = |errno| refused_mount(errno).refusal();
        assert_eq!(refusal(Errno::ESTALE), Refusal::DiskOld);
        assert_eq!(refusal(Errno::ERANGE), Refusal::DiskAhead);
        assert_eq!(refusal(Errno::EINVAL), Refusal::DiskFailed);
        let superseded = DiskError::Kms(KmsError::Superseded(String::new()));
        assert_eq!(superseded.refusal(), Refusal::Superseded);
    }
}
