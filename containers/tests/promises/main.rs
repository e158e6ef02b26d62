//! What the crate promises, a module for each promise.
//!
//! Unpacking owned files and running containers need root: those tests say so and do nothing for an
//! ordinary user, and they never skip for root.

#[cfg(feature = "runtime")]
use std::io::Write as _;

#[cfg(feature = "runtime")]
mod bad_images;
#[cfg(feature = "runtime")]
mod bad_registries;
mod compose;
#[cfg(feature = "runtime")]
mod endings;
#[cfg(feature = "runtime")]
mod escapes;
#[cfg(feature = "runtime")]
mod image;
#[cfg(feature = "runtime")]
mod killing;
#[cfg(feature = "runtime")]
mod lan;
#[cfg(feature = "runtime")]
mod networks;
#[cfg(feature = "runtime")]
mod pulling;
#[cfg(feature = "runtime")]
mod registry;
#[cfg(feature = "runtime")]
mod resolving;
#[cfg(feature = "runtime")]
mod running;
#[cfg(feature = "runtime")]
mod service;
#[cfg(feature = "runtime")]
mod supervision;
#[cfg(feature = "runtime")]
mod unpacking;

/// True for root; otherwise tells that the test did not run.
#[cfg(feature = "runtime")]
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs root");
    }
    root
}
