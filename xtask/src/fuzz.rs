//! Fuzzing with coverage, on the stable toolchain: each target replays its corpus and goes on from
//! there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{command, host_tools};

/// Coverage instrumentation for libFuzzer; debug assertions and overflow checks stay on.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";
/// The only target: instrumentation must not reach build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Largest memory of a target: a decoder that needs more has lost its budget.
const RSS_LIMIT_MB: u32 = 1024;
/// Longest time for one input.
const INPUT_TIMEOUT_SECS: u32 = 10;

/// Builds all targets and runs each for `seconds`; returns how many ran clean.
pub fn replay(target_dir: &Path, seconds: u32) -> Result<usize, String> {
    host_tools::ensure(&[host_tools::CXX])?;
    let fuzz = command::root().join("fuzz");
    let built = target_dir.join("fuzz");
    let mut build = command::cargo(&["build", "--release", "--locked", "--target", TRIPLE]);
    build.current_dir(&fuzz).env("CARGO_TARGET_DIR", &built).env("RUSTFLAGS", RUSTFLAGS);
    succeeded(&mut build)?;
    let names = targets(&fuzz)?;
    for name in &names {
        println!("fuzz {name}: {seconds} s");
        run(name, &fuzz, &built, seconds)?;
    }
    Ok(names.len())
}

fn run(name: &str, fuzz: &Path, built: &Path, seconds: u32) -> Result<(), String> {
    let grown = built.join("corpus").join(name);
    let artifacts = built.join("artifacts").join(name);
    for directory in [&grown, &artifacts] {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let mut fuzzer = Command::new(built.join(TRIPLE).join("release").join(name));
    fuzzer
        .arg(&grown)
        .arg(fuzz.join("corpus").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_SECS}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0"]);
    succeeded(&mut fuzzer)
        .map_err(|error| format!("{error}; the input is in {}", artifacts.display()))
}

/// Each file of `fuzz/targets` is a target.
fn targets(fuzz: &Path) -> Result<Vec<String>, String> {
    let directory = fuzz.join("targets");
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

fn succeeded(work: &mut Command) -> Result<(), String> {
    let status = work.status().map_err(|error| format!("{work:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", work.get_program())) }
}
