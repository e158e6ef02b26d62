//! Brings pinned files into the cache: from a directory, the cache, a mirror, a snapshot.
//!
//! Where a file comes from does not matter, because only its digest admits it.
//! A file with another digest is an error that names both, and is never kept.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fs_err as fs;

use crate::cache::{Cache, CacheError, Kind};
use crate::digest::{Digest, HashingWriter};
use crate::lock::Pin;
use crate::progress::{Activity, Amount, Progress};

mod http;
mod locations;

use http::Shown;

pub use http::HttpError;
pub use locations::Locations;

/// Downloads at once: enough to fill a line with many small files, polite to a mirror.
const PARALLEL: usize = 6;

/// Brings pinned files into the cache.
pub struct Fetcher {
    cache: Cache,
    locations: Locations,
    client: http::Client,
    progress: Arc<dyn Progress>,
}

impl Fetcher {
    /// A fetcher that looks where `locations` says.
    #[must_use]
    pub fn new(cache: Cache, locations: Locations, progress: Arc<dyn Progress>) -> Self {
        let client = http::Client::new(locations.proxy.as_deref());
        Self { cache, locations, client, progress }
    }

    /// The cached paths of all pins, in their order. `resolved` is the lock's
    /// time, which names the state of the snapshot archive.
    ///
    /// # Errors
    /// The first pin that cannot be had, with the reason.
    pub fn fetch(&self, pins: &[Pin], resolved: &str) -> Result<Vec<PathBuf>, FetchError> {
        let missing = self.take_local(pins)?;
        if !missing.is_empty() {
            self.download(&missing, resolved)?;
        }
        let path = |pin: &Pin| self.cache.path(Kind::Files, &pin.sha256.to_string());
        Ok(pins.iter().map(path).collect())
    }

    /// The bytes of an index file below the archive's base; not cached, not judged here.
    ///
    /// # Errors
    /// If no mirror has it.
    pub fn index(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, FetchError> {
        let bases = self.locations.mirrors()?;
        let mut tried = Vec::new();
        for base in bases {
            match self.client.get(&format!("{base}/{path}"), limit_bytes) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tried.push(error),
            }
        }
        Err(FetchError::Nowhere { path: path.into(), tried })
    }

    /// Whether some mirror offers the file now.
    ///
    /// # Errors
    /// If no mirror is known.
    pub fn reachable(&self, path: &str) -> Result<bool, FetchError> {
        let bases = self.locations.mirrors()?;
        Ok(bases.iter().any(|base| self.client.exists(&format!("{base}/{path}"))))
    }

