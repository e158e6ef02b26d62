//! The directory in which one service keeps its files; locked, so that two never share it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Held while the service runs.
const LOCK: &str = "emulator.lock";
/// What happened.
const LOG: &str = "emulator.log";
/// What verifiers need beside a quote.
const COLLATERAL: &str = "collateral.json";
/// Events of RTMR0 to RTMR2.
const FIRMWARE_LOG: &str = "firmware_log.json";

/// A file of the directory that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// another service runs here
    #[error("{0} is in use by another emulator")]
    InUse(PathBuf),
    /// a file could not be opened or written
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// The directory, ours until dropped.
#[derive(Debug)]
pub struct StateDir {
    directory: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes an existing directory.
    pub fn claim(directory: &Path) -> Result<Self, StateDirError> {
        let path = directory.join(LOCK);
        let wrong = |source| StateDirError::File { path: path.clone(), source };
        let lock =
            File::options().create(true).write(true).truncate(false).open(&path).map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateDirError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(wrong(source)),
        }
    }

    /// Where the log is.
    pub fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    /// Replaces the collateral.
    pub fn write_collateral(&self, json: &[u8]) -> Result<(), StateDirError> {
        self.replace(COLLATERAL, json)
    }

    /// Replaces the firmware's log.
    pub fn write_firmware_log(&self, json: &[u8]) -> Result<(), StateDirError> {
        self.replace(FIRMWARE_LOG, json)
    }

    /// Readers see the old file or the new one, never half of one.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StateDirError> {
        let path = self.directory.join(name);
        let new = self.directory.join(format!("{name}.new"));
        let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|source| StateDirError::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_emulator_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDir::claim(directory.path()).unwrap();
        assert!(matches!(StateDir::claim(directory.path()), Err(StateDirError::InUse(_))));
        first.write_collateral(b"{}").unwrap();
        assert_eq!(std::fs::read(directory.path().join(COLLATERAL)).unwrap(), b"{}");
        drop(first);
        StateDir::claim(directory.path()).unwrap();
    }
}
