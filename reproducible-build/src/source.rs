//! Source trees that recipes read: pinned tarballs, directories of the checkout, made files.
//!
//! A tree is kept once per content and bound read-only into the sandbox, so what a
//! recipe's key names is what its commands see, whatever happens to the checkout
//! in the meantime.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::archive::{self, ArchiveError};
use crate::cache::{Cache, CacheError, Kind};
use crate::digest::{Digest, FieldHasher};
use crate::fetch::{FetchError, Fetcher, read_verified};
use crate::lock::{Lock, LockError, Pin};
use crate::progress::{Amount, Progress};

/// Raised whenever the same files would give another tree.
const FORMAT: &str = "dstyx tree format 1";
/// Where a Debian source package's additions lie.
const PACKAGED_SOURCES: &str = "usr/src";

/// A directory whose content is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it lies; nobody writes there.
    pub path: PathBuf,
    /// Identifies its contents.
    pub digest: Digest,
}

impl Tree {
    /// What identifies the tree of the lock's source `name`, whether it is made or not.
    ///
    /// # Errors
    /// If the source does not exist.
    pub fn digest_in(lock: &Lock, name: &str) -> Result<Digest, LockError> {
        let source = lock.source(name)?.digest();
        Ok(FieldHasher::new(FORMAT).field(source.to_string()).finish())
    }

    /// The lock's source `name`, unpacked: the tarball's own top directory is left
    /// out; Debian's additions, if there are any, lie in its directory `debian` and
    /// its patches are not applied.
    ///
    /// # Errors
    /// If the source does not exist, cannot be had or not be unpacked.
    pub fn of_lock(
        cache: &Cache,
        fetcher: &Fetcher,
        lock: &Lock,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Self, TreeError> {
        let source = lock.source(name)?;
        let digest = Self::digest_in(lock, name)?;
        Self::made_once(cache, digest, |dir| {
            let files = fetcher.fetch(&source.files, &lock.resolved)?;
            let title = format!("unpacking the source of {name}");
            let activity = progress.start(&title, Amount::Unknown);
            let tree = unpack_source(&source.files, &files, dir)?;
            activity.end("done");
            Ok(tree)
        })
    }

    /// Files by relative path and content; none is executable.
    ///
    /// # Errors
    /// If a path is not plain, or the cache fails.
    pub fn of_files(cache: &Cache, files: &BTreeMap<String, Vec<u8>>) -> Result<Self, TreeError> {
        let entries =
            files.iter().map(|(path, content)| Entry::plain((path.clone(), content.clone())));
        Self::of_entries(cache, entries.collect())
    }

    /// The files below `paths` (files or directories, relative to `base`), at the same
    /// relative places. Directories named `target` and names with a leading dot are left out.
    ///
    /// # Errors
    /// If a path is missing, leads through a symbolic link, or the cache fails.
    pub fn of_checkout(cache: &Cache, base: &Path, paths: &[&str]) -> Result<Self, TreeError> {
        Self::of_checkout_with(cache, base, paths, BTreeMap::new())
    }

    /// As [`Tree::of_checkout`], with `made` files (path and content) beside those of the checkout.
    ///
    /// # Errors
    /// As [`Tree::of_checkout`].
    pub fn of_checkout_with(
        cache: &Cache,
        base: &Path,
        paths: &[&str],
        made: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, TreeError> {
        let mut entries: Vec<Entry> = made.into_iter().map(Entry::plain).collect();
        for path in paths {
            read_entries(base, path, &mut entries)?;
        }
        Self::of_entries(cache, entries)
    }

    /// The tree of this digest, if the cache has it.
    pub(crate) fn known(cache: &Cache, digest: Digest) -> Option<Self> {
        let path = cache.path(Kind::Sources, &digest.to_string());
        path.exists().then_some(Self { path, digest })
    }

    fn of_entries(cache: &Cache, mut entries: Vec<Entry>) -> Result<Self, TreeError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let digest = entries
            .iter()
            .fold(FieldHasher::new(FORMAT), |hasher, entry| {
                let mode = if entry.executable { "x" } else { "-" };
                hasher.field(&entry.path).field(mode).field(&entry.content)
            })
            .finish();
        Self::made_once(cache, digest, |scratch| {
            let dir = scratch.join("tree");
            fs::create_dir(&dir)?;
            entries.iter().try_for_each(|entry| entry.write(&dir))?;
            Ok(dir)
        })
    }

    pub(crate) fn made_once(
        cache: &Cache,
        digest: Digest,
        make: impl FnOnce(&Path) -> Result<PathBuf, TreeError>,
    ) -> Result<Self, TreeError> {
        let path = cache.made_once(Kind::Sources, &digest.to_string(), make)?;
        Ok(Self { path, digest })
    }
}

struct Entry {
    path: String,
    executable: bool,
    content: Vec<u8>,
}

impl Entry {
    fn plain((path, content): (String, Vec<u8>)) -> Self {
        Self { path, executable: false, content }
    }

