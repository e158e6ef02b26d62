//! What the crate promises, a module for each promise.
//!
//! Whole apps run here, by the program of this package. Running containers needs root: those tests
//! say so and do nothing for an ordinary user, and they never skip for root.

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

/// True for root; otherwise tells that the test did not run.
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs root");
    }
    root
}
