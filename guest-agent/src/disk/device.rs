//! The raw data disk while it is moved to another key: read, written and flushed past no
//! encryption.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use protocol::disk_template::BLOCK_BYTES;

use super::moving::Blocks;

/// The disk's node.
pub struct Device {
    node: File,
    blocks: u64,
}

impl Device {
    /// Opens a node of this many blocks.
    pub fn open(node: &str, blocks: u64) -> io::Result<Self> {
        Ok(Self { node: OpenOptions::new().read(true).write(true).open(node)?, blocks })
    }
}

impl Blocks for Device {
    fn count(&self) -> u64 {
        self.blocks
    }

    fn read(&self, first: u64, to: &mut [u8]) -> io::Result<()> {
        self.node.read_exact_at(to, first * BLOCK_BYTES as u64)
    }

    fn write(&self, first: u64, from: &[u8]) -> io::Result<()> {
        self.node.write_all_at(from, first * BLOCK_BYTES as u64)
    }

    fn flush(&self) -> io::Result<()> {
        self.node.sync_data()
    }
}
