//! What owners sign who agree on other policies for a Pad.
//!
//! Whether they are enough is for the Pad's policy to say. The version keeps an older agreement
//! from being put back.

use std::collections::BTreeMap;

use pad_cbor::{CborError, Reader, Writer, read_whole};
use protocol::digest::Sha256Digest;
use protocol::rule::unless;

use crate::custodian::{
    Custodian, CustodianError, CustodianId, SignatureError, Signatures, labelled,
};
use crate::uuid::{PadId, Uuid, UuidError};

/// Most owners of one update.
pub const MAX_APPROVALS: usize = 64;
/// Largest signed update.
pub const MAX_BYTES: usize = 64 * 1024;
/// First bytes of what is signed.
const LABEL: &[u8] = b"dstyx pad update 1";

/// Other policies for a Pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// The Pad.
    pub pad_id: PadId,
    /// The digest of its new policies.
    pub policies: Sha256Digest,
    /// Their version, which is above that of the Pad.
    pub version: u64,
}

/// An update with signatures of owners that are not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpdate {
    update: Update,
    approvals: BTreeMap<CustodianId, (Custodian, Signatures)>,
}

/// Owners who agree on an update.
///
/// Holding one proves: enough members of each of these custodians signed it. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOwners(Vec<CustodianId>);

/// Why something is not the owners' agreement on an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// more than the budget
    #[error("a signed update of {0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// not the encoding of a signed update
    #[error("the signed update: {0}")]
    Cbor(#[from] CborError),
    /// an id that is none
    #[error("the signed update: {0}")]
    PadId(#[from] UuidError),
    /// an owner that cannot be
    #[error("the signed update: {0}")]
    Owner(#[from] CustodianError),
    /// owners out of order, or one of them twice
    #[error("the owner {0} is out of order or there twice")]
    Order(CustodianId),
    /// another update
    #[error("the signatures are for another {0} than this update's")]
    Other(&'static str),
    /// a version that is not above the one that is in force
    #[error("version {found} of the policies is agreed on, and version {in_force} is in force")]
    Old {
        /// The version that is agreed on.
        found: u64,
        /// The one in force.
        in_force: u64,
    },
    /// not signed by an owner
    #[error("the approval of {owner}: {source}")]
    Signature {
        /// The owner.
        owner: CustodianId,
        /// What is wrong.
        source: SignatureError,
    },
}

impl Update {
    /// What members of an owner sign.
    pub fn signed_bytes(&self, owner: &CustodianId) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(2).bytes(&owner.0.0);
        self.write(&mut writer);
        labelled(LABEL, &writer.finish())
    }

    /// Joins the update and the signatures of owners over [`Self::signed_bytes`].
    #[must_use]
    pub fn signed(self, approvals: Vec<(Custodian, Signatures)>) -> SignedUpdate {
        let approvals = approvals.into_iter().map(|(owner, signed)| (owner.id(), (owner, signed)));
        SignedUpdate { update: self, approvals: approvals.collect() }
    }

    /// Appends `{1: Pad, 2: policies, 3: version}`.
    fn write(&self, writer: &mut Writer) {
        writer.map(3).uint(1).bytes(self.pad_id.uuid().as_bytes());
        writer.uint(2).bytes(&self.policies.0).uint(3).uint(self.version);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, UpdateError> {
        let mut map = reader.map("update")?;
        map.required(reader, 1)?;
        let pad_id = PadId::new(Uuid::from_bytes(reader.fixed("update: Pad")?)?)?;
        map.required(reader, 2)?;
        let policies = Sha256Digest(reader.fixed("update: policies")?);
        map.required(reader, 3)?;
        let version = reader.uint("update: version", 1..=u64::MAX)?;
        map.end(reader)?;
        Ok(Self { pad_id, policies, version })
    }
}

impl SignedUpdate {
    /// Reads `{1: update, 2: [{1: owner, 2: signatures}, …]}`.
    ///
    /// # Errors
    /// If the bytes are not its one encoding.
    pub fn parse(bytes: &[u8]) -> Result<Self, UpdateError> {
        if bytes.len() > MAX_BYTES {
            return Err(UpdateError::TooLarge(bytes.len()));
        }
        read_whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, UpdateError> {
        let mut map = reader.map("signed update")?;
        map.required(reader, 1)?;
        let update = Update::read(reader)?;
        map.required(reader, 2)?;
        let mut approvals = BTreeMap::new();
        for _ in 0..reader.array("approvals", 1..=MAX_APPROVALS)? {
            let (owner, signatures) = approval(reader)?;
            let id = owner.id();
            if approvals.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(UpdateError::Order(id));
            }
            approvals.insert(id, (owner, signatures));
        }
        map.end(reader)?;
        Ok(Self { update, approvals })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(2).uint(1);
        self.update.write(&mut writer);
        writer.uint(2).array(self.approvals.len());
        for (owner, signatures) in self.approvals.values() {
            writer.map(2).uint(1);
            owner.write(&mut writer);
            writer.uint(2);
            signatures.write(&mut writer);
        }
        writer.finish()
    }

    /// What it says, which counts for nothing before [`Self::verify`].
    pub fn claimed(&self) -> &Update {
        &self.update
    }

    /// Accepts the owners who signed the update that is to be made of a Pad whose policies have the
    /// version `in_force`.
    ///
    /// # Errors
    /// If it is another one or not a later one, or one of them did not sign it.
    pub fn verify(&self, this: &Update, in_force: u64) -> Result<VerifiedOwners, UpdateError> {
        let update = &self.update;
        unless(update.pad_id == this.pad_id, || UpdateError::Other("Pad"))?;
        unless(update.policies == this.policies, || UpdateError::Other("digest of policies"))?;
        unless(update.version == this.version, || UpdateError::Other("version"))?;
        let found = update.version;
        unless(found > in_force, || UpdateError::Old { found, in_force })?;
        for (id, (owner, signatures)) in &self.approvals {
            signatures
                .verify(owner, &update.signed_bytes(id))
                .map_err(|source| UpdateError::Signature { owner: *id, source })?;
        }
        Ok(VerifiedOwners(self.approvals.keys().copied().collect()))
    }
}

impl VerifiedOwners {
    /// Their ids, ascending.
    pub fn ids(&self) -> &[CustodianId] {
        &self.0
    }
}

fn approval(reader: &mut Reader<'_>) -> Result<(Custodian, Signatures), UpdateError> {
    let mut map = reader.map("approval")?;
    map.required(reader, 1)?;
    let owner = Custodian::read(reader)?;
    map.required(reader, 2)?;
    let signatures = Signatures::read(reader)
        .map_err(|source| UpdateError::Signature { owner: owner.id(), source })?;
    map.end(reader)?;
    Ok((owner, signatures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{joint, key, pad_id, sign};

    fn update() -> Update {
        Update { pad_id: pad_id(), policies: Sha256Digest([5; 32]), version: 2 }
    }

    fn signed() -> SignedUpdate {
        let single = Custodian::single(key(4));
        let approvals = [(joint(), &[1, 2][..]), (single, &[4])].map(|(owner, signers)| {
            let signatures = sign(signers, &update().signed_bytes(&owner.id()));
            (owner, signatures)
        });
        update().signed(approvals.into())
    }

    #[test]
    fn owners_who_signed_an_update_are_known() {
        let read = SignedUpdate::parse(&signed().to_bytes()).unwrap();
        assert_eq!(read, signed());
        let mut expected = vec![joint().id(), Custodian::single(key(4)).id()];
        expected.sort();
        assert_eq!(read.verify(&update(), 1).unwrap().ids(), expected);
    }

    #[test]
    fn an_agreement_counts_for_its_own_pad_policies_and_version_alone() {
        let changes: [(fn(&mut Update), &str); 3] = [
            (|update| update.pad_id = PadId::generate().unwrap(), "Pad"),
            (|update| update.policies.0[0] ^= 1, "digest of policies"),
            (|update| update.version = 3, "version"),
        ];
        for (change, part) in changes {
            let mut this = update();
            change(&mut this);
            assert_eq!(signed().verify(&this, 1), Err(UpdateError::Other(part)));
            let moved = SignedUpdate { update: this, ..signed() };
            assert!(matches!(moved.verify(&this, 1), Err(UpdateError::Signature { .. })));
        }
    }

    #[test]
    fn an_older_agreement_is_not_put_back() {
        for in_force in [2, 3, u64::MAX] {
            let refused = signed().verify(&update(), in_force);
            assert_eq!(refused, Err(UpdateError::Old { found: 2, in_force }));
        }
    }

    #[test]
    fn one_wrong_approval_refuses_all() {
        let mut approvals = signed().approvals;
        let one = approvals.get_mut(&joint().id()).unwrap();
        one.1 = sign(&[1], &update().signed_bytes(&joint().id()));
        let refused = SignedUpdate { update: update(), approvals }.verify(&update(), 1);
        assert!(matches!(refused, Err(UpdateError::Signature { .. })));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = signed().to_bytes();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let read = SignedUpdate::parse(&changed);
            assert!(read.and_then(|read| read.verify(&update(), 1)).is_err(), "{at}");
            assert!(SignedUpdate::parse(&good[..at]).is_err(), "{at}");
        }
        assert!(SignedUpdate::parse(&[good.as_slice(), &[0]].concat()).is_err());
        let large = SignedUpdate::parse(&vec![0; MAX_BYTES + 1]);
        assert_eq!(large, Err(UpdateError::TooLarge(MAX_BYTES + 1)));
    }
}
