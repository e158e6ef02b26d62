//! What the crate promises, a module for each promise.
//!
//! Whole apps run here, by the program of this package. Running containers needs the machine's
//! root: those tests say so and do nothing for an ordinary user, and they never skip for root.

use std::io::Write as _;

mod endings;
mod escapes;
#[allow(dead_code)]
#[path = "../../../images/tests/promises/image.rs"]
mod image;
#[allow(dead_code)]
#[path = "../../../images/tests/promises/registry.rs"]
mod registry;
mod running;
mod supervision;

/// Whether files can belong to others, for what is shared with the tests of `container-images`.
fn all_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// True for the machine's root: no other may load a filter of devices. Otherwise tells that the
/// test did not run.
fn root(test: &str) -> bool {
    let root = all_ids();
    if !root {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs the machine's root");
    }
    root
}
