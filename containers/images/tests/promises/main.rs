//! What the crate promises, a module for each promise.
//!
//! Unpacking owned files needs root, of the machine or of a user namespace: those tests say so and
//! do nothing for an ordinary user, and they never skip for root.

use std::io::Write as _;

mod bad_images;
mod bad_registries;
// Shared with the tests of `container-helper`, which use other parts.
#[allow(dead_code)]
mod image;
mod killing;
mod programs;
mod pulling;
#[allow(dead_code)]
mod registry;
mod unpacking;

/// True for root, of the machine or of a user namespace; otherwise tells that the test did not run.
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        not_run(test, "it needs root, or a user namespace");
    }
    root
}

/// Whether files can belong to others and have the attributes of overlayfs: for the machine's own
/// root. In a user namespace of one id everything belongs to root.
fn all_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// True where [`all_ids`] is; otherwise tells that the test did not run.
fn root_of_the_machine(test: &str) -> bool {
    let root = all_ids();
    if !root {
        not_run(test, "it needs the machine's root");
    }
    root
}

fn not_run(test: &str, reason: &str) {
    // Past libtest's capture: `cargo xtask test` counts these lines.
    let _ = writeln!(std::io::stdout(), "NOT RUN {test}: {reason}");
}
