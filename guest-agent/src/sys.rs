//! The unsafe part of the agent: calls of ioctl(2), for which no crate has a safe interface.
//!
//! Each takes its argument as a Rust reference of exactly the type that the request's number says,
//! and the kernel keeps no pointer to it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc;

/// A device-mapper request with room for one target: `struct dm_ioctl` and `struct dm_target_spec`
/// of `include/uapi/linux/dm-ioctl.h` (4.50), and the target's parameters behind them.
#[repr(C)]
pub struct MapperRequest {
    /// Version of the interface that the caller speaks; the kernel answers with its own.
    pub version: [u32; 3],
    /// Bytes of the whole request.
    pub data_size: u32,
    /// Where the target begins.
    pub data_start: u32,
    /// How many targets there are.
    pub target_count: u32,
    /// Answer: who has the device open.
    pub open_count: i32,
    /// `DM_*_FLAG`.
    pub flags: u32,
    /// Unused here.
    pub event_nr: u32,
    /// Zero.
    pub padding: u32,
    /// Answer: the device's number, as `new_encode_dev` has it.
    pub dev: u64,
    /// The device's name, with a zero behind it.
    pub name: [u8; 128],
    /// The device's own id, with a zero behind it.
    pub uuid: [u8; 129],
    /// Zero.
    pub data: [u8; 7],
    /// First sector of the target.
    pub sector_start: u64,
    /// Sectors of the target.
    pub length: u64,
    /// Answer only.
    pub status: i32,
    /// Distance to the next target.
    pub next: u32,
    /// Its type, with a zero behind it.
    pub target_type: [u8; 16],
    /// Its parameters, with a zero behind them.
    pub parameters: [u8; 512],
}

/// Bytes of `struct dm_ioctl`.
pub const MAPPER_HEADER_BYTES: usize = 312;
/// Bytes of `struct dm_target_spec`.
pub const MAPPER_TARGET_BYTES: usize = 40;

const _: () = {
    assert!(std::mem::offset_of!(MapperRequest, dev) == 40);
    assert!(std::mem::offset_of!(MapperRequest, uuid) == 176);
    assert!(std::mem::offset_of!(MapperRequest, sector_start) == MAPPER_HEADER_BYTES);
    assert!(std::mem::offset_of!(MapperRequest, target_type) == MAPPER_HEADER_BYTES + 24);
    assert!(
        std::mem::offset_of!(MapperRequest, parameters)
            == MAPPER_HEADER_BYTES + MAPPER_TARGET_BYTES
    );
    assert!(size_of::<MapperRequest>() == MAPPER_HEADER_BYTES + MAPPER_TARGET_BYTES + 512);
};

/// Commands of the device mapper, by their number in `dm-ioctl.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MapperCommand {
    /// Makes a device without a table.
    Create = 3,
    /// Removes a device that nobody has open.
    Remove = 4,
    /// Lets a device use its loaded table (or stop).
    Suspend = 6,
    /// Gives a device its next table.
    LoadTable = 9,
}

/// `struct btrfs_ioctl_vol_args` of `include/uapi/linux/btrfs.h`.
#[repr(C)]
struct VolumeArguments {
    descriptor: i64,
    name: [u8; 4088],
}

const _: () = assert!(size_of::<VolumeArguments>() == 4096);

impl VolumeArguments {
    /// Arguments about `name`, which gets a zero behind it.
    fn new(descriptor: i64, name: &str) -> io::Result<Self> {
        let mut arguments = Self { descriptor, name: [0; 4088] };
        let room = arguments.name.len() - 1;
        let fits = name.len() <= room && !name.contains('\0');
        fits.then_some(()).ok_or(io::ErrorKind::InvalidInput)?;
        arguments.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(arguments)
    }
}

/// Sends a request to `/dev/mapper/control`; the answer is in the request.
pub fn mapper(
    control: &File,
    command: MapperCommand,
    request: &mut MapperRequest,
) -> io::Result<()> {
    /// `_IOWR(0xfd, command, struct dm_ioctl)`: the number states the header's size, `data_size`
    /// that of all.
    const fn number(command: u8) -> libc::c_ulong {
        3 << 30
            | (MAPPER_HEADER_BYTES as libc::c_ulong) << 16
            | 0xfd << 8
            | command as libc::c_ulong
    }
    // The kernel reads and writes as far as this says, so it is never the caller's to choose.
    request.data_size = size_of::<MapperRequest>() as u32;
    let request: *mut MapperRequest = request;
    // SAFETY: `control` is open; the pointer is to a live, exclusively borrowed request whose
    // layout is asserted above and whose every byte pattern is valid, and the kernel touches
    // `data_size` bytes of it, which is its size.
    result(unsafe { libc::ioctl(control.as_raw_fd(), number(command as u8), request) })
}

