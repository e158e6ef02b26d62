//! A file that is written as its bytes come, and is there whole or not at all.
//!
//! It never takes the place of another one: what it could replace may be the only copy of data or
//! of a key.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Hint as _, Outcome};

/// What to do where nothing can be written.
const WRITABLE: &str = "is the directory there and writable, and is there room on the disk?";

/// A file that has no name of its own yet. Dropped without [`Self::commit`], it is removed.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl NewFile {
    /// Begins a file with this mode.
    ///
    /// # Errors
    /// If there is such a file already, or the directory cannot be written.
    pub fn begin(target: &Path, mode: u32) -> Outcome<Self> {
        refuse_existing(target)?;
        let name = target.file_name().ok_or_else(|| {
            Failure::new(format!("{}: no name of a file", target.display()), "name a file")
        })?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".part-{}", std::process::id()));
        let temporary = directory(target).join(hidden);
        let _ = fs::remove_file(&temporary); // left by a process of the same number that died
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.hint(target.display(), WRITABLE)?;
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// The file for another process, which writes to it.
    ///
    /// # Errors
    /// If this process may have no more files.
    pub fn handle(&self) -> Outcome<File> {
        self.file.try_clone().hint(self.target.display(), WRITABLE)
    }

    /// What was written so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn reader(&self) -> Outcome<File> {
        File::open(&self.temporary).hint(self.target.display(), WRITABLE)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If another file has it by now, or the disk does not take it.
    pub fn commit(self) -> Outcome<()> {
        self.file.sync_all().hint(self.target.display(), WRITABLE)?;
        match fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(exists(&self.target));
            }
            Err(error) => return Err(error).hint(self.target.display(), WRITABLE),
        }
        File::open(directory(&self.target))
            .and_then(|directory| directory.sync_all())
            .hint(self.target.display(), WRITABLE)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary); // the error that is told is the first one
    }
}

/// Refuses a name that is taken, before any work is done for it.
///
/// # Errors
/// If there is such a file.
pub fn refuse_existing(target: &Path) -> Outcome<()> {
    match fs::symlink_metadata(target) {
        Ok(_) => Err(exists(target)),
        Err(_) => Ok(()),
    }
}

/// A whole file at once.
///
/// # Errors
/// As [`NewFile::begin`] and [`NewFile::commit`].
pub fn write_new(target: &Path, mode: u32, bytes: &[u8]) -> Outcome<()> {
    let mut file = NewFile::begin(target, mode)?;
    file.write_all(bytes).hint(target.display(), WRITABLE)?;
    file.commit()
}

fn exists(target: &Path) -> Failure {
    Failure::new(
        format!("{}: there is such a file already", target.display()),
        "nothing is written over: name another file, or move this one away",
    )
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pad");
        let mut file = NewFile::begin(&path, 0o600).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        write_new(&path, 0o600, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_file_is_written_over_even_if_it_comes_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pad");
        let mut file = NewFile::begin(&path, 0o600).unwrap();
        file.write_all(b"new").unwrap();
        fs::write(&path, "other").unwrap();
        assert!(file.commit().unwrap_err().to_string().ends_with("such a file already"));
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert!(NewFile::begin(&path, 0o600).is_err());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(write_new(&link, 0o600, b"new").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
