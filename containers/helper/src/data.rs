//! Data directories: what a compose file binds by a relative path that its app directory does not
//! have, on the data disk under that path.
//!
//! All of them lie in one directory as they would beside the compose file, so that `./a` shows what
//! `./a/b` holds. The app writes them and is hostile: no link in one is followed, and a new
//! directory is made outside of them and gets its name when it is whole, so that a helper that is
//! killed while it copies a seed leaves none.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, flock, fstat, mkdirat, open,
    openat2, renameat_with,
};
use rustix::io::Errno;

use super::volumes;

/// Permission bits of directories without an example in the image.
const DIRECTORY_MODE: u32 = 0o755;

/// Who a new data directory belongs to, in the container's numbering, and its permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Owner {
    /// A service's own user owns its data directory; where that is root, the owner of the image's
    /// directory at `target` does, as programs that give their privileges up expect it.
    pub(super) fn choose(
        (uid, gid): (u32, u32),
        image: &OwnedFd,
        target: &str,
    ) -> io::Result<Self> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let stat = match openat2(image, target, flags, Mode::empty(), resolve) {
            Ok(directory) => fstat(&directory)?,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                return Ok(Self { uid, gid, mode: DIRECTORY_MODE });
            }
            Err(error) => return Err(error.into()),
        };
        let mode = stat.st_mode & 0o7777;
        Ok(match uid {
            0 => Self { uid: stat.st_uid, gid: stat.st_gid, mode },
            uid => Self { uid, gid, mode },
        })
    }
}

/// Opens the data directory `path` below `root`; makes it with the content of `seed` if it is not
/// there.
pub(super) fn open_or_make(
    root: &Path,
    path: &str,
    seed: Option<&Path>,
    owner: impl FnOnce() -> io::Result<Owner>,
) -> io::Result<OwnedFd> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    let all = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Two containers may begin with one directory at the same time.
    flock(&all, FlockOperation::LockExclusive)?;
    if let Some(directory) = find(&all, path)? {
        return Ok(directory);
    }
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = make_above(&all, above)?;
    let partial = partial(root);
    make(&partial, seed, owner()?)?;
    renameat_with(CWD, &partial, &parent, name, RenameFlags::NOREPLACE)?;
    find(&all, path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The directory `path` below `all`; `None` if nothing is there.
fn find(all: &OwnedFd, path: &str) -> io::Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(all, path, flags, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The directories of `path` below `all`, made where they are not there.
fn make_above(all: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let mut at = all.try_clone()?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match mkdirat(&at, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = find(&at, name)?.ok_or(io::ErrorKind::NotFound)?;
    }
    Ok(at)
}

/// A name beside the directory of all data directories: in it every name may be one.
fn partial(root: &Path) -> PathBuf {
    let mut name = root.as_os_str().to_owned();
    name.push("~partial");
    name.into()
}

fn make(partial: &Path, seed: Option<&Path>, owner: Owner) -> io::Result<()> {
    match fs::remove_dir_all(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(partial)?;
    if let Some(seed) = seed {
        let seed = open(seed, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        volumes::copy(&seed, ".", partial)?;
    }
    give(partial, owner)?;
    fs::set_permissions(partial, fs::Permissions::from_mode(owner.mode))
}

/// Gives `directory` and all below to `owner`; what is below is a copy of measured files.
fn give(directory: &Path, owner: Owner) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => give(&entry.path(), owner)?,
            false => lchown(entry.path(), Some(owner.uid), Some(owner.gid))?,
        }
    }
    lchown(directory, Some(owner.uid), Some(owner.gid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// This process' own ids: others need privileges.
    fn own() -> (u32, u32) {
        (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
    }

    fn owner() -> io::Result<Owner> {
        let (uid, gid) = own();
        Ok(Owner { uid, gid, mode: 0o1777 })
    }

    fn never() -> io::Result<Owner> {
        panic!("the directory is there")
    }

    #[test]
    fn a_data_directory_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let (root, seed) =
            (directory.path().join("disk/directories"), directory.path().join("seed"));
        fs::create_dir_all(seed.join("deep")).expect("directories");
        fs::write(seed.join("deep/file"), "of the seed").expect("file");
        open_or_make(&root, "a/b", Some(&seed), owner).expect("made");
        assert_eq!(fs::metadata(root.join("a/b")).expect("made").mode() & 0o7777, 0o1777);
        let file = root.join("a/b/deep/file");
        assert_eq!(fs::read_to_string(&file).expect("file"), "of the seed");
        let metadata = fs::metadata(&file).expect("file");
        assert_eq!((metadata.uid(), metadata.gid()), own());
        fs::remove_file(&file).expect("remove");
        open_or_make(&root, "a/b", Some(&seed), never).expect("again");
        assert!(!file.exists(), "what the app removed stays removed");
        open_or_make(&root, "a", None, never).expect("above");
        open_or_make(&root, "a/c", None, owner).expect("beside");
        assert_eq!(root.join("a").read_dir().expect("a").count(), 2, "./a shows both");
        let names = directory.path().join("disk").read_dir().expect("disk");
        assert_eq!(names.count(), 1, "nothing partial");
    }

    #[test]
    fn no_link_of_the_app_is_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path().join("directories");
        open_or_make(&root, "a", None, owner).expect("made");
        fs::create_dir(directory.path().join("outside")).expect("directory");
        symlink("../../outside", root.join("a/link")).expect("link");
        symlink("nowhere", root.join("a/dead")).expect("link");
        fs::write(root.join("a/file"), "").expect("file");
        for path in ["a/link", "a/link/x", "a/dead", "a/dead/x", "a/file", "a/file/x"] {
            let made = open_or_make(&root, path, None, owner);
            assert!(made.is_err(), "{path}");
        }
        assert_eq!(directory.path().join("outside").read_dir().expect("outside").count(), 0);
    }

    #[test]
    fn the_user_or_the_image_owns() {
        let directory = tempfile::tempdir().expect("directory");
        let at = directory.path().join("srv");
        fs::create_dir(&at).expect("directory");
        fs::set_permissions(&at, fs::Permissions::from_mode(0o2750)).expect("mode");
        symlink("/srv", directory.path().join("link")).expect("link");
        let image = open(directory.path(), OFlags::PATH, Mode::empty()).expect("image");
        let choose = |user, target| Owner::choose(user, &image, target).expect(target);
        let (uid, gid) = own();
        for target in ["/srv", "/link"] {
            assert_eq!(choose((0, 0), target), Owner { uid, gid, mode: 0o2750 });
        }
        assert_eq!(choose((7, 8), "/srv"), Owner { uid: 7, gid: 8, mode: 0o2750 });
        assert_eq!(choose((0, 0), "/no"), Owner { uid: 0, gid: 0, mode: 0o755 });
    }
}
