//! What the crate promises, a module for each promise.
//!
//! Unpacking owned files and running containers need root: those tests say so and do nothing for an
//! ordinary user, and they never skip for root.

mod compose;
#[cfg(feature = "runtime")]
mod image;
#[cfg(feature = "runtime")]
mod pulling;
#[cfg(feature = "runtime")]
mod registry;
#[cfg(feature = "runtime")]
mod running;
#[cfg(feature = "runtime")]
mod unpacking;

/// True for root; otherwise tells that the test did not run.
#[cfg(feature = "runtime")]
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: NOT RUN: it needs root");
    }
    root
}
