//! The workspace of the program that runs what Pads need.
//!
//! It has a build of its own, so that wasmtime is compiled for it alone, and neither for the lints,
//! the tests and the fuzz targets of the rest, nor anew with other features.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The directory of the workspace.
pub fn directory() -> PathBuf {
    command::root().join("pads/runner")
}

/// The directory of the workspace of what runs in its sandbox.
pub fn guests() -> PathBuf {
    command::root().join("pads/guest")
}

/// Cargo in the workspace of what measures, with the same directory for what it builds.
pub fn bench(target_dir: &Path, arguments: &[&str]) -> Command {
    let mut cargo = cargo(target_dir, arguments);
    cargo.current_dir(command::root().join("pads/bench"));
    cargo
}

/// Cargo in this workspace, with a directory of its own for what it builds.
pub fn cargo(target_dir: &Path, arguments: &[&str]) -> Command {
    let mut cargo = command::cargo(arguments);
    cargo.current_dir(directory()).env("CARGO_TARGET_DIR", target_dir.join("pads"));
    cargo
}

/// Cargo whose compiler of this workspace's own crates is clippy's, which compiles as the usual one
/// does: `cargo clippy` would have to check wasmtime beside building it, in two thirds of the time.
pub fn linted(target_dir: &Path, arguments: &[&str]) -> Command {
    let mut cargo = cargo(target_dir, arguments);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    cargo
}

/// Builds what tests run in the sandbox, where they look for it.
pub fn programs(target_dir: &Path) -> Command {
    let mut programs = Command::new(target_dir.join("debug/examples/pad_programs"));
    programs.arg(command::root().join("target/pads"));
    programs
}

/// Runs such a build, in which a warning is an error.
pub fn lint(build: &mut Command) -> Result<(), String> {
    let output = command::capture(build)?;
    let text = String::from_utf8_lossy(&output.stderr);
    match text.lines().any(|line| line.starts_with("warning")) {
        true => Err(format!("{build:?}: warnings\n{text}")),
        false => Ok(()),
    }
}
