//! Fuzzing with coverage, on the stable toolchain: each target replays its corpus and goes on from
//! there.
//!
//! The targets need a build of their own, whose instrumentation the product must not have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::command;
use crate::host_tools::Cxx;

/// Coverage instrumentation for libFuzzer; debug assertions and overflow checks stay on.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on";
/// The only target: instrumentation must not reach build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Largest memory of a target: a decoder that needs more has lost its budget.
const RSS_LIMIT_MB: u32 = 1024;
/// Longest time for one input.
const INPUT_TIMEOUT_SECS: u32 = 10;

/// Last lines of a target that failed: the sanitizer's report and the backtrace.
const SHOWN_LINES: usize = 60;

/// Builds all targets; says nothing unless that fails, because other work goes on beside it.
pub fn build(target_dir: &Path) -> Result<(), String> {
    let mut build = command::cargo(&["build", "--release", "--locked", "--target", TRIPLE]);
    build.current_dir(directory()).env("CARGO_TARGET_DIR", target_dir.join("fuzz"));
    build.env("RUSTFLAGS", RUSTFLAGS).envs(Cxx::find(target_dir)?.env);
    command::capture(&mut build).map(|_| ())
}

/// Runs each target for `seconds`, as many at once as there are cores; returns how many ran clean.
pub fn replay(target_dir: &Path, seconds: u32) -> Result<usize, String> {
    let names = targets()?;
    let starter = Cxx::find(target_dir)?.starter;
    let built = target_dir.join("fuzz");
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = Mutex::new(names.iter());
    let failures = Mutex::new(Vec::new());
    let take = || next.lock().expect("no holder of the lock panics").next();
    let work = || {
        while let Some(name) = take() {
            println!("fuzz {name}: {seconds} s");
            if let Err(error) = run(name, &starter, &built, seconds) {
                failures.lock().expect("no holder of the lock panics").push(error);
            }
        }
    };
    std::thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
    match failures.into_inner().expect("no holder of the lock panics") {
        failures if failures.is_empty() => Ok(names.len()),
        failures => Err(failures.join("; ")),
    }
}

fn run(name: &str, starter: &[OsString], built: &Path, seconds: u32) -> Result<(), String> {
    let grown = built.join("corpus").join(name);
    let artifacts = built.join("artifacts").join(name);
    for directory in [&grown, &artifacts] {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let mut argv = starter.to_vec();
    argv.push(built.join(TRIPLE).join("release").join(name).into());
    let mut fuzzer = Command::new(&argv[0]);
    fuzzer
        .args(&argv[1..])
        .arg(&grown)
        .arg(directory().join("corpus").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_SECS}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0"]);
    // Two targets at once would mix their lines; what matters of one that fails is its end.
    let output = fuzzer.output().map_err(|error| format!("{fuzzer:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let skipped = log.lines().count().saturating_sub(SHOWN_LINES);
    log.lines().skip(skipped).for_each(|line| eprintln!("fuzz {name}: {line}"));
    Err(format!("{name}: {}; the input is in {}", output.status, artifacts.display()))
}

/// Each file of `fuzz/targets` is a target.
fn targets() -> Result<Vec<String>, String> {
    let directory = directory().join("targets");
    let entries = std::fs::read_dir(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let rust =
        paths.filter(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<_> =
        rust.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The workspace of the targets.
fn directory() -> PathBuf {
    command::root().join("fuzz")
}
