//! Hermetic roots: a lock group's packages, unpacked once per content.
//!
//! A root holds nothing of the host. It belongs to the user who made it, is
//! mounted read-only when it is entered, and is named by the hash of its packages.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::archive::{self, ArchiveError};
use crate::cache::{Cache, CacheError, Kind};
use crate::digest::{Digest, FieldHasher};
use crate::fetch::{FetchError, Fetcher, read_verified};
use crate::lock::{Lock, LockError, Pin};
use crate::progress::{Activity, Amount, Progress};

mod finish;

/// Raised whenever the same packages would give another root.
const FORMAT: &str = "dstyx root format 1";

/// An unpacked root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it lies.
    pub path: PathBuf,
    /// Identifies its contents.
    pub digest: Digest,
}

impl Root {
    /// What identifies the root of the lock's group `name`, whether it is made or not.
    ///
    /// # Errors
    /// If the group does not exist.
    pub fn digest_in(lock: &Lock, name: &str) -> Result<Digest, LockError> {
        let group = lock.group(name)?.digest();
        Ok(FieldHasher::new(FORMAT).field(group.to_string()).finish())
    }

    /// The root of the lock's group `name`, made if it is not in the cache.
    ///
    /// # Errors
    /// If the group does not exist, a package cannot be had, or unpacking fails.
    pub fn open(
        cache: &Cache,
        fetcher: &Fetcher,
        lock: &Lock,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Self, RootError> {
        let group = lock.group(name)?;
        let digest = Self::digest_in(lock, name)?;
        let entry = digest.to_string();
        let path = cache.made_once(Kind::Roots, &entry, |scratch| {
            let files = fetcher.fetch(&group.packages, &lock.resolved)?;
            let dir = scratch.join("root");
            finish::prepare(&dir)?;
            unpack_all(&group.packages, &files, &dir, name, progress)?;
            finish::finish(&dir)?;
            Ok::<_, RootError>(dir)
        })?;
        Ok(Self { path, digest })
    }
}

/// Which package a path came from: two packages with one path are an error,
/// since the order of unpacking must not decide.
type Claims = Mutex<HashMap<PathBuf, String>>;

fn unpack_all(
    pins: &[Pin],
    files: &[PathBuf],
    dir: &Path,
    name: &str,
    progress: &dyn Progress,
) -> Result<(), RootError> {
    let title = format!("unpacking the {name} root");
    let activity = progress.start(&title, Amount::Items(pins.len() as u64));
    let (next, claims, failure) = (AtomicUsize::new(0), Claims::default(), Mutex::new(None));
    let jobs: Vec<_> = pins.iter().zip(files).collect();
    let worker = || {
        while let Some((pin, file)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = unpack_one(pin, file, dir, &claims, &*activity) {
                next.store(jobs.len(), Ordering::Relaxed);
                if let Ok(mut first) = failure.lock() {
                    first.get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    match failure.into_inner().unwrap_or_default() {
        Some(error) => Err(error),
        None => {
            activity.end("done");
            Ok(())
        }
    }
}

fn unpack_one(
    pin: &Pin,
    file: &Path,
    dir: &Path,
    claims: &Claims,
    activity: &dyn Activity,
) -> Result<(), RootError> {
    activity.status(&pin.name);
    let deb = read_verified(file, pin)?;
    let claim = |path: &Path| claim(claims, path, &pin.name);
    archive::with_package_data(&deb, |stream| archive::unpack_tar(stream, dir, claim))
        .map_err(|error| RootError::Package(pin.name.clone(), error))?;
    activity.advance(1);
    Ok(())
}

fn claim(claims: &Claims, path: &Path, package: &str) -> Result<(), ArchiveError> {
    let path = finish::merged(path);
    let mut claims = claims.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match claims.insert(path.clone(), package.to_owned()) {
        None => Ok(()),
        Some(first) => Err(ArchiveError::Collision { path, first, second: package.to_owned() }),
    }
}

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// the package {0} cannot be unpacked
    #[error("the package {0} cannot be unpacked")]
    Package(String, #[source] ArchiveError),
    /// the lock lacks the group
    #[error(transparent)]
    Lock(#[from] LockError),
    /// a package cannot be had
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// the cache cannot be used
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// the root cannot be completed
    #[error("the root cannot be completed")]
    Io(#[from] io::Error),
}

impl RootError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Package(_, ArchiveError::Io(_)) | Self::Io(_) => {
                Some("a root takes 1.5 GB: check the room on the cache's disk".into())
            }
            Self::Package(..) => Some(
                "the lock pins a package that this builder cannot unpack: \
                 leave it out of the list that the lock is made from"
                    .into(),
            ),
            Self::Lock(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Cache(error) => error.hint(),
        }
    }
}
