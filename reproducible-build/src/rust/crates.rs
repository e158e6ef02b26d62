//! Crates as cargo's registry cache holds them, checked against `Cargo.lock`.
//!
//! Fetching is cargo's business, with the host's own configuration. Whatever it
//! brings is judged by the checksum in the lock before it is unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use fs_err as fs;

use super::RustError;
use super::pruned::Pinned;
use crate::archive;
use crate::cache::Cache;
use crate::digest::{Digest, FieldHasher};
use crate::source::{Tree, TreeError};

/// Raised whenever the same crate would give another directory.
const FORMAT: &str = "dstyx crate format 1";

/// Every crate unpacked, by the name of its directory.
pub(super) fn trees(
    cache: &Cache,
    workspace: &Path,
    wanted: &BTreeSet<Pinned>,
) -> Result<BTreeMap<String, Tree>, RustError> {
    let mut files = registry_files()?;
    if wanted.iter().any(|pinned| !files.contains_key(&file_name(pinned))) {
        cargo_fetch(workspace)?;
        files = registry_files()?;
    }
    let mut trees = BTreeMap::new();
    for pinned in wanted {
        let path = files
            .get(&file_name(pinned))
            .ok_or_else(|| RustError::NotFetched(file_name(pinned)))?;
        trees.insert(directory(pinned), tree(cache, pinned, path)?);
    }
    Ok(trees)
}

fn directory(pinned: &Pinned) -> String {
    format!("{}-{}", pinned.name, pinned.version)
}

fn file_name(pinned: &Pinned) -> String {
    format!("{}.crate", directory(pinned))
}

/// The `.crate` files in cargo's registry cache by name; of several registries any will do.
fn registry_files() -> Result<BTreeMap<String, PathBuf>, RustError> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let cache = home.unwrap_or_default().join("registry/cache");
    let mut files = BTreeMap::new();
    for registry in fs::read_dir(cache).into_iter().flatten() {
        for file in fs::read_dir(registry?.path())? {
            let file = file?;
            files.insert(file.file_name().to_string_lossy().into_owned(), file.path());
        }
    }
    Ok(files)
}

fn cargo_fetch(workspace: &Path) -> Result<(), RustError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["fetch", "--locked", "--quiet", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .status()?;
    if status.success() { Ok(()) } else { Err(RustError::CargoFetch(status.to_string())) }
}

/// The crate as cargo's directory sources want it.
fn tree(cache: &Cache, pinned: &Pinned, file: &Path) -> Result<Tree, RustError> {
    let checksum = pinned.checksum.to_string();
    let digest = FieldHasher::new(FORMAT).field(&checksum).finish();
    if let Some(tree) = Tree::known(cache, digest) {
        return Ok(tree);
    }
    let packed = fs::read(file)?;
    let found = Digest::of(&packed);
    if found != pinned.checksum {
        return Err(RustError::Checksum {
            name: directory(pinned),
            expected: pinned.checksum,
            found,
        });
    }
    let unpack = |scratch: &Path| {
        let dir = scratch.join("unpacked");
        fs::create_dir(&dir)?;
        archive::unpack_tar(&mut GzDecoder::new(&packed[..]), &dir, |_| Ok(()))?;
        let dir = archive::only_directory(&dir)?;
        let manifest = format!("{{\"files\":{{}},\"package\":\"{checksum}\"}}");
        fs::write(dir.join(".cargo-checksum.json"), manifest)?;
        Ok(dir)
    };
    Tree::made_once(cache, digest, unpack).map_err(|error| match error {
        TreeError::Archive(error) => RustError::Unpack(directory(pinned), error),
        other => other.into(),
    })
}
