//! Keys from a root: HKDF-SHA256 (RFC 5869) without a salt, `info` being the context that names the
//! key.
//!
//! The root is 32 uniform bytes that were born in a TEE; nothing else is secret in a derivation, so
//! that whoever has the root has every key of its epoch. `dstack` has the formulas of dstack's own
//! KMS for epochs that were taken over from one.

pub mod dstack;
mod epoch;
mod signing;

use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use protocol::derivation::{Context, Purpose};
use protocol::digest::{AppId, Ed25519Key, InstanceId};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use epoch::{EpochRoot, Keyring, KeyringError, MAX_EPOCHS};
pub use signing::{RecoverableSignature, app_key_signed, env_key_signed};

/// Bytes of a root.
pub const ROOT_BYTES: usize = 32;
/// Bytes of a disk's key: two AES-256 keys of XTS.
pub const DISK_KEY_BYTES: usize = 64;
/// No scalar in this many attempts has a probability below 2^-8000: the bytes are not HKDF's.
const MAX_ATTEMPTS: u32 = 256;

/// The secret of one epoch. It is never printed, and wiped when it is dropped.
pub struct Root(Zeroizing<[u8; ROOT_BYTES]>);

impl Root {
    /// Makes a root from the operating system's randomness.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; ROOT_BYTES]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// A root that was made before.
    pub fn from_bytes(bytes: Zeroizing<[u8; ROOT_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The root itself, for another process of the KMS that was verified and admitted to it.
    pub fn as_bytes(&self) -> &[u8; ROOT_BYTES] {
        &self.0
    }

    /// The same root again, for another holder in this process.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self(self.0.clone())
    }

    /// The key of an instance's data disk; an app without instance ids has one disk.
    pub fn disk_key(
        &self,
        app_id: &AppId,
        instance_id: Option<&InstanceId>,
    ) -> Zeroizing<[u8; DISK_KEY_BYTES]> {
        self.expand(&Context { app_id: Some(app_id), instance_id, ..of(Purpose::Disk) })
    }

    /// The X25519 secret to which an app's environment is encrypted.
    pub fn environment_key(&self, app_id: &AppId) -> Zeroizing<[u8; 32]> {
        self.expand(&Context { app_id: Some(app_id), ..of(Purpose::Environment) })
    }

    /// The public half of [`Self::environment_key`].
    pub fn environment_public_key(&self, app_id: &AppId) -> [u8; 32] {
        x25519_public_key(&self.environment_key(app_id))
    }

    /// The key of an app's certificate authority.
    pub fn app_ca(&self, app_id: &AppId) -> p256::SecretKey {
        self.p256(Context { app_id: Some(app_id), ..of(Purpose::AppCa) })
    }

    /// The key from which an app derives its own.
    pub fn app_k256(&self, app_id: &AppId) -> k256::ecdsa::SigningKey {
        self.k256(Context { app_id: Some(app_id), ..of(Purpose::AppK256) })
    }

    /// The key by which a KMS proves that it has this root.
    pub fn identity(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.expand(&of(Purpose::Identity)))
    }

    /// The public half of [`Self::identity`], which owners certify.
    pub fn identity_key(&self) -> Ed25519Key {
        Ed25519Key(self.identity().verifying_key().to_bytes())
    }

    /// The key of the cluster's certificate authority.
    pub fn root_ca(&self) -> p256::SecretKey {
        self.p256(of(Purpose::RootCa))
    }

    /// The key that signs apps' secp256k1 keys.
    pub fn root_k256(&self) -> k256::ecdsa::SigningKey {
        self.k256(of(Purpose::RootK256))
    }

    /// The AES-256-GCM key of what a KMS stores.
    pub fn store_key(&self) -> Zeroizing<[u8; 32]> {
        self.expand(&of(Purpose::Store))
    }

    /// The AES-256-GCM key of the roots of earlier epochs, where a KMS stores them.
    pub fn keyring_key(&self) -> Zeroizing<[u8; 32]> {
        self.expand(&of(Purpose::Keyring))
    }

    fn expand<const N: usize>(&self, context: &Context<'_>) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(None, self.as_bytes())
            .expand(&context.to_bytes(), &mut key[..])
            .expect("a key is far below HKDF's 8160 bytes");
        key
    }

