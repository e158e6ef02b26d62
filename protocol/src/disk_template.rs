//! An empty file system, made with the image: the blocks that its maker wrote, and where they go on
//! the data disk.
//!
//! Layout, little-endian: magic 8, blocks u32 (size of the file system), extents u32, then each
//! extent as first block u32, blocks u32, kind u32 (0 zeros, 1 data), then the data of the data
//! extents in their order. Extents are in order, apart from each other, and joined where they could
//! be: a file system has one encoding. What no extent covers was never written by the maker, so it
//! may hold anything: on a disk under a new key it is noise.

use crate::data_disk;
use crate::reader::{ReadError, Reader};

/// First bytes.
pub const MAGIC: [u8; 8] = *b"DSTYXFT1";
/// What everything is counted in.
pub const BLOCK_BYTES: usize = 4096;
/// Most blocks: those of the smallest data disk.
pub const MAX_BLOCKS: u32 = (data_disk::MIN_BYTES / BLOCK_BYTES as u64) as u32;
/// Most extents: a fresh file system has some dozens.
pub const MAX_EXTENTS: u32 = 1024;

/// Kinds of extents.
const ZEROS: u32 = 0;
const DATA: u32 = 1;

/// A file system that can be written to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<'a> {
    /// Its size in blocks; the disk has at least as many.
    pub blocks: u32,
    /// What is written, in the order of the disk.
    pub extents: Vec<Extent<'a>>,
}

/// Neighbouring blocks that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent<'a> {
    /// The first of them.
    pub first_block: u32,
    /// How many, at least one.
    pub blocks: u32,
    /// Their bytes; zeros if there are none.
    pub data: Option<&'a [u8]>,
}

impl Extent<'_> {
    /// Where on the disk it starts, in bytes.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        u64::from(self.first_block) * BLOCK_BYTES as u64
    }
}

/// Why bytes are no template, or an image cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// too short or too long
    #[error("file system template: {0}")]
    Read(#[from] ReadError),
    /// another magic
    #[error("file system template: unknown magic {0:02x?}")]
    Magic([u8; 8]),
    /// no blocks, or more than the smallest disk has
    #[error("file system template: {0} blocks, expected 1 to {MAX_BLOCKS}")]
    Blocks(usize),
    /// an image that does not end with a block
    #[error("file system template: an image of {0} bytes, expected a multiple of {BLOCK_BYTES}")]
    Unaligned(usize),
    /// nothing to write, or more pieces than any fresh file system has
    #[error("file system template: {0} extents, expected 1 to {MAX_EXTENTS}")]
    Extents(usize),
    /// an extent out of order, out of bounds, empty, of another kind, or not joined with its
    /// neighbour
    #[error("file system template: extent {index}: {what}")]
    Extent {
        /// Position, from 0.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },
}

/// Parses a template.
///
/// # Errors
/// If the bytes are not exactly one, in its one encoding.
pub fn decode(bytes: &[u8]) -> Result<Template<'_>, TemplateError> {
    let mut reader = Reader::new(bytes);
    let magic = reader.array("magic")?;
    if magic != MAGIC {
        return Err(TemplateError::Magic(magic));
    }
    let blocks = reader.u32("blocks")?;
    if !(1..=MAX_BLOCKS).contains(&blocks) {
        return Err(TemplateError::Blocks(blocks as usize));
    }
    let count = reader.u32("extents")?;
    if !(1..=MAX_EXTENTS).contains(&count) {
        return Err(TemplateError::Extents(count as usize));
    }
    let entries = (0..count).map(|_| Entry::read(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    check(&entries, blocks)?;
    let extents =
        entries.iter().map(|entry| entry.extent(&mut reader)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(Template { blocks, extents })
}

/// The template of a file system's image, in which a block of nothing but `untouched` is one that
/// the maker did not write.
///
/// # Errors
/// If the image is too large, not whole blocks, or in too many pieces.
pub fn encode(image: &[u8], untouched: u8) -> Result<Vec<u8>, TemplateError> {
    if !image.len().is_multiple_of(BLOCK_BYTES) {
        return Err(TemplateError::Unaligned(image.len()));
    }
    let total = image.len() / BLOCK_BYTES;
    let blocks = u32::try_from(total).ok().filter(|blocks| (1..=MAX_BLOCKS).contains(blocks));
    let blocks = blocks.ok_or(TemplateError::Blocks(total))?;
    let entries = entries_of(image, untouched);
    let count = u32::try_from(entries.len()).ok().filter(|count| (1..=MAX_EXTENTS).contains(count));
    let count = count.ok_or(TemplateError::Extents(entries.len()))?;
    let mut bytes = MAGIC.to_vec();
    let numbers = entries.iter().flat_map(|entry| [entry.first, entry.blocks, entry.kind]);
    bytes.extend([blocks, count].into_iter().chain(numbers).flat_map(u32::to_le_bytes));
    for entry in entries.iter().filter(|entry| entry.kind == DATA) {
        let start = entry.first as usize * BLOCK_BYTES;
        bytes.extend_from_slice(&image[start..start + entry.blocks as usize * BLOCK_BYTES]);
    }
    Ok(bytes)
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    first: u32,
    blocks: u32,
    kind: u32,
}

impl Entry {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            first: reader.u32("first block")?,
            blocks: reader.u32("blocks of an extent")?,
            kind: reader.u32("kind")?,
        })
    }

    fn extent<'a>(&self, reader: &mut Reader<'a>) -> Result<Extent<'a>, ReadError> {
        let data = match self.kind {
            DATA => Some(reader.take("data", self.blocks as usize * BLOCK_BYTES)?),
            _ => None,
        };
        Ok(Extent { first_block: self.first, blocks: self.blocks, data })
    }
}

