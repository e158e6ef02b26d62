//! Signatures of owners who sign a document apart from each other, until there are enough.
//!
//! Each owner has one place for each type of document: an owner who signs another document of the
//! type takes back the first, and none can fill the memory or take away what others signed. What is
//! collected decides nothing; the joined envelope is decided about like one that came whole.

use std::collections::BTreeMap;

use attestation::kms::{KmsRefusal, Owners};
use attestation::signatures::{Envelope, PayloadType, counted};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::PendingDocument;

use crate::state::Signed;

/// What owners handed over; only signatures that count are kept.
#[derive(Debug, Default)]
pub struct Collection {
    kept: BTreeMap<(Signed, Ed25519Key), Envelope>,
}

/// An envelope with all the signatures that are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    own: Envelope,
    /// Its JSON.
    pub envelope: String,
    /// Whether as many owners signed it as decide.
    pub enough: bool,
}

impl Collection {
    /// An envelope of one owner, with the signatures of others that are here; nothing is kept yet.
    ///
    /// # Errors
    /// If it is no envelope of this type.
    pub fn joined(
        &self,
        owners: &Owners,
        signed: Signed,
        envelope: &str,
    ) -> Result<Joined, KmsRefusal> {
        let (payload_type, document) = (PayloadType(signed.payload_type()), signed.name());
        let (own, _) = counted(envelope.as_bytes(), payload_type, owners.trust())
            .map_err(|source| KmsRefusal::Signatures { document, source })?;
        let mut all = own.clone();
        self.of_type(signed).for_each(|(_, other)| all.join(other));
        let enough = all.signatures().count() >= owners.trust().threshold();
        Ok(Joined { own, envelope: all.to_json(), enough })
    }

    /// Keeps what an owner handed over, in the place of its earlier document of the type.
    pub fn keep(&mut self, owner: Ed25519Key, signed: Signed, joined: Joined) {
        self.kept.insert((signed, owner), joined.own);
    }

    /// Drops the documents of a type: one of them was decided about.
    pub fn clear(&mut self, signed: Signed) {
        self.kept.retain(|(of, _), _| *of != signed);
    }

    /// Each document that waits for signatures, and whose it has.
    pub fn pending(&self, owners: &Owners) -> Vec<PendingDocument> {
        let document = |(signed, envelope): (Signed, Envelope)| PendingDocument {
            payload_type: signed.payload_type().to_owned(),
            digest: Sha256Digest::of(envelope.payload()).0.to_vec(),
            signers: signers(owners, &envelope),
        };
        Signed::ALL.into_iter().flat_map(|signed| self.documents(signed)).map(document).collect()
    }

    /// The envelopes of a type, each with all signatures of its document.
    pub fn envelopes(&self, signed: Signed) -> Vec<String> {
        self.documents(signed).iter().map(|(_, envelope)| envelope.to_json()).collect()
    }

    fn documents(&self, signed: Signed) -> Vec<(Signed, Envelope)> {
        let mut documents: Vec<(Signed, Envelope)> = Vec::new();
        for (_, envelope) in self.of_type(signed) {
            match documents.iter_mut().find(|(_, other)| other.payload() == envelope.payload()) {
                Some((_, other)) => other.join(envelope),
                None => documents.push((signed, envelope.clone())),
            }
        }
        documents
    }

    fn of_type(&self, signed: Signed) -> impl Iterator<Item = (&Ed25519Key, &Envelope)> {
        let of_type = self.kept.iter().filter(move |((of, _), _)| *of == signed);
        of_type.map(|((_, owner), envelope)| (owner, envelope))
    }
}

