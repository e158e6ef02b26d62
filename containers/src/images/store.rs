//! Where layers lie: one directory each, named by the digest of its uncompressed archive.
//!
//! ```text
//! ROOT/layers/DIFF_ID/     unpacked, whole, never written again
//! ROOT/partial/…           what is being fetched or unpacked; emptied when the store is opened
//! ```
//!
//! A name below `layers` appears by rename after everything was verified and synced, so a half-pulled
//! image is never found. Layers are shared by all images and apps. Today the root is on tmpfs, later on
//! the data disk; nothing here depends on which.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::ContentDigest;

/// The layers under one root; one process at a time opens it.
#[derive(Debug)]
pub struct Store {
    layers: PathBuf,
    partial: PathBuf,
    next: AtomicU64,
}

impl Store {
    /// Opens or makes the store under `root`, forgetting what was not finished.
    pub fn open(root: &Path) -> io::Result<Self> {
        let (layers, partial) = (root.join("layers"), root.join("partial"));
        make_directory(&layers)?;
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_directory(&partial)?;
        Ok(Self { layers, partial, next: AtomicU64::new(0) })
    }

    /// The directory of a whole layer, if it is there.
    pub(super) fn layer(&self, diff_id: ContentDigest) -> Option<PathBuf> {
        let path = self.layers.join(diff_id.hex());
        path.is_dir().then_some(path)
    }

    /// A new empty file for bytes that are not verified yet.
    pub(super) fn partial_file(&self) -> io::Result<Partial> {
        let path = self.partial_path();
        fs::File::create_new(&path)?;
        Ok(Partial { path })
    }

    /// A new empty directory for a layer that is not whole yet.
    pub(super) fn partial_directory(&self) -> io::Result<Partial> {
        let path = self.partial_path();
        // The root of a layer without an entry for it; see Tree for the other directories.
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Partial { path })
    }

    /// Makes a whole layer of `directory`.
    pub(super) fn finish(&self, directory: Partial, diff_id: ContentDigest) -> io::Result<PathBuf> {
        let path = self.layers.join(diff_id.hex());
        rustix::fs::syncfs(fs::File::open(&directory.path)?)?;
        match fs::rename(&directory.path, &path) {
            // Another image's pull of the same layer was first; ours is dropped with `directory`.
            Err(_) if path.is_dir() => Ok(path),
            Err(error) => Err(error),
            Ok(()) => {
                rustix::fs::fsync(fs::File::open(&self.layers)?)?;
                Ok(path)
            }
        }
    }

    fn partial_path(&self) -> PathBuf {
        self.partial.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Something unfinished, removed when dropped.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
}

impl Partial {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Best effort, whether a file, a directory or gone by rename: the next opening removes the rest.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// For root only: layers hold set-id programs with whatever holes their authors left.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_layers_outlive_the_store() {
        let folder = tempfile::tempdir().expect("folder");
        let digest = ContentDigest::from_bytes([7; 32]);
        let store = Store::open(folder.path()).expect("store");
        let unfinished = store.partial_directory().expect("directory");
        fs::write(unfinished.path().join("file"), "x").expect("file");
        std::mem::forget(unfinished);
        let whole = store.partial_directory().expect("directory");
        let path = store.finish(whole, digest).expect("whole");
        assert!(store.layer(ContentDigest::from_bytes([8; 32])).is_none());
        drop(store.partial_file().expect("file"));

        let store = Store::open(folder.path()).expect("again");
        assert_eq!(store.layer(digest), Some(path.clone()));
        assert_eq!(folder.path().join("partial").read_dir().expect("partial").count(), 0);
        let second = store.partial_directory().expect("directory");
        fs::write(second.path().join("file"), "x").expect("file");
        fs::write(path.join("present"), "x").expect("file");
        assert_eq!(store.finish(second, digest).expect("the first one stays"), path);
        assert_eq!(path.read_dir().expect("layer").count(), 1);
    }
}
