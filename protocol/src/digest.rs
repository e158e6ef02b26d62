//! Digests and register values as distinct types, so that a hash of one thing never stands in for
//! another.
//!
//! All of them print and serialise as lower-case hex. Nothing here says that a value was verified.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256, Sha384};

/// Why a text is not the hex of a fixed number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// expected {expected} hexadecimal digits, found {found} characters
    #[error("expected {expected} hexadecimal digits, found {found} characters")]
    Length {
        /// Digits wanted.
        expected: usize,
        /// Characters present.
        found: usize,
    },
    /// not a lower-case hexadecimal digit
    #[error("not lower-case hexadecimal")]
    Digit,
}

/// Decodes exactly `N` bytes of lower-case hex; upper case is refused so that every value has one
/// spelling.
pub fn decode_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: text.chars().count() });
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(HexError::Digit);
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError::Digit)?;
    Ok(bytes)
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);

            /// Parses exactly the lower-case hex of this many bytes.
            pub fn from_hex(text: &str) -> Result<Self, HexError> {
                decode_hex(text).map(Self)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::from_hex(&text).map_err(de::Error::custom)
            }
        }
    };
}

fixed_bytes!(
    /// A SHA-256 value (32 bytes) without further meaning.
    Sha256Digest, 32
);
fixed_bytes!(
    /// A SHA-384 value (48 bytes) without further meaning.
    Sha384Digest, 48
);
fixed_bytes!(
    /// The measurement of the initial TD contents (48 bytes; Intel TDX Module base specification,
    /// `TDREPORT_STRUCT`).
    Mrtd, 48
);
fixed_bytes!(
    /// The value of one run-time extendable register (48 bytes).
    Rtmr, 48
);
fixed_bytes!(
    /// MRCONFIGID: 48 bytes that the host binds to a TD at creation; see [`crate::mr_config`].
    MrConfigId, 48
);
fixed_bytes!(
    /// SHA-256 of the exact bytes of `app-compose.json`.
    ComposeHash, 32
);
fixed_bytes!(
    /// SHA-256 of the exact bytes of `image.json`.
    OsImageHash, 32
);
fixed_bytes!(
    /// An application's name in measurements (20 bytes; dstack's `app_id`).
    AppId, 20
);
fixed_bytes!(
    /// What distinguishes two guests of one application (20 bytes; dstack's `instance_id`).
    InstanceId, 20
);
fixed_bytes!(
    /// An Ed25519 public key (32 bytes; RFC 8032, section 5.1.5).
    Ed25519Key, 32
);
fixed_bytes!(
    /// A platform's name in its PCK certificate: PPID or platform instance id (16 bytes).
    PlatformId, 16
);
fixed_bytes!(
    /// A client's own random number for one call that it may have to make again (16 bytes).
    RequestId, 16
);
fixed_bytes!(
    /// 64 bytes that a quote carries for its requester.
    ReportData, 64
);

impl Sha256Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Sha384Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha384::digest(bytes).into())
    }
}

impl Rtmr {
    /// The register's value after it was extended by `digest`: SHA-384(register ‖ digest).
    #[must_use]
    pub fn extended_by(&self, digest: &Sha384Digest) -> Self {
        Self(Sha384::new().chain_update(self.0).chain_update(digest.0).finalize().into())
    }

    /// Replays `digests` from the reset value, all zero.
    pub fn replay<'a>(digests: impl IntoIterator<Item = &'a Sha384Digest>) -> Self {
        digests.into_iter().fold(Self::ZERO, |register, digest| register.extended_by(digest))
    }
}

impl ComposeHash {
    /// Hashes the raw bytes of an `app-compose.json`.
    pub fn of(app_compose: &[u8]) -> Self {
        Self(Sha256::digest(app_compose).into())
    }
}

impl OsImageHash {
    /// Hashes the raw bytes of an `image.json`.
    pub fn of(image_json: &[u8]) -> Self {
        Self(Sha256::digest(image_json).into())
    }
}

/// SHA-384 over fields, each preceded by its length as a little-endian `u32`, so that no byte can
/// move between fields.
pub fn sha384_length_prefixed(fields: &[&[u8]]) -> Sha384Digest {
    let mut hasher = Sha384::new();
    for field in fields {
        let length =
            u32::try_from(field.len()).expect("fields are bounded by the callers' budgets");
        hasher.update(length.to_le_bytes());
        hasher.update(field);
    }
    Sha384Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_lower_case_hex_is_a_digest() {
        assert_eq!(AppId::from_hex(&"ab".repeat(20)), Ok(AppId([0xab; 20])));
        assert_eq!(AppId::from_hex(&"AB".repeat(20)), Err(HexError::Digit));
        assert_eq!(AppId::from_hex("ab"), Err(HexError::Length { expected: 40, found: 2 }));
        assert_eq!(AppId::from_hex(&"zz".repeat(20)), Err(HexError::Digit));
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_hash() {
        assert_ne!(sha384_length_prefixed(&[b"ab", b"c"]), sha384_length_prefixed(&[b"a", b"bc"]));
    }

    #[test]
    fn replay_of_nothing_is_the_reset_value() {
        assert_eq!(Rtmr::replay([]), Rtmr::ZERO);
    }
}
