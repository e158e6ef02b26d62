//! Virtio disks by their serial, as sysfs shows them. All drivers are built in and have probed
//! before PID 1 starts, so nothing is waited for.
//!
//! The host chooses serials: two disks with one serial are ambiguous, and neither is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest serial of a virtio block device (`VIRTIO_BLK_ID_BYTES`).
const MAX_SERIAL_BYTES: usize = 20;
/// Most disks that are looked at: the slots of a root bus.
const MAX_DISKS: usize = 32;
/// Bytes of the sectors in which sysfs counts.
const SECTOR_BYTES: u64 = 512;

/// Disks that name themselves, serial → device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disks(BTreeMap<String, PathBuf>);

impl Disks {
    /// Lists `sys/block/vd*` and `dev/vd*` below `root`, which is `/` but in tests.
    pub fn scan(root: &Path) -> io::Result<Self> {
        let (mut found, mut ambiguous) = (BTreeMap::new(), BTreeSet::new());
        for entry in fs::read_dir(root.join("sys/block"))?.take(MAX_DISKS) {
            let entry = entry?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(b"vd") {
                continue;
            }
            let Some(serial) = read_serial(&entry.path().join("serial")) else { continue };
            if found.insert(serial.clone(), root.join("dev").join(&name)).is_some() {
                ambiguous.insert(serial);
            }
        }
        found.retain(|serial, _| !ambiguous.contains(serial));
        Ok(Self(found))
    }

    /// The node of the one disk with this serial.
    pub fn node(&self, serial: &str) -> Option<&Path> {
        self.0.get(serial).map(PathBuf::as_path)
    }

    /// All of them, as the handover wants them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(serial, node)| (serial.clone(), node.display().to_string())).collect()
    }
}

/// Size of a disk in bytes, as sysfs below `root` states it.
pub fn size_bytes(root: &Path, node: &Path) -> io::Result<u64> {
    let name = node.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let text = fs::read_to_string(root.join("sys/block").join(name).join("size"))?;
    let sectors: u64 = text.trim_end().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    sectors.checked_mul(SECTOR_BYTES).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Printable serials only; whatever else a host writes there is nobody's.
fn read_serial(path: &Path) -> Option<String> {
    let mut serial = String::new();
    File::open(path).ok()?.take(MAX_SERIAL_BYTES as u64 + 1).read_to_string(&mut serial).ok()?;
    let serial = serial.trim_end_matches('\n');
    let legal = !serial.is_empty()
        && serial.len() <= MAX_SERIAL_BYTES
        && serial.bytes().all(|b| b.is_ascii_graphic());
    legal.then(|| serial.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_disks(disks: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, serial) in disks {
            let directory = root.path().join("sys/block").join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("serial"), serial).unwrap();
            fs::write(directory.join("size"), "8\n").unwrap();
        }
        root
    }

    #[test]
    fn disks_are_found_by_serial() {
        let root = with_disks(&[
            ("vda", "dstyx-launch"),
            ("vdb", "dstyx-status\n"),
            ("loop0", "x"),
            ("vdc", ""),
        ]);
        let disks = Disks::scan(root.path()).unwrap();
        assert_eq!(disks.node("dstyx-launch"), Some(root.path().join("dev/vda").as_path()));
        assert_eq!(disks.to_map().len(), 2);
        assert_eq!(size_bytes(root.path(), disks.node("dstyx-status").unwrap()).unwrap(), 4096);
    }

    #[test]
    fn two_disks_of_one_serial_are_none() {
        let root = with_disks(&[
            ("vda", "dstyx-launch"),
            ("vdb", "dstyx-launch"),
            ("vdc", "dstyx-launch"),
        ]);
        assert_eq!(Disks::scan(root.path()).unwrap().node("dstyx-launch"), None);
    }

    #[test]
    fn serials_that_nobody_wrote_are_skipped() {
        let root = with_disks(&[("vda", "a\0b"), ("vdb", "123456789012345678901"), ("vdc", "a b")]);
        assert!(Disks::scan(root.path()).unwrap().to_map().is_empty());
    }
}
