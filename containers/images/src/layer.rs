//! Making files under a root that nothing can escape: every path is resolved by the kernel inside
//! it.
//!
//! A layer's paths and the links it made before are hostile. The parent of each path is opened with
//! `openat2(RESOLVE_IN_ROOT)`, so `..`, absolute links and links swapped under way all end inside
//! the root; the last component is then used relative to that descriptor and never followed.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use container_tree::{Tree, TreeError, TreePath, look, remove_directory_at};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::archive::{Item, Make};
use super::budget::BudgetError;

/// The attribute by which overlayfs hides what lies below a directory.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// The attribute by which overlayfs knows a directory that was copied up.
const ORIGIN_XATTR: &str = "trusted.overlay.origin";

/// The directory that a layer is unpacked into.
#[derive(Debug)]
pub(super) struct Layer {
    tree: Tree,
}

impl Layer {
    /// Opens the directory `root`, which must exist.
    pub(super) fn open(root: &Path) -> Result<Self, LayerError> {
        Ok(Self { tree: Tree::open(root)? })
    }

    /// Makes what `item` describes at `path`, with `content` as a file's bytes; true if a directory
    /// was in the way and is gone.
    ///
    /// A later entry of a name counts, as in Docker and containerd; only a directory over a
    /// directory keeps what is in it.
    pub(super) fn make(
        &self,
        path: &TreePath,
        item: &Item,
        content: &mut dyn Read,
    ) -> Result<bool, LayerError> {
        if path.name.is_empty() {
            return self.make_root(item).map(|()| false);
        }
        let parent = self.tree.parent(path)?;
        let replaced = item.make != Make::Directory && remove(&parent, &path.name)?;
        match &item.make {
            Make::Directory => make_directory(&parent, &path.name, item),
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
            Make::Device => Ok(()),
        }?;
        Ok(replaced)
    }

    /// Hides `path` of the layers below (overlayfs: a character device 0/0), once all that this
    /// layer has is made.
    pub(super) fn whiteout(&self, path: &TreePath) -> Result<(), LayerError> {
        let parent = match self.tree.parent(path) {
            // Below a file of this layer there is nothing to hide.
            Err(TreeError::System { error, .. })
                if error.kind() == io::ErrorKind::NotADirectory =>
            {
                return Ok(());
            }
            parent => parent?,
        };
        match look(&parent, &path.name)? {
            // What lies below is hidden by what this layer has of that name, a directory's content
            // not yet.
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                set_opaque(&open_directory(&parent, &path.name)?)
            }
            Some(_) => Ok(()),
            None => {
                mknodat(&parent, path.name.as_slice(), FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|error| system("make whiteout", error))?;
                mark_whiteouts(&readable(&parent)?)
            }
        }
    }

    /// Hides everything of the layers below in the directory that holds `path`.
    pub(super) fn opaque_parent(&self, path: &TreePath) -> Result<(), LayerError> {
        set_opaque(&readable(&self.tree.parent(path)?)?)
    }

    /// Gives a directory its time, after everything in it was made; nothing if it is gone.
    pub(super) fn set_directory_time(
        &self,
        path: &TreePath,
        mtime_secs: i64,
    ) -> Result<(), LayerError> {
        let Some(parent) = self.tree.existing_parent(path)? else { return Ok(()) };
        let name = if path.name.is_empty() { b".".as_slice() } else { &path.name };
        match utimensat(&parent, name, &times(mtime_secs), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(system("set time", error)),
        }
    }

    fn make_root(&self, item: &Item) -> Result<(), LayerError> {
        if item.make != Make::Directory {
            return Err(LayerError::RootIsNoDirectory);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = self.tree.resolve(b".", flags).map_err(|error| system("open", error))?;
        set_attributes(&root, item)
    }

    fn make_hard_link(
        &self,
        target: &[u8],
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), LayerError> {
        let shown = || String::from_utf8_lossy(target).into_owned();
        let path = TreePath::parse(target)?;
        let source = self
            .tree
            .resolve(&path.parent_bytes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
        let source = source.map_err(|_| LayerError::LinkTarget(shown()))?;
        let stat = look(&source, &path.name)?.ok_or_else(|| LayerError::LinkTarget(shown()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
            _ => return Err(LayerError::LinkTarget(shown())),
        }
        linkat(&source, path.name.as_slice(), parent, name, AtFlags::empty())
            .map_err(|error| system("link", error))
    }
}

fn make_directory(parent: &OwnedFd, name: &[u8], item: &Item) -> Result<(), LayerError> {
    match look(parent, name)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
        found => {
            if found.is_some() {
                remove(parent, name)?;
            }
            mkdirat(parent, name, Mode::RWXU).map_err(|error| system("mkdir", error))?;
        }
    }
    set_attributes(&open_directory(parent, name)?, item)
}

/// Removes what has that name, a directory with all that is in it; true if it was one.
fn remove(parent: &OwnedFd, name: &[u8]) -> Result<bool, LayerError> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => {
            remove_directory_at(parent, name).map_err(LayerError::Replace)?;
            Ok(true)
        }
        Err(error) => Err(system("unlink", error)),
    }
}

