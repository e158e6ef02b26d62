//! Directory trees that hostile bytes describe: every path is resolved by the kernel inside the
//! root, so that nothing escapes it.
//!
//! The paths of a layer and the links that it or a container made are an attacker's choice. Paths
//! are opened with `openat2(RESOLVE_IN_ROOT)`, so `..`, absolute links and links swapped under way
//! all end inside the root. Whoever makes something uses [`Tree::parent`] and the last component
//! relative to that descriptor, never followed.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, statat,
};
use rustix::io::Errno;

mod remove;

pub use remove::{remove_content, remove_directory_at, remove_tree};

/// PATH_MAX of Linux.
pub const MAX_PATH_BYTES: usize = 4096;
/// What directories get that an archive's paths need but its entries do not name.
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o755);
/// NAME_MAX of Linux's file systems.
const MAX_NAME_BYTES: usize = 255;

/// A directory that is the root of all paths given to it.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// A path inside a tree: a parent and the name in it. No component is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePath {
    /// The names above it, from the root.
    pub parents: Vec<Vec<u8>>,
    /// The last name; empty only for the root itself.
    pub name: Vec<u8>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No such name.
    Nothing,
    /// A directory.
    Directory,
    /// A link, and where it leads.
    Link(Vec<u8>),
    /// A file, a device, a socket or a pipe.
    Other,
}

impl TreePath {
    /// Splits an archive's path; a leading `/` or `./` means the root.
    pub fn parse(path: &[u8]) -> Result<Self, TreeError> {
        let bad = |why| TreeError::Path { path: String::from_utf8_lossy(path).into_owned(), why };
        if path.len() > MAX_PATH_BYTES {
            return Err(bad("longer than 4096 bytes"));
        }
        let mut parents: Vec<Vec<u8>> = Vec::new();
        for component in path.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(bad("has a .. component")),
                _ if component.contains(&0) => return Err(bad("has a NUL")),
                _ if component.len() > MAX_NAME_BYTES => {
                    return Err(bad("has a name longer than 255 bytes"));
                }
                _ => parents.push(component.to_vec()),
            }
        }
        let name = parents.pop().unwrap_or_default();
        Ok(Self { parents, name })
    }

    /// The path of the parent, relative to the root.
    pub fn parent_bytes(&self) -> Vec<u8> {
        self.parents.join(&b'/')
    }
}

impl Tree {
    /// Opens the directory `root`, which must exist.
    pub fn open(root: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, root, flags, Mode::empty()).map_err(|error| system("open", error))?;
        Ok(Self { root })
    }

    /// The tree whose root is the directory `root`.
    pub fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    /// A file below the root for reading, links followed inside the root only; `None` if there is
    /// none.
    pub fn read(&self, path: &str) -> Result<Option<OwnedFd>, TreeError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self.resolve(path.as_bytes(), flags) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(system("open", error)),
        }
    }

    /// What is at `path`; its last component is not followed.
    pub fn look(&self, path: &[u8]) -> Result<Found, TreeError> {
        let path = TreePath::parse(path)?;
        let Some(parent) = self.existing_parent(&path)? else { return Ok(Found::Nothing) };
        let Some(stat) = look(&parent, &path.name)? else { return Ok(Found::Nothing) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Found::Directory),
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(&parent, path.name.as_slice(), Vec::new());
                Ok(Found::Link(to.map_err(|error| system("read link", error))?.into_bytes()))
            }
            _ => Ok(Found::Other),
        }
    }

    /// Makes the directory `path` and those above it, where they are not there.
    pub fn make_directories(&self, path: &[u8]) -> Result<(), TreeError> {
        let mut path = TreePath::parse(path)?;
        path.parents.push(std::mem::take(&mut path.name));
        path.parents.retain(|name| !name.is_empty());
        self.parent(&path).map(drop)
    }

    /// The directory that holds `path`, made if need be.
    pub fn parent(&self, path: &TreePath) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(&path.parent_bytes(), flags) {
            Ok(parent) => return Ok(parent),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(system("open parent", error)),
        }
        let mut parent = self.resolve(b".", flags).map_err(|error| system("open root", error))?;
        for depth in 0..path.parents.len() {
            match mkdirat(&parent, path.parents[depth].as_slice(), IMPLIED_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(system("mkdir", error)),
            }
            let so_far = path.parents[..=depth].join(&b'/');
            parent = self.resolve(&so_far, flags).map_err(|error| system("open parent", error))?;
        }
        Ok(parent)
    }

    /// The directory that holds `path`, if it is there.
    pub fn existing_parent(&self, path: &TreePath) -> Result<Option<OwnedFd>, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(&path.parent_bytes(), flags) {
            Ok(parent) => Ok(Some(parent)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(system("open parent", error)),
        }
    }

    /// Opens `path` as the kernel sees it from inside the root.
    pub fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.root, path, flags, Mode::empty(), resolve)
    }
}

/// The attributes of `name` in `parent`, itself if it is a link.
pub fn look(parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, TreeError> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(system("stat", error)),
    }
}

fn system(what: &'static str, error: Errno) -> TreeError {
    TreeError::System { what, error: error.into() }
}

/// Why a path of a tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// the path breaks a rule
    #[error("path {path:?} {why}")]
    Path {
        /// The path.
        path: String,
        /// The rule.
        why: &'static str,
    },
    /// the kernel refused
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: io::Error,
    },
}
