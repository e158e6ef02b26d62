//! What outlives an agent of this boot: a file of memory that init made and hands to each agent.
//!
//! Init never reads it. It holds how far the data disk has come, so that an agent that is started
//! again neither takes another file system for its predecessor's nor makes an empty one in the
//! place of one that was lost; and the keys that a KMS released, which it does not release twice in
//! a boot. The content is replaced as a whole: two slots are written in turn, and the newest one
//! that is whole counts, so that an agent that is killed while it writes loses only what it wrote.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use protocol::digest::Sha256Digest;
use protocol::handover::AGENT_MEMORY_BYTES;
use protocol::reader::{ReadError, Reader};
use zeroize::Zeroizing;

use crate::keys::{AppKeys, KeysError};

mod content;

/// Bytes of one slot.
const SLOT_BYTES: usize = AGENT_MEMORY_BYTES as usize / 2;
/// Header of a slot: SHA-256 of all behind it, number of the writing u64, length u32.
const HEADER_BYTES: usize = 32 + 8 + 4;
/// Longest content.
const MAX_BYTES: usize = SLOT_BYTES - HEADER_BYTES;
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
    /// no slot is whole, although there was a writing
    #[error("the agent's memory holds something that no agent writes")]
    Torn,
    /// content that does not fit
    #[error("the agent's memory holds at most {MAX_BYTES} bytes, {found} are to be kept")]
    Length {
        /// Bytes to be kept.
        found: usize,
    },
    /// content that ends too early or too late
    #[error("the agent's memory: {0}")]
    Read(#[from] ReadError),
    /// content that this agent does not know
    #[error("the agent's memory: {field} is {found}")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u8,
    },
    /// text that is none
    #[error("the agent's memory: {0} is not UTF-8")]
    Text(&'static str),
    /// keys that are none
    #[error("the agent's memory: {0}")]
    Keys(#[from] KeysError),
    /// the kernel
    #[error("the agent's memory: {0}")]
    Io(#[from] io::Error),
}

/// What is kept.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// How far the data disk has come.
    pub disk: DiskState,
    /// The open counter under which the data disk is mounted, or was to be mounted last.
    pub open_counter: Option<u64>,
    /// What the KMS released.
    pub keys: Option<Arc<AppKeys>>,
    /// SHA-256 of the encrypted environment that was accepted.
    pub environment: Option<Sha256Digest>,
    /// When the release statement ends, in milliseconds since the guest's start; of a guest that
    /// ends with it.
    pub statement_ends_millis: Option<u64>,
}

/// How far an agent of this boot has come with the data disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum DiskState {
    /// Nothing was done to it.
    #[default]
    Closed = 0,
    /// It is being opened; it may be mounted already.
    Opening = 1,
    /// Its file system is mounted, and the app may have data on it.
    Open = 2,
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

    /// The same memory for another holder in this process.
    pub fn try_clone(&self) -> Result<Self, MemoryError> {
        Ok(Self(self.0.try_clone()?))
    }

    /// What was kept last; the default in a boot's first agent.
    pub fn read(&self) -> Result<Kept, MemoryError> {
        match self.newest()? {
            Some((_, content)) => content::decode(&content),
            None => Ok(Kept::default()),
        }
    }

    /// Keeps what `change` makes of what was kept before.
    pub fn update(&self, change: impl FnOnce(&mut Kept)) -> Result<(), MemoryError> {
        let (number, mut kept) = match self.newest()? {
            Some((number, content)) => (number, content::decode(&content)?),
            None => (0, Kept::default()),
        };
        change(&mut kept);
        self.write(number + 1, &content::encode(&kept))
    }

    /// Writes the slot that does not hold what was kept last.
    fn write(&self, number: u64, content: &[u8]) -> Result<(), MemoryError> {
        let found = content.len();
        let length = u32::try_from(found).ok().filter(|_| found <= MAX_BYTES);
        let length = length.ok_or(MemoryError::Length { found })?;
        let mut slot = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + found));
        slot.extend_from_slice(&[0; 32]);
        slot.extend_from_slice(&number.to_le_bytes());
        slot.extend_from_slice(&length.to_le_bytes());
        slot.extend_from_slice(content);
        let digest = Sha256Digest::of(&slot[32..]);
        slot[..32].copy_from_slice(digest.as_bytes());
        Ok(self.0.write_all_at(&slot, number % 2 * SLOT_BYTES as u64)?)
    }

    /// Number and content of the newest slot that is whole; none where nothing was written yet.
    fn newest(&self) -> Result<Option<(u64, Zeroizing<Vec<u8>>)>, MemoryError> {
        let slots = [self.slot(0)?, self.slot(1)?];
        // The first writing goes to the second slot: until the first slot has one too, a writing
        // that was cut off is the first, and nothing was done before it ended.
        let none_ended = matches!(slots[0], Slot::Empty);
        let whole = slots.into_iter().filter_map(|slot| match slot {
            Slot::Whole(number, content) => Some((number, content)),
            Slot::Empty | Slot::Torn => None,
        });
        match whole.max_by_key(|(number, _)| *number) {
            None if !none_ended => Err(MemoryError::Torn),
            newest => Ok(newest),
        }
    }

    fn slot(&self, index: u64) -> Result<Slot, MemoryError> {
        let mut bytes = Zeroizing::new(vec![0; SLOT_BYTES]);
        self.0.read_exact_at(&mut bytes, index * SLOT_BYTES as u64)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Slot::Empty);
        }
        let mut reader = Reader::new(&bytes);
        let digest = Sha256Digest(reader.array("digest")?);
        let (number, length) = (reader.u64("number")?, reader.u32("length")? as usize);
        let Ok(content) = reader.take("content", length) else { return Ok(Slot::Torn) };
        let whole =
            number % 2 == index && Sha256Digest::of(&bytes[32..HEADER_BYTES + length]) == digest;
        match whole {
            true => Ok(Slot::Whole(number, Zeroizing::new(content.to_vec()))),
            false => Ok(Slot::Torn),
        }
    }
}