fn open_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|error| system("open directory", error))
}

fn make_file(
    parent: &OwnedFd,
    name: &[u8],
    item: &Item,
    content: &mut dyn Read,
) -> Result<(), LayerError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| system("create", error))?;
    let mut file = std::fs::File::from(file);
    io::copy(content, &mut file).map_err(LayerError::Content)?;
    set_attributes(&file, item)?;
    futimens(&file, &times(item.mtime_secs)).map_err(|error| system("set time", error))
}

/// Owner before mode: a change of owner clears the set-id bits.
fn set_attributes(file: impl AsFd, item: &Item) -> Result<(), LayerError> {
    let owner = (Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)));
    fchown(&file, owner.0, owner.1).map_err(|error| system("chown", error))?;
    fchmod(&file, Mode::from_raw_mode(item.mode)).map_err(|error| system("chmod", error))?;
    for (name, value) in &item.xattrs {
        fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())
            .map_err(|error| system("set attribute", error))?;
    }
    Ok(())
}

/// Owner and time of what is not opened: a link or a fifo.
fn own_unopened(parent: &OwnedFd, name: &[u8], item: &Item) -> Result<(), LayerError> {
    let owner = (Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)));
    chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| system("chown", error))?;
    utimensat(parent, name, &times(item.mtime_secs), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| system("set time", error))
}

/// Attributes that have no meaning in a guest, which has no SELinux policy and appraises no files.
const MEANINGLESS: [&str; 3] = ["security.evm", "security.ima", "security.selinux"];

/// Leaves the extended attributes that a layer may set, `user.` ones and file capabilities, and
/// gives the names of those that have no meaning here. Everything else, overlayfs's own foremost,
/// is refused.
///
/// Capabilities are kept because images depend on them (`ping`) and nothing is gained by them here:
/// with `no_new_privs`, which every container has, the kernel gives none, and in a user namespace
/// they count for no more than that namespace. Those that name the root of a namespace (revision 3)
/// are not an image's to choose.
pub(super) fn take_out_attributes(
    attributes: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<Vec<&'static str>, LayerError> {
    let mut taken = Vec::new();
    attributes.retain(|(name, _)| {
        let meaningless = MEANINGLESS.into_iter().find(|known| known.as_bytes() == name);
        taken.extend(meaningless);
        meaningless.is_none()
    });
    for (name, value) in attributes {
        match name.as_slice() {
            b"security.capability" if is_plain_capability(value) => {}
            b"security.capability" => return Err(LayerError::Capability),
            _ if name.starts_with(b"user.overlay.") => return Err(refused_xattr(name)),
            _ if name.starts_with(b"user.") && !name.contains(&0) => {}
            _ => return Err(refused_xattr(name)),
        }
    }
    Ok(taken)
}

/// `struct vfs_cap_data` of `linux/capability.h`: revision and effective flag, then two pairs of 32
/// bits.
fn is_plain_capability(value: &[u8]) -> bool {
    const REVISION_2: u8 = 2;
    const BYTES: usize = 20;
    value.len() == BYTES && value[1..4] == [0, 0, REVISION_2] && value[0] <= 1
}

fn refused_xattr(name: &[u8]) -> LayerError {
    LayerError::Xattr(String::from_utf8_lossy(name).into_owned())
}

/// The same directory for reading: attributes are not set by way of a path alone.
fn readable(directory: &OwnedFd) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, ".", flags, Mode::empty()).map_err(|error| system("open", error))
}

/// Tells overlayfs that a directory may hold whiteouts. Otherwise it lists a directory that no
/// other layer has, or an opaque one, as it is: with names that do not exist. An empty value means
/// "copied up from an unknown place" (`ovl_path_check_origin_xattr` in `fs/overlayfs`).
fn mark_whiteouts(directory: &OwnedFd) -> Result<(), LayerError> {
    fsetxattr(directory, ORIGIN_XATTR, b"", XattrFlags::empty())
        .map_err(|error| system("mark a directory with whiteouts", error))
}

fn set_opaque(directory: &OwnedFd) -> Result<(), LayerError> {
    fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(|error| system("hide lower layers", error))
}

fn times(mtime_secs: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime_secs, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn system(what: &'static str, error: Errno) -> LayerError {
    TreeError::System { what, error: error.into() }.into()
}

/// Why an entry could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// a path that cannot be used
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// the root of the layer is no directory
    #[error("the root is no directory")]
    RootIsNoDirectory,
    /// too many entries
    #[error(transparent)]
    Budget(BudgetError),
    /// what an entry replaces cannot be removed
    #[error("replace a directory of the same layer: {0}")]
    Replace(io::Error),
    /// a hard link to what is not there, or is no file
    #[error("hard link to {0:?}, which is no file of this layer")]
    LinkTarget(String),
    /// an extended attribute that a layer may not set
    #[error("extended attribute {0:?} is refused; user.* and security.capability are allowed")]
    Xattr(String),
    /// file capabilities of another form
    #[error("security.capability is not 20 bytes of revision 2")]
    Capability,
    /// the bytes of a file cannot be read or written
    #[error("file content: {0}")]
    Content(io::Error),
}
