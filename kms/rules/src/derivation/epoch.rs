//! The roots of all epochs whose keys can be had, and how they are written down.
//!
//! Owners' shares are of the newest epoch's root alone. A KMS seals the others under a key from it
//! and keeps them beside its ledger; so an epoch that is retired is gone with the shares of the
//! epoch that held it, which owners then destroy.

use std::collections::BTreeMap;

use protocol::digest::{AppId, InstanceId};
use protocol::kms::EpochKeys;
use protocol::reader::{ReadError, Reader};
use zeroize::Zeroizing;

use super::dstack::{DstackError, Roots};
use super::{DISK_KEY_BYTES, ROOT_BYTES, Root};

/// Most epochs at a time: each is a root that somebody still needs.
pub const MAX_EPOCHS: usize = 16;
/// The only form of what is written down.
const FORM: u8 = 1;
/// An epoch with keys from its own root.
const OWN: u8 = 1;
/// An epoch with keys from roots of a dstack KMS.
const TAKEN_OVER: u8 = 2;

/// Why bytes are no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// another length
    #[error("the keyring: {0}")]
    Read(#[from] ReadError),
    /// another form
    #[error("the keyring has the form {0}, expected {FORM}")]
    Form(u8),
    /// more epochs than there can be, or none
    #[error("the keyring has {0} epochs, expected 1 to {MAX_EPOCHS}")]
    Count(u8),
    /// epochs out of order
    #[error("the keyring's epochs are not in ascending order")]
    Order,
    /// an epoch of another kind
    #[error("the keyring has an epoch of the kind {0}")]
    Kind(u8),
    /// roots that are none
    #[error("the keyring's roots: {0}")]
    Roots(#[from] DstackError),
}

/// The root of one epoch, and what takes its place for keys that came from a dstack KMS.
pub struct EpochRoot {
    root: Root,
    dstack: Option<Roots>,
}

impl EpochRoot {
    /// Takes roots over, or none.
    pub fn new(root: &Root, dstack: Option<&Roots>) -> Self {
        Self { root: root.copied(), dstack: dstack.map(Roots::copied) }
    }

    /// Whose formulas its keys have.
    pub fn keys(&self) -> EpochKeys {
        if self.dstack.is_some() { EpochKeys::Dstack } else { EpochKeys::Dstyx }
    }

    /// The key of an instance's data disk, which has our formula in every epoch: a disk of dstack's
    /// does not open here.
    pub fn disk_key(
        &self,
        app_id: &AppId,
        instance_id: Option<&InstanceId>,
    ) -> Zeroizing<[u8; DISK_KEY_BYTES]> {
        self.root.disk_key(app_id, instance_id)
    }

    /// The X25519 secret to which an app's environment is encrypted.
    ///
    /// # Errors
    /// If dstack's formula gives none, as for the keys below.
    pub fn environment_key(&self, app_id: &AppId) -> Result<Zeroizing<[u8; 32]>, DstackError> {
        match &self.dstack {
            Some(roots) => roots.environment_key(app_id),
            None => Ok(self.root.environment_key(app_id)),
        }
    }

    /// The key of an app's certificate authority.
    ///
    /// # Errors
    /// See [`Self::environment_key`].
    pub fn app_ca(&self, app_id: &AppId) -> Result<p256::SecretKey, DstackError> {
        match &self.dstack {
            Some(roots) => roots.app_ca(app_id),
            None => Ok(self.root.app_ca(app_id)),
        }
    }

    /// The key from which an app derives its own.
    ///
    /// # Errors
    /// See [`Self::environment_key`].
    pub fn app_k256(&self, app_id: &AppId) -> Result<k256::ecdsa::SigningKey, DstackError> {
        match &self.dstack {
            Some(roots) => roots.app_k256(app_id),
            None => Ok(self.root.app_k256(app_id)),
        }
    }

    /// The key of the cluster's certificate authority.
    pub fn root_ca(&self) -> p256::SecretKey {
        self.dstack.as_ref().map_or_else(|| self.root.root_ca(), |roots| roots.root_ca().clone())
    }

    /// The key that signs apps' secp256k1 keys.
    pub fn root_k256(&self) -> k256::ecdsa::SigningKey {
        let taken = self.dstack.as_ref().map(|roots| roots.root_k256().clone());
        taken.unwrap_or_else(|| self.root.root_k256())
    }
}

/// The key of what is stored, and the root of each epoch whose keys can be had.
pub struct Keyring {
    store_key: Zeroizing<[u8; 32]>,
    epochs: BTreeMap<u32, EpochRoot>,
}

impl Keyring {
    /// Of the first root.
    pub fn first(epoch: u32, root: &Root) -> Self {
        let epochs = BTreeMap::from([(epoch, EpochRoot::new(root, None))]);
        Self { store_key: root.store_key(), epochs }
    }

    /// The keyring of a later epoch: another root, if apps get keys in it, and less of the earlier
    /// ones.
    #[must_use]
    pub fn renewed(&self, epoch: u32, root: Option<EpochRoot>, retires: &[u32]) -> Self {
        let copied = |(epoch, root): (&u32, &EpochRoot)| {
            (*epoch, EpochRoot::new(&root.root, root.dstack.as_ref()))
        };
        let kept = self.epochs.iter().filter(|(epoch, _)| !retires.contains(epoch)).map(copied);
        let mut epochs: BTreeMap<u32, EpochRoot> = kept.collect();
        epochs.extend(root.map(|root| (epoch, root)));
        Self { store_key: self.store_key.clone(), epochs }
    }

    /// The AES-256-GCM key of what a KMS stores: the first root's, in every epoch.
    pub fn store_key(&self) -> Zeroizing<[u8; 32]> {
        self.store_key.clone()
    }

    /// Each epoch, ascending.
    pub fn epochs(&self) -> &BTreeMap<u32, EpochRoot> {
        &self.epochs
    }

    /// What is sealed under [`Root::keyring_key`] of the newest root.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Sized at once: a vector that grows leaves copies of a secret behind.
        let most = 2 + ROOT_BYTES + self.epochs.len() * (5 + 3 * ROOT_BYTES);
        let mut bytes = Zeroizing::new(Vec::with_capacity(most));
        bytes.push(FORM);
        bytes.extend_from_slice(&self.store_key[..]);
        bytes.push(u8::try_from(self.epochs.len()).expect("epochs are at most 16"));
        for (epoch, EpochRoot { root, dstack }) in &self.epochs {
            bytes.extend_from_slice(&epoch.to_le_bytes());
            bytes.push(if dstack.is_some() { TAKEN_OVER } else { OWN });
            bytes.extend_from_slice(root.as_bytes());
            if let Some(roots) = dstack {
                bytes.extend_from_slice(&roots.to_bytes()[..]);
            }
        }
        bytes
    }

    /// Reads what was sealed.
    ///
    /// # Errors
    /// If it is anything but what [`Self::to_bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        let mut reader = Reader::new(bytes);
        let form = reader.u8("form")?;
        if form != FORM {
            return Err(KeyringError::Form(form));
        }
        let store_key = Zeroizing::new(reader.array("store key")?);
        let count = reader.u8("count")?;
        if !(1..=MAX_EPOCHS).contains(&usize::from(count)) {
            return Err(KeyringError::Count(count));
        }
        let mut epochs = BTreeMap::new();
        for _ in 0..count {
            let epoch = reader.u32("epoch")?;
            if epochs.last_key_value().is_some_and(|(last, _)| *last >= epoch) {
                return Err(KeyringError::Order);
            }
            let kind = reader.u8("kind")?;
            let root = Root::from_bytes(Zeroizing::new(reader.array("root")?));
            let dstack = match kind {
                OWN => None,
                TAKEN_OVER => {
                    let ca = Zeroizing::new(reader.array("root CA")?);
                    let k256 = Zeroizing::new(reader.array("root secp256k1 key")?);
                    Some(Roots::new(&ca, &k256)?)
                }
                other => return Err(KeyringError::Kind(other)),
            };
            epochs.insert(epoch, EpochRoot { root, dstack });
        }
        reader.finish()?;
        Ok(Self { store_key, epochs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId([0xaa; 20]);
    const INSTANCE: InstanceId = InstanceId([0xbb; 20]);

    fn root() -> Root {
        Root::from_bytes(Zeroizing::new(std::array::from_fn(|index| index as u8)))
    }

    fn roots() -> Roots {
        let ca = "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1";
        let ca: [u8; 32] = hex::decode(ca).unwrap().try_into().unwrap();
        Roots::new(&ca, &[3; 32]).unwrap()
    }

    fn rows(epoch: &EpochRoot) -> [(&'static str, String); 4] {
        [
            ("disk", hex::encode(&epoch.disk_key(&APP, Some(&INSTANCE))[..])),
            ("environment", hex::encode(&epoch.environment_key(&APP).unwrap()[..])),
            ("app-ca", hex::encode(epoch.app_ca(&APP).unwrap().to_bytes())),
            ("app-k256", hex::encode(epoch.app_k256(&APP).unwrap().to_bytes())),
        ]
    }

    /// The line of a file of golden vectors.
    fn vector(file: &'static str, name: &str) -> String {
        let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().to_owned()
    }

    #[test]
    fn both_kinds_of_epoch_have_the_keys_of_their_golden_vectors() {
        let ours = include_str!("../../vectors/derivation.txt");
        let dstack = include_str!("../../vectors/dstack.txt");
        let own = EpochRoot::new(&root(), None);
        assert_eq!(own.keys(), EpochKeys::Dstyx);
        for (name, key) in rows(&own) {
            assert_eq!(key, vector(ours, name), "{name}");
        }
        assert_eq!(hex::encode(own.root_ca().to_bytes()), vector(ours, "root-ca"));
        let taken = EpochRoot::new(&root(), Some(&roots()));
        assert_eq!(taken.keys(), EpochKeys::Dstack);
        for (name, key) in rows(&taken) {
            // A disk has our formula in every epoch.
            let file = if name == "disk" { ours } else { dstack };
            assert_eq!(key, vector(file, name), "{name}");
        }
        assert_eq!(taken.root_k256().to_bytes()[..], [3; 32]);
    }

    #[test]
    fn a_keyring_is_read_as_it_was_written_and_nothing_else_is() {
        let first = Keyring::first(1, &root());
        let other = Root::from_bytes(Zeroizing::new([7; 32]));
        let all = first.renewed(2, Some(EpochRoot::new(&other, Some(&roots()))), &[]);
        let bytes = all.to_bytes();
        let again = Keyring::parse(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.store_key(), root().store_key());
        assert_eq!(again.epochs().keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rows(&again.epochs()[&2]), rows(&all.epochs()[&2]));
        let refused = |bytes: &[u8]| Keyring::parse(bytes).err();
        for wrong in [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], &[0]].concat()] {
            assert!(matches!(refused(&wrong), Some(KeyringError::Read(_))));
        }
        for (place, value, expected) in [
            (0, 2, KeyringError::Form(2)),
            (33, 0, KeyringError::Count(0)),
            (33, 17, KeyringError::Count(17)),
            (34, 2, KeyringError::Order),
            (38, 9, KeyringError::Kind(9)),
        ] {
            let mut wrong = bytes.to_vec();
            wrong[place] = value;
            assert_eq!(refused(&wrong), Some(expected), "byte {place}");
        }
    }

    #[test]
    fn a_retired_epoch_is_in_the_next_keyring_no_more() {
        let first = Keyring::first(1, &root());
        let second = first.renewed(2, Some(EpochRoot::new(&root(), None)), &[]);
        let third = second.renewed(3, None, &[1]);
        assert_eq!(third.epochs().keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(third.store_key(), root().store_key(), "the ledger stays readable");
    }
}
