//! Making files under a root that nothing can escape: every path is resolved by the kernel inside
//! it.
//!
//! A layer's paths and the links it made before are hostile. The parent of each path is opened with
//! `openat2(RESOLVE_IN_ROOT)`, so `..`, absolute links and links swapped under way all end inside
//! the root; the last component is then used relative to that descriptor and never followed.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat,
    openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::archive::{Item, Make};
use super::budget::MAX_PATH_BYTES;

/// What directories get that an archive's paths need but its entries do not name.
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o755);
/// The attribute by which overlayfs hides what lies below a directory.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// NAME_MAX of Linux's file systems.
const MAX_NAME_BYTES: usize = 255;

/// A directory that is the root of all paths given to it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

/// A path inside a tree: a parent and the name in it. No component is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreePath {
    pub(super) parents: Vec<Vec<u8>>,
    /// Empty only for the root itself.
    pub(super) name: Vec<u8>,
}

/// What is at a path.
#[cfg(feature = "runtime")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Directory,
    /// A link, and where it leads.
    Link(Vec<u8>),
    Other,
}

impl TreePath {
    /// Splits an archive's path; a leading `/` or `./` means the root.
    pub(super) fn parse(path: &[u8]) -> Result<Self, TreeError> {
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

    fn parent_bytes(&self) -> Vec<u8> {
        self.parents.join(&b'/')
    }
}

impl Tree {
    /// Opens the directory `root`, which must exist.
    pub(crate) fn open(root: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, root, flags, Mode::empty()).map_err(|error| system("open", error))?;
        Ok(Self { root })
    }

