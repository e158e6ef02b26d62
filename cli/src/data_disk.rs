//! The data disk's file: sparse, in the machine's directory, gone with it.

use std::fs;
use std::path::Path;

use protocol::data_disk::MIN_BYTES;

use crate::failure::{Failure, Hint as _, Outcome};

/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

/// Makes the file of a disk of `gib` GiB. It takes room only as the guest writes, but all of it
/// must be there: a file system of the host that fills up under a running guest is an error in the
/// middle of the app.
pub fn create(path: &Path, gib: u64) -> Outcome<()> {
    let bytes = gib.checked_mul(GIB).filter(|bytes| *bytes >= MIN_BYTES);
    let bytes = bytes.ok_or_else(|| {
        Failure::new(
            format!("a data disk of {gib} GiB"),
            format!("give --disk-gib {} or more", MIN_BYTES / GIB),
        )
    })?;
    check_room(path.parent().unwrap_or(Path::new(".")), bytes)?;
    let file = fs::File::create_new(path).hint(path.display(), "is the directory writable?")?;
    file.set_len(bytes).hint(path.display(), "does the file system allow files of this size?")
}

/// Refuses a disk that does not fit, holes included.
pub fn check_room(directory: &Path, bytes: u64) -> Outcome<()> {
    let room = room_bytes(directory)?;
    if bytes <= room {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "a data disk of {} GiB does not fit: {} has room for {} GiB",
            bytes / GIB,
            directory.display(),
            room / GIB
        ),
        "give a smaller --disk-gib, or make room; the file grows only as the guest writes",
    ))
}

/// Refuses a file that no guest takes as its data disk.
pub fn check(path: &Path) -> Outcome<()> {
    let bytes = fs::metadata(path).hint(path.display(), "is the file there?")?.len();
    if bytes >= MIN_BYTES {
        return Ok(());
    }
    let what = format!("a data disk of {bytes} bytes; at least {MIN_BYTES} are expected");
    Err(Failure::new(what, "was the file cut?"))
}

fn room_bytes(directory: &Path) -> Outcome<u64> {
    let stat = nix::sys::statvfs::statvfs(directory)
        .hint(directory.display(), "is the directory there?")?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_file_is_sparse_and_its_size_is_refused_where_it_cannot_work() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.img");
        create(&path, 1).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (GIB, 0));
        assert!(create(&path, 1).is_err(), "a disk is never written over");
        let refused = |gib| create(&directory.path().join("other.img"), gib).unwrap_err();
        assert_eq!(refused(0).hint, "give --disk-gib 1 or more");
        assert!(refused(1 << 30).to_string().contains("does not fit"));
        assert!(refused(u64::MAX).to_string().contains("a data disk of"));
        assert!(!directory.path().join("other.img").exists());
    }
}
