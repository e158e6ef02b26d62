//! The seal of one entry: AES-256-GCM under a key of its own.
//!
//! Whoever holds the store can put it back to an earlier state, after which the same index is
//! written once more, with another entry. A nonce of the index would then be used twice under one
//! key, which breaks AES-GCM. So each record has a key of its own, HKDF-SHA256 of the root's store
//! key and the 32 bytes that stand before the record, and under it the one nonce zero. Those bytes
//! are a MAC of cluster, index and entry: another entry has another key, and all processes of a
//! cluster seal one entry to the same bytes, by which each knows in a store that they share that
//! another one stored it. They show no more than that two records are of one entry.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use pad_format::{DataKey, KeyName};
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

/// First field of a record's context, and of what its seal covers besides the entry.
const LABEL: &[u8] = b"dstyx-kms-record-1";
/// Label of the key of the MAC before each record.
const SALT_LABEL: &[u8] = b"dstyx-kms-record-salt-1";
/// First field of the context of a Pad's data key, which stands sealed inside an entry.
const PAD_KEY_LABEL: &[u8] = b"dstyx-kms-pad-key-1";
/// Its bytes.
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
    pub(crate) fn seal(&self, cluster: &Sha256Digest, index: u64, entry: &[u8]) -> Vec<u8> {
        self.seal_in(context(cluster, index), entry)
    }

    /// The data key of a Pad, for an entry that is read by many.
    pub(crate) fn seal_pad_key(
        &self,
        cluster: &Sha256Digest,
        name: &KeyName,
        key: &DataKey,
    ) -> Vec<u8> {
        self.seal_in(pad_key_context(cluster, name), key.as_bytes())
    }

    fn seal_in(&self, context: Vec<u8>, entry: &[u8]) -> Vec<u8> {
        let mut salted = Zeroizing::new(Vec::with_capacity(8 + context.len() + entry.len()));
        for field in [&context, entry] {
            let length = u32::try_from(field.len()).expect("an entry is below 4 GiB");
            salted.extend_from_slice(&length.to_le_bytes());
            salted.extend_from_slice(field);
        }
        let salt = self.salt(&salted);
        let mut sealed = entry.to_vec();
        self.record_key(salt.as_ref())
            .seal_in_place_append_tag(nonce(), Aad::from(context), &mut sealed)
            .expect("an entry is far below the 64 GiB that one nonce seals");
        [salt.as_ref(), &sealed].concat()
    }

    /// The entry; `None` if the record was changed, moved or sealed under another key.
    pub(crate) fn open(
        &self,
        cluster: &Sha256Digest,
        index: u64,
        record: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        self.open_in(context(cluster, index), record)
    }

    /// The data key of a Pad; `None` if it was sealed for another place, or not here.
    pub(crate) fn open_pad_key(
        &self,
        cluster: &Sha256Digest,
        name: &KeyName,
        sealed: &[u8],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let opened = self.open_in(pad_key_context(cluster, name), sealed)?;
        Some(Zeroizing::new(opened[..].try_into().ok()?))
    }

    fn open_in(&self, context: Vec<u8>, record: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (salt, sealed) = record.split_at_checked(SALT_BYTES)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let key = self.record_key(salt);
        let opened = key.open_in_place(nonce(), Aad::from(context), &mut sealed);
        let opened = opened.ok()?.len();
        sealed.truncate(opened);
        Some(sealed)
    }

    fn salt(&self, bytes: &[u8]) -> hmac::Tag {
        let extracted = Salt::new(HKDF_SHA256, SALT_LABEL).extract(&self.0[..]);
        let expanded = extracted.expand(&[SALT_LABEL], hmac::HMAC_SHA256);
        let key = hmac::Key::from(expanded.expect("32 bytes are less than 255 blocks"));
        hmac::sign(&key, bytes)
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

fn context(cluster: &Sha256Digest, index: u64) -> Vec<u8> {
    length_prefixed(&[LABEL, cluster.as_bytes(), &index.to_le_bytes()])
}

fn pad_key_context(cluster: &Sha256Digest, name: &KeyName) -> Vec<u8> {
    let KeyName { custodian, key_id, pad_id } = name;
    let (custodian, pad_id) = (custodian.0.as_bytes(), pad_id.uuid().as_bytes());
    length_prefixed(&[PAD_KEY_LABEL, cluster.as_bytes(), custodian, key_id.as_bytes(), pad_id])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::fixtures::pads::{PadOwner, data_key};

    #[test]
    fn the_key_of_a_pad_opens_under_its_own_name_alone() {
        let store = StoreKey::new(Zeroizing::new([1; 32]));
        let (cluster, other) = (Sha256Digest([2; 32]), Sha256Digest([3; 32]));
        let owner = PadOwner { seed: [4; 32], key_provider_id: cluster };
        let (name, key) = (owner.name(1), data_key(1));
        let sealed = store.seal_pad_key(&cluster, &name, &key);
        let opened = |name: &KeyName, bytes: &[u8]| store.open_pad_key(&cluster, name, bytes);
        assert_eq!(opened(&name, &sealed).as_deref(), Some(key.as_bytes()));
        assert!(opened(&owner.name(2), &sealed).is_none());
        assert!(
            opened(&KeyName { pad_id: owner.name(2).pad_id, ..name.clone() }, &sealed).is_none()
        );
        assert!(store.open_pad_key(&other, &name, &sealed).is_none());
        assert!(store.open(&cluster, 0, &sealed).is_none());
        assert!(opened(&name, &store.seal(&cluster, 0, key.as_bytes())).is_none());
        assert!(opened(&name, &sealed[..79]).is_none() && opened(&name, &[]).is_none());
        let elsewhere = StoreKey::new(Zeroizing::new([5; 32]));
        assert!(elsewhere.open_pad_key(&cluster, &name, &sealed).is_none());
    }
}