/// Lets the btrfs mounted at `mount_point` use all of its device.
pub fn grow_btrfs(mount_point: &File) -> io::Result<()> {
    /// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`
    const RESIZE: libc::c_ulong = 1 << 30 | 4096 << 16 | 0x94 << 8 | 3;
    let arguments = VolumeArguments::new(0, "max")?;
    // SAFETY: `mount_point` is open, and the kernel only reads the 4096 bytes of the argument,
    // which lives as long.
    result(unsafe { libc::ioctl(mount_point.as_raw_fd(), RESIZE, &raw const arguments) })
}

/// Makes the empty subvolume `name` in a directory of a btrfs.
pub fn make_subvolume(directory: &File, name: &str) -> io::Result<()> {
    /// `_IOW(0x94, 14, struct btrfs_ioctl_vol_args)`
    const CREATE: libc::c_ulong = 1 << 30 | 4096 << 16 | 0x94 << 8 | 14;
    let arguments = VolumeArguments::new(0, name)?;
    // SAFETY: `directory` is open, and the kernel only reads the 4096 bytes of the argument, which
    // lives as long.
    result(unsafe { libc::ioctl(directory.as_raw_fd(), CREATE, &raw const arguments) })
}

/// Makes `name` in a directory of a btrfs a snapshot of the subvolume `source`, which may be
/// written.
pub fn snapshot_subvolume(source: &File, directory: &File, name: &str) -> io::Result<()> {
    /// `_IOW(0x94, 1, struct btrfs_ioctl_vol_args)`
    const SNAPSHOT: libc::c_ulong = 1 << 30 | 4096 << 16 | 0x94 << 8 | 1;
    let arguments = VolumeArguments::new(source.as_raw_fd().into(), name)?;
    // SAFETY: `directory` and `source`, whose descriptor the argument has, are open; the kernel
    // only reads the 4096 bytes of the argument, which lives as long.
    result(unsafe { libc::ioctl(directory.as_raw_fd(), SNAPSHOT, &raw const arguments) })
}

/// Removes the subvolume `name` of a directory of a btrfs, with all that is in it.
pub fn remove_subvolume(directory: &File, name: &str) -> io::Result<()> {
    /// `_IOW(0x94, 15, struct btrfs_ioctl_vol_args)`
    const REMOVE: libc::c_ulong = 1 << 30 | 4096 << 16 | 0x94 << 8 | 15;
    let arguments = VolumeArguments::new(0, name)?;
    // SAFETY: `directory` is open, and the kernel only reads the 4096 bytes of the argument, which
    // lives as long.
    result(unsafe { libc::ioctl(directory.as_raw_fd(), REMOVE, &raw const arguments) })
}

/// Lets the ext4 mounted at `mount_point` use `blocks` blocks of its device.
pub fn grow_ext4(mount_point: &File, blocks: u64) -> io::Result<()> {
    /// `_IOW('f', 16, __u64)`
    const RESIZE: libc::c_ulong = 1 << 30 | 8 << 16 | 0x66 << 8 | 16;
    // SAFETY: `mount_point` is open, and the kernel only reads the eight bytes of the argument,
    // which lives as long.
    result(unsafe { libc::ioctl(mount_point.as_raw_fd(), RESIZE, &raw const blocks) })
}

/// Lets the btrfs mounted at `mount_point` write all that was written to it before, and waits until
/// it is on the disk: the generation of the commit that holds it.
pub fn commit_btrfs(mount_point: &File) -> io::Result<u64> {
    /// `_IOR(0x94, 24, __u64)`: starts a commit and gives its generation, or that of the last one
    /// if nothing is to be committed.
    const START_SYNC: libc::c_ulong = 2 << 30 | 8 << 16 | 0x94 << 8 | 24;
    /// `_IOW(0x94, 22, __u64)`: waits until the commit of this generation is on the disk.
    const WAIT_SYNC: libc::c_ulong = 1 << 30 | 8 << 16 | 0x94 << 8 | 22;
    nix::unistd::syncfs(mount_point)?;
    let mut generation: u64 = 0;
    // SAFETY: `mount_point` is open, and the kernel only writes the eight bytes of the argument,
    // which is exclusively borrowed and lives as long.
    result(unsafe { libc::ioctl(mount_point.as_raw_fd(), START_SYNC, &raw mut generation) })?;
    // SAFETY: `mount_point` is open, and the kernel only reads the eight bytes of the argument,
    // which lives as long.
    result(unsafe { libc::ioctl(mount_point.as_raw_fd(), WAIT_SYNC, &raw const generation) })?;
    Ok(generation)
}

fn result(returned: libc::c_int) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