/// One half of the memory.
enum Slot {
    /// Zeros.
    Empty,
    /// Something else than one writing.
    Torn,
    /// Number and content of a writing.
    Whole(u64, Zeroizing<Vec<u8>>),
}

#[cfg(test)]
pub mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::keys::tests::response;

    /// A descriptor as init makes it, but for these seals.
    pub fn descriptor(seals: SealFlag) -> OwnedFd {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"test", flags).unwrap());
        file.set_len(AGENT_MEMORY_BYTES).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file.into()
    }

    /// Memory of a boot's first agent.
    pub fn memory() -> Memory {
        Memory::new(descriptor(SEALS)).unwrap()
    }

    #[test]
    fn what_one_agent_keeps_the_next_one_reads() {
        let descriptor = descriptor(SEALS);
        let first = Memory::new(descriptor.try_clone().unwrap()).unwrap();
        assert_eq!(first.read().unwrap().disk, DiskState::Closed);
        let keys = Arc::new(AppKeys::of(response()).unwrap());
        first.update(|kept| kept.keys = Some(keys)).unwrap();
        for (disk, counter) in
            [(DiskState::Opening, 7), (DiskState::Opening, 8), (DiskState::Open, 8)]
        {
            first
                .update(|kept| {
                    kept.disk = disk;
                    kept.open_counter = Some(counter);
                })
                .unwrap();
            let next = Memory::new(descriptor.try_clone().unwrap()).unwrap().read().unwrap();
            assert_eq!((next.disk, next.open_counter), (disk, Some(counter)));
            let keys = next.keys.unwrap();
            assert_eq!((*keys.disk, keys.epoch), ([1; 64], 1));
        }
    }

    #[test]
    fn a_writing_that_was_cut_off_loses_only_itself() {
        let file = File::from(descriptor(SEALS));
        let memory = Memory::new(file.try_clone().unwrap().into()).unwrap();
        // The first writing, to the second slot, ends in the middle.
        file.write_all_at(&[7; 20], SLOT_BYTES as u64).unwrap();
        assert_eq!(memory.read().unwrap().disk, DiskState::Closed);
        memory.update(|kept| kept.disk = DiskState::Opening).unwrap();
        memory.update(|kept| kept.disk = DiskState::Open).unwrap();
        // The second writing lies in the first slot.
        file.write_all_at(&[0xff], 60).unwrap();
        file.write_all_at(&[0xff; 4], 40).unwrap();
        assert_eq!(memory.read().unwrap().disk, DiskState::Opening);
        file.write_all_at(&[0xff; 4], SLOT_BYTES as u64).unwrap();
        assert!(matches!(memory.read(), Err(MemoryError::Torn)));
    }

    #[test]
    fn other_memory_is_refused() {
        for seals in [SealFlag::F_SEAL_SHRINK, SEALS | SealFlag::F_SEAL_WRITE] {
            assert!(matches!(Memory::new(descriptor(seals)), Err(MemoryError::Foreign { .. })));
        }
    }
}