    /// A file below the root for reading, links followed inside the root only; `None` if there is
    /// none.
    #[cfg(feature = "runtime")]
    pub(crate) fn read(&self, path: &str) -> Result<Option<OwnedFd>, TreeError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self.resolve(path.as_bytes(), flags) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(system("open", error)),
        }
    }

    /// What is at `path`; its last component is not followed.
    #[cfg(feature = "runtime")]
    pub(crate) fn look(&self, path: &[u8]) -> Result<Found, TreeError> {
        let path = TreePath::parse(path)?;
        let parent = match self
            .resolve(&path.parent_bytes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
        {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Found::Nothing),
            Err(error) => return Err(system("open parent", error)),
        };
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
    #[cfg(feature = "runtime")]
    pub(crate) fn make_directories(&self, path: &[u8]) -> Result<(), TreeError> {
        let mut path = TreePath::parse(path)?;
        path.parents.push(std::mem::take(&mut path.name));
        path.parents.retain(|name| !name.is_empty());
        self.parent(&path).map(drop)
    }

    /// Makes what `item` describes, with `content` as a file's bytes.
    pub(super) fn make(&self, item: &Item, content: &mut dyn Read) -> Result<(), TreeError> {
        let path = TreePath::parse(&item.path)?;
        for (name, value) in &item.xattrs {
            allowed_xattr(name, value)?;
        }
        if path.name.is_empty() {
            return self.make_root(item);
        }
        let parent = self.parent(&path)?;
        if item.make != Make::Directory {
            remove(&parent, &path.name)?;
        }
        match &item.make {
            Make::Directory => self.make_directory(&parent, &path.name, item),
            Make::File => make_file(&parent, &path.name, item, content),
            Make::Symlink(target) => {
                let made = symlinkat(target.as_slice(), &parent, path.name.as_slice());
                made.map_err(|error| system("symlink", error))?;
                own_unopened(&parent, &path.name, item)
            }
            Make::HardLink(target) => self.make_hard_link(target, &parent, &path.name),
            Make::Fifo => {
                let mode = Mode::from_raw_mode(item.mode & 0o777);
                mknodat(&parent, path.name.as_slice(), FileType::Fifo, mode, 0)
                    .map_err(|error| system("mkfifo", error))?;
                own_unopened(&parent, &path.name, item)
            }
        }
    }

    /// Hides `path` of the layers below (overlayfs: a character device 0/0).
    pub(super) fn whiteout(&self, path: &TreePath) -> Result<(), TreeError> {
        let parent = self.parent(path)?;
        match look(&parent, &path.name)? {
            // Made by this very layer: what lies below is hidden by it already, a directory's
            // content not yet.
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let directory = open_directory(&parent, &path.name)?;
                set_opaque(&directory)
            }
            Some(_) => Ok(()),
            None => {
                mknodat(&parent, path.name.as_slice(), FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|error| system("make whiteout", error))
            }
        }
    }

    /// Hides everything of the layers below in the directory that holds `path`.
    pub(super) fn opaque_parent(&self, path: &TreePath) -> Result<(), TreeError> {
        let parent = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable =
            openat(&parent, ".", flags, Mode::empty()).map_err(|error| system("open", error))?;
        set_opaque(&readable)
    }

    /// Gives a directory its time, after everything in it was made.
    pub(super) fn set_directory_time(&self, path: &[u8], mtime_secs: i64) -> Result<(), TreeError> {
        let path = TreePath::parse(path)?;
        let parent = self.parent(&path)?;
        let name = if path.name.is_empty() { b".".as_slice() } else { &path.name };
        utimensat(&parent, name, &times(mtime_secs), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| system("set time", error))
    }

    fn make_root(&self, item: &Item) -> Result<(), TreeError> {
        if item.make != Make::Directory {
            return Err(TreeError::RootIsNoDirectory);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(&self.root, ".", flags, Mode::empty()).map_err(|error| system("open", error))?;
        set_attributes(&root, item)
    }

    fn make_directory(&self, parent: &OwnedFd, name: &[u8], item: &Item) -> Result<(), TreeError> {
        let mut hides = false;
        match look(parent, name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Some(stat) => {
                hides = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                remove(parent, name)?;
                mkdirat(parent, name, Mode::RWXU).map_err(|error| system("mkdir", error))?;
            }
            None => mkdirat(parent, name, Mode::RWXU).map_err(|error| system("mkdir", error))?,
        }
        let directory = open_directory(parent, name)?;
        if hides {
            set_opaque(&directory)?;
        }
        set_attributes(&directory, item)
    }

    fn make_hard_link(
        &self,
        target: &[u8],
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), TreeError> {
        let shown = || String::from_utf8_lossy(target).into_owned();
        let path = TreePath::parse(target)?;
        let source =
            self.resolve(&path.parent_bytes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
        let source = source.map_err(|_| TreeError::LinkTarget(shown()))?;
        let stat = look(&source, &path.name)?.ok_or_else(|| TreeError::LinkTarget(shown()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
            _ => return Err(TreeError::LinkTarget(shown())),
        }
        linkat(&source, path.name.as_slice(), parent, name, AtFlags::empty())
            .map_err(|error| system("link", error))
    }

    /// The directory that holds `path`, made if need be.
    fn parent(&self, path: &TreePath) -> Result<OwnedFd, TreeError> {
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

    /// Opens `path` as the kernel sees it from inside the root.
    fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.root, path, flags, Mode::empty(), resolve)
    }
}

/// Removes a file, link or whiteout of that name; a directory is not removed but refused.
fn remove(parent: &OwnedFd, name: &[u8]) -> Result<(), TreeError> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            Err(TreeError::DirectoryReplaced(String::from_utf8_lossy(name).into_owned()))
        }
        Err(error) => Err(system("unlink", error)),
    }
}

fn look(parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, TreeError> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(system("stat", error)),
    }
}

fn open_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|error| system("open directory", error))
}

fn make_file(
    parent: &OwnedFd,
    name: &[u8],
    item: &Item,
    content: &mut dyn Read,
) -> Result<(), TreeError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| system("create", error))?;
    let mut file = std::fs::File::from(file);
    io::copy(content, &mut file).map_err(TreeError::Content)?;
    set_attributes(&file, item)?;
    futimens(&file, &times(item.mtime_secs)).map_err(|error| system("set time", error))
}

