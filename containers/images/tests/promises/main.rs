//! What the crate promises, a module for each promise.
//!
//! Unpacking owned files needs root: those tests say so and do nothing for an ordinary user, and
//! they never skip for root.

use std::io::Write as _;

mod bad_images;
mod bad_registries;
// Shared with the tests of `container-helper`, which use other parts.
#[allow(dead_code)]
mod image;
mod killing;
mod pulling;
#[allow(dead_code)]
mod registry;
mod unpacking;

/// True for root; otherwise tells that the test did not run.
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs root");
    }
    root
}
