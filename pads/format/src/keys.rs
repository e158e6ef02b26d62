//! The data key of a Pad, and the keys of its sections.
//!
//! A section's key is HKDF-SHA256 (RFC 5869) of the data key with the Pad's salt, in a context that
//! names the section, the algorithm and the metadata. The salt is drawn anew for each sealing, so
//! that no two sealings share a key even if their data key is the same by mistake, and sections
//! never do: no nonce is used twice.

use hkdf::Hkdf;
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cipher::{Cipher, KEY_BYTES};
use crate::metadata::CryptoInfo;

/// Bytes of a data key.
pub const DATA_KEY_BYTES: usize = 32;
/// Bytes of a key commitment.
pub const COMMITMENT_BYTES: usize = 32;
/// First field of every context.
const LABEL: &[u8] = b"dstyx-pad-1";
/// First bytes of what a key's digest is of.
const DIGEST_LABEL: &[u8] = b"dstyx pad key 1\0";

/// The secret of one Pad. It is never printed, and cleared when it is dropped.
pub struct DataKey(Zeroizing<[u8; DATA_KEY_BYTES]>);

impl DataKey {
    /// Makes a key from the operating system's randomness.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// A key that was made before.
    pub fn from_bytes(bytes: Zeroizing<[u8; DATA_KEY_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The key itself, for whoever wraps it.
    pub fn as_bytes(&self) -> &[u8; DATA_KEY_BYTES] {
        &self.0
    }

    /// What names the key where it must not stand: SHA-256 of a label and the key.
    pub fn digest(&self) -> Sha256Digest {
        let bytes = Zeroizing::new([DIGEST_LABEL, &self.0[..]].concat());
        Sha256Digest::of(&bytes)
    }

    /// The keys of the sections of one sealing.
    pub(crate) fn sections(&self, crypto: &CryptoInfo, metadata: &[u8]) -> Sections {
        let derivation = Hkdf::<Sha256>::new(Some(&crypto.salt.0), self.as_bytes());
        let digest = Sha256Digest::of(metadata);
        let expand = |section: &[u8]| {
            let algorithm = crypto.algorithm.name().as_bytes();
            let context = length_prefixed(&[LABEL, section, algorithm, digest.as_bytes()]);
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            derivation.expand(&context, &mut key[..]).expect("a key is below HKDF's 8160 bytes");
            key
        };
        Sections {
            commitment: *expand(b"commitment"),
            policies: crypto.algorithm.cipher(&expand(b"policies")),
            data: crypto.algorithm.cipher(&expand(b"data")),
        }
    }
}

/// What is derived from a data key for one sealing.
pub(crate) struct Sections {
    /// Stands in the Pad, so that no second key opens it: AES-GCM alone does not rule that out.
    pub commitment: [u8; COMMITMENT_BYTES],
    /// Seals policies and attributes.
    pub policies: Box<dyn Cipher>,
    /// Seals data.
    pub data: Box<dyn Cipher>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::{NONCE_BYTES, TAG_BYTES};
    use crate::fixtures;

    fn sealed(cipher: &dyn Cipher) -> Vec<u8> {
        let mut sealed = vec![0; 4 + TAG_BYTES];
        cipher.seal([0; NONCE_BYTES], b"", b"text", &mut sealed);
        sealed
    }

    #[test]
    fn every_section_of_every_sealing_has_a_key_of_its_own() {
        let metadata = fixtures::metadata();
        let mut other_salt = metadata.clone();
        other_salt.crypto.salt.0[0] ^= 1;
        let key = fixtures::data_key();
        let sections = key.sections(&metadata.crypto, b"metadata");
        let mut all = vec![sealed(&*sections.policies), sealed(&*sections.data)];
        for (crypto, bytes) in
            [(&other_salt.crypto, &b"metadata"[..]), (&metadata.crypto, b"metadatb")]
        {
            let other = key.sections(crypto, bytes);
            assert_ne!(other.commitment, sections.commitment);
            all.extend([sealed(&*other.policies), sealed(&*other.data)]);
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn keys_are_random() {
        let (one, two) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
        assert_ne!(one.as_bytes(), two.as_bytes());
    }
}
