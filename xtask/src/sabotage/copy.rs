//! A copy of the checkout that is brought up to date instead of made anew.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

/// What is not source: results of builds, history, and the workspace of its own that fuzzing is.
const NOT_COPIED: [&str; 3] = ["target", ".git", "fuzz"];

/// Makes `to` equal to `from`, but for [`NOT_COPIED`]; a file that is equal already is left alone,
/// time and all.
pub fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if NOT_COPIED.iter().any(|left_out| name == OsStr::new(left_out)) {
            continue;
        }
        let there = to.join(&name);
        if kind.is_dir() {
            mirror(&entry.path(), &there)?;
        } else if kind.is_file() {
            copy_if_other(&entry.path(), &there)?;
        } else {
            continue; // links lead out of the checkout
        }
        kept.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !kept.contains(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn copy_if_other(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(to, bytes)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_copied_what_did_not_is_left_alone_and_what_went_goes() {
        let directory = std::env::temp_dir().join(format!("dstyx-mirror-{}", std::process::id()));
        let (from, to) = (directory.join("from"), directory.join("to"));
        for part in ["src", "target", ".git"] {
            fs::create_dir_all(from.join(part)).unwrap();
            fs::write(from.join(part).join("file"), part).unwrap();
        }
        fs::write(from.join("gone"), "1").unwrap();
        mirror(&from, &to).unwrap();
        let time = |name: &str| fs::metadata(to.join(name)).unwrap().modified().unwrap();
        let before = time("src/file");
        fs::remove_file(from.join("gone")).unwrap();
        fs::write(from.join("new"), "2").unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!((time("src/file"), fs::read(to.join("new")).unwrap()), (before, b"2".to_vec()));
        assert!(
            !to.join("gone").exists() && !to.join("target").exists() && !to.join(".git").exists()
        );
        fs::remove_dir_all(directory).unwrap();
    }
}
