//! What developers and CI run: `tidy` keeps the project in shape, `test` proves its promises,
//! `bench` measures its claims.

#![forbid(unsafe_code)]

mod bench;
mod command;
mod compose_corpus;
mod demo;
mod fuzz;
mod host_tools;
mod namespace;
mod pads;
mod sabotage;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check what no compiler checks: crate edges, docs, sizes, unsafe, licences, README.
    Tidy,
    /// Run everything that CI runs.
    Test {
        /// Run every row, every boot and ten minutes of fuzzing a target.
        #[arg(long)]
        long: bool,
        /// Only this: remove a check of the judgement, or each rule of a family (release,
        /// kms-identity, channel, binding), from a copy of the source and see that a test notices.
        #[arg(long, value_name = "CHECK|FAMILY|all", conflicts_with = "long")]
        sabotage: Option<String>,
    },
    /// Say which apps of a directory of app directories pass the checks before a boot, and for each
    /// reason in how many it occurs and in how many it is the only one.
    ComposeCorpus {
        /// Each of its directories with a compose file is an app.
        dir: std::path::PathBuf,
    },
    /// Walk a scenario with the programs of this checkout, and say of each step whether it ended as
    /// it must.
    Demo(demo::Demo),
    /// Simulate from measured latencies what is larger than a machine, and write table and plot.
    Sim(sim::Sim),
    /// Measure what docs/performance.md states, beside its peers, in one run.
    Bench {
        /// Only these, such as `pull`, or `pads` for all figures of Pads; a name that is none is
        /// answered with the list.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = namespace::run_if_runner() {
        return code;
    }
    match Cli::parse().task {
        Task::Tidy => tidy::run(),
        Task::Test { sabotage: Some(check), .. } => report(sabotage::run(&check)),
        Task::Test { long, sabotage: None } => test::run(long),
        Task::Bench { names } => bench::run(&names),
        Task::Sim(options) => report(sim::run(&options)),
        Task::Demo(options) => report(demo::run(&options)),
        Task::ComposeCorpus { dir } => report(compose_corpus::run(&dir)),
    }
}

/// Where one task has done its printing, an error is all that is left to say.
fn report(result: Result<usize, String>) -> ExitCode {
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
