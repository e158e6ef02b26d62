//! Ed25519 keys of signers, in the PEM forms that other tools make: PKCS#8 and SubjectPublicKeyInfo
//! (RFC 8410).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use protocol::digest::{Ed25519Key, Sha256Digest};
use zeroize::Zeroizing;

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

    /// The signer with this public key.
    ///
    /// # Errors
    /// If the bytes are no point of the curve.
    pub fn from_key(key: &Ed25519Key) -> Result<Self, KeyError> {
        Self::of(VerifyingKey::from_bytes(&key.0).map_err(|_| KeyError::Public)?)
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> Ed25519Key {
        Ed25519Key(self.key.to_bytes())
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
    pub fn signed(&self, signed_bytes: &[u8], signature: &[u8]) -> bool {
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

    /// The key with this seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The private key as PKCS #8 in PEM.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Private)
    }

    /// The public half.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::of(self.0.verifying_key()).expect("32 bytes and a constant have a DER form")
    }

    /// Signs these bytes. Their first bytes must be a label of what they are, so that a signature
    /// for one use is none for another.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
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
