//! Moves a kept disk from one key to another, in place, while nothing of it is mounted.
//!
//! Each block is read through the old key and written under the new one. A power cut at any moment
//! loses nothing: a piece of the disk is written to the journal, as it is to be, before it is
//! written in place, and the next boot writes what the journal holds once more and goes on behind
//! it. Two records are kept in turn, so that one flush a piece is enough: it makes this piece's
//! record and the last piece in place safe together.
//!
//! A block of nothing but zeros stays as it is: nobody ever wrote it, or the host has erased it,
//! and under either key it reads as noise to which no tree of the file system leads. So the host's
//! file keeps its holes.
//!
//! The host holds the disk, and can put any block back to what it was, journal included. What a
//! mount then reads of a block is what it was given some time before, or noise: a block is only
//! ever decrypted and encrypted under its own number, and a piece of the journal is what the host
//! could have copied into place itself. Both are what the file system's checksums and generations
//! refuse on any disk. Putting back a record of this very move makes a block pass twice; that is
//! noise too.

use std::io;
use std::ops::ControlFlow;

use protocol::disk_template::BLOCK_BYTES;

use super::journal::{END_BLOCK, FIRST_BLOCK, Journal, PIECE_BLOCKS, Piece, Record, SLOT_BYTES};
use super::xts::Xts;

/// The raw disk.
pub trait Blocks {
    /// How many blocks it has.
    fn count(&self) -> u64;
    /// Reads whole blocks, from the one with this number on.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, first: u64, to: &mut [u8]) -> io::Result<()>;
    /// Writes whole blocks.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&self, first: u64, from: &[u8]) -> io::Result<()>;
    /// Waits until everything that was written is safe from a power cut.
    ///
    /// # Errors
    /// If that cannot be said.
    fn flush(&self) -> io::Result<()>;
}

/// Why a disk was not moved; the next try goes on where this one ended.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// the disk
    #[error("the data disk cannot be moved to the keys of another epoch: {0}")]
    Io(#[from] io::Error),
    /// a record of blocks that this disk does not have
    #[error("the data disk has {count} blocks, and block {found} was being moved: it was cut off")]
    Short {
        /// The block.
        found: u64,
        /// Blocks of the disk.
        count: u64,
    },
    /// the caller wanted no more
    #[error("the move of the data disk was stopped")]
    Stopped,
}

/// The two keys of a move.
pub struct Keys<'a> {
    /// Under which the disk is, or was.
    pub from: &'a [u8; 64],
    /// Under which it is to be.
    pub to: &'a [u8; 64],
}

/// Moves all of a disk, or what an earlier try has left; `on` is told the number of blocks behind
/// which it is again and again, and says whether to go on.
///
/// # Errors
/// If the disk fails, was cut off, or the caller wants no more.
pub fn move_all(
    blocks: &impl Blocks,
    keys: &Keys<'_>,
    on: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<(), MoveError> {
    let (from, to) = (Xts::new(keys.from), Xts::new(keys.to));
    Move { blocks, from, to, journal: Journal::new(keys.from, keys.to), on }.run()
}

struct Move<'a, B, F> {
    blocks: &'a B,
    from: Xts,
    to: Xts,
    journal: Journal,
    on: F,
}

impl<B: Blocks, F: FnMut(u64) -> ControlFlow<()>> Move<'_, B, F> {
    fn run(mut self) -> Result<(), MoveError> {
        let Some((mut sequence, mut next)) = self.begun()? else { return Ok(()) };
        loop {
            let piece = self.piece(next)?;
            if piece.numbers.is_empty() {
                break;
            }
            next = piece.next;
            let record = Record { sequence, piece: Some(piece) };
            self.record(&record)?;
            // The record is safe now, and so is the piece before it.
            self.put_in_place(&record)?;
            sequence += 1;
        }
        self.blocks.flush()?;
        self.record(&Record { sequence, piece: None })
    }

    /// Repeats what earlier tries may not have finished: the number of the next record, and the
    /// first block that is still to be moved. None if all are.
    fn begun(&self) -> Result<Option<(u64, u64)>, MoveError> {
        let mut records: Vec<Record> =
            [self.slot(0)?, self.slot(1)?].into_iter().flatten().collect();
        records.sort_by_key(|record| record.sequence);
        let Some(last) = records.last() else { return Ok(Some((0, 0))) };
        let Some(piece) = &last.piece else { return Ok(None) };
        let (sequence, next) = (last.sequence.saturating_add(1), piece.next);
        records.iter().try_for_each(|record| self.put_in_place(record))?;
        // The next record takes the place of the older of these.
        self.blocks.flush()?;
        Ok(Some((sequence, next)))
    }

    fn slot(&self, index: u64) -> Result<Option<Record>, MoveError> {
        let mut slot = vec![0; SLOT_BYTES];
        self.blocks.read(Journal::place(index), &mut slot)?;
        Ok(self.journal.open(&slot))
    }

    fn record(&self, record: &Record) -> Result<(), MoveError> {
        self.blocks.write(Journal::place(record.sequence), &self.journal.seal(record))?;
        Ok(self.blocks.flush()?)
    }

    fn put_in_place(&self, record: &Record) -> Result<(), MoveError> {
        let Some(piece) = &record.piece else { return Ok(()) };
        let count = self.blocks.count();
        if let Some(found) = piece.numbers.last().copied().filter(|last| *last >= count) {
            return Err(MoveError::Short { found, count });
        }
        let mut bytes = &piece.bytes[..];
        for run in piece.numbers.chunk_by(|one, next| one + 1 == *next) {
            let (blocks, behind) = bytes.split_at(run.len() * BLOCK_BYTES);
            self.blocks.write(run[0], blocks)?;
            bytes = behind;
        }
        Ok(())
    }

    /// The next piece under the new key; without blocks where there are none but holes.
    fn piece(&mut self, mut next: u64) -> Result<Piece, MoveError> {
        let mut piece = Piece::default();
        let mut bytes = vec![0; PIECE_BLOCKS * BLOCK_BYTES];
        // A piece that is half full is not filled up block by block.
        while piece.numbers.len() <= PIECE_BLOCKS / 2 {
            if (FIRST_BLOCK..END_BLOCK).contains(&next) {
                next = END_BLOCK;
            }
            let end = if next < FIRST_BLOCK { FIRST_BLOCK } else { self.blocks.count() };
            let room = (PIECE_BLOCKS - piece.numbers.len()) as u64;
            let length = room.min(end.saturating_sub(next));
            if length == 0 {
                break;
            }
            let bytes = &mut bytes[..length as usize * BLOCK_BYTES];
            self.blocks.read(next, bytes)?;
            self.add(&mut piece, next, bytes);
            next += length;
            if (self.on)(next).is_break() {
                return Err(MoveError::Stopped);
            }
        }
        piece.next = next;
        Ok(piece)
    }

    fn add(&self, piece: &mut Piece, first: u64, bytes: &mut [u8]) {
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK_BYTES>();
        for (number, block) in (first..).zip(blocks) {
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.from.decrypt(number, block);
            self.to.encrypt(number, block);
            piece.numbers.push(number);
            piece.bytes.extend_from_slice(block);
        }
    }
}

#[cfg(test)]
#[path = "moving/tests.rs"] // where it is for the rig of tests too, which has this file as its own
mod tests;
