//! `cargo xtask demo`: scenarios that are walked step by step, with what each step must end with.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::{command, pads};

mod bench;
mod hospitals;

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Which scenario.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Directory with the programs, as the example `pad_programs` of the crate `image` leaves it
    /// [default: target/pads, where they are built if they are missing].
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The program dstyx [default: it is built].
    #[arg(long, value_name = "FILE")]
    dstyx: Option<PathBuf>,
    /// The program pad-runner [default: it is built].
    #[arg(long, value_name = "FILE")]
    runner: Option<PathBuf>,
    /// Leave all files of the scenario in this directory, which is made.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Three hospitals train a model together, ask it and fine-tune it, on this machine.
    Hospitals,
}

/// Walks a scenario; says how many of its steps ended as they must.
pub fn run(options: &Demo) -> Result<usize, String> {
    let Scenario::Hospitals = options.scenario;
    let programs = match &options.programs {
        Some(directory) => absolute(directory)?,
        None => built_programs()?,
    };
    let program = match &options.dstyx {
        Some(program) => absolute(program)?,
        None => built_dstyx()?,
    };
    let scratch = tempfile::tempdir().map_err(|error| format!("a directory: {error}"))?;
    let directory = match &options.keep {
        Some(directory) => {
            std::fs::create_dir(directory).map_err(|error| format!("{directory:?}: {error}"))?;
            absolute(directory)?
        }
        None => scratch.path().to_owned(),
    };
    let runner = match &options.runner {
        Some(program) => absolute(program)?,
        None => built_runner()?,
    };
    let dstyx = bench::Dstyx::new(program, directory, runner)?;
    hospitals::walk(&dstyx, &programs)
}

fn built_dstyx() -> Result<PathBuf, String> {
    let target = command::target_dir();
    let mut build = command::cargo(&["build", "--quiet", "--package", "cli", "--locked"]);
    command::succeed(build.env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("debug/dstyx"))
}

fn built_runner() -> Result<PathBuf, String> {
    let target = command::target_dir();
    command::succeed(&mut pads::cargo(&target, &["build", "--quiet", "--release", "--locked"]))?;
    Ok(target.join("pads/release/pad-runner"))
}

/// Programs of the scenario in the checkout; they are built by its hermetic builder.
fn built_programs() -> Result<PathBuf, String> {
    let directory = command::root().join("target/pads");
    if !directory.join("table.csv").is_file() {
        let arguments = ["run", "--quiet", "--package", "image", "--example", "pad_programs"];
        let mut build = command::cargo(&arguments);
        build.env("CARGO_TARGET_DIR", command::target_dir()).arg("--").arg(&directory);
        command::succeed(&mut build)?;
    }
    Ok(directory)
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}
