//! Who owns a Pad: one key, or several of which k decide together.
//!
//! An id is the SHA-256 of the members' keys and of k, and ids are compared by all of it. People
//! are shown a UUIDv8 of its first half, which others can be made to share.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use pad_cbor::{CborError, Reader, Writer};
use protocol::derivation::length_prefixed;
use protocol::digest::{Ed25519Key, Sha256Digest};

use crate::uuid::Uuid;

/// Most members of one custodian: hospitals of a country's study, say.
pub const MAX_MEMBERS: usize = 64;
/// Bytes of a signature (RFC 8032).
pub const SIGNATURE_BYTES: usize = 64;
/// First field of what is hashed.
const LABEL: &[u8] = b"dstyx-pad-custodian-1";

/// The id of a custodian; two are the same if all 32 bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustodianId(pub Sha256Digest);

impl CustodianId {
    /// What a person is shown; no program compares it.
    pub fn shown(&self) -> Uuid {
        Uuid::shown_of(&self.0)
    }
}

impl fmt::Display for CustodianId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A single custodian, which has one member, or a joint one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Custodian {
    threshold: u8,
    members: Vec<Ed25519Key>,
}

/// Why there is no such custodian.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodianError {
    /// not the encoding of one
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// too few or too many members
    #[error("1 to {MAX_MEMBERS} members are expected, found {0}")]
    Members(usize),
    /// members out of order, or one of them twice
    #[error("the member {0} is out of order or there twice")]
    Order(Ed25519Key),
    /// a threshold that decides nothing, or that nobody reaches
    #[error("a threshold of 1 to {members} is expected, found {threshold}")]
    Threshold {
        /// Number of members who must agree.
        threshold: u64,
        /// Number of members.
        members: usize,
    },
}

impl Custodian {
    /// A custodian with one key.
    pub fn single(key: Ed25519Key) -> Self {
        Self { threshold: 1, members: vec![key] }
    }

    /// A custodian of several, of whom `threshold` decide together; their order does not matter.
    ///
    /// # Errors
    /// If there are too few or too many, one is there twice, or the threshold is zero or above
    /// their number.
    pub fn joint(mut members: Vec<Ed25519Key>, threshold: u8) -> Result<Self, CustodianError> {
        members.sort_unstable();
        Self::checked(members, u64::from(threshold))
    }

    fn checked(members: Vec<Ed25519Key>, threshold: u64) -> Result<Self, CustodianError> {
        if !(1..=MAX_MEMBERS).contains(&members.len()) {
            return Err(CustodianError::Members(members.len()));
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(CustodianError::Order(pair[1]));
        }
        match u8::try_from(threshold) {
            Ok(enough) if (1..=members.len()).contains(&usize::from(enough)) => {
                Ok(Self { threshold: enough, members })
            }
            _ => Err(CustodianError::Threshold { threshold, members: members.len() }),
        }
    }

    /// Its members' keys, ascending.
    pub fn members(&self) -> &[Ed25519Key] {
        &self.members
    }

    /// How many of them decide together.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Its id: SHA-256 of a label, the threshold and the members' keys, each behind its length.
    pub fn id(&self) -> CustodianId {
        let threshold = [self.threshold];
        let mut fields: Vec<&[u8]> = vec![LABEL, &threshold];
        fields.extend(self.members.iter().map(|key| &key.0[..]));
        CustodianId(Sha256Digest::of(&length_prefixed(&fields)))
    }

    /// Appends `{1: threshold, 2: [member, …]}`.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.map(2).uint(1).uint(self.threshold.into());
        writer.uint(2).array(self.members.len());
        self.members.iter().for_each(|key| {
            writer.bytes(&key.0);
        });
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CustodianError> {
        let mut map = reader.map("custodian")?;
        map.required(reader, 1)?;
        let threshold = reader.uint("custodian: threshold", 1..=MAX_MEMBERS as u64)?;
        map.required(reader, 2)?;
        let count = reader.array("custodian: members", 1..=MAX_MEMBERS)?;
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            members.push(Ed25519Key(reader.fixed("custodian: member")?));
        }
        map.end(reader)?;
        Self::checked(members, threshold)
    }
}

