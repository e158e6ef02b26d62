//! From a typed launch specification to what a VMM is started with.
//!
//! A specification says what a guest is; each VMM has a module that says it in that VMM's words. No
//! I/O: whoever launches passes paths in and gets arguments out, so that golden files can pin them.

#![forbid(unsafe_code)]

pub mod libvirt;
pub mod qemu;
pub mod spec;
mod xml;

pub use spec::{LaunchSpec, Platform, PortForward, QuoteService, SpecError, Transport};
