//! How far the move of a disk to another key has come, as it is written on the disk itself.
//!
//! The records lie in the first MiB of the disk, of which btrfs uses its superblock alone
//! (btrfs(5), "Reserved areas"): 64 KiB from the start are left to boot loaders, and chunks begin
//! behind the MiB. So a record's place depends neither on the disk's size nor on anything on it.
//! Two slots are written in turn. Each has a block that says what it holds, and behind it a piece
//! of the disk as it is to be, under the new key.
//!
//! A slot counts only with its MAC, whose key comes from both keys of the disk: nobody else writes
//! one, and none of another move counts. It can be put back by the host; what that can do is in
//! [`super::moving`].

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::disk_template::BLOCK_BYTES;
use protocol::reader::{ReadError, Reader};
use sha2::Sha256;
use zeroize::Zeroizing;

/// First bytes behind the MAC.
const MAGIC: [u8; 8] = *b"DSTYXMV1";
/// What the MAC's key is for.
const LABEL: &[u8] = b"dstyx move of a data disk 1";
/// Bytes of the MAC.
const MAC_BYTES: usize = 32;
/// The first block of the first slot; of those before it btrfs has one.
pub const FIRST_BLOCK: u64 = 32;
/// The first block behind the second slot: where the first MiB ends.
pub const END_BLOCK: u64 = (1 << 20) / BLOCK_BYTES as u64;
/// Blocks of a slot.
pub const SLOT_BLOCKS: usize = (END_BLOCK - FIRST_BLOCK) as usize / 2;
/// Most blocks of a piece.
pub const PIECE_BLOCKS: usize = SLOT_BLOCKS - 1;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = SLOT_BLOCKS * BLOCK_BYTES;

/// A piece of the disk under the new key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// The numbers of its blocks, ascending.
    pub numbers: Vec<u64>,
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// The first block that this piece and those before it do not answer for.
    pub next: u64,
}

/// What one slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// One more than that of the record before it.
    pub sequence: u64,
    /// What is being moved; none once everything is.
    pub piece: Option<Piece>,
}

/// The key of the records of one move.
pub struct Journal(Hmac<Sha256>);

impl Journal {
    /// Of the move between these keys, in this direction.
    pub fn new(from: &[u8; 64], to: &[u8; 64]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let both = Zeroizing::new([*from, *to]);
        Hkdf::<Sha256>::new(None, both.as_flattened())
            .expand(LABEL, &mut key[..])
            .expect("one block is not too long for HKDF");
        Self(Hmac::new_from_slice(&key[..]).expect("HMAC takes keys of any length"))
    }

    /// The first block of the slot that a record goes to.
    pub fn place(sequence: u64) -> u64 {
        FIRST_BLOCK + sequence % 2 * SLOT_BLOCKS as u64
    }

    /// The blocks of a slot that holds `record`.
    pub fn seal(&self, record: &Record) -> Vec<u8> {
        let none = Piece::default();
        let (moved, piece) = match &record.piece {
            None => (1, &none),
            Some(piece) => (0, piece),
        };
        let count = u8::try_from(piece.numbers.len()).expect("a piece has at most 111 blocks");
        let mut slot = Vec::with_capacity(BLOCK_BYTES + piece.bytes.len());
        slot.extend_from_slice(&[0; MAC_BYTES]);
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&[moved, count]);
        slot.extend([record.sequence, piece.next].into_iter().flat_map(u64::to_le_bytes));
        slot.extend(piece.numbers.iter().flat_map(|number| number.to_le_bytes()));
        slot.resize(BLOCK_BYTES, 0);
        slot.extend_from_slice(&piece.bytes);
        let mac = self.0.clone().chain_update(&slot[MAC_BYTES..]).finalize().into_bytes();
        slot[..MAC_BYTES].copy_from_slice(&mac);
        slot
    }

    /// The record in a slot; none if there is none of this move, or it was not written whole.
    pub fn open(&self, slot: &[u8]) -> Option<Record> {
        let (head, behind) = slot.split_first_chunk::<BLOCK_BYTES>()?;
        // Read before it is believed, for it says how much the MAC is over.
        let count = usize::from(head[MAC_BYTES + MAGIC.len() + 1]);
        let bytes = behind.get(..count * BLOCK_BYTES)?;
        let mac = self.0.clone().chain_update(&head[MAC_BYTES..]).chain_update(bytes);
        mac.verify_slice(&head[..MAC_BYTES]).ok()?;
        read(&head[MAC_BYTES..], bytes).ok()?
    }
}

