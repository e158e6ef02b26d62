//! `pad-runner`, from the image into memory: it is in the initramfs compressed, and costs a guest
//! without Pads nothing but its loading.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use ruzstd::decoding::StreamingDecoder;

/// Where the image has it.
pub const PACKED: &str = "/usr/share/dstyx/pad-runner.zst";
/// Most bytes that it may unpack to: less than twice what it has.
const MAX_BYTES: u64 = 64 << 20;

/// The program in a file of memory that nothing can change any more.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Unpacks it. The image is measured, so the file is what its builder made.
    ///
    /// # Errors
    /// If it cannot be read, is too large, or memory is short.
    pub fn unpack(packed: &Path) -> io::Result<Self> {
        let decoder = StreamingDecoder::new(io::BufReader::new(File::open(packed)?));
        let decoder = decoder.map_err(|error| io::Error::other(error.to_string()))?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC;
        let mut file = File::from(memfd_create("pad-runner", flags)?);
        let mut bounded = decoder.take(MAX_BYTES + 1);
        if io::copy(&mut bounded, &mut file)? > MAX_BYTES {
            let what = format!("{} unpacks to more than {MAX_BYTES} bytes", packed.display());
            return Err(io::Error::other(what));
        }
        file.flush()?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        Ok(Self(file.into()))
    }

    /// A path of it for this process and a child that is about to run it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Bytes of a block of zstd.
    const BLOCK_BYTES: usize = 128 << 10;

    /// Bytes as zstd stores what it cannot compress (RFC 8878): a frame of one segment with its
    /// size, and blocks that are not compressed.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
        frame.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        let last = bytes.len().div_ceil(BLOCK_BYTES) - 1;
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let header = u32::try_from(block.len()).unwrap() << 3 | u32::from(number == last);
            frame.extend(&header.to_le_bytes()[..3]);
            frame.extend(block);
        }
        frame
    }

    #[test]
    fn a_program_that_was_unpacked_runs_and_cannot_be_changed() {
        let directory = tempfile::tempdir().unwrap();
        let packed = directory.path().join("a.zst");
        let bytes = std::fs::read("/bin/true").unwrap();
        std::fs::write(&packed, stored(&bytes)).unwrap();
        let program = Program::unpack(&packed).unwrap();
        assert_eq!(std::fs::read(program.path()).unwrap(), bytes);
        assert!(std::fs::write(program.path(), b"other").is_err());
        assert!(Command::new(program.path()).status().unwrap().success());
    }

    #[test]
    fn what_is_not_packed_or_unpacks_to_too_much_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let packed = directory.path().join("a.zst");
        std::fs::write(&packed, b"hello").unwrap();
        assert!(Program::unpack(&packed).is_err());
        std::fs::write(&packed, stored(&vec![7; MAX_BYTES as usize + 1])).unwrap();
        let refused = Program::unpack(&packed).unwrap_err().to_string();
        assert!(refused.contains("more than"), "{refused}");
        assert!(Program::unpack(&directory.path().join("b")).is_err());
    }
}