/// Signatures of members over one message, by key. They are a claim until
/// [`Signatures::verify`] accepted them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signatures(BTreeMap<Ed25519Key, [u8; SIGNATURE_BYTES]>);

/// Why signatures do not speak for a custodian.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// not the encoding of signatures
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// signers out of order, or one of them twice
    #[error("the signer {0} is out of order or there twice")]
    Order(Ed25519Key),
    /// a signer who is no member
    #[error("the signer {0} is no member of the custodian")]
    Stranger(Ed25519Key),
    /// a signature that is none of its signer's over this
    #[error("the signature of {0} is not over this")]
    Wrong(Ed25519Key),
    /// fewer than the threshold
    #[error("{found} members signed, {expected} are needed")]
    TooFew {
        /// How many did.
        found: usize,
        /// The threshold.
        expected: u8,
    },
}

impl Signatures {
    /// Adds a signature, or replaces the same signer's.
    pub fn add(&mut self, signer: Ed25519Key, signature: [u8; SIGNATURE_BYTES]) {
        self.0.insert(signer, signature);
    }

    /// Adds those of others, or replaces the same signers'.
    pub fn join(&mut self, others: &Self) {
        self.0.extend(others.0.iter().map(|(signer, signature)| (*signer, *signature)));
    }

    /// Accepts signatures of enough members over the message, all of them valid.
    ///
    /// # Errors
    /// If a signer is no member, a signature is wrong, or they are fewer than the threshold.
    pub fn verify(&self, custodian: &Custodian, message: &[u8]) -> Result<(), SignatureError> {
        for (signer, signature) in &self.0 {
            if custodian.members.binary_search(signer).is_err() {
                return Err(SignatureError::Stranger(*signer));
            }
            let signature = Signature::from_bytes(signature);
            VerifyingKey::from_bytes(&signer.0)
                .and_then(|key| key.verify_strict(message, &signature))
                .map_err(|_| SignatureError::Wrong(*signer))?;
        }
        let (found, expected) = (self.0.len(), custodian.threshold);
        if found < usize::from(expected) {
            return Err(SignatureError::TooFew { found, expected });
        }
        Ok(())
    }

