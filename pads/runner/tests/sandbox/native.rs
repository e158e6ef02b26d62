//! Acts of native code in a consumer's process for which no safe interface exists.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;

/// The stream of a process.
const STREAM: RawFd = 0;
/// The file with the data, once it was received.
pub const DATA: RawFd = 3;
/// Bytes of the data.
const BYTES: usize = 4096;

/// A message of one byte with room for this many bytes of control messages.
fn with_message<R>(control: &mut [u64], call: impl FnOnce(&mut libc::msghdr) -> R) -> R {
    let mut byte = 1_u8;
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all zero is a message without name, data and control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control);
    call(&mut message)
}

/// Receives with room for several descriptors; the bytes received and whether one was cut off.
pub fn receive(flags: libc::c_int) -> Option<bool> {
    with_message(&mut [0; 8], |message| {
        // SAFETY: the message and all that it points to live until the call returns.
        let received = unsafe { libc::recvmsg(STREAM, message, flags) };
        (received == 1).then_some(message.msg_flags & libc::MSG_CTRUNC != 0)
    })
}

/// Sends descriptors over a stream, as many as a message may bring.
pub fn send(stream: RawFd, files: &[RawFd]) -> bool {
    let mut control = [0_u64; 8];
    control[0] = (size_of::<libc::cmsghdr>() + size_of_val(files)) as u64;
    control[1] = (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32;
    for (index, file) in files.iter().enumerate() {
        control[2 + index / 2] |= (*file as u64) << (32 * (index % 2));
    }
    let used = 2 + files.len().div_ceil(2);
    with_message(&mut control[..used], |message| {
        // SAFETY: the message and all that it points to live until the call returns.
        unsafe { libc::sendmsg(stream, message, 0) == 1 }
    })
}

/// Maps a file so; the address.
pub fn map(file: RawFd, access: libc::c_int, flags: libc::c_int) -> Option<usize> {
    // SAFETY: the kernel chooses an address that nothing else is at.
    let start = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, flags, file, 0) };
    (start != libc::MAP_FAILED).then_some(start as usize)
}

/// The first byte of a mapping.
pub fn first(start: usize) -> u8 {
    // SAFETY: `map` returned the address, and nothing was unmapped.
    unsafe { ptr::read_volatile(start as *const u8) }
}

/// Makes a mapping of the data writable or executable, if the kernel lets it.
pub fn protect(start: usize, access: libc::c_int) -> bool {
    // SAFETY: the mapping is only looked at afterwards.
    unsafe { libc::mprotect(start as *mut libc::c_void, BYTES, access) == 0 }
}

/// A call with the data's descriptor and two more arguments.
pub fn call(number: libc::c_long, second: libc::c_long, third: libc::c_long) -> bool {
    // SAFETY: the calls of these tests take numbers, or a pointer that is null.
    unsafe { libc::syscall(number, DATA, second, third) >= 0 }
}

/// A call with one number.
pub fn of_number(call: libc::c_long, number: i32) -> bool {
    // SAFETY: the calls take numbers.
    unsafe { libc::syscall(call, number, 0) >= 0 }
}

/// Whether a descriptor is open.
pub fn is_open(file: RawFd) -> bool {
    // SAFETY: the call takes numbers.
    unsafe { libc::fcntl(file, libc::F_GETFD) >= 0 }
}

/// Begins to trace a process.
pub fn traced(process: i32) -> bool {
    // SAFETY: the call takes numbers here.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) == 0 }
}

/// Copies a byte to or from another process's stack.
pub fn memory_of(call: libc::c_long, process: i32) -> bool {
    let mut byte = 0_u8;
    let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: both vectors are to a byte that lives until the call returns; at the same place in
    // another process there may be anything.
    unsafe { libc::syscall(call, process, &raw const vector, 1, &raw const vector, 1, 0) >= 0 }
}

/// Mounts a file system of this kind at the root.
pub fn mounted(kind: &CStr) -> bool {
    let none = c"none".as_ptr();
    // SAFETY: the texts are constants, and there are no options.
    unsafe { libc::mount(none, c"/".as_ptr(), kind.as_ptr(), 0, ptr::null()) == 0 }
}

/// The smallest program of a kprobe: `BPF_PROG_LOAD` of *leave 0*.
pub fn loaded() -> bool {
    const LOAD: libc::c_long = 5;
    const KPROBE: u32 = 2;
    let program: [u64; 2] = [0xb7, 0x95];
    let mut attributes = [0_u64; 16];
    attributes[0] = u64::from(KPROBE) | 2 << 32;
    attributes[1] = program.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    let size = size_of_val(&attributes);
    // SAFETY: the attributes and the program live until the call returns.
    unsafe { libc::syscall(libc::SYS_bpf, LOAD, attributes.as_ptr(), size) >= 0 }
}

/// Takes shared memory, which no limit of data counts.
pub fn take_memory(bytes: usize) {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses an address that nothing else is at.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) };
    if start != libc::MAP_FAILED {
        // SAFETY: the mapping has these bytes.
        unsafe { ptr::write_bytes(start.cast::<u8>(), 1, bytes) };
    }
}
