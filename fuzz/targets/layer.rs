//! A layer unpacked in memory: whatever its bytes are, nothing outside its directory is touched.
//!
//! The first byte chooses the compression. Run as root it makes owned files and whiteouts too.
#![no_main]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use container_images::{Compression, Limits, unpack_layer};
use container_tree::remove_tree;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { fetched_bytes: 1 << 20, unpacked_bytes: 1 << 20, entries: 64 };
/// Directories looked into for device nodes.
const MAX_LOOKED_AT: usize = 256;
const OUTSIDE: &[u8] = b"untouched";

/// A directory in memory that holds a file which must stay as it is.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = PathBuf::from(format!("/dev/shm/dstyx-fuzz-layer-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory in memory");
        fs::write(directory.join("outside"), OUTSIDE).expect("file");
        directory
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, packed)) = bytes.split_first() else { return };
    let compression = match kind % 3 {
        0 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    let root = directory().join("root");
    fs::create_dir(&root).expect("directory");
    let unpacked = unpack_layer(packed, compression, LIMITS, &root);
    no_devices(&root);
    // A directory that its owner may not even list goes all the same.
    remove_tree(&root).expect("removed");
    if unpacked.is_ok() && compression == Compression::None {
        assert!(packed.len() as u64 <= LIMITS.unpacked_bytes);
    }
    let outside = fs::symlink_metadata(directory().join("outside")).expect("still there");
    assert_eq!((outside.nlink(), outside.len()), (1, OUTSIDE.len() as u64));
    assert_eq!(fs::read(directory().join("outside")).expect("still there"), OUTSIDE);
    assert_eq!(directory().read_dir().expect("directory").count(), 1);
});

fn no_devices(root: &Path) {
    let mut directories = vec![root.to_owned()];
    for _ in 0..MAX_LOOKED_AT {
        let Some(entries) = directories.pop().map(fs::read_dir) else { return };
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(found) = fs::symlink_metadata(entry.path()) else { continue };
            let device = found.file_type().is_block_device() || found.file_type().is_char_device();
            assert!(!device || found.rdev() == 0, "{:?}", entry.path());
            if found.is_dir() {
                directories.push(entry.path());
            }
        }
    }
}