    /// Appends `[[signer, signature], …]`.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.array(self.0.len());
        for (signer, signature) in &self.0 {
            writer.array(2).bytes(&signer.0).bytes(signature);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, SignatureError> {
        let count = reader.array("signatures", 1..=MAX_MEMBERS)?;
        let mut signatures = BTreeMap::new();
        for _ in 0..count {
            reader.array("signature", 2..=2)?;
            let signer = Ed25519Key(reader.fixed("signature: signer")?);
            let signature = reader.fixed("signature: bytes")?;
            if signatures.last_key_value().is_some_and(|(last, _)| *last >= signer) {
                return Err(SignatureError::Order(signer));
            }
            signatures.insert(signer, signature);
        }
        Ok(Self(signatures))
    }
}

/// What a member signs: the label, a NUL, and the message.
pub(crate) fn labelled(label: &[u8], message: &[u8]) -> Vec<u8> {
    [label, &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use pad_cbor::read_whole;

    use super::*;
    use crate::fixtures::{joint, key, sign, signing_key};

    fn parsed(bytes: &[u8]) -> Result<Custodian, CustodianError> {
        read_whole(bytes, Custodian::read)
    }

    fn written(custodian: &Custodian) -> Vec<u8> {
        let mut writer = Writer::new();
        custodian.write(&mut writer);
        writer.finish()
    }

    #[test]
    fn the_order_of_members_makes_no_other_custodian_and_everything_else_does() {
        let one = Custodian::joint(vec![key(1), key(2), key(3)], 2).unwrap();
        let two = Custodian::joint(vec![key(3), key(1), key(2)], 2).unwrap();
        assert_eq!(one.id(), two.id());
        assert_eq!(parsed(&written(&one)), Ok(one.clone()));
        for other in [
            Custodian::joint(vec![key(1), key(2), key(3)], 3).unwrap(),
            Custodian::joint(vec![key(1), key(2)], 2).unwrap(),
            Custodian::single(key(1)),
        ] {
            assert_ne!(other.id(), one.id());
        }
        assert_eq!(Custodian::joint(vec![key(1)], 1).unwrap(), Custodian::single(key(1)));
    }

    #[test]
    fn custodians_that_share_what_is_shown_are_two() {
        let id = joint().id();
        let mut colliding = id;
        colliding.0.0[31] ^= 1;
        assert_eq!(id.shown(), colliding.shown());
        assert_ne!(id, colliding);
        assert_eq!(id.shown().version(), 8);
    }

    #[test]
    fn a_custodian_has_one_encoding() {
        let mut keys = [key(1), key(2)];
        keys.sort();
        let mut writer = Writer::new();
        writer.map(2).uint(1).uint(1).uint(2).array(2).bytes(&keys[1].0).bytes(&keys[0].0);
        assert_eq!(parsed(&writer.finish()), Err(CustodianError::Order(keys[0])));
        let mut writer = Writer::new();
        writer.map(2).uint(1).uint(3).uint(2).array(2).bytes(&keys[0].0).bytes(&keys[1].0);
        let refused = CustodianError::Threshold { threshold: 3, members: 2 };
        assert_eq!(parsed(&writer.finish()), Err(refused));
        let refused = Custodian::joint(vec![key(1), key(1)], 1);
        assert_eq!(refused, Err(CustodianError::Order(key(1))));
        assert_eq!(Custodian::joint(vec![], 0), Err(CustodianError::Members(0)));
        let refused = CustodianError::Threshold { threshold: 0, members: 1 };
        assert_eq!(Custodian::joint(vec![key(1)], 0), Err(refused));
    }

    #[test]
    fn enough_members_sign_and_nobody_else() {
        let custodian = joint();
        let signed = |numbers: &[u8]| sign(numbers, b"message");
        assert_eq!(signed(&[1, 2]).verify(&custodian, b"message"), Ok(()));
        assert_eq!(signed(&[1, 2, 3]).verify(&custodian, b"message"), Ok(()));
        let refused = signed(&[3]).verify(&custodian, b"message");
        assert_eq!(refused, Err(SignatureError::TooFew { found: 1, expected: 2 }));
        let refused = signed(&[1, 9]).verify(&custodian, b"message");
        assert_eq!(refused, Err(SignatureError::Stranger(key(9))));
        let refused = signed(&[1, 2]).verify(&custodian, b"massage");
        assert!(matches!(refused, Err(SignatureError::Wrong(_))));
        // Enough valid ones do not make up for one that is wrong.
        let mut three = signed(&[1, 2]);
        three.add(key(3), [0; SIGNATURE_BYTES]);
        let refused = three.verify(&custodian, b"message");
        assert_eq!(refused, Err(SignatureError::Wrong(key(3))));
        assert!(Signatures::default().verify(&custodian, b"message").is_err());
    }

    #[test]
    fn a_signer_counts_once() {
        let signature = sign(&[1], b"message").0[&key(1)];
        let mut writer = Writer::new();
        writer.array(2);
        for _ in 0..2 {
            writer.array(2).bytes(&key(1).0).bytes(&signature);
        }
        let bytes = writer.finish();
        let refused = Signatures::read(&mut Reader::new(&bytes));
        assert_eq!(refused, Err(SignatureError::Order(key(1))));
        assert_eq!(signing_key(1).verifying_key().to_bytes(), key(1).0);
    }
}
