//! `cargo xtask demo`: scenarios that are walked step by step, with what each step must end with.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::command;

mod bench;
mod hospitals;
mod place;

use bench::Dstyx;
use place::{Machines, Place};

/// The program that runs programs on Pads, as the image has it.
const RUNNER: &str = "pad-runner";

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
    /// Walk it on this machine, without a guest: files stand for delegators, and the time is
    /// stated.
    #[arg(long)]
    local: bool,
    /// The program pad-runner of a walk on this machine [default: that of the programs].
    #[arg(long, value_name = "FILE", requires = "local")]
    runner: Option<PathBuf>,
    /// Leave all files of the scenario in this directory, which is made.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Three hospitals train a model together in a guest, ask it and fine-tune it.
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
        None if options.local => programs.join(RUNNER),
        None => return in_guest(program, directory, &programs),
    };
    hospitals::walk(&Dstyx::new(program, directory)?, Place::local(runner), &programs)
}

/// The hospitals, by what the workspace's build and its tests' programs left: in a guest, or on
/// this machine.
pub fn of_build(target: &Path, in_a_guest: bool) -> Result<usize, String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a directory: {error}"))?;
    let (program, directory) = (target.join("debug/dstyx"), scratch.path().to_owned());
    let programs = command::root().join("target/pads");
    match in_a_guest {
        true => in_guest(program, directory, &programs),
        false => {
            let place = Place::local(programs.join(RUNNER));
            hospitals::walk(&Dstyx::new(program, directory)?, place, &programs)
        }
    }
}

fn in_guest(program: PathBuf, directory: PathBuf, programs: &Path) -> Result<usize, String> {
    let dstyx = Dstyx::new(program, directory)?;
    let _machines = Machines(&dstyx);
    hospitals::walk(&dstyx, Place::guest(&dstyx, programs)?, programs)
}

fn built_dstyx() -> Result<PathBuf, String> {
    let target = command::target_dir();
    let mut build = command::cargo(&["build", "--quiet", "--package", "cli", "--locked"]);
    command::succeed(build.env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("debug/dstyx"))
}

/// Programs of the scenario in the checkout; they are built by its hermetic builder.
fn built_programs() -> Result<PathBuf, String> {
    let directory = command::root().join("target/pads");
    let image = command::root().join("target/apps/relay/index.json");
    let left = [directory.join("table.csv"), directory.join(RUNNER), image];
    if !left.iter().all(|file| file.is_file()) {
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
