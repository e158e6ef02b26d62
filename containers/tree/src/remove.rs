//! Removing trees that somebody else made: however deep they are, two directories are open at a
//! time.
//!
//! A layer can nest directories deeper than a process may have files open, by way of links that it
//! made before. So each directory that is not empty is first moved up to the root of the tree,
//! where it is one level deep; nothing is followed.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, rmdir, statat, unlink,
    unlinkat,
};
use rustix::io::Errno;

/// Unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Removes a file or a directory with all that is in it; gives the size on disk of what is gone.
pub fn remove_tree(path: &Path) -> io::Result<u64> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    match unlink(path) {
        Ok(()) => return Ok(stat.st_blocks.unsigned_abs() * BLOCK_BYTES),
        // For a directory Linux says ISDIR, other kernels PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = remove_content(path)?;
    rmdir(path)?;
    Ok(bytes)
}

/// Removes all that is in the directory `path`; gives the size on disk of what is gone.
pub fn remove_content(path: &Path) -> io::Result<u64> {
    content_of(&open(CWD, path)?)
}

/// Removes the directory `name` of `parent` with all that is in it.
pub fn remove_directory_at(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    content_of(&open(parent, name)?)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn content_of(root: &OwnedFd) -> io::Result<u64> {
    let mut removal = Removal { bytes: 0, moved: 0 };
    loop {
        let directories = removal.files(root, None)?;
        if directories.is_empty() {
            return Ok(removal.bytes);
        }
        for name in directories {
            removal.directory(root, &name)?;
        }
    }
}

struct Removal {
    bytes: u64,
    /// Directories that were moved up, which numbers their new names.
    moved: u64,
}

impl Removal {
    /// Removes a directory of the root; those in it are moved up to the root.
    fn directory(&mut self, root: &OwnedFd, name: &CString) -> io::Result<()> {
        let directory = open(root, name.as_c_str())?;
        // Layers have directories that even their owner may not change.
        fchmod(&directory, Mode::RWXU)?;
        self.files(&directory, Some(root))?;
        Ok(unlinkat(root, name.as_c_str(), AtFlags::REMOVEDIR)?)
    }

    /// Removes what is no directory; directories are moved up to `root`, or named if there is none.
    fn files(&mut self, directory: &OwnedFd, root: Option<&OwnedFd>) -> io::Result<Vec<CString>> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_nlink == 1 || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.bytes += stat.st_blocks.unsigned_abs() * BLOCK_BYTES;
            }
            match (FileType::from_raw_mode(stat.st_mode), root) {
                (FileType::Directory, None) => directories.push(name.to_owned()),
                (FileType::Directory, Some(root)) => self.up(directory, name, root)?,
                _ => unlinkat(directory, name, AtFlags::empty())?,
            }
        }
        Ok(directories)
    }

    /// Moves a directory to the root under a name that nothing has.
    fn up(&mut self, directory: &OwnedFd, name: &std::ffi::CStr, root: &OwnedFd) -> io::Result<()> {
        // Moving a directory writes its `..`: its owner must be allowed to.
        loop {
            self.moved += 1;
            let target = format!(".moved-{}", self.moved);
            match statat(root, target.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(renameat(directory, name, root, target.as_str())?),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn deep_and_wide_trees_go_and_links_are_not_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path().join("tree");
        fs::create_dir(&root).expect("root");
        fs::write(directory.path().join("outside"), "stays").expect("file");
        std::os::unix::fs::symlink("../outside", root.join("file link")).expect("link");
        std::os::unix::fs::symlink("..", root.join("directory link")).expect("link");
        fs::write(root.join(".moved-1"), "in the way").expect("file");
        let mut at = rustix::fs::open(&root, OFlags::PATH, Mode::empty()).expect("root");
        for depth in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("directory");
            rustix::fs::mkdirat(&at, format!("other-{depth}"), Mode::RWXU).expect("directory");
            at = openat(&at, "d", OFlags::PATH, Mode::empty()).expect("directory");
        }
        fs::write(root.join("big"), vec![1; 100_000]).expect("file");
        assert!(remove_tree(&root).expect("removed") >= 100_000);
        assert!(!root.exists());
        assert_eq!(fs::read(directory.path().join("outside")).expect("file"), b"stays");
        assert_eq!(remove_tree(&root).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }
}
