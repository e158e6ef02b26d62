//! Files that only this user reads and writes: keys, shares and what was seen of a KMS.
//!
//! Each is replaced whole, so that a reader and a power cut find the old file or the new one. One
//! that others may read is refused: what it holds is no secret any more.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::failure::{Failure, Hint as _, Outcome};

/// Mode of a file.
pub const FILE_MODE: u32 = 0o600;
/// Mode of a directory that is made for one.
pub const DIRECTORY_MODE: u32 = 0o700;

/// Writes a file in place of the one that is there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_beside(path, bytes)?;
    let moved = fs::rename(&new, path).and_then(|()| sync_directory(path));
    if moved.is_err() {
        let _ = fs::remove_file(&new); // the first error is the one to tell
    }
    moved
}

/// Writes a file unless there is one already, which is left as it is; whether it was written.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let new = write_beside(path, bytes)?;
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The whole file of at most `limit_bytes`, if there is one.
///
/// # Errors
/// If it is no regular file, too large, unreadable, or others than its owner may read or write it.
pub fn read(path: &Path, limit_bytes: u64) -> Outcome<Option<Zeroizing<Vec<u8>>>> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).hint(path.display(), "may you read the file?"),
    };
    let metadata = file.metadata().hint(path.display(), "may you read the file?")?;
    if !metadata.is_file() || metadata.len() > limit_bytes {
        let what = format!("{}: a file of at most {limit_bytes} bytes is expected", path.display());
        return Err(Failure::new(what, "move away what is there"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Failure::new(
            format!(
                "{}: mode {:o}; expected {FILE_MODE:o}",
                path.display(),
                metadata.mode() & 0o777
            ),
            "others could read or change it; if nobody did, `chmod 600` it",
        ));
    }
    let length = usize::try_from(metadata.len()).unwrap_or_default();
    // Sized at once: a vector that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut bytes).hint(path.display(), "is the disk readable?")?;
    Ok(Some(bytes))
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&new); // left by a process of the same number that died
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&new); // the first error is the one to tell
    }
    written.map(|()| new)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("intel/a.json");
        replace(&path, b"old and longer").unwrap();
        fs::write(path.with_extension(format!("new-{}", std::process::id())), "half a fi").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (FILE_MODE, DIRECTORY_MODE));
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, b"secret").unwrap();
        assert_eq!(**read(&path, 10).unwrap().unwrap(), *b"secret");
        assert!(read(&path, 5).is_err());
        for wrong in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let failure = read(&path, 10).unwrap_err();
            assert!(failure.to_string().contains("expected 600"), "{failure}");
        }
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link, 10).is_err());
        assert!(read(directory.path(), 1 << 20).is_err());
    }
}
