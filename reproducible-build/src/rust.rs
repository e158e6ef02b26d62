//! Recipes for the project's own Rust programs: static, offline, by the locked toolchain.
//!
//! The recipe sees only what the wanted packages need: their directories, the part of
//! `Cargo.lock` that they reach, and exactly those crates, each checked against its
//! checksum there. So a change elsewhere in the workspace neither changes the key nor
//! can reach the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::archive::ArchiveError;
use crate::builder::Builder;
use crate::cache::{Cache, CacheError};
use crate::digest::Digest;
use crate::recipe::{Command, Input, Recipe};
use crate::source::{Tree, TreeError};

mod crates;
mod modules;
mod pruned;

pub use modules::{Modules, modules};

/// The only target: what the locked toolchain has a standard library for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Which programs to build.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// The recipe's name.
    pub name: &'a str,
    /// Directory of the workspace that is built, relative to the checkout; empty for the one at the
    /// top. Another one is a single package, which takes members of that at the top by their paths.
    pub workspace: &'a str,
    /// Packages of the workspace.
    pub packages: &'a [&'a str],
    /// Binaries of these packages; the recipe's outputs.
    pub binaries: &'a [&'a str],
    /// Further files or directories, relative to the checkout, that the packages include.
    pub extra: &'a [&'a str],
}

/// A recipe that compiles `programs` of the checkout at `checkout`: release profile, statically
/// linked, no path of the build inside.
///
/// # Errors
/// If a package is unknown, a crate cannot be had, or the cache fails.
pub fn recipe(
    builder: &Builder,
    checkout: &Path,
    programs: &Programs<'_>,
) -> Result<Recipe, RustError> {
    let pruned = match programs.workspace {
        "" => pruned::Workspace::read(checkout, programs.packages)?,
        nested => pruned::Workspace::read_nested(checkout, nested)?,
    };
    let workspace = checkout.join(programs.workspace);
    let mut sources = crate_sources(builder.cache(), &workspace, &pruned.crates)?;
    let tree = packages(builder.cache(), checkout, &pruned, programs)?;
    sources.insert("workspace".into(), Input::Tree(tree));
    let outputs: Vec<String> = programs.binaries.iter().map(|&name| name.into()).collect();
    Ok(Recipe {
        name: programs.name.into(),
        root: "build".into(),
        sources,
        base: None,
        steps: steps(programs),
        env: environment(),
        keep_work: false,
        outputs,
    })
}

/// Crates as sources of a recipe, below `crates`.
fn crate_sources(
    cache: &Cache,
    workspace: &Path,
    wanted: &BTreeSet<pruned::Pinned>,
) -> Result<BTreeMap<String, Input>, RustError> {
    let trees = crates::trees(cache, workspace, wanted)?;
    Ok(trees
        .into_iter()
        .map(|(name, tree)| (format!("crates/{name}"), Input::Tree(tree)))
        .collect())
}

/// The packages' directories without their tests, and their workspace's two files rewritten.
fn packages(
    cache: &Cache,
    checkout: &Path,
    pruned: &pruned::Workspace,
    programs: &Programs<'_>,
) -> Result<Tree, RustError> {
    let paths = inputs(checkout, pruned.members.keys().map(String::as_str))?;
    let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.extend(programs.extra);
    let lock = Path::new(programs.workspace).join("Cargo.lock");
    let mut made = manifests(pruned);
    made.insert(lock.to_string_lossy().into_owned(), pruned.lock.clone().into_bytes());
    Ok(Tree::of_checkout_with(cache, checkout, &paths, made)?)
}

/// Paths of what is an input in the packages' directories.
fn inputs<'a>(
    checkout: &Path,
    directories: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, RustError> {
    let mut paths = Vec::new();
    for directory in directories {
        for entry in fs::read_dir(checkout.join(directory))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_input(&name) {
                paths.push(format!("{directory}/{name}"));
            }
        }
    }
    Ok(paths)
}

/// The manifests of what is left of a workspace, that at the top among them, by their paths.
fn manifests(pruned: &pruned::Workspace) -> BTreeMap<String, Vec<u8>> {
    let members = pruned.members.iter();
    let members = members.map(|(member, manifest)| (format!("{member}/Cargo.toml"), manifest));
    let all = members.chain([("Cargo.toml".to_owned(), &pruned.manifest)]);
    all.map(|(path, manifest)| (path, manifest.clone().into_bytes())).collect()
}

/// Whether an entry of a package's directory is an input of its programs. A compose file, and the
/// measured file that is made of it, name what was built.
fn is_input(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "tests",
        "benches",
        "examples",
        "target",
        "Cargo.toml",
        "Cargo.lock",
        "deploy",
        "docker-compose.yml",
        "app-compose.json",
    ];
    !OTHERS.contains(&name) && !name.starts_with('.')
}

