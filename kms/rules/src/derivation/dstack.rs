//! dstack's own formulas (`ra-tls/src/kdf.rs`, `kms/src/main_service.rs`), for an epoch whose root
//! was taken over from a dstack KMS: apps keep their keys and environments.
//!
//! HKDF-SHA256 with the salt `RATLS`; `info` is the contexts joined without lengths, as dstack
//! joins them. Ids have 20 bytes each, so that the joins of this file have one reading; no other
//! context is derived here. A symmetric key is the SHA-256 of the PKCS#8 form of a derived P-256
//! key.

use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::EncodePrivateKey as _;
use protocol::derivation::length_prefixed;
use protocol::digest::{AppId, InstanceId, Sha256Digest};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// First field of what names the roots.
const DIGEST_LABEL: &[u8] = b"dstyx-dstack-roots-1";
/// The salt of every derivation.
const SALT: &[u8] = b"RATLS";

/// Why there is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DstackError {
    /// dstack has no second attempt, so this key cannot exist there either
    #[error("the derived bytes are no scalar of the curve, and dstack has no second attempt")]
    NoScalar,
}

/// The root material of a dstack KMS. It is never printed, and wiped when it is dropped.
pub struct Roots {
    ca: p256::SecretKey,
    k256: k256::ecdsa::SigningKey,
}

impl Roots {
    /// Takes the scalars of the root CA and of the root secp256k1 key.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn new(ca: &[u8; 32], k256: &[u8; 32]) -> Result<Self, DstackError> {
        Ok(Self {
            ca: p256::SecretKey::from_slice(ca).map_err(|_| DstackError::NoScalar)?,
            k256: k256::ecdsa::SigningKey::from_slice(k256).map_err(|_| DstackError::NoScalar)?,
        })
    }

    /// The same roots again, for another holder in this process.
    pub(crate) fn copied(&self) -> Self {
        Self { ca: self.ca.clone(), k256: self.k256.clone() }
    }

    /// The two scalars, that of the root CA first.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&self.ca.to_bytes());
        bytes[32..].copy_from_slice(&self.k256.to_bytes());
        bytes
    }

    /// By what owners know them: SHA-256 of both public keys (compressed SEC1), each behind its
    /// length.
    pub fn digest(&self) -> Sha256Digest {
        let ca = self.ca.public_key().to_sec1_point(true);
        let k256 = self.k256.verifying_key().to_sec1_point(true);
        Sha256Digest::of(&length_prefixed(&[DIGEST_LABEL, ca.as_bytes(), k256.as_bytes()]))
    }

    /// The key of the certificate authority of the whole KMS.
    pub fn root_ca(&self) -> &p256::SecretKey {
        &self.ca
    }

    /// The key that signs apps' secp256k1 keys.
    pub fn root_k256(&self) -> &k256::ecdsa::SigningKey {
        &self.k256
    }

    /// The key of an app's certificate authority.
    ///
    /// # Errors
    /// If there is none, as for every derived key here.
    pub fn app_ca(&self, app_id: &AppId) -> Result<p256::SecretKey, DstackError> {
        self.p256(&[&app_id.0, b"app-ca"])
    }

    /// The key of an instance's data disk, as dstack has it.
    ///
    /// # Errors
    /// See [`Self::app_ca`].
    pub fn disk_key(
        &self,
        app_id: &AppId,
        instance_id: &InstanceId,
    ) -> Result<Zeroizing<[u8; 32]>, DstackError> {
        self.symmetric(&[&app_id.0, &instance_id.0, b"app-disk-crypt-key"])
    }

    /// The X25519 secret to which an app's environment is encrypted.
    ///
    /// # Errors
    /// See [`Self::app_ca`].
    pub fn environment_key(&self, app_id: &AppId) -> Result<Zeroizing<[u8; 32]>, DstackError> {
        self.symmetric(&[&app_id.0, b"env-encrypt-key"])
    }

    /// The key from which an app derives its own.
    ///
    /// # Errors
    /// See [`Self::app_ca`].
    pub fn app_k256(&self, app_id: &AppId) -> Result<k256::ecdsa::SigningKey, DstackError> {
        let root = Zeroizing::new(<[u8; 32]>::from(self.k256.to_bytes()));
        let bytes = expand(&root, &[&app_id.0, b"app-key"]);
        k256::ecdsa::SigningKey::from_slice(&bytes[..]).map_err(|_| DstackError::NoScalar)
    }

    fn symmetric(&self, contexts: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, DstackError> {
        let der = self.p256(contexts)?.to_pkcs8_der().expect("a key of the curve has a DER form");
        Ok(Zeroizing::new(Sha256::digest(der.as_bytes()).into()))
    }

    fn p256(&self, contexts: &[&[u8]]) -> Result<p256::SecretKey, DstackError> {
        let root = Zeroizing::new(<[u8; 32]>::from(self.ca.to_bytes()));
        let bytes = expand(&root, contexts);
        p256::SecretKey::from_slice(&bytes[..]).map_err(|_| DstackError::NoScalar)
    }
}

fn expand(key: &[u8; 32], contexts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(SALT), key)
        .expand_multi_info(contexts, &mut bytes[..])
        .expect("32 bytes are below HKDF's 8160");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        let ca = "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1";
        let ca: [u8; 32] = hex::decode(ca).unwrap().try_into().unwrap();
        Roots::new(&ca, &[3; 32]).unwrap()
    }

    /// dstack, `kdf.rs`, `test_derive_dh_secret_stable_output`.
    #[test]
    fn a_symmetric_key_is_that_of_dstacks_own_test() {
        let key = roots().symmetric(&[b"context one", b"context two"]).unwrap();
        let expected = "663afd58820be8ad645f9c035e93199d114ab16f738db62393bc1d7d623e8813";
        assert_eq!(hex::encode(&key[..]), expected);
    }

    #[test]
    fn keys_are_those_of_the_golden_vectors() {
        let (app, instance) = (AppId([0xaa; 20]), InstanceId([0xbb; 20]));
        let roots = roots();
        let rows = [
            ("app-ca", hex::encode(roots.app_ca(&app).unwrap().to_bytes())),
            ("disk", hex::encode(&roots.disk_key(&app, &instance).unwrap()[..])),
            ("environment", hex::encode(&roots.environment_key(&app).unwrap()[..])),
            ("app-k256", hex::encode(roots.app_k256(&app).unwrap().to_bytes())),
        ];
        let found: String = rows.iter().map(|(name, key)| format!("{name}: {key}\n")).collect();
        assert_eq!(found, include_str!("../../vectors/dstack.txt"));
    }

    #[test]
    fn zero_is_no_root() {
        assert_eq!(Roots::new(&[0; 32], &[3; 32]).err(), Some(DstackError::NoScalar));
        assert_eq!(Roots::new(&[3; 32], &[0xff; 32]).err(), Some(DstackError::NoScalar));
    }
}
