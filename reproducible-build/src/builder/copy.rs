//! Copies a work directory with its modification times, so that `make` sees what is done.

use std::fs::FileTimes;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use fs_err as fs;

/// Copies the directory `from` to `to`, which must not exist. Links stay links.
pub(super) fn tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, source, target) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            tree(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else {
            fs::copy(&source, &target)?;
            set_modified(&source, &target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    set_modified(from, to)
}

fn set_modified(from: &Path, to: &Path) -> io::Result<()> {
    let times = FileTimes::new().set_modified(fs::metadata(from)?.modified()?);
    fs::File::open(to)?.file().set_times(times)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn keeps_times_links_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "x").unwrap();
        symlink("sub/file", from.join("link")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = fs::File::options().write(true).open(from.join("sub/file")).unwrap();
        file.file().set_modified(old).unwrap();
        tree(&from, &to).unwrap();
        assert_eq!(fs::metadata(to.join("sub/file")).unwrap().modified().unwrap(), old);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("sub/file"));
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "x");
    }
}