/// The parts of a head whose MAC is right: nothing but what [`Journal::seal`] writes.
fn read(head: &[u8], bytes: &[u8]) -> Result<Option<Record>, ReadError> {
    let mut reader = Reader::new(head);
    let magic: [u8; 8] = reader.array("magic")?;
    let (moved, count) = (reader.u8("moved")?, reader.u8("blocks")?);
    let (sequence, next) = (reader.u64("sequence")?, reader.u64("next")?);
    let numbers = (0..count).map(|_| reader.u64("block")).collect::<Result<Vec<_>, _>>()?;
    let ascending = numbers.is_sorted_by(|one, other| one < other);
    let before_next = numbers.last().is_none_or(|last| *last < next);
    let outside = numbers.iter().all(|number| !(FIRST_BLOCK..END_BLOCK).contains(number));
    let piece = match moved {
        0 => Some(Piece { numbers, bytes: bytes.to_vec(), next }),
        _ => None,
    };
    let good = magic == MAGIC && moved <= 1 && ascending && before_next && outside;
    Ok(good.then_some(Record { sequence, piece }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(from: u8, to: u8) -> Journal {
        Journal::new(&[from; 64], &[to; 64])
    }

    fn record() -> Record {
        let bytes = [[7; BLOCK_BYTES], [8; BLOCK_BYTES]].concat();
        Record { sequence: 3, piece: Some(Piece { numbers: vec![16, 300], bytes, next: 301 }) }
    }

    fn slot(bytes: &[u8]) -> Vec<u8> {
        let mut slot = vec![0xA5; SLOT_BYTES];
        slot[..bytes.len()].copy_from_slice(bytes);
        slot
    }

    #[test]
    fn slots_lie_behind_the_superblock_and_before_the_first_chunk() {
        const SUPERBLOCK: u64 = (64 << 10) / BLOCK_BYTES as u64;
        assert!(Journal::place(0) > SUPERBLOCK);
        assert_eq!(Journal::place(1), Journal::place(0) + SLOT_BLOCKS as u64);
        assert_eq!(Journal::place(1) + SLOT_BLOCKS as u64, END_BLOCK);
        assert_eq!((Journal::place(2), PIECE_BLOCKS), (Journal::place(0), 111));
        let numbers: Vec<u64> = (1000..1000 + PIECE_BLOCKS as u64).collect();
        let bytes = vec![1; PIECE_BLOCKS * BLOCK_BYTES];
        let full = Record { sequence: 0, piece: Some(Piece { numbers, bytes, next: 5000 }) };
        let sealed = journal(1, 2).seal(&full);
        assert_eq!(sealed.len(), SLOT_BYTES);
        assert_eq!(journal(1, 2).open(&slot(&sealed)), Some(full));
    }

    #[test]
    fn a_record_counts_for_its_own_move_only() {
        let sealed = journal(1, 2).seal(&record());
        assert_eq!(journal(1, 2).open(&slot(&sealed)), Some(record()));
        for other in [journal(2, 1), journal(1, 3), journal(3, 2)] {
            assert_eq!(other.open(&slot(&sealed)), None);
        }
        let moved = Record { sequence: 9, piece: None };
        assert_eq!(journal(1, 2).open(&slot(&journal(1, 2).seal(&moved))), Some(moved));
    }

    #[test]
    fn what_is_torn_or_changed_is_no_record() {
        let journal = journal(1, 2);
        let sealed = journal.seal(&record());
        for at in (0..200).chain((200..sealed.len()).step_by(509)) {
            let mut changed = slot(&sealed);
            changed[at] ^= 1;
            assert_eq!(journal.open(&changed), None, "{at}");
        }
        for end in (0..sealed.len()).step_by(512) {
            assert_eq!(journal.open(&slot(&sealed[..end])), None, "{end}");
        }
        assert_eq!(journal.open(&slot(&[])), None);
        assert_eq!(journal.open(&slot(&vec![0xff; SLOT_BYTES])), None);
    }

    #[test]
    fn a_record_with_the_right_mac_is_read_strictly_all_the_same() {
        let journal = journal(1, 2);
        let with = |numbers: [u64; 2], next| {
            let bytes = vec![1; 2 * BLOCK_BYTES];
            let piece = Some(Piece { numbers: numbers.to_vec(), bytes, next });
            journal.open(&slot(&journal.seal(&Record { sequence: 0, piece })))
        };
        assert!(with([31, 256], 257).is_some());
        for (numbers, next) in
            [([5, 4], 9), ([5, 5], 9), ([5, 9], 9), ([5, 32], 900), ([255, 300], 900)]
        {
            assert_eq!(with(numbers, next), None, "{numbers:?}");
        }
    }
}
