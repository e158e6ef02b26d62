//! What has no safe interface: forking, and programs for a cgroup's devices.
//!
//! The only unsafe code of this crate; each block says why it is sound. Sources: `fork(2)`,
//! `bpf(2)` and the kernel's `include/uapi/linux/bpf.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::unistd::{ForkResult, fork};
use rustix::process::Pid;

/// Runs `child` in a copy of this process, which ends with the code that it returns. For a process
/// with one thread: in another one, locks held by other threads would stay locked in the copy.
pub(crate) fn in_child(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the helper has one thread, so the copy is whole, and may do all that the original
    // may.
    match unsafe { fork() }? {
        ForkResult::Child => std::process::exit(child()),
        ForkResult::Parent { child } => {
            Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("no process"))
        }
    }
}

/// `BPF_PROG_LOAD`
const LOAD: libc::c_long = 5;
/// `BPF_PROG_ATTACH`
const ATTACH: libc::c_long = 8;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`
const CGROUP_DEVICE: u32 = 6;

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; what follows is zero.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The start of `union bpf_attr` for `BPF_PROG_ATTACH`; what follows is zero.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Makes `program` (instructions of eight bytes each) decide about every device node that a process
/// of `cgroup` opens or makes. It stays as long as the cgroup.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, program: &[u64]) -> io::Result<()> {
    let load = LoadAttributes {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the structure is laid out as the kernel reads it, its pointers are to memory that
    // outlives the call and that the kernel only reads, and its lengths are those of that memory.
    let loaded =
        unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<LoadAttributes>()) };
    let loaded =
        i32::try_from(loaded).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let attach = AttachAttributes {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: loaded.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        ..AttachAttributes::default()
    };
    // SAFETY: as above; there are no pointers.
    let attached = unsafe {
        libc::syscall(libc::SYS_bpf, ATTACH, &raw const attach, size_of::<AttachAttributes>())
    };
    if attached == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