/// Hex of the owners whose signatures the envelope has; only those that count are in one that is
/// kept.
fn signers(owners: &Owners, envelope: &Envelope) -> Vec<String> {
    let named: Vec<_> = envelope.key_ids().collect();
    let signed = owners.trust().signers().iter().filter(|signer| named.contains(&signer.id()));
    signed.map(|signer| signer.key().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use protocol::kms::payload_type;

    use super::*;
    use crate::fixtures::{Kms, MEMBER, NOW, certificate, cluster, list, owners as keys, signed};
    use crate::state::{certify_root, review};

    fn owners() -> Owners {
        Owners::of(&cluster(), cluster().id()).unwrap()
    }

    fn key(place: usize) -> Ed25519Key {
        keys()[place].signer().key()
    }

    fn put(collection: &mut Collection, owner: usize, envelope: &str) -> Joined {
        let joined = collection.joined(&owners(), Signed::List, envelope).unwrap();
        collection.keep(key(owner), Signed::List, joined.clone());
        joined
    }

    #[test]
    fn signatures_of_owners_who_sign_apart_come_to_enough() {
        let kms = Kms::born();
        let mut collection = Collection::default();
        let first = signed(payload_type::ROOT, &certificate(), &[2]);
        let joined = collection.joined(&owners(), Signed::Root, &first).unwrap();
        assert!(!joined.enough);
        assert!(certify_root(&kms.state, &joined.envelope, NOW).is_err());
        collection.keep(key(2), Signed::Root, joined);
        let [waiting] = &collection.pending(&owners())[..] else { panic!() };
        assert_eq!(waiting.payload_type, payload_type::ROOT);
        assert_eq!(waiting.signers, [key(2).to_string()]);

        let second = signed(payload_type::ROOT, &certificate(), &[0]);
        let joined = collection.joined(&owners(), Signed::Root, &second).unwrap();
        assert!(joined.enough);
        certify_root(&kms.state, &joined.envelope, NOW).unwrap();
        collection.clear(Signed::Root);
        assert!(collection.pending(&owners()).is_empty());
    }

    #[test]
    fn one_owner_twice_strangers_and_another_document_are_not_enough() {
        let mut collection = Collection::default();
        let list_of =
            |version, signers: &[usize]| signed(payload_type::LIST, &list(version), signers);
        assert!(!put(&mut collection, 0, &list_of(1, &[0])).enough);
        assert!(!put(&mut collection, 0, &list_of(1, &[0])).enough, "one owner is not two");
        assert!(!put(&mut collection, 1, &list_of(2, &[1])).enough, "another document");
        assert_eq!(collection.pending(&owners()).len(), 2);
        // A signature under an owner's name that is not the owner's takes no place of it.
        let forged = list_of(1, &[0])
            .replace(&keys()[0].signer().id().to_string(), &keys()[2].signer().id().to_string());
        assert!(!put(&mut collection, 2, &forged).enough);
        assert_eq!(collection.pending(&owners())[0].signers, [key(0).to_string()]);
        // The second owner comes round to the first one's document, and takes back its own.
        assert!(put(&mut collection, 1, &list_of(1, &[1])).enough);
        assert_eq!(collection.pending(&owners()).len(), 1);
        assert_eq!(collection.envelopes(Signed::List).len(), 1);
    }

    #[test]
    fn what_can_never_count_is_refused_before_others_sign_it() {
        let kms = Kms::serving();
        let asked = |place: usize, signed_as, envelope: &str| {
            review(&kms.state, &key(place), signed_as, envelope, &MEMBER, NOW)
        };
        let next = signed(payload_type::LIST, &list(2), &[1]);
        asked(1, Signed::List, &next).unwrap();
        assert!(asked(0, Signed::List, &next).is_err(), "another owner signed it");
        assert!(asked(1, Signed::Policy, &next).is_err(), "it is no policy");
        let old = signed(payload_type::LIST, &list(1), &[1]);
        assert!(asked(1, Signed::List, &old).unwrap_err().to_string().contains("version 1"));
        let stranger = Ed25519Key([3; 32]);
        let refused = review(&kms.state, &stranger, Signed::List, &next, &MEMBER, NOW);
        assert!(refused.unwrap_err().to_string().contains("not the key of an owner"));
    }
}
