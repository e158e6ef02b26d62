//! The only plain part of a Pad: which Pad it is, whose, who keeps its key, and how it is sealed.
//!
//! All of it is a claim until the Pad was opened, because everything else is sealed with it as
//! associated data.

use std::fmt;

use pad_cbor::{CborError, Reader, Writer, read_whole};
use protocol::digest::Sha256Digest;

use crate::cipher::Algorithm;
use crate::custodian::CustodianId;
use crate::uuid::{PadId, Uuid, UuidError};

/// Largest metadata: the longest address and key id, with room for neither twice.
pub const MAX_METADATA_BYTES: usize = 1024;
/// Longest address of a delegator.
pub const MAX_URI_BYTES: usize = 256;
/// Longest id of a wrapped key.
pub const MAX_KEY_ID_BYTES: usize = 64;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;
/// Smallest chunk, as a power of two: below it tags and calls would outweigh the data.
pub const MIN_CHUNK_LOG2: u8 = 8;
/// Largest chunk: a reader holds one in memory.
pub const MAX_CHUNK_LOG2: u8 = 20;
/// The chunk of 64 KiB that is written where nothing else is asked for.
pub const DEFAULT_CHUNK_LOG2: u8 = 16;

/// A Pad's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Which Pad it is; a new policy of the same Pad keeps it.
    pub pad_id: PadId,
    /// Who owns it.
    pub custodian: CustodianId,
    /// Who keeps its key.
    pub delegator: Delegator,
    /// How it is sealed.
    pub crypto: CryptoInfo,
}

/// Who keeps the key of a Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegator {
    /// The delegator that has to be the one of the custodian's signed enrolment.
    pub key_provider_id: Sha256Digest,
    /// Where it may be; a hint.
    pub uri: Uri,
}

/// How a Pad is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptoInfo {
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// Under which id the custodian's delegator has the key; several Pads may share one.
    pub key_id: KeyId,
    /// Drawn anew for each sealing.
    pub salt: Salt,
    /// The size of its chunks.
    pub chunk: ChunkSize,
}

/// Why something is no metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// not the encoding of metadata
    #[error("metadata: {0}")]
    Cbor(#[from] CborError),
    /// an id that is none
    #[error("metadata: {0}")]
    PadId(#[from] UuidError),
    /// an algorithm that is not known
    #[error("metadata: algorithm {0} is not known, known is 1 (aes-256-gcm)")]
    Algorithm(u64),
    /// an address that is none
    #[error(
        "metadata: an address is 1 to {MAX_URI_BYTES} printable ASCII characters without spaces, found {0:?}"
    )]
    Uri(String),
    /// a key id that is empty or too long
    #[error("metadata: a key id has 1 to {MAX_KEY_ID_BYTES} bytes, found {0}")]
    KeyId(usize),
    /// a size of chunks that is out of range
    #[error("metadata: chunks have 2^{MIN_CHUNK_LOG2} to 2^{MAX_CHUNK_LOG2} bytes, found 2^{0}")]
    Chunk(u8),
}

impl Metadata {
    /// Reads the one encoding of metadata.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        read_whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MetadataError> {
        let mut map = reader.map("metadata")?;
        map.required(reader, 1)?;
        let pad_id = PadId::new(Uuid::from_bytes(reader.fixed("pad id")?)?)?;
        map.required(reader, 2)?;
        let custodian = CustodianId(Sha256Digest(reader.fixed("custodian id")?));
        map.required(reader, 3)?;
        let delegator = Delegator::read(reader)?;
        map.required(reader, 4)?;
        let crypto = CryptoInfo::read(reader)?;
        map.end(reader)?;
        Ok(Self { pad_id, custodian, delegator, crypto })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(4).uint(1).bytes(self.pad_id.uuid().as_bytes());
        writer.uint(2).bytes(&self.custodian.0.0);
        writer.uint(3).map(2).uint(1).bytes(&self.delegator.key_provider_id.0);
        writer.uint(2).text(self.delegator.uri.as_str());
        writer.uint(4).map(4).uint(1).uint(self.crypto.algorithm.number());
        writer.uint(2).bytes(self.crypto.key_id.as_bytes()).uint(3).bytes(&self.crypto.salt.0);
        writer.uint(4).uint(self.crypto.chunk.0.into());
        writer.finish()
    }
}

