//! Where what of a Pad is: the fixed bytes before the metadata, and the chunks of the data.

use protocol::digest::Sha256Digest;
use protocol::reader::{ReadError, Reader};

use crate::cipher::{NONCE_BYTES, TAG_BYTES};
use crate::contents::MAX_CONTENTS_BYTES;
use crate::metadata::{ChunkSize, MAX_METADATA_BYTES};

/// First bytes of a Pad.
pub(crate) const MAGIC: [u8; 8] = *b"DSTYXPAD";
/// The only version.
pub(crate) const VERSION: u16 = 1;
/// Bytes before the metadata: magic, version, length of the metadata, length of what is sealed of
/// policies and attributes.
pub(crate) const FIXED_BYTES: usize = 8 + 2 + 2 + 4;
/// Most data of one Pad: below what one key of AES-GCM should protect (RFC 8446, section 5.5:
/// 2^24.5 records of 2^14 bytes).
pub const MAX_DATA_BYTES: u64 = 1 << 38;

/// Why bytes have not the layout of a Pad.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// other first bytes
    #[error("no Pad: it does not begin with DSTYXPAD")]
    Magic,
    /// another version
    #[error("a Pad of version {0}, version {VERSION} is known")]
    Version(u16),
    /// a length out of its legal range
    #[error("{field} of {found} bytes, {least} to {most} are accepted")]
    Length {
        /// What of.
        field: &'static str,
        /// The stated length.
        found: u64,
        /// The least legal one.
        least: u64,
        /// The greatest legal one.
        most: u64,
    },
    /// a last chunk that no writer makes
    #[error(
        "the data end with a chunk of {0} bytes, which is none: they were cut, or something was added"
    )]
    LastChunk(u64),
}

/// Lengths of the parts before the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// Of the metadata.
    pub metadata: usize,
    /// Of policies and attributes, sealed, with their tag.
    pub policies: usize,
}

impl Lengths {
    pub fn parse(bytes: &[u8; FIXED_BYTES]) -> Result<Self, LayoutError> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(LayoutError::Magic);
        }
        let (version, metadata, policies) =
            Self::numbers(rest).expect("eight bytes are left behind the magic ones");
        if version != VERSION {
            return Err(LayoutError::Version(version));
        }
        let most = MAX_CONTENTS_BYTES + TAG_BYTES;
        Ok(Self {
            metadata: bounded("metadata", metadata.into(), 1..=MAX_METADATA_BYTES)?,
            policies: bounded("sealed policies", policies.into(), TAG_BYTES + 1..=most)?,
        })
    }

    pub fn to_bytes(self) -> [u8; FIXED_BYTES] {
        let metadata = u16::try_from(self.metadata).expect("metadata are within their budget");
        let policies = u32::try_from(self.policies).expect("policies are within their budget");
        let mut bytes = [0; FIXED_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&metadata.to_le_bytes());
        bytes[12..].copy_from_slice(&policies.to_le_bytes());
        bytes
    }

    fn numbers(bytes: &[u8]) -> Result<(u16, u16, u32), ReadError> {
        let mut reader = Reader::new(bytes);
        Ok((reader.u16("version")?, reader.u16("metadata")?, reader.u32("policies")?))
    }
}

fn bounded(
    field: &'static str,
    found: u64,
    legal: std::ops::RangeInclusive<usize>,
) -> Result<usize, LayoutError> {
    let (least, most) = (*legal.start() as u64, *legal.end() as u64);
    match usize::try_from(found) {
        Ok(length) if legal.contains(&length) => Ok(length),
        _ => Err(LayoutError::Length { field, found, least, most }),
    }
}

/// The digest of all that stands before the data: fixed bytes, metadata, key commitment and sealed
/// policies. It is associated data of each chunk, and names a Pad with its policies where owners
/// sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PadDigest(pub Sha256Digest);

impl PadDigest {
    pub(crate) fn of(head: &[u8]) -> Self {
        Self(Sha256Digest::of(head))
    }
}

/// The chunks of data of this length when it is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    size: u64,
    count: u64,
    sealed_bytes: u64,
}

