//! UUIDs (RFC 9562): ids of Pads and of types of policies, and what a person is shown of a longer
//! id.

use std::fmt;
use std::str::FromStr;

use protocol::digest::Sha256Digest;

/// Bytes of a UUID.
pub const UUID_BYTES: usize = 16;
/// The version of a random one.
const RANDOM: u8 = 4;
/// The version of one whose bytes have a meaning of their own.
const CUSTOM: u8 = 8;
/// Where its text has hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// A UUID of RFC 9562's variant, of any of its versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; UUID_BYTES]);

/// Why something is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    /// bits of another variant or version
    #[error("{0} is no UUID of RFC 9562: its version is 1 to 8 and its variant 10")]
    Bits(String),
    /// a version that is none of a Pad's id
    #[error("{0} has version {1}, and the id of a Pad has version 4")]
    Version(Uuid, u8),
    /// a text that is none
    #[error("a UUID is 36 characters, 8-4-4-4-12 lower-case hexadecimal digits, found {0:?}")]
    Text(String),
}

impl Uuid {
    /// Takes the bytes of a UUID.
    ///
    /// # Errors
    /// If variant or version are none of RFC 9562.
    pub fn from_bytes(bytes: [u8; UUID_BYTES]) -> Result<Self, UuidError> {
        let uuid = Self(bytes);
        if bytes[8] >> 6 == 0b10 && (1..=CUSTOM).contains(&uuid.version()) {
            Ok(uuid)
        } else {
            Err(UuidError::Bits(uuid.to_string()))
        }
    }

    /// The UUIDv8 that a person is shown of a digest: its first bytes. It names nothing for a
    /// program, because digests that share it can be searched for.
    pub fn shown_of(digest: &Sha256Digest) -> Self {
        let mut bytes = [0; UUID_BYTES];
        bytes.copy_from_slice(&digest.0[..UUID_BYTES]);
        Self::marked(bytes, CUSTOM)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; UUID_BYTES] {
        &self.0
    }

    /// Its version, by which its bytes were made.
    pub fn version(&self) -> u8 {
        self.0[6] >> 4
    }

    fn marked(mut bytes: [u8; UUID_BYTES], version: u8) -> Self {
        bytes[6] = bytes[6] & 0x0f | version << 4;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = hex::encode(self.0);
        HYPHENS.iter().for_each(|&at| text.insert(at, '-'));
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let malformed = || UuidError::Text(text.chars().take(64).collect());
        let digits: String = text.chars().filter(|&letter| letter != '-').collect();
        let mut bytes = [0; UUID_BYTES];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| malformed())?;
        let uuid = Self::from_bytes(bytes)?;
        // Hyphens elsewhere, and upper case: every UUID has one spelling.
        if uuid.to_string() == text { Ok(uuid) } else { Err(malformed()) }
    }
}

/// The id of a Pad: a random UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PadId(Uuid);

impl PadId {
    /// Makes an id from the operating system's randomness.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; UUID_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(Uuid::marked(bytes, RANDOM)))
    }

    /// Takes an id.
    ///
    /// # Errors
    /// If it is of another version.
    pub fn new(uuid: Uuid) -> Result<Self, UuidError> {
        match uuid.version() {
            RANDOM => Ok(Self(uuid)),
            version => Err(UuidError::Version(uuid, version)),
        }
    }

    /// The UUID.
    pub fn uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for PadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_spelling() {
        let text = "919108f7-52d1-4320-9bac-f847db4148a8";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!((uuid.to_string().as_str(), uuid.version()), (text, 4));
        for other in [
            "919108F7-52D1-4320-9BAC-F847DB4148A8",
            "919108f752d143209bacf847db4148a8",
            "919108f7-52d1-4320-9bacf847-db4148a8",
            "{919108f7-52d1-4320-9bac-f847db4148a8}",
            "919108f7-52d1-4320-9bac-f847db4148a",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "919108f7-52d1-9320-9bac-f847db4148a8",
            "919108f7-52d1-4320-cbac-f847db4148a8",
            "",
            "ü",
        ] {
            assert!(other.parse::<Uuid>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_id_of_a_pad_is_random() {
        let (one, two) = (PadId::generate().unwrap(), PadId::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(PadId::new(*one.uuid()), Ok(one));
        let shown = Uuid::shown_of(&Sha256Digest([0xff; 32]));
        assert_eq!(shown.to_string(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(PadId::new(shown), Err(UuidError::Version(shown, 8)));
    }
}
