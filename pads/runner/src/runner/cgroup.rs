//! A cgroup for each process, below the one that this program was started in.
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`. A cgroup that has processes of
//! its own cannot bound others below it, so this program first moves to one that is below too.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the kernel's tree of cgroups is.
const ROOT: &str = "/sys/fs/cgroup";
/// The file that names the cgroup of this process.
const OWN: &str = "/proc/self/cgroup";
/// What processes are bounded by.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// Where this program moves to.
const THIS: &str = "pad-runner";

/// The cgroup that this program may divide.
#[derive(Debug)]
pub(super) struct Delegated {
    directory: PathBuf,
    made: AtomicU64,
}

impl Delegated {
    /// Takes the cgroup that this process was started in.
    pub(super) fn take() -> io::Result<Self> {
        let own = fs::read_to_string(OWN)?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let path =
            path.ok_or_else(|| io::Error::other("the process has no cgroup of version 2"))?;
        Self::of(&Path::new(ROOT).join(path))
    }

    fn of(directory: &Path) -> io::Result<Self> {
        let here = fs::read_to_string(directory.join("cgroup.controllers"))?;
        for controller in CONTROLLERS {
            if !here.split_whitespace().any(|found| found == controller) {
                let missing = format!("its cgroup does not have the controller {controller}");
                return Err(io::Error::other(missing));
            }
        }
        let this = directory.join(THIS);
        made(fs::create_dir(&this))?;
        fs::write(this.join("cgroup.procs"), "0")?;
        fs::write(directory.join("cgroup.subtree_control"), "+memory +pids")?;
        Ok(Self { directory: directory.to_owned(), made: AtomicU64::new(0) })
    }

    /// A cgroup for one process that has no more memory than this, and starts no other.
    pub(super) fn one(&self, memory_bytes: u64) -> io::Result<Cgroup> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("pad-process-{number}"));
        made(fs::create_dir(&directory))?;
        let file = File::open(&directory)?;
        let cgroup = Cgroup { directory, file };
        cgroup.bound("memory.max", &memory_bytes.to_string())?;
        cgroup.bound("pids.max", "1")?;
        // A kernel without swap has no file to forbid it by.
        match cgroup.bound("memory.swap.max", "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(cgroup),
        }
    }
}

/// One that is left over from a run that ended badly is taken again.
fn made(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The cgroup of one process, which is removed when this is dropped; the process is gone then.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    file: File,
}

impl Cgroup {
    /// Writes to a file of the kernel's: none is ever made.
    fn bound(&self, file: &str, value: &str) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.directory.join(file))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory); // an empty one that stays takes nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_without_the_controllers_is_not_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Delegated::of(directory.path()).is_err());
        fs::write(directory.path().join("cgroup.controllers"), "cpu memory\n").expect("a file");
        let error = Delegated::of(directory.path()).expect_err("no pids").to_string();
        assert_eq!(error, "its cgroup does not have the controller pids");
        assert!(!directory.path().join(THIS).exists());
    }

    #[test]
    fn a_kernel_that_cannot_bound_a_process_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let delegated =
            Delegated { directory: directory.path().to_owned(), made: AtomicU64::new(0) };
        assert!(delegated.one(1 << 20).is_err());
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
