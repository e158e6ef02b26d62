//! The seal of one value: AES-SIV (RFC 5297) under a key of the app and the instance.
//!
//! A store that was put back is written to again, so a nonce of a counter could be used twice.
//! AES-SIV needs none: two seals are equal exactly if what is sealed is, which shows nothing but
//! that. The app's key is the same in all its guests, so the instance is part of the derivation:
//! what one node stored does not open at another one.

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use hkdf::Hkdf;
use protocol::derivation::length_prefixed;
use protocol::digest::InstanceId;
use sha2::Sha256;
use zeroize::Zeroizing;

/// First field of what a key is derived for.
const LABEL: &[u8] = b"dstyx-gateway-store-1";
/// Bytes of a key: two of AES-256.
const KEY_BYTES: usize = 64;

/// The key of a store.
pub struct StoreKey(Zeroizing<[u8; KEY_BYTES]>);

impl StoreKey {
    /// From a secret of the app, for one of its instances.
    pub fn derive(secret: &[u8; 32], instance: &InstanceId) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Hkdf::<Sha256>::new(None, secret)
            .expand(&length_prefixed(&[LABEL, &instance.0]), key.as_mut_slice())
            .expect("64 bytes are less than 255 blocks");
        Self(key)
    }

    /// Seals a value for its name and its revision.
    pub(super) fn seal(&self, name: &str, revision: u64, value: &[u8]) -> Vec<u8> {
        let headers = [name.as_bytes(), &revision.to_le_bytes()];
        Aes256Siv::new((&*self.0).into())
            .encrypt(headers, value)
            .expect("two headers are less than 126, and a value is below 64 GiB")
    }

    /// The value; `None` if it was changed, or is of another name, revision or key.
    pub(super) fn open(
        &self,
        name: &str,
        revision: u64,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let headers = [name.as_bytes(), &revision.to_le_bytes()];
        Aes256Siv::new((&*self.0).into()).decrypt(headers, sealed).ok().map(Zeroizing::new)
    }
}
