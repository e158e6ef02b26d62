//! Which ids of the guest stand for those of which container: one range each, no two containers
//! alike.
//!
//! A range is a number that is kept in a file of the container's name from its first start to its
//! removal, so that an agent that starts again finds the same ones. Nothing on disk has ids of a
//! range (see [`container_helper`]), so a range can be anybody's later.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use container_helper::wire::ID_RANGE;

/// Ids are 32 bits wide; the first range is the guest's own, the last holds the number that means
/// none.
const RANGES: u32 = u32::MAX / ID_RANGE - 1;

/// One at a time looks for a free range.
static TAKING: Mutex<()> = Mutex::new(());

/// The first id of the container's range, which is the same until it is given back.
pub(super) fn take(run_dir: &Path, id: &str) -> io::Result<u32> {
    let _taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = directory(run_dir);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let mut taken = HashSet::new();
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let range: u32 = fs::read_to_string(entry.path())?.parse().map_err(io::Error::other)?;
        if entry.file_name() == id {
            return Ok(range * ID_RANGE);
        }
        taken.insert(range);
    }
    let free = (1..=RANGES).find(|range| !taken.contains(range));
    let free = free.ok_or_else(|| io::Error::other("every range is taken"))?;
    fs::write(directory.join(id), free.to_string())?;
    Ok(free * ID_RANGE)
}

/// Lets another container have the range.
pub(super) fn give_back(run_dir: &Path, id: &str) -> io::Result<()> {
    match fs::remove_file(directory(run_dir).join(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_containers_share_a_range() {
        let directory = tempfile::tempdir().expect("directory");
        let take = |id| take(directory.path(), id).expect("a range");
        assert_eq!([take("a-1"), take("b-1"), take("a-1")], [65536, 131_072, 65536]);
        give_back(directory.path(), "a-1").expect("given");
        assert_eq!([take("c-1"), take("a-1")], [65536, 196_608]);
        assert!(
            u64::from(RANGES) * u64::from(ID_RANGE) + u64::from(ID_RANGE) < u64::from(u32::MAX)
        );
    }
}
