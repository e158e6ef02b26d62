//! Running other programs from the root of the checkout, loudly.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the checkout that this program was built in.
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").expect("run through `cargo xtask`, which sets it");
    Path::new(&manifest).parent().expect("xtask lies in the root").to_path_buf()
}

/// The cargo that runs this program. A fresh clone compiles each of the project's crates once, so
/// nothing is kept for compiling it again in parts: that was 4.6 of 12 GB of what it builds.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).env("CARGO_INCREMENTAL", "0");
    command
}

/// `$XDG_CACHE_HOME/dstyx`, so that a fresh clone finds what an earlier one made.
pub fn cache_dir() -> PathBuf {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(|| root().join("target")).join("dstyx")
}

/// Where programs are built, so that a fresh clone finds what an earlier one compiled.
pub fn target_dir() -> PathBuf {
    cache_dir().join("target")
}

/// Runs to the end, which must be a good one.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs to the end and captures; an error names the command.
pub fn capture(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{message}", output.status))
}
