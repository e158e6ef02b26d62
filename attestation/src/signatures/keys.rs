//! Ed25519 keys of signers, in the PEM forms that other tools make: PKCS#8 and SubjectPublicKeyInfo
//! (RFC 8410).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use protocol::digest::Sha256Digest;

/// A PEM file of one key has 120 bytes; a long comment before it is no key.
pub const MAX_PEM_BYTES: usize = 4096;

/// A key's short name: the SHA-256 of its SubjectPublicKeyInfo in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(Sha256Digest);

/// A public key whose signatures may count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    key: VerifyingKey,
    id: KeyId,
}

/// A private key; it is never printed, and wiped when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl Signer {
    /// Reads a public key (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// If it is no Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(KeyError::TooLarge(pem.len()));
        }
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Public)?;
        Self::of(key)
    }

    fn of(key: VerifyingKey) -> Result<Self, KeyError> {
        let der = key.to_public_key_der().map_err(|_| KeyError::Public)?;
        Ok(Self { key, id: KeyId(Sha256Digest::of(der.as_bytes())) })
    }

    /// The key's short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` is this signer's, of these bytes ([`super::Envelope::signed_bytes`]).
    pub(super) fn signed(&self, signed_bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(signed_bytes, &signature).is_ok())
    }
}

impl SigningKey {
    /// Reads a private key (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// If it is no Ed25519 key, or encrypted.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(KeyError::TooLarge(pem.len()));
        }
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::Private)
    }

    /// The public half.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::of(self.0.verifying_key()).expect("32 bytes and a constant have a DER form")
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).to_bytes().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.signer().id())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Sha256Digest::from_hex(text).map(Self).map_err(|_| KeyError::Id)
    }
}

/// Why a key was refused; never says what is in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// a key file has {0} bytes; at most 4096 are read
    #[error("a key file has {0} bytes; at most {MAX_PEM_BYTES} are read")]
    TooLarge(usize),
    /// not an Ed25519 public key in PEM
    #[error("not an Ed25519 public key in PEM")]
    Public,
    /// not an unencrypted Ed25519 private key in PEM (PKCS#8)
    #[error("not an unencrypted Ed25519 private key in PEM (PKCS#8)")]
    Private,
    /// a key id is 64 lower-case hexadecimal digits
    #[error("a key id is 64 lower-case hexadecimal digits")]
    Id,
}
