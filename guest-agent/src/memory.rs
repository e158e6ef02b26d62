//! What outlives an agent of this boot: a file of memory that init made and hands to each agent.
//!
//! Init never reads it. It holds how far the data disk has come, so that an agent that is started
//! again neither takes another file system for its predecessor's nor makes an empty one in the
//! place of one that was lost. The content is replaced as a whole.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use protocol::handover::AGENT_MEMORY_BYTES;
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};

/// Bytes of the length that stands before the content.
const LENGTH_BYTES: u64 = 4;
/// Longest content.
const MAX_BYTES: usize = 4096;
/// What init seals.
pub const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// a descriptor that init did not make
    #[error(
        "the agent's memory has {bytes} bytes and seals {seals:?}, expected {AGENT_MEMORY_BYTES} and {SEALS:?}"
    )]
    Foreign {
        /// Its size.
        bytes: u64,
        /// What was sealed.
        seals: SealFlag,
    },
    /// content that no agent writes
    #[error("the agent's memory holds {found} bytes, at most {MAX_BYTES} are kept")]
    Length {
        /// The length that it states.
        found: usize,
    },
    /// content that this agent does not know
    #[error("the agent's memory: {0}")]
    Json(#[from] JsonError),
    /// the kernel
    #[error("the agent's memory: {0}")]
    Io(#[from] io::Error),
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// How far the data disk has come.
    pub disk: DiskState,
}

/// How far an agent of this boot has come with the data disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// Nothing was done to it.
    #[default]
    Closed,
    /// A file system is being made on it; it may be mounted already.
    Opening,
    /// Its file system is mounted, and the app may have data on it.
    Open,
}

/// The memory.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// Takes over what init hands on; its size and seals must be those that init makes.
    pub fn new(descriptor: OwnedFd) -> Result<Self, MemoryError> {
        let file = File::from(descriptor);
        let bytes = file.metadata()?.len();
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(io::Error::from)?;
        let seals = SealFlag::from_bits_truncate(seals);
        if bytes != AGENT_MEMORY_BYTES || seals != SEALS {
            return Err(MemoryError::Foreign { bytes, seals });
        }
        Ok(Self(file))
    }

    /// What was kept last; the default in a boot's first agent.
    pub fn read(&self) -> Result<Kept, MemoryError> {
        let mut length = [0; LENGTH_BYTES as usize];
        self.0.read_exact_at(&mut length, 0)?;
        let found = u32::from_le_bytes(length) as usize;
        match found {
            0 => return Ok(Kept::default()),
            1..=MAX_BYTES => {}
            _ => return Err(MemoryError::Length { found }),
        }
        let mut content = vec![0; found];
        self.0.read_exact_at(&mut content, LENGTH_BYTES)?;
        Ok(strict_json::parse(&content, MAX_BYTES)?)
    }

    /// Keeps `kept` in the place of what was kept before: one write within one page, which a signal
    /// does not divide.
    pub fn keep(&self, kept: &Kept) -> Result<(), MemoryError> {
        let content = serde_json::to_vec(kept).expect("names serialise");
        let length = u32::try_from(content.len())
            .ok()
            .filter(|_| content.len() + LENGTH_BYTES as usize <= MAX_BYTES)
            .ok_or(MemoryError::Length { found: content.len() })?;
        Ok(self.0.write_all_at(&[&length.to_le_bytes()[..], &content].concat(), 0)?)
    }
}

#[cfg(test)]
pub mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// A descriptor as init makes it, but for these seals.
    pub fn descriptor(seals: SealFlag) -> OwnedFd {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"test", flags).unwrap());
        file.set_len(AGENT_MEMORY_BYTES).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file.into()
    }

    #[test]
    fn what_one_agent_keeps_the_next_one_reads() {
        let descriptor = descriptor(SEALS);
        let first = Memory::new(descriptor.try_clone().unwrap()).unwrap();
        assert_eq!(first.read().unwrap(), Kept::default());
        for disk in [DiskState::Opening, DiskState::Open] {
            first.keep(&Kept { disk }).unwrap();
            let next = Memory::new(descriptor.try_clone().unwrap()).unwrap();
            assert_eq!(next.read().unwrap(), Kept { disk });
        }
    }

    #[test]
    fn other_memory_and_other_content_are_refused() {
        for seals in [SealFlag::F_SEAL_SHRINK, SEALS | SealFlag::F_SEAL_WRITE] {
            assert!(matches!(Memory::new(descriptor(seals)), Err(MemoryError::Foreign { .. })));
        }
        let file = File::from(descriptor(SEALS));
        let memory = Memory::new(file.try_clone().unwrap().into()).unwrap();
        file.write_all_at(&u32::MAX.to_le_bytes(), 0).unwrap();
        assert!(matches!(memory.read(), Err(MemoryError::Length { .. })));
        file.write_all_at(b"\x02\0\0\0{}", 0).unwrap();
        assert!(matches!(memory.read(), Err(MemoryError::Json(_))));
    }
}
