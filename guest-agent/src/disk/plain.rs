//! What lies on a data disk that is not encrypted: nothing, or the file system of an earlier boot.
//!
//! The host could have written either. It decides whether the app finds data, never whether the
//! guest trusts them: an app with such a disk seals all that it stores.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::filling::FIRST_BYTES;

/// Where the superblock of a btrfs has its magic number: 64 bytes into the superblock at 64 KiB.
const MAGIC_OFFSET: usize = 64 * 1024 + 64;
/// The magic number.
const MAGIC: &[u8] = b"_BHRfS_M";

/// What the first part of a disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Zeros: nobody has used the disk yet.
    Nothing,
    /// A btrfs.
    Btrfs,
    /// Anything else, which is not overwritten.
    Foreign,
}

impl Content {
    /// Reads the first part of the device or file `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut first = Vec::new();
        File::open(path)?.take(FIRST_BYTES).read_to_end(&mut first)?;
        Ok(Self::in_bytes(&first))
    }

    fn in_bytes(first: &[u8]) -> Self {
        if first.iter().all(|byte| *byte == 0) {
            return Self::Nothing;
        }
        match first.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()) {
            Some(MAGIC) => Self::Btrfs,
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_are_overwritten_and_only_a_btrfs_is_mounted() {
        let mut disk = vec![0; 1 << 20];
        assert_eq!(Content::in_bytes(&disk), Content::Nothing);
        *disk.last_mut().unwrap() = 1;
        assert_eq!(Content::in_bytes(&disk), Content::Foreign);
        disk[MAGIC_OFFSET..][..8].copy_from_slice(MAGIC);
        assert_eq!(Content::in_bytes(&disk), Content::Btrfs);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &disk).unwrap();
        assert_eq!(Content::of(file.path()).unwrap(), Content::Btrfs);
        std::fs::write(file.path(), b"short").unwrap();
        assert_eq!(Content::of(file.path()).unwrap(), Content::Foreign);
    }
}
