//! `cargo xtask test`: everything that CI runs, in one order, with one closing line.
//!
//! Build output lies in the user's cache directory, so that a fresh clone on the same machine is
//! quick. `--long` runs every row, every boot and ten minutes of fuzzing a target, and removes
//! every check of the judgement in turn.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::{command, demo, fuzz, namespace, pads, sabotage, tidy};

mod ordinary;

/// Seconds of fuzzing for each target: its corpus, and a little beyond. What is found beyond comes
/// from long runs.
const FUZZ_SECS: u32 = 5;
/// The same with `--long`.
const LONG_FUZZ_SECS: u32 = 600;

/// Environment variable that tells tests to run every row.
const LONG: &str = "DSTYX_LONG";

/// What a test prints that cannot do its work here, such as for an ordinary user; libtest may have
/// begun the line.
const NOT_RUN: &str = "NOT RUN ";

/// What a run has counted so far.
#[derive(Debug, Default)]
struct Tally {
    /// Tests that ended well, those that did nothing included.
    passed: usize,
    failed: usize,
    /// Tests that said that they did nothing, because they need what this user cannot make.
    not_run: usize,
    failures: Vec<String>,
}

/// Runs all steps, also after a failure, and prints the closing line.
pub fn run(long: bool) -> ExitCode {
    let target = command::target_dir();
    let started = Instant::now();
    let mut tally = Tally::default();
    tally.step("format", |tally| format(tally, &target));
    tally.step("build", |tally| tally.command(cargo(&target, &BUILD)));
    tally.step("tidy", |tally| tally.tidy(&target));
    // Images are made by few commands at a time and much waiting: the compilers that are left have
    // the second core.
    let beside = std::thread::scope(|scope| {
        let beside = scope.spawn(|| compile(&target));
        tally.step("images", |tally| images(tally, &target));
        beside.join().expect("steps return their errors")
    });
    tally.add(beside);
    tally.step("tests", |tally| tests(tally, &target, long));
    tally.step("tests of the sandbox of Pads", |tally| {
        run_tests(tally, pads::linted(&target, &PADS_TEST))
    });
    tally.step("the hospitals, on this machine", |tally| {
        demo::of_build(&target, false).map(|steps| tally.passed += steps)
    });
    if nix::unistd::geteuid().is_root() {
        tally.step("as an ordinary user", |tally| as_ordinary_user(tally, &target));
    }
    if long {
        tally.step("sabotage", |tally| sabotage::run("all").map(|noticed| tally.passed += noticed));
        tally.step("the hospitals, in a guest", |tally| {
            demo::of_build(&target, true).map(|steps| tally.passed += steps)
        });
        tally.step("rebuild", |tally| tally.command(dstyx(&target, &["rebuild"])));
    }
    let seconds = if long { LONG_FUZZ_SECS } else { FUZZ_SECS };
    tally.step("fuzz", |tally| {
        fuzz::replay(&target, seconds).map(|targets| tally.passed += targets)
    });
    tally.close(started)
}

fn format(tally: &mut Tally, target: &Path) -> Result<(), String> {
    tally.command(cargo(target, &["fmt", "--all", "--check"]))?;
    tally.command(pads::cargo(target, &["fmt", "--check"]))?;
    tally.command(pads::bench(target, &["fmt", "--check"]))?;
    let mut guests = cargo(target, &["fmt", "--all", "--check"]);
    guests.current_dir(pads::guests());
    tally.command(guests)
}

/// What has to be compiled beside the programs: the lints' view of them, the fuzz targets, and the
/// sandbox of Pads.
fn compile(target: &Path) -> Tally {
    let mut tally = Tally::default();
    tally.step("lints", |tally| {
        command::capture(&mut cargo(target, &CLIPPY)).map(|_| tally.passed += 1)
    });
    tally.step("fuzz targets", |_| fuzz::build(target));
    tally.step("programs for the sandbox of Pads", |tally| tally.command(pads::programs(target)));
    tally.step("the sandbox of Pads", |tally| {
        pads::lint(&mut pads::linted(target, &PADS_BUILD)).map(|()| tally.passed += 1)
    });
    tally
}

impl Tally {
    fn step(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<(), String>) {
        let begun = Instant::now();
        println!("== {name}");
        if let Err(error) = work(self) {
            self.failed += 1;
            self.failures.push(format!("{name}: {error}"));
        }
        println!("== {name}: {:.0} s", begun.elapsed().as_secs_f64());
    }

