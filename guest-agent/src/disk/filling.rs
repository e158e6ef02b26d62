//! Writing an empty file system to a device: what its maker wrote, and nothing else.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use protocol::disk_template::{BLOCK_BYTES, Extent, Template};

/// Zeros that are written at a time.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// The part of a device in which the superblock lies that makes a file system of all the rest.
pub const FIRST_BYTES: u64 = 1 << 20;

/// Writes `template` to the device or file `path` of `device_bytes` bytes, and waits until it is
/// there. What begins within [`FIRST_BYTES`] comes last: a disk that was filled in part has none of
/// it.
pub fn fill(path: &Path, device_bytes: u64, template: &Template<'_>) -> io::Result<()> {
    if u64::from(template.blocks) * BLOCK_BYTES as u64 > device_bytes {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "the image's file system is larger than the disk",
        ));
    }
    let device = OpenOptions::new().write(true).open(path)?;
    for is_first in [false, true] {
        let extents = template.extents.iter();
        extents
            .filter(|extent| (extent.offset_bytes() < FIRST_BYTES) == is_first)
            .try_for_each(|extent| write(&device, extent))?;
        device.sync_all()?;
    }
    Ok(())
}

fn write(device: &File, extent: &Extent<'_>) -> io::Result<()> {
    let start = extent.offset_bytes();
    let Some(data) = extent.data else {
        let end = start + u64::from(extent.blocks) * BLOCK_BYTES as u64;
        let mut at = start;
        while at < end {
            let length = (end - at).min(ZEROS.len() as u64);
            device.write_all_at(&ZEROS[..length as usize], at)?;
            at += length;
        }
        return Ok(());
    };
    device.write_all_at(data, start)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use protocol::disk_template;

    use super::*;

    #[test]
    fn noise_stays_where_the_maker_wrote_nothing() {
        let mut image = vec![0xA5; 300 * BLOCK_BYTES];
        image[BLOCK_BYTES..3 * BLOCK_BYTES].fill(7);
        image[100 * BLOCK_BYTES..299 * BLOCK_BYTES].fill(0);
        let template = disk_template::encode(&image, 0xA5).unwrap();
        let template = disk_template::decode(&template).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0xA5; 301 * BLOCK_BYTES]).unwrap();
        fill(file.path(), 301 * BLOCK_BYTES as u64, &template).unwrap();
        let written = fs::read(file.path()).unwrap();
        assert!(
            written[..image.len()] == image
                && written[image.len()..].iter().all(|byte| *byte == 0xA5)
        );
        let error = fill(file.path(), 299 * BLOCK_BYTES as u64, &template).unwrap_err();
        assert!(error.to_string().contains("larger than the disk"), "{error}");
    }
}
