//! The directory in which everything that the lock or a recipe names is kept once.
//!
//! Entries are named by digests and appear by one `rename`, so a half-written
//! entry is never seen, and two builders at the same time cannot disturb each
//! other. The directory belongs to one user; it is a cache: deleting it costs time only.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::TempDir;

/// Beginning of the names of scratch directories.
const SCRATCH: &str = "scratch-";
/// The file in a scratch directory that its process holds locked.
const IN_USE: &str = ".in-use";

/// `$XDG_CACHE_HOME/dstyx`, or `~/.cache/dstyx`.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// What kind of entry; each has a directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Downloaded files, named by their SHA-256.
    Files,
    /// Unpacked roots of Debian packages, named by the hash of their lock group.
    Roots,
    /// Unpacked source trees, named by the hash of what they were unpacked from.
    Sources,
    /// Outputs of recipes, named by the recipe's key.
    Builds,
    /// Logs of recipes, named by recipe and key.
    Logs,
}

impl Kind {
    fn directory(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Roots => "roots",
            Self::Sources => "sources",
            Self::Builds => "builds",
            Self::Logs => "logs",
        }
    }
}

/// A directory for things in the making, removed when dropped; what a killed process
/// left behind is removed by the next [`Cache::open`].
pub struct Scratch {
    dir: TempDir,
    #[expect(dead_code, reason = "holding the lock tells others that the directory is in use")]
    lock: fs::File,
}

impl Scratch {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Held while an entry is made; other processes wait for it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(#[expect(dead_code, reason = "closing the file releases the lock")] fs::File);

impl Cache {
    /// The user's cache directory, created if it is missing.
    ///
    /// # Errors
    /// If neither `XDG_CACHE_HOME` nor `HOME` is set, or the directory cannot be made.
    pub fn open() -> Result<Self, CacheError> {
        let base = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
            (Some(dir), _) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
            (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
            _ => return Err(CacheError::NoHome),
        };
        let cache = Self::at(&base.join("dstyx"))?;
        cache.remove_abandoned()?;
        Ok(cache)
    }

    /// A cache in a directory of the caller's choice.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn at(dir: &Path) -> Result<Self, CacheError> {
        let kinds = [Kind::Files, Kind::Roots, Kind::Sources, Kind::Builds, Kind::Logs];
        for directory in kinds.map(Kind::directory).into_iter().chain(["tmp", "locks"]) {
            fs::create_dir_all(dir.join(directory))?;
        }
        let dir = fs::canonicalize(dir)?;
        Ok(Self { dir })
    }

    /// Where an entry stands or will stand.
    #[must_use]
    pub fn path(&self, kind: Kind, name: &str) -> PathBuf {
        self.dir.join(kind.directory()).join(name)
    }

    /// The path of an entry. Where it is not there, `make` makes it in a scratch directory and
    /// returns its path, while other processes that want it wait.
    ///
    /// # Errors
    /// Whatever `make` gives, or the cache cannot be used.
    pub fn made_once<E: From<CacheError>>(
        &self,
        kind: Kind,
        name: &str,
        make: impl FnOnce(&Path) -> Result<PathBuf, E>,
    ) -> Result<PathBuf, E> {
        let path = self.path(kind, name);
        if !path.exists() {
            let _guard = self.lock(kind, name)?;
            if !path.exists() {
                let scratch = self.scratch()?;
                let made = make(scratch.path())?;
                self.publish(&made, kind, name)?;
            }
        }
        Ok(path)
    }

    /// A fresh directory on the same file system.
    ///
    /// # Errors
    /// Whatever creating it gives.
    pub fn scratch(&self) -> Result<Scratch, CacheError> {
        let dir = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(self.dir.join("tmp"))?;
        let lock = fs::File::create(dir.path().join(IN_USE))?;
        lock.file().lock()?;
        Ok(Scratch { dir, lock })
    }

    /// Removes scratch directories whose process has gone: an interrupted build leaves gigabytes.
    fn remove_abandoned(&self) -> Result<(), CacheError> {
        for entry in fs::read_dir(self.dir.join("tmp"))? {
            let entry = entry?;
            let scratch = entry.file_name().to_string_lossy().starts_with(SCRATCH);
            // Without the lock's file the directory was made this very moment.
            let Ok(lock) = fs::File::open(entry.path().join(IN_USE)) else { continue };
            if scratch && lock.file().try_lock().is_ok() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where an interrupted download of the file `name` waits for its rest.
    #[must_use]
    pub fn partial(&self, name: &str) -> PathBuf {
        self.dir.join("tmp").join(format!("{name}.part"))
    }

    /// Waits until nobody else makes the entry, then holds it.
    ///
    /// # Errors
    /// Whatever opening or locking the lock file gives.
    pub fn lock(&self, kind: Kind, name: &str) -> Result<Guard, CacheError> {
        let path = self.dir.join("locks").join(format!("{}-{name}", kind.directory()));
        let file = fs::File::options().create(true).append(true).open(path)?;
        file.file().lock()?;
        Ok(Guard(file))
    }

    /// Makes `made` (a file or directory on this file system) the entry `name`.
    ///
    /// # Errors
    /// Whatever renaming gives.
    pub fn publish(&self, made: &Path, kind: Kind, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.path(kind, name);
        fs::rename(made, &path)?;
        Ok(path)
    }
}

/// Why the cache directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// neither XDG_CACHE_HOME nor HOME is set
    #[error("neither XDG_CACHE_HOME nor HOME is set")]
    NoHome,
    /// the cache cannot be used
    #[error("the cache cannot be used")]
    Io(#[from] io::Error),
}

impl CacheError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHome => "set XDG_CACHE_HOME to a directory with some gigabytes of room".into(),
            Self::Io(_) => "check the directory's owner and the room on its disk; \
                            XDG_CACHE_HOME names another place"
                .into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_scratch_directories_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let used = cache.scratch().unwrap();
        let abandoned = dir.path().join("tmp/scratch-old");
        fs::create_dir_all(abandoned.join("work")).unwrap();
        fs::write(abandoned.join(IN_USE), "").unwrap();
        fs::write(cache.partial("p"), "half").unwrap();
        cache.remove_abandoned().unwrap();
        assert!(used.path().exists() && !abandoned.exists() && cache.partial("p").exists());
    }
}
