//! `cargo xtask bench`: builds what is measured, and measures all of it or what is named.
//!
//! Figures are benches of two workspaces: that of the project, and that of the program which runs
//! what Pads need. Each prints rows of one table.

use std::path::Path;
use std::process::ExitCode;

use crate::test::{BUILD, cargo, image};
use crate::{command, pads};

/// The name of all figures of Pads.
const PADS: &str = "pads";
/// Those of them that are in this workspace. They need no image.
const OF_PADS: [&str; 2] = ["sealing", "delegator"];
const FIGURES: [&str; 6] = ["bench", "--package", "tests", "--bench", "figures", "--"];
const PADS_RUNNER: [&str; 3] = ["build", "--release", "--locked"];
const PADS_FIGURES: [&str; 3] = ["run", "--release", "--locked"];
const PADS_PROGRAMS: [&str; 6] =
    ["build", "--locked", "--package", "image", "--example", "pad_programs"];

/// Measures.
pub fn run(names: &[String]) -> ExitCode {
    match measure(names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(names: &[String]) -> Result<(), String> {
    let target = command::target_dir();
    let (of_pads, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| *name == PADS);
    let has_pads = names.is_empty() || !of_pads.is_empty();
    if names.is_empty() || !others.is_empty() {
        command::succeed(&mut cargo(&target, &BUILD))?;
        command::succeed(&mut image(&target, "dev"))?;
    }
    let mut figures = cargo(&target, &FIGURES);
    figures.args(others);
    if !of_pads.is_empty() {
        figures.args(OF_PADS);
    }
    command::succeed(&mut figures)?;
    if has_pads { sandbox(&target) } else { Ok(()) }
}

/// What is measured with the sandbox.
fn sandbox(target: &Path) -> Result<(), String> {
    command::succeed(&mut cargo(target, &PADS_PROGRAMS))?;
    command::succeed(&mut pads::programs(target))?;
    command::succeed(&mut pads::cargo(target, &PADS_RUNNER))?;
    command::succeed(&mut pads::bench(target, &PADS_FIGURES))
}
