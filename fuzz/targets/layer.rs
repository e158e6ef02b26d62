//! A layer unpacked in memory: whatever its bytes are, nothing outside its folder is touched.
//!
//! The first byte chooses the compression. Run as root it makes owned files and whiteouts too.
#![no_main]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use containers::images::{Compression, Limits, remove_tree, unpack_layer};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { fetched_bytes: 1 << 20, unpacked_bytes: 1 << 20, entries: 64 };
/// Folders looked into for device nodes.
const MAX_LOOKED_AT: usize = 256;
const OUTSIDE: &[u8] = b"untouched";

/// A folder in memory that holds a file which must stay as it is.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(format!("/dev/shm/dstyx-fuzz-layer-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder in memory");
        fs::write(folder.join("outside"), OUTSIDE).expect("file");
        folder
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, packed)) = bytes.split_first() else { return };
    let compression = match kind % 3 {
        0 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    let root = folder().join("root");
    fs::create_dir(&root).expect("folder");
    let unpacked = unpack_layer(packed, compression, LIMITS, &root);
    no_devices(&root);
    // A folder that its owner may not even list goes all the same.
    remove_tree(&root).expect("removed");
    if unpacked.is_ok() && compression == Compression::None {
        assert!(packed.len() as u64 <= LIMITS.unpacked_bytes);
    }
    let outside = fs::symlink_metadata(folder().join("outside")).expect("still there");
    assert_eq!((outside.nlink(), outside.len()), (1, OUTSIDE.len() as u64));
    assert_eq!(fs::read(folder().join("outside")).expect("still there"), OUTSIDE);
    assert_eq!(folder().read_dir().expect("folder").count(), 1);
});

fn no_devices(root: &Path) {
    let mut folders = vec![root.to_owned()];
    for _ in 0..MAX_LOOKED_AT {
        let Some(entries) = folders.pop().map(fs::read_dir) else { return };
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(found) = fs::symlink_metadata(entry.path()) else { continue };
            let device = found.file_type().is_block_device() || found.file_type().is_char_device();
            assert!(!device || found.rdev() == 0, "{:?}", entry.path());
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}