/// Owner before mode: a change of owner clears the set-id bits.
fn set_attributes(file: impl AsFd, item: &Item) -> Result<(), TreeError> {
    let owner = (Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)));
    fchown(&file, owner.0, owner.1).map_err(|error| system("chown", error))?;
    fchmod(&file, Mode::from_raw_mode(item.mode)).map_err(|error| system("chmod", error))?;
    for (name, value) in &item.xattrs {
        if !allowed_xattr(name, value)? {
            continue;
        }
        fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())
            .map_err(|error| system("set attribute", error))?;
    }
    Ok(())
}

/// Owner and time of what is not opened: a link or a fifo.
fn own_unopened(parent: &OwnedFd, name: &[u8], item: &Item) -> Result<(), TreeError> {
    let owner = (Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)));
    chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| system("chown", error))?;
    utimensat(parent, name, &times(item.mtime_secs), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| system("set time", error))
}

/// Which extended attributes a layer may set: `user.` ones and file capabilities. SELinux labels
/// pass unset, since the guest has no such policy; everything else, overlayfs's own foremost, is
/// refused.
///
/// Capabilities are kept because images depend on them (`ping`) and nothing is gained by them here:
/// with `no_new_privs`, which every container has, the kernel gives none, and in a user namespace
/// they count for no more than that namespace. Those that name the root of a namespace (revision 3)
/// are not an image's to choose.
fn allowed_xattr(name: &[u8], value: &[u8]) -> Result<bool, TreeError> {
    match name {
        b"security.capability" if is_plain_capability(value) => Ok(true),
        b"security.capability" => Err(TreeError::Capability),
        b"security.selinux" => Ok(false),
        _ if name.starts_with(b"user.overlay.") => Err(refused_xattr(name)),
        _ if name.starts_with(b"user.") && !name.contains(&0) => Ok(true),
        _ => Err(refused_xattr(name)),
    }
}

/// `struct vfs_cap_data` of `linux/capability.h`: revision and effective flag, then two pairs of 32
/// bits.
fn is_plain_capability(value: &[u8]) -> bool {
    const REVISION_2: u8 = 2;
    const BYTES: usize = 20;
    value.len() == BYTES && value[1..4] == [0, 0, REVISION_2] && value[0] <= 1
}

fn refused_xattr(name: &[u8]) -> TreeError {
    TreeError::Xattr(String::from_utf8_lossy(name).into_owned())
}

fn set_opaque(directory: &OwnedFd) -> Result<(), TreeError> {
    fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(|error| system("hide lower layers", error))
}

fn times(mtime_secs: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime_secs, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn system(what: &'static str, error: Errno) -> TreeError {
    TreeError::System { what, error: error.into() }
}

/// Why an entry could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The path breaks a rule.
    #[error("path {path:?} {why}")]
    Path {
        /// The path.
        path: String,
        /// The rule.
        why: &'static str,
    },
    /// The root of the layer is no directory.
    #[error("the root is no directory")]
    RootIsNoDirectory,
    /// A directory made by this layer is replaced by it.
    #[error("{0:?} was a directory before in the same layer")]
    DirectoryReplaced(String),
    /// A hard link to what is not there, or is no file.
    #[error("hard link to {0:?}, which is no file of this layer")]
    LinkTarget(String),
    /// An extended attribute that a layer may not set.
    #[error("extended attribute {0:?} is refused; user.* and security.capability are allowed")]
    Xattr(String),
    /// File capabilities of another form.
    #[error("security.capability is not 20 bytes of revision 2")]
    Capability,
    /// The bytes of a file cannot be read or written.
    #[error("file content: {0}")]
    Content(io::Error),
    /// The kernel refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: io::Error,
    },
}
