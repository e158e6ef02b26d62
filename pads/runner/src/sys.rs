//! What no safe interface offers: taking up compiled code, closing what was inherited, and memory
//! that two processes share.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, IntoRawFd as _, OwnedFd};
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
