//! Volumes: directories of the data disk that begin with what the image has at their place.
//!
//! A volume is made under another name and gets its own when it is whole, so a helper that is
//! killed while it copies leaves none. The image's files are hostile: they are opened inside the
//! image's own root only, links are copied and never followed, device nodes are left out.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec,
    Timestamps, Uid, chownat, fchmod, fchown, flock, futimens, mkdirat, mknodat, open, openat,
    openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::wire::Report;

/// Deeper than any directory that a person made; each level is a call and a descriptor.
const MAX_DEPTH: usize = 128;

/// Makes the volume `directory` if it is not there, with the content of `fill` in `image`, owners
/// included; `tell` hears when that begins and ends.
pub(super) fn make(
    directory: &Path,
    image: impl FnOnce() -> io::Result<OwnedFd>,
    fill: Option<&str>,
    tell: &dyn Fn(&Report),
) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    tell(&Report::Copying);
    let made = make_whole(directory, image, fill);
    tell(&Report::Copied);
    made
}

fn make_whole(
    directory: &Path,
    image: impl FnOnce() -> io::Result<OwnedFd>,
    fill: Option<&str>,
) -> io::Result<()> {
    let parent = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    // Two containers may begin with one volume at the same time.
    let lock = open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if directory.exists() {
        return Ok(());
    }
    let partial = partial(directory);
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o755).create(&partial)?;
    if let Some(fill) = fill {
        copy(&image()?, fill, &partial)?;
    }
    fs::rename(partial, directory)
}

/// A name that no volume can have.
fn partial(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push("~partial");
    name.into()
}

/// Copies what is at `path` in `image` into the directory `to`; nothing if it is no directory.
pub(super) fn copy(image: &OwnedFd, path: &str, to: &Path) -> io::Result<()> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = match openat2(image, path, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&from)?;
    let to = openat(CWD, to, flags, Mode::empty())?;
    copy_directory(&from, &to, 0)?;
    own(&to, &stat)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("directories are nested deeper than {MAX_DEPTH}")));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, depth: usize) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let source = openat(from, name, flags | OFlags::DIRECTORY, Mode::empty())?;
            let copied = openat(to, name, flags | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(&source, &copied, depth + 1)?;
            own(&copied, &stat)
        }
        FileType::RegularFile => {
            let mut source = fs::File::from(openat(from, name, flags, Mode::empty())?);
            let make =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut copied = fs::File::from(openat(to, name, make, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut source, &mut copied)?;
            own(&copied, &stat)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            own_unopened(to, name, &stat)
        }
        FileType::Fifo => {
            mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode & 0o777), 0)?;
            own_unopened(to, name, &stat)
        }
        _ => Ok(()),
    }
}

/// Owner before mode: a change of owner clears the set-id bits.
fn own(file: impl AsFd, stat: &Stat) -> io::Result<()> {
    fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(futimens(&file, &times(stat))?)
}

fn own_unopened(directory: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(directory, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_volume_begins_with_the_image_and_is_never_filled_again() {
        let directory = tempfile::tempdir().expect("directory");
        let image = directory.path().join("image");
        fs::create_dir_all(image.join("srv/deep")).expect("directories");
        fs::write(image.join("srv/deep/file"), "of the image").expect("file");
        fs::set_permissions(image.join("srv/deep/file"), fs::Permissions::from_mode(0o4640))
            .expect("mode");
        symlink("/etc/passwd", image.join("srv/link")).expect("link");
        symlink("/srv/deep", image.join("to-deep")).expect("link");
        symlink("/../../..", image.join("out")).expect("link");
        let open_image =
            || -> io::Result<OwnedFd> { Ok(open(&image, OFlags::PATH, Mode::empty())?) };

        let volume = directory.path().join("volumes/data");
        let told = RefCell::new(Vec::new());
        let tell = |report: &Report| told.borrow_mut().push(report.clone());
        make(&volume, open_image, Some("/srv"), &tell).expect("volume");
        assert_eq!(*told.borrow(), [Report::Copying, Report::Copied]);
        let file = volume.join("deep/file");
        assert_eq!(fs::read_to_string(&file).expect("file"), "of the image");
        assert_eq!(fs::metadata(&file).expect("file").mode() & 0o7777, 0o4640);
        assert_eq!(fs::read_link(volume.join("link")).expect("link"), Path::new("/etc/passwd"));
        fs::remove_file(&file).expect("remove");
        make(&volume, open_image, Some("/srv"), &tell).expect("again");
        assert_eq!(told.borrow().len(), 2, "nothing is copied");
        assert!(!file.exists(), "what the app removed stays removed");

        for (name, fill, expected) in [
            ("linked", "/to-deep", 1),
            ("out", "/out", 3),
            ("none", "/nothing", 0),
            ("file", "/srv/deep/file", 0),
        ] {
            let volume = directory.path().join("volumes").join(name);
            make(&volume, open_image, Some(fill), &tell).expect(name);
            assert_eq!(volume.read_dir().expect(name).count(), expected, "{name}");
        }
        assert_eq!(
            directory.path().join("volumes").read_dir().expect("volumes").count(),
            5,
            "nothing partial"
        );
    }
}