    /// Admits files of the inputs directory; returns pins that are neither there nor cached.
    fn take_local<'p>(&self, pins: &'p [Pin]) -> Result<Vec<&'p Pin>, FetchError> {
        let mut missing = Vec::new();
        let mut seen = BTreeSet::new();
        for pin in pins.iter().filter(|pin| seen.insert(pin.sha256)) {
            let cached = self.cache.path(Kind::Files, &pin.sha256.to_string()).exists();
            let given = self.locations.inputs.as_ref().map(|dir| dir.join(pin.file_name()));
            match given.filter(|path| path.is_file()) {
                Some(path) => self.admit(&path, pin, !cached)?,
                None if cached => {}
                None => missing.push(pin),
            }
        }
        Ok(missing)
    }

    /// Copies the file into the cache, or only checks it if `keep` is false.
    fn admit(&self, path: &Path, pin: &Pin, keep: bool) -> Result<(), FetchError> {
        if !keep {
            let (found, _) = Digest::of_file(path)?;
            return check(path.display().to_string(), pin, found);
        }
        let scratch = self.cache.scratch()?;
        let copy = scratch.path().join("file");
        let mut writer = HashingWriter::new(fs::File::create(&copy)?);
        io::copy(&mut fs::File::open(path)?, &mut writer)?;
        check(path.display().to_string(), pin, writer.finish().0)?;
        self.publish(&copy, pin)
    }

    fn publish(&self, made: &Path, pin: &Pin) -> Result<(), FetchError> {
        self.cache.publish(made, Kind::Files, &pin.sha256.to_string())?;
        Ok(())
    }

    fn download(&self, pins: &[&Pin], resolved: &str) -> Result<(), FetchError> {
        let bases = self.locations.all(resolved)?;
        let total = pins.iter().map(|pin| pin.size).sum();
        let title = format!("downloading {} files", pins.len());
        let activity = self.progress.start(&title, Amount::Bytes(total));
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let worker = || {
            while let Some(pin) = pins.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.download_one(pin, &bases, &*activity) {
                    next.store(pins.len(), Ordering::Relaxed);
                    if let Ok(mut first) = failure.lock() {
                        first.get_or_insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..PARALLEL.min(pins.len()) {
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

    fn download_one(
        &self,
        pin: &Pin,
        bases: &[String],
        activity: &dyn Activity,
    ) -> Result<(), FetchError> {
        let name = pin.sha256.to_string();
        let _guard = self.cache.lock(Kind::Files, &name)?;
        if self.cache.path(Kind::Files, &name).exists() {
            activity.advance(pin.size);
            return Ok(());
        }
        activity.status(pin.file_name());
        let partial = self.cache.partial(&name);
        let mut shown = Shown::new(activity);
        let mut tried = Vec::new();
        for base in bases {
            let url = format!("{base}/{}", pin.path);
            match self.client.resume(&url, &partial, pin.size, &mut shown) {
                Ok(()) => return self.admit_download(&url, &partial, pin),
                Err(error) => tried.push(error),
            }
        }
        Err(FetchError::Nowhere { path: pin.path.clone(), tried })
    }

    fn admit_download(&self, url: &str, partial: &Path, pin: &Pin) -> Result<(), FetchError> {
        let (found, _) = Digest::of_file(partial)?;
        if let Err(error) = check(url.into(), pin, found) {
            fs::remove_file(partial)?;
            return Err(error);
        }
        self.publish(partial, pin)
    }
}

/// Reads a cached file whole and checks it once more: what is unpacked is what was judged.
///
/// # Errors
/// If it cannot be read, or has changed since it was cached.
pub fn read_verified(path: &Path, pin: &Pin) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(pin.size + 1).read_to_end(&mut bytes)?;
    check(path.display().to_string(), pin, Digest::of(&bytes))?;
    Ok(bytes)
}

fn check(file: String, pin: &Pin, found: Digest) -> Result<(), FetchError> {
    let expected = pin.sha256;
    if found == expected { Ok(()) } else { Err(FetchError::Mismatch { file, expected, found }) }
}

fn listed(tried: &[HttpError]) -> String {
    tried.iter().map(|error| format!("\n  {}", protocol::error::chain(error))).collect()
}

/// Why a pinned file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// {file} has the SHA-256 {found}, but the lock expects {expected}
    #[error("{file} has the SHA-256 {found}, but the lock expects {expected}")]
    Mismatch {
        /// Path or URL.
        file: String,
        /// What the lock says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// no mirror has {path}: …
    #[error("no mirror has {path}{}", listed(.tried))]
    Nowhere {
        /// Below the archive's base.
        path: String,
        /// Why each address did not give it.
        tried: Vec<HttpError>,
    },
    /// this host's apt configuration names no Debian mirror, and DSTYX_DEBIAN_MIRROR is not set
    #[error(
        "this host's apt configuration names no Debian mirror, and DSTYX_DEBIAN_MIRROR is not set"
    )]
    NoMirror,
    /// {0} is set to {1:?}, which is no http or https address
    #[error("{0} is set to {1:?}, which is no http or https address")]
    Address(&'static str, String),
    /// the cache cannot be used
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// an input file cannot be read or written
    #[error("an input file cannot be read or written")]
    Io(#[from] io::Error),
}

impl FetchError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Mismatch { .. } => "the file was not used; replace it, or try another mirror \
                                      with DSTYX_DEBIAN_MIRROR"
                .into(),
            Self::Nowhere { .. } => "the archive may have moved on: see `dstyx lock --check`, set \
                                  DSTYX_DEBIAN_SNAPSHOT to a snapshot archive's base, or put the \
                                  file into the directory that DSTYX_INPUTS names"
                .into(),
            Self::NoMirror | Self::Address(..) => {
                "set DSTYX_DEBIAN_MIRROR to the base of a Debian mirror: the address below which \
                 its directories dists/ and pool/ lie"
                    .into()
            }
            Self::Cache(error) => return error.hint(),
            Self::Io(_) => "check the room on the disk and the permissions".into(),
        })
    }
}

#[cfg(test)]
mod tests;