fn steps(programs: &Programs<'_>) -> Vec<Command> {
    let mut build = cargo_build(TARGET, &[], "{src}/crates", programs.packages);
    for binary in programs.binaries {
        build.extend(["--bin".to_owned(), (*binary).to_owned()]);
    }
    vec![
        Command::new(["cp", "-r", "{src}/workspace", "{work}/workspace"]),
        Command::new(build)
            .dir(format!("{{work}}/workspace/{}", programs.workspace).trim_end_matches('/')),
        install("755", TARGET, programs.binaries.iter().map(|&name| name.to_owned())),
    ]
}

/// What builds packages for a target, with crates from nowhere but a directory.
fn cargo_build(target: &str, options: &[&str], crates: &str, packages: &[&str]) -> Vec<String> {
    let mut build = vec!["cargo", "build", "--release", "--offline", "--target", target];
    build.extend(options);
    let mut build: Vec<String> = build.into_iter().map(str::to_owned).collect();
    let directory = format!("source.pinned.directory=\"{crates}\"");
    for config in ["source.crates-io.replace-with=\"pinned\"", &directory] {
        build.extend(["--config".to_owned(), config.to_owned()]);
    }
    for package in packages {
        build.extend(["--package".to_owned(), (*package).to_owned()]);
    }
    build
}

/// What leaves built files as the recipe's outputs.
fn install(mode: &str, target: &str, names: impl Iterator<Item = String>) -> Command {
    let built = names.map(|name| format!("{{work}}/target/{target}/release/{name}"));
    let install = ["install", "-m", mode].map(str::to_owned).into_iter();
    Command::new(install.chain(built).chain(["{out}".to_owned()]).collect::<Vec<_>>())
}

/// What the compiler is told for every program: no shared library, and relocations in their short
/// form (DT_RELR: a twentieth of a static program).
const CODE: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// What keeps aws-lc from timing the processor before its first random number: 50 ms, and more than
/// half a second in an emulated guest. Its seeds are then the kernel's, with RDRAND, as are all
/// other keys of a guest; what a host's virtual processor jitters adds nothing to them.
const SEEDED_BY_KERNEL: &str = "AWS_LC_SYS_NO_JITTER_ENTROPY";

/// Static linking, seeds, and the names that paths have in panics and debug information.
fn environment() -> BTreeMap<String, String> {
    let remapped = |option: &str| {
        ["src", "work"].map(|place| format!("{option}={{{place}}}=/build/{place}")).join(" ")
    };
    BTreeMap::from(
        [
            ("CARGO_HOME", "{work}/cargo".to_owned()),
            ("CARGO_TARGET_DIR", "{work}/target".to_owned()),
            (SEEDED_BY_KERNEL, "1".to_owned()),
            ("CFLAGS", format!("-O2 {}", remapped("-ffile-prefix-map"))),
            ("RUSTFLAGS", format!("{CODE} {}", remapped("--remap-path-prefix"))),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RustError {
    /// the workspace has no package {0:?}
    #[error("the workspace has no package {0:?}")]
    NoPackage(String),
    /// {0} is not well formed
    #[error("{0} is not well formed")]
    Syntax(PathBuf, #[source] Box<toml::de::Error>),
    /// {0} lacks {1}, or has it in an unexpected form
    #[error("{0} lacks {1}, or has it in an unexpected form")]
    Shape(PathBuf, String),
    /// the crate {0} comes from {1}, not from the registry with a checksum
    #[error("the crate {0} comes from {1}, not from the registry with a checksum")]
    Foreign(String, String),
    /// the crate {name} has the SHA-256 {found}, but Cargo.lock expects {expected}
    #[error("the crate {name} has the SHA-256 {found}, but Cargo.lock expects {expected}")]
    Checksum {
        /// Name and version.
        name: String,
        /// What the lock says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// `cargo fetch` ended with {0}
    #[error("`cargo fetch` ended with {0}")]
    CargoFetch(String),
    /// `cargo fetch` has not fetched {0}
    #[error("`cargo fetch` has not fetched {0}")]
    NotFetched(String),
    /// the crate {0} cannot be unpacked
    #[error("the crate {0} cannot be unpacked")]
    Unpack(String, #[source] ArchiveError),
    /// a tree cannot be made
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// the cache cannot be used
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// a file cannot be read or written
    #[error("a file cannot be read or written")]
    Io(#[from] io::Error),
}

impl RustError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Checksum { .. } => {
                "delete the file from cargo's registry cache; it is fetched again".into()
            }
            Self::CargoFetch(_) | Self::NotFetched(_) => {
                "run `cargo fetch --locked` by hand: it uses the same configuration".into()
            }
            Self::Tree(error) => return error.hint(),
            Self::Cache(error) => return error.hint(),
            Self::Io(_) => "check the room on the disk and the permissions".into(),
            _ => "see Cargo.toml, Cargo.lock and the recipe's list of packages".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_program_is_no_input_of_it() {
        for name in ["docker-compose.yml", "app-compose.json", "target", ".git"] {
            assert!(!is_input(name), "{name}");
        }
        assert!(is_input("src") && is_input("build.rs"));
    }
}
