//! What a driver must know again after its agent has died: the machine's memory, in a file of the
//! run directory.
//!
//! ```text
//! RUN/app.json     JSON of the machine's memory, replaced by rename before what it says is done
//! ```
//!
//! The directory is the guest's own memory and root's alone, so the file is not hostile; one that
//! cannot be read is of an agent of another version and counts as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::machine::Memory;

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct MemoryFile {
    path: PathBuf,
    written: Vec<u8>,
}

impl MemoryFile {
    /// The file in `run_dir`, which need not be there.
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { path: run_dir.join("app.json"), written: Vec::new() }
    }

    /// What an earlier driver wrote.
    pub(super) fn read(&self) -> io::Result<Option<Memory>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `memory` if it has changed; a reader finds what was there before, or this.
    pub(super) fn write(&mut self, memory: &Memory) -> io::Result<()> {
        let bytes = serde_json::to_vec(memory)?;
        if bytes != self.written {
            let new = self.path.with_extension("json.new");
            fs::write(&new, &bytes)?;
            fs::rename(new, &self.path)?;
            self.written = bytes;
        }
        Ok(())
    }

    /// Forgets it all.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::machine::{Machine, Plan};

    #[test]
    fn what_was_written_last_is_read_and_rubbish_is_none() {
        let directory = tempfile::tempdir().expect("directory");
        let mut file = MemoryFile::new(directory.path());
        assert_eq!(file.read().expect("nothing there"), None);
        let machine = Machine::new(Plan { services: Vec::new() });
        file.write(machine.memory()).expect("written");
        assert_eq!(
            MemoryFile::new(directory.path()).read().expect("there").as_ref(),
            Some(machine.memory())
        );
        fs::write(directory.path().join("app.json"), "{").expect("rubbish");
        assert_eq!(file.read().expect("readable"), None);
        file.remove().expect("removed");
        file.remove().expect("twice");
    }
}