    fn p256(&self, context: Context<'_>) -> p256::SecretKey {
        self.scalar(context, |bytes| p256::SecretKey::from_slice(bytes).ok())
    }

    fn k256(&self, context: Context<'_>) -> k256::ecdsa::SigningKey {
        self.scalar(context, |bytes| k256::ecdsa::SigningKey::from_slice(bytes).ok())
    }

    /// The first attempt that is a scalar: not zero, and below the curve's order.
    fn scalar<T>(&self, context: Context<'_>, read: impl Fn(&[u8]) -> Option<T>) -> T {
        (0..MAX_ATTEMPTS)
            .find_map(|attempt| {
                let bytes: Zeroizing<[u8; 32]> = self.expand(&Context { attempt, ..context });
                read(&bytes[..])
            })
            .expect("uniform bytes are a scalar of either curve but for one time in 2^32")
    }
}

/// The public half of an X25519 secret.
pub fn x25519_public_key(secret: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
}

fn of(purpose: Purpose) -> Context<'static> {
    Context { app_id: None, instance_id: None, purpose, attempt: 0 }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    fn root() -> Root {
        Root::from_bytes(Zeroizing::new(std::array::from_fn(|index| index as u8)))
    }

    #[test]
    fn keys_are_those_of_the_golden_vectors() {
        let (app, instance) = (AppId([0xaa; 20]), InstanceId([0xbb; 20]));
        let root = root();
        let rows = [
            ("disk", hex::encode(&root.disk_key(&app, Some(&instance))[..])),
            ("disk of an app", hex::encode(&root.disk_key(&app, None)[..])),
            ("environment", hex::encode(&root.environment_key(&app)[..])),
            ("environment, public", hex::encode(root.environment_public_key(&app))),
            ("app-ca", hex::encode(root.app_ca(&app).to_bytes())),
            ("app-k256", hex::encode(root.app_k256(&app).to_bytes())),
            ("identity", root.identity_key().to_string()),
            ("root-ca", hex::encode(root.root_ca().to_bytes())),
            ("root-k256", hex::encode(root.root_k256().to_bytes())),
            ("store", hex::encode(&root.store_key()[..])),
            ("keyring", hex::encode(&root.keyring_key()[..])),
        ];
        let found: String = rows.iter().map(|(name, key)| format!("{name}: {key}\n")).collect();
        assert_eq!(found, include_str!("../vectors/derivation.txt"));
    }

    #[test]
    fn another_app_instance_or_purpose_has_another_key() {
        let root = root();
        let mut seen = BTreeSet::new();
        for byte in [1, 2] {
            let (app, instance) = (AppId([byte; 20]), InstanceId([byte; 20]));
            assert!(seen.insert(root.disk_key(&app, Some(&instance))[..32].to_vec()));
            assert!(seen.insert(root.disk_key(&app, Some(&InstanceId([7; 20])))[..32].to_vec()));
            assert!(seen.insert(root.disk_key(&app, None)[..32].to_vec()));
            assert!(seen.insert(root.environment_key(&app).to_vec()));
            assert!(seen.insert(root.app_ca(&app).to_bytes().to_vec()));
            assert!(seen.insert(root.app_k256(&app).to_bytes().to_vec()));
        }
        assert!(seen.insert(root.root_ca().to_bytes().to_vec()));
        assert!(seen.insert(root.root_k256().to_bytes().to_vec()));
        assert!(seen.insert(root.store_key().to_vec()));
        assert!(seen.insert(root.keyring_key().to_vec()));
        assert!(seen.insert(root.identity().to_bytes().to_vec()));
    }

    #[test]
    fn bytes_that_are_no_scalar_are_passed_over_for_the_next_attempt() {
        let tried = Cell::new(Vec::new());
        let root = root();
        let second = root.scalar(of(Purpose::RootCa), |bytes| {
            let mut all = tried.take();
            all.push(bytes.to_vec());
            let found = (all.len() == 2).then(|| bytes.to_vec());
            tried.set(all);
            found
        });
        let tried = tried.take();
        assert_ne!(tried[0], tried[1]);
        assert_eq!(second, tried[1]);
    }
}