/// Which blocks were written, joined as far as they go.
fn entries_of(image: &[u8], untouched: u8) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (block, bytes) in (0..).zip(image.chunks_exact(BLOCK_BYTES)) {
        let all = |byte: u8| bytes.iter().all(|other| *other == byte);
        if all(untouched) {
            continue;
        }
        let kind = if all(0) { ZEROS } else { DATA };
        match entries.last_mut() {
            Some(last) if last.kind == kind && last.first + last.blocks == block => {
                last.blocks += 1
            }
            _ => entries.push(Entry { first: block, blocks: 1, kind }),
        }
    }
    entries
}

fn check(entries: &[Entry], blocks: u32) -> Result<(), TemplateError> {
    let mut before: Option<Entry> = None;
    let mut end = 0;
    for (index, entry) in (0..).zip(entries) {
        let wrong = |what| Err(TemplateError::Extent { index, what });
        if !matches!(entry.kind, ZEROS | DATA) {
            return wrong("an unknown kind");
        }
        if entry.blocks == 0 {
            return wrong("it has no blocks");
        }
        if entry.first < end {
            return wrong("it does not lie behind the one before");
        }
        if before.is_some_and(|before| before.kind == entry.kind && end == entry.first) {
            return wrong("it continues the one before");
        }
        end = match entry.first.checked_add(entry.blocks) {
            Some(end) if end <= blocks => end,
            _ => return wrong("it ends behind the file system"),
        };
        before = Some(*entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks filled with these bytes; 0xA5 is untouched.
    fn image(blocks: &[u8]) -> Vec<u8> {
        blocks.iter().flat_map(|byte| [*byte; BLOCK_BYTES]).collect()
    }

    #[test]
    fn only_what_was_written_is_kept_zeros_without_their_bytes() {
        let image = image(&[0xA5, 1, 2, 0, 0, 3, 0xA5, 0]);
        let bytes = encode(&image, 0xA5).unwrap();
        assert_eq!(bytes.len(), 16 + 4 * 12 + 3 * BLOCK_BYTES);
        let template = decode(&bytes).unwrap();
        assert_eq!(template.blocks, 8);
        let shape: Vec<_> =
            template.extents.iter().map(|e| (e.first_block, e.blocks, e.data.is_some())).collect();
        assert_eq!(shape, [(1, 2, true), (3, 2, false), (5, 1, true), (7, 1, false)]);
        assert_eq!(template.extents[0].data.unwrap(), &image[BLOCK_BYTES..3 * BLOCK_BYTES]);
        assert_eq!(template.extents[2].offset_bytes(), 5 * 4096);
    }

    #[test]
    fn an_encoding_with_one_word_changed_is_refused() {
        let good = encode(&image(&[0xA5, 1, 2, 0, 0, 3, 0xA5, 0]), 0xA5).unwrap();
        let with = |at: usize, word: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            decode(&bytes).unwrap_err().to_string()
        };
        let rows: [(usize, u32, &str); 10] = [
            (0, 0, "unknown magic"),
            (8, 0, "0 blocks, expected 1 to"),
            (8, MAX_BLOCKS + 1, "blocks, expected 1 to"),
            (8, 7, "extent 3: it ends behind the file system"),
            (12, 0, "0 extents"),
            (12, u32::MAX, "extents, expected 1 to"),
            (16, 9, "extent 0: it ends behind"),
            (20, 0, "extent 0: it has no blocks"),
            (24, 2, "extent 0: an unknown kind"),
            (36, 1, "extent 1: it continues the one before"),
        ];
        for (at, word, expected) in rows {
            let error = with(at, word);
            assert!(error.contains(expected), "{at}: {error}");
        }
        assert!(with(28, 2).contains("extent 1: it does not lie behind the one before"));
        assert!(with(20, u32::MAX).contains("it ends behind the file system"));
    }

    #[test]
    fn bytes_too_few_or_too_many_are_refused() {
        let good = encode(&image(&[1, 0]), 0xA5).unwrap();
        assert!(matches!(
            decode(&good[..good.len() - 1]),
            Err(TemplateError::Read(ReadError::Truncated { .. }))
        ));
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(decode(&longer), Err(TemplateError::Read(ReadError::Trailing { .. }))));
    }

    #[test]
    fn what_is_no_image_gives_no_template() {
        assert_eq!(encode(&[], 0xA5), Err(TemplateError::Blocks(0)));
        assert_eq!(encode(&[0; 4095], 0xA5), Err(TemplateError::Unaligned(4095)));
        assert_eq!(encode(&image(&[0xA5, 0xA5]), 0xA5), Err(TemplateError::Extents(0)));
    }
}
