//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and CONTRIBUTING.md that can be checked by a
//! program.
//!
//! Each rule returns what it found wrong; all rules run, everything is printed, one finding fails
//! the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cargo_metadata::{Metadata, MetadataCommand};

use crate::{command, pads};

mod circles;
mod edges;
mod language;
mod licences;
mod names;
mod readme;
mod sizes;
mod test_code;
mod unsafe_code;

/// A file of Rust source, relative to the root.
pub struct Source {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What cargo says of each workspace of the checkout whose programs are shipped.
fn workspaces() -> Result<Vec<Metadata>, String> {
    let metadata = |root| {
        let metadata = MetadataCommand::new().current_dir(root).exec();
        metadata.map_err(|error| format!("cargo metadata: {error}"))
    };
    [command::root(), pads::directory(), pads::guests()].into_iter().map(metadata).collect()
}

/// Runs every rule.
pub fn run() -> ExitCode {
    match findings(None) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what every rule found and returns how much that was; `dstyx` is built where none is
/// given.
pub fn findings(dstyx: Option<&Path>) -> Result<usize, String> {
    let root = command::root();
    let sources = rust_sources(&root)?;
    let rules: [&dyn Fn() -> Vec<String>; 9] = [
        &|| module_docs(&sources),
        &|| sizes::check(&sources),
        &|| unsafe_code::check(&sources),
        &|| circles::check(&sources),
        &|| language::check(&sources),
        &|| names::check(&root),
        &edges::check,
        &licences::check,
        // Last, because the program that it asks may have to be compiled.
        &|| readme::check(&root, dstyx),
    ];
    let mut count = 0;
    for rule in rules {
        let findings = rule();
        findings.iter().for_each(|finding| eprintln!("tidy: {finding}"));
        count += findings.len();
    }
    println!("tidy: {} files of Rust, {count} findings", sources.len());
    Ok(count)
}

/// Files that git knows or would add, so that build output is never looked at.
pub fn tracked(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", pattern]).current_dir(root);
    let output = command::capture(&mut git)?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listing.lines().map(PathBuf::from).filter(|path| root.join(path).is_file()).collect())
}

fn rust_sources(root: &Path) -> Result<Vec<Source>, String> {
    let paths = tracked(root, "*.rs")?;
    let read = |path: PathBuf| match fs::read_to_string(root.join(&path)) {
        Ok(text) => Ok(Source { path, text }),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    paths.into_iter().map(read).collect()
}

/// Every file says what it is for.
fn module_docs(sources: &[Source]) -> Vec<String> {
    let undocumented = |source: &&Source| {
        let first =
            source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
        !first.is_some_and(|line| line.starts_with("//!"))
    };
    sources
        .iter()
        .filter(undocumented)
        .map(|source| {
            format!("{}: the file does not start with a `//!` doc", source.path.display())
        })
        .collect()
}
