//! What no safe interface offers: taking up compiled code, memory that two processes share, and
//! starting a process in namespaces of its own. Sources: `clone(2)`, `capabilities(7)`,
//! `user_namespaces(7)`, `pivot_root(2)`.

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroize as _;

use crate::artefact::Artefact;

/// Makes compiled code ready to run.
pub fn component(engine: &Engine, artefact: &Artefact) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what this build of wasmtime made. An `Artefact` has no other: its
    // constructors compile, verify the MAC of the cache, or take what the parent process, which is
    // of the same build and did one of the two, gave to its child.
    unsafe { Component::deserialize(engine, artefact.bytes()) }
}

/// Closes every descriptor but the three standard ones.
pub fn close_others() -> io::Result<()> {
    // SAFETY: the call takes no pointer. The descriptors that it closes belong to nothing: the
    // process has opened none of its own yet.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Memory of a file in memory that this process writes. It is wiped when this is dropped.
pub struct Writable {
    start: NonNull<u8>,
    bytes: NonZeroUsize,
}

impl Writable {
    /// Maps the beginning of a file. The caller made the file, gave it this size, and lets nobody
    /// else write to it or cut it.
    pub fn map(file: impl AsFd, bytes: NonZeroUsize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else is at.
        let start =
            unsafe { mmap(ptr::null_mut(), bytes.get(), access, MapFlags::SHARED, file, 0) };
        let start = NonNull::new(start?.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this length and stays until this is dropped; this process has no
        // other reference into it, and the file's seals let no other process write.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes.get()) }
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // SAFETY: the mapping is this value's own, which ends here.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.bytes.get()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// Maps the beginning of a file for reading, until this process ends. The parent process, which
/// made the file, sealed it at no less than this size, and does not change it while this one lives.
pub fn readable(file: OwnedFd, bytes: NonZeroUsize) -> io::Result<&'static [u8]> {
    // SAFETY: the kernel chooses an address that nothing else is at.
    let start =
        unsafe { mmap(ptr::null_mut(), bytes.get(), ProtFlags::READ, MapFlags::SHARED, &file, 0) }?;
    // It stays open: a process that is locked down closes nothing.
    let _ = file.into_raw_fd();
    // SAFETY: the mapping is never removed, and its file can be neither cut nor written to while
    // this process lives, as said above.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), bytes.get()) })
}

/// How a process begins.
pub struct Launch<'a> {
    /// The program, an ELF file.
    pub program: BorrowedFd<'a>,
    /// Its first argument.
    pub argument: &'a str,
    /// What it is in namespaces of its own, if it has them.
    pub isolated: Option<&'a Isolated>,
    /// Its first three descriptors, none of which has one of these numbers here.
    pub standard: [BorrowedFd<'a>; 3],
    /// It begins when it can read a byte of this.
    pub go: BorrowedFd<'a>,
    /// Its cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A process in namespaces of its own.
pub struct Isolated {
    /// Its second argument.
    pub argument: CString,
    /// Its only id.
    pub id: u32,
    /// What it writes to its maps of users and groups itself. The kernel lets a process of an
    /// ordinary user write them, but not this one's, whose files of `/proc` nobody else may write.
    pub maps: Option<[CString; 2]>,
}

/// A process that was started.
pub struct Launched {
    /// Its number here.
    pub pid: u32,
    /// Its descriptor.
    pub pidfd: OwnedFd,
}

/// Namespaces in which a process is alone.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWPID;
/// `CLONE_INTO_CGROUP`
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// How a process ends that did not become the program.
const NOT_STARTED: libc::c_int = 127;

/// Starts a process without an environment.
pub fn launch(launch: &Launch<'_>) -> io::Result<Launched> {
    // All that the process needs is made before: it may not allocate.
    let name = CString::new("pad-runner")?;
    let argument = CString::new(launch.argument)?;
    let isolated = launch.isolated.map_or(ptr::null(), |isolated| isolated.argument.as_ptr());
    let arguments = [name.as_ptr(), argument.as_ptr(), isolated, ptr::null()];
    let mut pidfd: libc::c_int = -1;
    let namespaces = if launch.isolated.is_some() { NAMESPACES } else { 0 };
    // SAFETY: all zero are arguments that ask for nothing.
    let mut clone: libc::clone_args = unsafe { std::mem::zeroed() };
    clone.flags = libc::CLONE_PIDFD as u64 | namespaces as u64;
    clone.pidfd = (&raw mut pidfd) as u64;
    clone.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = launch.cgroup {
        clone.flags |= INTO_CGROUP;
        clone.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments have the stated size, and the one pointer is to a place for a
    // descriptor. The new process has a copy of this one's memory and stack.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut clone, size_of::<libc::clone_args>()) };
    if pid == 0 {
        become_program(launch, &arguments);
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Launched { pid, pidfd })
}

/// In the new process: other threads of the old one may have held locks, so this makes system calls
/// and nothing else.
fn become_program(launch: &Launch<'_>, arguments: &[*const libc::c_char; 4]) -> ! {
    let mut byte = 0_u8;
    let empty = [ptr::null::<libc::c_char>()];
    // SAFETY: each call takes numbers, descriptors that are open, or pointers to what lives until
    // the process becomes another program; nothing of the old process is used afterwards.
    unsafe {
        let go = libc::read(launch.go.as_raw_fd(), (&raw mut byte).cast(), 1) == 1;
        let own = launch.isolated.is_none_or(take_id);
        let standard = launch
            .standard
            .iter()
            .zip(0..)
            .all(|(file, number)| libc::dup2(file.as_raw_fd(), number) == number);
        if go && own && standard && libc::chdir(c"/".as_ptr()) == 0 {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            libc::syscall(
                libc::SYS_execveat,
                launch.program.as_raw_fd(),
                c"".as_ptr(),
                arguments.as_ptr(),
                empty.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        libc::_exit(NOT_STARTED)
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITIES: u32 = 0x2008_0522;
/// `CAP_SYS_ADMIN`
const SYS_ADMIN: libc::c_ulong = 21;

/// Two sets of 32 bits each, as `capset(2)` has them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn set_capabilities(low: u32) -> bool {
    let header = [CAPABILITIES, 0];
    let set = |bits| Capabilities { effective: bits, permitted: bits, inheritable: bits };
    let sets = [set(low), set(0)];
    // SAFETY: the header and the two sets are laid out as the call reads them.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) == 0 }
}

/// Takes the only id of the new user namespace, and keeps the right to mount in the program that
/// comes.
fn take_id(isolated: &Isolated) -> bool {
    let (id, none) = (isolated.id, ptr::null::<libc::gid_t>());
    // SAFETY: the calls take numbers, and no list. They are the kernel's own: the C library's would
    // tell the other threads, which are not in this process.
    unsafe {
        let is_mapped = isolated.maps.as_ref().is_none_or(|[user, group]| {
            // Its files of `/proc` are its own again.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
                && write_file(c"/proc/self/setgroups", c"deny")
                && write_file(c"/proc/self/uid_map", user)
                && write_file(c"/proc/self/gid_map", group)
        });
        // Not permitted where the groups of an ordinary user cannot be given up.
        libc::syscall(libc::SYS_setgroups, 0, none);
        is_mapped
            && libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
            && set_capabilities(1 << SYS_ADMIN)
            && libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, SYS_ADMIN, 0, 0) == 0
    }
}

fn write_file(path: &CStr, text: &CStr) -> bool {
    let length = text.count_bytes();
    // SAFETY: the path ends with a zero, and the text has this length.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        file >= 0 && libc::write(file, text.as_ptr().cast(), length) == length as isize
    }
}

/// Gives up every capability.
pub fn drop_capabilities() -> io::Result<()> {
    if set_capabilities(0) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the processor's counter of time from this thread: reading it is a fault from here on.
pub fn leave_time() -> io::Result<()> {
    // SAFETY: the call takes numbers.
    let done = unsafe { libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Replaces all file systems of this process, which has a mount namespace of its own, by an empty
/// directory that cannot be written.
pub fn leave_files() -> io::Result<()> {
    let done = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let (none, root, place, here) = (c"none".as_ptr(), c"/".as_ptr(), c"/proc".as_ptr(), c".");
    let (here, options) = (here.as_ptr(), c"size=4k,nr_inodes=2,mode=0555".as_ptr());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let closed = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: every pointer is null or to a constant text.
    unsafe {
        done(libc::mount(none, root, ptr::null(), private, ptr::null()))?;
        done(libc::mount(none, place, c"tmpfs".as_ptr(), closed, options.cast()))?;
        done(libc::chdir(place))?;
        done(libc::syscall(libc::SYS_pivot_root, here, here) as libc::c_int)?;
        done(libc::umount2(here, libc::MNT_DETACH))?;
        done(libc::chdir(root))
    }
}
