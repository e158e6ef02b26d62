//! What the crate promises, a module for each promise.
//!
//! Networks need root, of the machine or of a user namespace: those tests say so and do nothing for
//! an ordinary user, and they never skip for root.

use std::io::Write as _;

mod lan;
mod networks;
mod resolving;
mod service;

/// True for root, of the machine or of a user namespace; otherwise tells that the test did not run.
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs root, or a user namespace");
    }
    root
}
