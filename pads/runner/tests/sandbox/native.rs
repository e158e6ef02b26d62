//! Acts of native code in a consumer's process for which no safe interface exists.

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
