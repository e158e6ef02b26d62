//! Recipes for WebAssembly modules in Rust: without an operating system, offline, with the standard
//! library compiled beside them from the locked sources.

use std::collections::BTreeMap;
use std::path::Path;

use super::{RustError, cargo_build, crate_sources, inputs, install, manifests, pruned};
use crate::builder::Builder;
use crate::recipe::{Command, Input, Recipe};
use crate::source::Tree;

/// The lock group with the compilers.
const ROOT: &str = "wasm";
/// What the modules are compiled for: it has no operating system.
const TARGET: &str = "wasm32-unknown-unknown";
/// Where the sources of the standard library name the crates that it uses.
const LIBRARY_CRATES: &str = "/usr/lib/rustlib/src/rust/library/vendor/.";

/// Which modules to build.
#[derive(Debug, Clone, Copy)]
pub struct Modules<'a> {
    /// The recipe's name.
    pub name: &'a str,
    /// The directory of their workspace in the checkout.
    pub workspace: &'a str,
    /// Directories of its packages.
    pub packages: &'a [&'a str],
    /// Packages of the checkout's own workspace that they use.
    pub uses: &'a [&'a str],
    /// Further files or directories of the checkout that the packages include.
    pub extra: &'a [&'a str],
    /// Packages whose module is an output, `NAME.wasm`.
    pub outputs: &'a [&'a str],
}

/// A recipe that compiles `modules` of the checkout: release profile, no path of the build inside.
///
/// # Errors
/// If a package is unknown, a crate cannot be had, or the cache fails.
pub fn modules(
    builder: &Builder,
    checkout: &Path,
    modules: &Modules<'_>,
) -> Result<Recipe, RustError> {
    let workspace = checkout.join(modules.workspace);
    let crates = pruned::locked(&workspace)?;
    let mut sources = crate_sources(builder.cache(), &workspace, &crates)?;
    sources.insert("checkout".into(), Input::Tree(tree(builder, checkout, modules)?));
    Ok(Recipe {
        name: modules.name.into(),
        root: ROOT.into(),
        sources,
        base: None,
        steps: steps(modules),
        env: environment(),
        keep_work: false,
        outputs: modules.outputs.iter().map(|name| format!("{name}.wasm")).collect(),
    })
}

/// Both workspaces at their places: the modules' own as it is, of the other what they use.
fn tree(builder: &Builder, checkout: &Path, modules: &Modules<'_>) -> Result<Tree, RustError> {
    let pruned = pruned::Workspace::read(checkout, modules.uses)?;
    let directories = pruned.members.keys().map(String::as_str);
    let mut paths = inputs(checkout, directories.chain(modules.packages.iter().copied()))?;
    paths.extend(modules.packages.iter().map(|directory| format!("{directory}/Cargo.toml")));
    paths.push(format!("{}/Cargo.lock", modules.workspace));
    let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.extend(modules.extra);
    Ok(Tree::of_checkout_with(builder.cache(), checkout, &paths, manifests(&pruned))?)
}

fn steps(modules: &Modules<'_>) -> Vec<Command> {
    let standard_library = ["-Zbuild-std=std,panic_abort"];
    let build = cargo_build(TARGET, &standard_library, "{work}/crates", modules.outputs);
    vec![
        Command::new(["cp", "-r", "{src}/checkout", "{work}/checkout"]),
        Command::new(["cp", "-r", "{src}/crates", "{work}/crates"]),
        Command::new(["cp", "-r", LIBRARY_CRATES, "{work}/crates"]),
        Command::new(build).dir(format!("{{work}}/checkout/{}", modules.workspace)),
        install("644", TARGET, modules.outputs.iter().map(|name| format!("{name}.wasm"))),
    ]
}

/// With the first of these a release compiler takes `-Z`.
fn environment() -> BTreeMap<String, String> {
    let remapped = |place: &str| format!("--remap-path-prefix={{{place}}}=/build/{place}");
    BTreeMap::from(
        [
            ("RUSTC_BOOTSTRAP", "1".to_owned()),
            ("CARGO_HOME", "{work}/cargo".to_owned()),
            ("CARGO_TARGET_DIR", "{work}/target".to_owned()),
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-22".to_owned()),
            // For macros, which run on the builder.
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "clang-22".to_owned()),
            ("RUSTFLAGS", format!("{} {}", remapped("src"), remapped("work"))),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}