    fn write(&self, dir: &Path) -> Result<(), TreeError> {
        let plain = self.path.split('/').all(|part| !["", ".", ".."].contains(&part));
        if !plain {
            return Err(TreeError::Path(self.path.clone()));
        }
        let path = dir.join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &self.content)?;
        let mode = if self.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

fn read_entries(base: &Path, relative: &str, entries: &mut Vec<Entry>) -> Result<(), TreeError> {
    let path = base.join(relative);
    let meta = fs::symlink_metadata(&path)?;
    if meta.is_dir() {
        for child in fs::read_dir(&path)? {
            let name = child?.file_name();
            let name = name.to_str().ok_or_else(|| TreeError::Path(relative.into()))?;
            if name != "target" && !name.starts_with('.') {
                read_entries(base, &format!("{relative}/{name}"), entries)?;
            }
        }
        return Ok(());
    }
    if !meta.is_file() {
        return Err(TreeError::Kind(path));
    }
    entries.push(Entry {
        path: relative.to_owned(),
        executable: meta.permissions().mode() & 0o100 != 0,
        content: fs::read(&path)?,
    });
    Ok(())
}

fn unpack_source(pins: &[Pin], files: &[PathBuf], scratch: &Path) -> Result<PathBuf, TreeError> {
    let mut tree: Option<PathBuf> = None;
    for (pin, file) in pins.iter().zip(files) {
        let bytes = read_verified(file, pin)?;
        match &tree {
            // Debian's additions bring their own directory `debian`.
            Some(tree) => archive::unpack_tar_xz(&bytes[..], tree)?,
            None => {
                let dir = scratch.join("unpacked");
                fs::create_dir(&dir)?;
                let packed = match pin.path.ends_with(".deb") {
                    true => packaged_tarball(&bytes, scratch)?,
                    false => bytes,
                };
                archive::unpack_tar_xz(&packed[..], &dir)?;
                tree = Some(archive::only_directory(&dir)?);
            }
        }
    }
    tree.ok_or(TreeError::NoTarball)
}

/// The only `.tar.xz` below `usr/src` of a binary package.
fn packaged_tarball(deb: &[u8], scratch: &Path) -> Result<Vec<u8>, TreeError> {
    let dir = scratch.join("package");
    fs::create_dir(&dir)?;
    archive::with_package_data(deb, |stream| archive::unpack_tar(stream, &dir, |_| Ok(())))?;
    let entries = fs::read_dir(dir.join(PACKAGED_SOURCES))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    let tarball = |path: &&PathBuf| path.to_string_lossy().ends_with(".tar.xz");
    let path = paths.iter().find(tarball).ok_or(TreeError::NoTarball)?;
    Ok(fs::read(path)?)
}

/// Why there is no source tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// the path {0:?} is not plain
    #[error("the path {0:?} is not plain")]
    Path(String),
    /// {0} is neither a file nor a directory
    #[error("{0} is neither a file nor a directory")]
    Kind(PathBuf),
    /// the source has no tarball
    #[error("the source has no tarball")]
    NoTarball,
    /// an archive cannot be unpacked
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// the lock lacks the source
    #[error(transparent)]
    Lock(#[from] LockError),
    /// a file cannot be had
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// the cache cannot be used
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// a source file cannot be read or written
    #[error("a source file cannot be read or written")]
    Io(#[from] io::Error),
}

impl TreeError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Path(_) | Self::Kind(_) => {
                Some("recipes read plain files and directories only".into())
            }
            Self::NoTarball | Self::Archive(_) => {
                Some("the lock pins a source in a form that this builder cannot unpack".into())
            }
            Self::Lock(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Io(_) => Some("check the room on the disk and the permissions".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_tree_is_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(&dir.path().join("cache")).unwrap();
        let checkout = dir.path().join("checkout");
        fs::create_dir_all(checkout.join("a/target")).unwrap();
        fs::write(checkout.join("a/x"), "x").unwrap();
        fs::write(checkout.join("a/target/junk"), "1").unwrap();
        fs::write(checkout.join("a/.hidden"), "1").unwrap();
        let one = Tree::of_checkout(&cache, &checkout, &["a"]).unwrap();
        assert!(one.path.join("a/x").exists());
        assert!(!one.path.join("a/target").exists() && !one.path.join("a/.hidden").exists());
        fs::write(checkout.join("a/target/junk"), "2").unwrap();
        assert_eq!(Tree::of_checkout(&cache, &checkout, &["a"]).unwrap(), one);
        fs::write(checkout.join("a/x"), "y").unwrap();
        assert_ne!(Tree::of_checkout(&cache, &checkout, &["a"]).unwrap(), one);
        assert_eq!(fs::read_to_string(one.path.join("a/x")).unwrap(), "x");
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        for bad in ["../x", "/x", "a//b", ""] {
            let files = BTreeMap::from([(bad.to_owned(), Vec::new())]);
            assert!(matches!(Tree::of_files(&cache, &files), Err(TreeError::Path(_))), "{bad}");
        }
    }
}
