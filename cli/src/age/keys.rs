//! age's keys as people write them: a recipient `age1…`, and the file with the identity behind it.

use std::fmt;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

/// Largest file of an identity; what `age-keygen` writes has 190 bytes.
pub const MAX_IDENTITY_BYTES: usize = 4096;
/// The human-readable part of a recipient.
const RECIPIENT: &str = "age";
/// That of an identity, which is written in capitals.
const IDENTITY: &str = "age-secret-key-";

/// Why a text is no key of age's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// no recipient
    #[error("no X25519 recipient of age's, such as age1… of 62 characters")]
    Recipient,
    /// a line that is no identity; it is not repeated
    #[error("line {line} is neither a comment nor an X25519 identity (AGE-SECRET-KEY-1…)")]
    Identity {
        /// Its number, from 1.
        line: usize,
    },
    /// none, or several
    #[error("{found} identities, expected 1")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// not text
    #[error("not UTF-8")]
    Text,
}

/// To whom a file is sealed: an X25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient(pub(super) [u8; 32]);

impl Recipient {
    /// Reads `age1…`, in the one spelling that age writes.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let recipient = decoded(text, RECIPIENT).map(|key| Self(*key));
        recipient.filter(|key| key.to_string() == text).ok_or(KeyError::Recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked(RECIPIENT), &self.0);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

/// What opens a file: an X25519 secret. It is never printed, and wiped when it is dropped.
pub struct Identity(Zeroizing<[u8; 32]>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl Identity {
    /// Reads the file that `age-keygen` writes: comments, and one identity.
    ///
    /// # Errors
    /// If it holds anything else, or not exactly one.
    pub fn parse(file: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::Text)?;
        let mut identities = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let capitals = !line.bytes().any(|byte| byte.is_ascii_lowercase());
            let secret = decoded(line, IDENTITY).filter(|_| capitals);
            identities.push(Self(secret.ok_or(KeyError::Identity { line: index + 1 })?));
        }
        let found = identities.len();
        let only = identities.pop().filter(|_| found == 1);
        only.ok_or(KeyError::Count { found })
    }

    /// To whom files are sealed that this opens.
    pub fn recipient(&self) -> Recipient {
        Recipient(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.0
    }
}

fn decoded(text: &str, part: &str) -> Option<Zeroizing<[u8; 32]>> {
    let parsed = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if parsed.hrp() != Hrp::parse_unchecked(part) {
        return None;
    }
    let mut bytes = parsed.byte_iter();
    let mut key = Zeroizing::new([0; 32]);
    for byte in key.iter_mut() {
        *byte = bytes.next()?;
    }
    bytes.next().is_none().then_some(key)
}
