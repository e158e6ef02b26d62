//! The two things that no safe interface offers: taking up compiled code, and closing what was
//! inherited.

use std::io;

use wasmtime::Engine;
use wasmtime::component::Component;

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