impl Delegator {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MetadataError> {
        let mut map = reader.map("delegator")?;
        map.required(reader, 1)?;
        let key_provider_id = Sha256Digest(reader.fixed("key_provider_id")?);
        map.required(reader, 2)?;
        let uri = Uri::new(reader.text("address", 1..=MAX_URI_BYTES)?)?;
        map.end(reader)?;
        Ok(Self { key_provider_id, uri })
    }
}

impl CryptoInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MetadataError> {
        let mut map = reader.map("crypto-info")?;
        map.required(reader, 1)?;
        let number = reader.uint("algorithm", 0..=u64::MAX)?;
        let algorithm = Algorithm::of_number(number).ok_or(MetadataError::Algorithm(number))?;
        map.required(reader, 2)?;
        let key_id = KeyId::new(reader.bytes("key id", 1..=MAX_KEY_ID_BYTES)?)?;
        map.required(reader, 3)?;
        let salt = Salt(reader.fixed("salt")?);
        map.required(reader, 4)?;
        let legal = u64::from(MIN_CHUNK_LOG2)..=u64::from(MAX_CHUNK_LOG2);
        let log2 = reader.uint("chunk size", legal)?;
        map.end(reader)?;
        let chunk = ChunkSize::of_log2(u8::try_from(log2).expect("the range is below 256"))?;
        Ok(Self { algorithm, key_id, salt, chunk })
    }
}

/// An address: printable ASCII without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uri(String);

impl Uri {
    /// Takes an address.
    ///
    /// # Errors
    /// If it is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, MetadataError> {
        let fits = (1..=MAX_URI_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MetadataError::Uri(text.chars().take(MAX_URI_BYTES).collect()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a custodian calls a key at its delegator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Vec<u8>);

impl KeyId {
    /// Takes an id.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn new(bytes: &[u8]) -> Result<Self, MetadataError> {
        match bytes.len() {
            1..=MAX_KEY_ID_BYTES => Ok(Self(bytes.to_vec())),
            found => Err(MetadataError::KeyId(found)),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", hex::encode(&self.0))
    }
}

/// Random bytes of one sealing; they are no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_BYTES]);

impl Salt {
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SALT_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({})", hex::encode(self.0))
    }
}

/// Bytes of data in each chunk but the last one: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(u8);

impl ChunkSize {
    /// The size of two to this power.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn of_log2(log2: u8) -> Result<Self, MetadataError> {
        match log2 {
            MIN_CHUNK_LOG2..=MAX_CHUNK_LOG2 => Ok(Self(log2)),
            _ => Err(MetadataError::Chunk(log2)),
        }
    }

    /// The size.
    pub fn bytes(self) -> usize {
        1 << self.0
    }
}

impl Default for ChunkSize {
    fn default() -> Self {
        Self(DEFAULT_CHUNK_LOG2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn metadata_has_one_encoding() {
        let metadata = fixtures::metadata();
        let bytes = metadata.to_bytes();
        assert_eq!(Metadata::parse(&bytes), Ok(metadata));
        assert!(Metadata::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
        for cut in 0..bytes.len() {
            assert!(Metadata::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_longest_metadata_is_within_its_budget() {
        let mut metadata = fixtures::metadata();
        metadata.delegator.uri = Uri::new(&"x".repeat(MAX_URI_BYTES)).unwrap();
        metadata.crypto.key_id = KeyId::new(&[1; MAX_KEY_ID_BYTES]).unwrap();
        assert!(metadata.to_bytes().len() <= MAX_METADATA_BYTES);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert!(matches!(Uri::new(""), Err(MetadataError::Uri(_))));
        for address in ["https://a b", "https://ü", "a\n", &"x".repeat(MAX_URI_BYTES + 1)] {
            assert!(matches!(Uri::new(address), Err(MetadataError::Uri(_))), "{address:?}");
        }
        assert_eq!(KeyId::new(&[]), Err(MetadataError::KeyId(0)));
        assert_eq!(KeyId::new(&[0; 65]), Err(MetadataError::KeyId(65)));
        assert_eq!(ChunkSize::of_log2(7), Err(MetadataError::Chunk(7)));
        assert_eq!(ChunkSize::of_log2(21), Err(MetadataError::Chunk(21)));
        assert_eq!(ChunkSize::default().bytes(), 64 * 1024);
        let mut bytes = fixtures::metadata().to_bytes();
        // The algorithm stands behind the address, in a map of four pairs.
        let crypto = bytes.windows(4).position(|found| found == [4, 0xa4, 1, 1]).unwrap();
        bytes[crypto + 3] = 2;
        assert_eq!(Metadata::parse(&bytes), Err(MetadataError::Algorithm(2)));
    }
}
