//! The digest by which everything of an image is named: `sha256:` and 64 lower-case hexadecimal
//! digits.
//!
//! Only SHA-256 is accepted (OCI image specification 1.1, "Digests", where it is the one algorithm
//! that every implementation must know). A value of this type is a name, not a proof: the proof is
//! made by `container-images` while bytes stream.

use std::fmt;
use std::str::FromStr;

use protocol::digest::{HexError, Sha256Digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands before the hexadecimal digits.
const PREFIX: &str = "sha256:";

/// The name of a manifest, configuration or layer by its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest(Sha256Digest);

impl ContentDigest {
    /// The digest whose 32 bytes are given.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Sha256Digest(bytes))
    }

    /// The digest without the name of its algorithm.
    pub fn sha256(self) -> Sha256Digest {
        self.0
    }

    /// 64 lower-case hexadecimal digits, without the algorithm; safe as a file name.
    pub fn hex(&self) -> String {
        self.0.to_string()
    }
}

/// Why a text is not a digest of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// the algorithm is another one, or missing
    #[error("digest does not start with \"sha256:\"")]
    Algorithm,
    /// what follows the algorithm is not 64 lower-case hexadecimal digits
    #[error("digest is not 64 lower-case hexadecimal digits: {0}")]
    Hex(#[from] HexError),
}

impl FromStr for ContentDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix(PREFIX).ok_or(DigestError::Algorithm)?;
        Ok(Self(Sha256Digest::from_hex(hex)?))
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({self})")
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_sha256_is_a_digest() {
        let good = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(good.parse::<ContentDigest>().expect("good").to_string(), good);
        for bad in [
            "ab".repeat(32),
            format!("sha512:{}", "ab".repeat(64)),
            format!("sha256:{}", "AB".repeat(32)),
            format!("sha256:{}", "ab".repeat(31)),
            format!("sha256:{}\n", "ab".repeat(32)),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
        }
    }
}
