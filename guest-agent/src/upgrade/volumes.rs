//! The app's volumes and data directories as subvolumes of the data disk, so that they can be kept
//! and put back as a whole.
//!
//! Each step of putting back can be made again after a power cut at any moment: as long as a
//! snapshot is there, it is what the volumes become.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::sys;

/// Named volumes, and data directories.
const NAMES: [&str; 2] = ["volumes", "directories"];
/// What the name of a snapshot has behind that of its subvolume.
const SNAPSHOT: &str = ".before";
/// Number of the root directory of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_NUMBER: u64 = 256;

/// The subvolumes in one directory.
#[derive(Debug)]
pub struct Volumes(PathBuf);

impl Volumes {
    /// Those in this directory of a btrfs; each that is not there is made.
    pub fn ensure(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let volumes = Self(directory.to_owned());
        for name in NAMES {
            let path = volumes.0.join(name);
            if !path.exists() {
                sys::make_subvolume(&volumes.open()?, name)?;
                fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            }
            if fs::metadata(&path)?.ino() != ROOT_NUMBER {
                let what = format!("{} is no subvolume", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        Ok(volumes)
    }

    /// Keeps them as they are now, in place of what was kept before.
    pub fn keep(&self) -> io::Result<()> {
        self.forget()?;
        let directory = self.open()?;
        for name in NAMES {
            let source = File::open(self.0.join(name))?;
            sys::snapshot_subvolume(&source, &directory, &snapshot(name))?;
        }
        Ok(())
    }

    /// Puts back what is kept.
    pub fn put_back(&self) -> io::Result<()> {
        let directory = self.open()?;
        for name in NAMES {
            let (path, kept) = (self.0.join(name), self.0.join(snapshot(name)));
            if !kept.exists() {
                continue; // put back before a power cut
            }
            if path.exists() {
                sys::remove_subvolume(&directory, name)?;
            }
            fs::rename(kept, path)?;
        }
        Ok(())
    }

    /// Removes what is kept.
    pub fn forget(&self) -> io::Result<()> {
        let directory = self.open()?;
        for name in NAMES.map(snapshot) {
            if self.0.join(&name).exists() {
                sys::remove_subvolume(&directory, &name)?;
            }
        }
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        File::open(&self.0)
    }
}

fn snapshot(name: &str) -> String {
    format!("{name}{SNAPSHOT}")
}