    /// A command that counts as one test.
    fn command(&mut self, mut work: Command) -> Result<(), String> {
        let status = work.status().map_err(|error| format!("{work:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{work:?}: {status}"));
        }
        self.passed += 1;
        Ok(())
    }

    /// The rules, with the program that was just built instead of one more build of it.
    fn tidy(&mut self, target: &Path) -> Result<(), String> {
        match tidy::findings(Some(&target.join("debug/dstyx")))? {
            0 => self.passed += 1,
            count => return Err(format!("{count} findings")),
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_run += other.not_run;
        self.failures.extend(other.failures);
    }

    fn close(self, started: Instant) -> ExitCode {
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        println!("took {:.0} minutes", started.elapsed().as_secs_f64() / 60.0);
        println!("{} could not be run here; the lines NOT RUN say why", self.not_run);
        // The last line has the form that readers of test runs know.
        let passed = self.passed.saturating_sub(self.not_run);
        println!("{passed} passed, {} failed", self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const PADS_BUILD: [&str; 4] = ["test", "--no-run", "--locked", "--quiet"];
const PADS_TEST: [&str; 3] = ["test", "--locked", "--no-fail-fast"];
/// Everything that is run, once: a part of the workspace would be built with other features of its
/// dependencies, and most of them a second time for the tests.
pub const BUILD: [&str; 4] = ["build", "--workspace", "--all-targets", "--locked"];

/// Both flavours and what only tests boot; each must equal what was accepted.
fn images(tally: &mut Tally, target: &Path) -> Result<(), String> {
    for flavour in ["release", "dev"] {
        tally.command(image(target, flavour))?;
    }
    Ok(())
}

/// Builds an image, or sees that what is there is as accepted.
pub fn image(target: &Path, flavour: &str) -> Command {
    dstyx(target, &["build", "--check", "--flavour", flavour])
}

fn dstyx(target: &Path, arguments: &[&str]) -> Command {
    let mut dstyx = Command::new(target.join("debug/dstyx"));
    dstyx.args(arguments).current_dir(command::root());
    dstyx
}

/// This program as the whole workspace's build made it: that may have other features of what it
/// uses than `cargo run`'s, and then it took the place of the file that is running.
fn this_program(target: &Path) -> PathBuf {
    target.join("debug/xtask")
}

/// Every test of the workspace; libtest's own lines are shown and added up.
fn tests(tally: &mut Tally, target: &Path, long: bool) -> Result<(), String> {
    let mut cargo = cargo(target, &["test", "--workspace", "--locked", "--no-fail-fast"]);
    if long {
        cargo.env(LONG, "1");
    }
    let this = this_program(target);
    cargo.env(namespace::RUNNER, format!("{} {}", this.display(), namespace::ARGUMENT));
    run_tests(tally, cargo)
}

/// Some of the same programs once more, for nobody.
fn as_ordinary_user(tally: &mut Tally, target: &Path) -> Result<(), String> {
    let mut built = cargo(target, &["test", "--workspace", "--locked", "--no-run", "--quiet"]);
    let built = command::capture(built.arg("--message-format=json"))?;
    let scratch = tempfile::tempdir().map_err(|error| format!("a directory: {error}"))?;
    let built = String::from_utf8_lossy(&built.stdout);
    for program in ordinary::commands(&built, &this_program(target), scratch.path())? {
        run_tests(tally, program)?;
    }
    Ok(())
}

/// Shows what a command prints and adds its tests up.
fn run_tests(tally: &mut Tally, mut command: Command) -> Result<(), String> {
    let output = command.stdout(Stdio::piped()).spawn().and_then(|mut child| {
        let lines = tee(child.stdout.take().expect("piped above"));
        child.wait().map(|status| (status, lines))
    });
    let (status, lines) = output.map_err(|error| format!("{command:?}: {error}"))?;
    for line in lines.iter().filter(|line| line.starts_with("test result:")) {
        tally.passed += count(line, "passed");
        tally.failed += count(line, "failed");
    }
    tally.not_run += lines.iter().filter(|line| line.contains(NOT_RUN)).count();
    let skipped: usize = lines.iter().map(|line| count(line, "ignored")).sum();
    match (status.success(), skipped) {
        (true, 0) => Ok(()),
        (true, _) => Err(format!("{skipped} tests were ignored; a skipped test is a failure")),
        (false, _) => Err("see the lines above".to_owned()),
    }
}

/// Shows a child's output as it comes and keeps it.
fn tee(stdout: impl std::io::Read) -> Vec<String> {
    use std::io::BufRead as _;
    let lines = std::io::BufReader::new(stdout).lines().map_while(Result::ok);
    lines.inspect(|line| println!("{line}")).collect()
}

/// The number before `word` in a line of libtest's summary.
fn count(line: &str, word: &str) -> usize {
    let summary = line.strip_prefix("test result:").unwrap_or_default();
    let part = summary.split([';', '.']).find(|part| part.trim_end().ends_with(word));
    part.and_then(|part| part.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Cargo with this directory for what it builds.
pub fn cargo(target: &Path, arguments: &[&str]) -> Command {
    let mut cargo = command::cargo(arguments);
    cargo.env("CARGO_TARGET_DIR", target);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_run_is_counted_as_that_and_an_ignored_one_fails() {
        let mut tally = Tally::default();
        let mut ran = |summary: &str| {
            let mut printf = Command::new("printf");
            printf.arg(format!("test a ... NOT RUN it: why\n{summary}\n"));
            run_tests(&mut tally, printf)
        };
        assert_eq!(ran("test result: ok. 2 passed; 0 failed; 0 ignored"), Ok(()));
        assert!(ran("test result: ok. 1 passed; 0 failed; 1 ignored").is_err());
        assert_eq!((tally.passed, tally.failed, tally.not_run), (3, 0, 2));
    }

    #[test]
    fn libtests_summary_is_counted() {
        let line = "test result: ok. 34 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            (count(line, "passed"), count(line, "failed"), count(line, "ignored")),
            (34, 0, 2)
        );
    }
}
