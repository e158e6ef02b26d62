//! The seal of one entry: AES-256-GCM under a key of its own.
//!
//! The host can put the store back to an earlier state, after which the same index is written once
//! more, with another entry. A nonce of the index would then be used twice under one key, which
//! breaks AES-GCM. So each record has a key of its own, HKDF-SHA256 of the root's store key and 32
//! random bytes that stand before the record, and under it the one nonce zero.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use super::StoreError;

/// First field of a record's context, and of what its seal covers besides the entry.
const LABEL: &[u8] = b"dstyx-kms-record-1";
/// Random bytes before each record.
const SALT_BYTES: usize = 32;

/// The root's key for what is stored.
pub struct StoreKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey")
    }
}

impl StoreKey {
    /// From the derived bytes.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// The record of the entry with this index.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(super) fn seal(
        &self,
        cluster: &Sha256Digest,
        index: u64,
        entry: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        let mut sealed = entry.to_vec();
        self.record_key(&salt)
            .seal_in_place_append_tag(nonce(), aad(cluster, index), &mut sealed)
            .expect("an entry is far below the 64 GiB that one nonce seals");
        Ok([&salt[..], &sealed].concat())
    }

    /// The entry; `None` if the record was changed, moved or sealed under another key.
    pub(super) fn open(
        &self,
        cluster: &Sha256Digest,
        index: u64,
        record: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (salt, sealed) = record.split_at_checked(SALT_BYTES)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let key = self.record_key(salt);
        let opened = key.open_in_place(nonce(), aad(cluster, index), &mut sealed).ok()?.len();
        sealed.truncate(opened);
        Some(sealed)
    }

    fn record_key(&self, salt: &[u8]) -> LessSafeKey {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(&self.0[..]);
        let expanded = extracted.expand(&[LABEL], &AES_256_GCM);
        LessSafeKey::new(UnboundKey::from(expanded.expect("32 bytes are less than 255 blocks")))
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn aad(cluster: &Sha256Digest, index: u64) -> Aad<Vec<u8>> {
    Aad::from(length_prefixed(&[LABEL, cluster.as_bytes(), &index.to_le_bytes()]))
}