impl Chunks {
    /// The chunks that this many sealed bytes are; whether they really are is known once the last
    /// one was opened.
    pub fn claimed(size: ChunkSize, sealed_bytes: u64) -> Result<Self, LayoutError> {
        let size = size.bytes() as u64;
        let whole = size + TAG_BYTES as u64;
        let count = sealed_bytes.div_ceil(whole);
        let last = sealed_bytes - count.saturating_sub(1) * whole;
        // A chunk without data is the only one, or the one before it would have been the last.
        let least = if count > 1 { TAG_BYTES + 1 } else { TAG_BYTES };
        if last < least as u64 {
            return Err(LayoutError::LastChunk(last));
        }
        let chunks = Self { size, count, sealed_bytes };
        match chunks.data_bytes() {
            0..=MAX_DATA_BYTES => Ok(chunks),
            found => {
                Err(LayoutError::Length { field: "data", found, least: 0, most: MAX_DATA_BYTES })
            }
        }
    }

    /// Bytes of data.
    pub fn data_bytes(&self) -> u64 {
        self.sealed_bytes - self.count * TAG_BYTES as u64
    }

    /// The index of the last chunk.
    pub fn last(&self) -> u64 {
        self.count - 1
    }

    /// The chunk that has the byte at this offset of the data, and where in it.
    pub fn at(&self, offset: u64) -> (u64, usize) {
        let within = usize::try_from(offset % self.size).expect("a chunk has at most 1 MiB");
        (offset / self.size, within)
    }

    /// Offset and length of a sealed chunk, from the first one on.
    pub fn sealed(&self, index: u64) -> (u64, usize) {
        let whole = self.size + TAG_BYTES as u64;
        let start = index * whole;
        let length = whole.min(self.sealed_bytes - start);
        (start, usize::try_from(length).expect("a chunk has at most 1 MiB"))
    }

    /// The nonce of a chunk.
    pub fn nonce(&self, index: u64) -> [u8; NONCE_BYTES] {
        nonce(index, index == self.last())
    }
}

/// The nonce of a chunk: its index in eleven bytes, big-endian, and whether it is the last one
/// (STREAM; Hoang, Reyhanitabar, Rogaway, Vizár 2015).
pub(crate) fn nonce(index: u64, is_last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = is_last.into();
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(sealed_bytes: u64) -> Result<Chunks, LayoutError> {
        Chunks::claimed(ChunkSize::of_log2(8).unwrap(), sealed_bytes)
    }

    #[test]
    fn chunks_cover_what_is_sealed() {
        for data in [0_u64, 1, 255, 256, 257, 511, 512, 513, 5000] {
            let count = data.div_ceil(256).max(1);
            let chunks = chunks(data + count * 16).unwrap();
            assert_eq!((chunks.data_bytes(), chunks.last()), (data, count - 1));
            let mut end = 0;
            for index in 0..count {
                let (start, length) = chunks.sealed(index);
                assert_eq!(start, end);
                end = start + length as u64;
            }
            assert_eq!(end, data + count * 16);
            assert_eq!(chunks.at(data.saturating_sub(1)).0, chunks.last());
        }
    }

    #[test]
    fn a_rest_that_is_no_chunk_is_refused() {
        for rest in 0..=16 {
            assert_eq!(chunks(272 + rest).is_err(), rest != 0, "{rest}");
        }
        assert_eq!(chunks(0), Err(LayoutError::LastChunk(0)));
        assert_eq!(chunks(15), Err(LayoutError::LastChunk(15)));
        assert!(chunks(16).is_ok());
        assert!(matches!(chunks(1 << 40), Err(LayoutError::Length { field: "data", .. })));
        assert!(chunks(u64::MAX).is_err());
    }

    #[test]
    fn no_two_chunks_share_a_nonce() {
        assert_eq!(nonce(0, false), [0; 12]);
        assert_eq!(nonce(0x0102, true), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
        assert_eq!(nonce(u64::MAX, false)[3..], [255, 255, 255, 255, 255, 255, 255, 255, 0]);
    }

    #[test]
    fn lengths_are_read_as_they_are_written_and_bounded() {
        let lengths = Lengths { metadata: 300, policies: 70_000 };
        let good = lengths.to_bytes();
        assert_eq!(Lengths::parse(&good), Ok(lengths));
        let changed = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Lengths::parse(&bytes)
        };
        assert_eq!(changed(0, b'd'), Err(LayoutError::Magic));
        assert_eq!(changed(8, 2), Err(LayoutError::Version(2)));
        assert_eq!(changed(9, 1), Err(LayoutError::Version(257)));
        assert!(matches!(changed(11, 5), Err(LayoutError::Length { field: "metadata", .. })));
        assert!(matches!(
            changed(15, 1),
            Err(LayoutError::Length { field: "sealed policies", .. })
        ));
        let empty = Lengths { metadata: 0, policies: 16 }.to_bytes();
        assert!(matches!(Lengths::parse(&empty), Err(LayoutError::Length { least: 1, .. })));
    }
}
