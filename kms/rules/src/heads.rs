//! Members' words for how their ledgers end.
//!
//! A member signs what is agreed, so of two heads that members signed one extends the other. Who
//! reads the ledger of one member can see that with the words of the others, which it passes on: a
//! head that its ledger does not contain shows two histories.

use ed25519_dalek::{Signature, VerifyingKey};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{MemberHead, signed_head};

/// A head whose signature was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// The member.
    pub member: Ed25519Key,
    /// Entries of its ledger.
    pub entries: u64,
    /// Hash of the last of them.
    pub hash: Sha256Digest,
}

/// a head that its member did not sign
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a head of {entries} entries is not signed by the member {member:?} that it names")]
pub struct HeadUnsigned {
    /// As it says.
    pub entries: u64,
    /// Hex of the key that it names, whatever its length.
    pub member: String,
}

/// Verifies a head.
///
/// # Errors
/// If its member did not sign it for this KMS.
pub fn verify(
    head: &MemberHead,
    key_provider_id: &Sha256Digest,
) -> Result<SignedHead, HeadUnsigned> {
    let read = || {
        let member = Ed25519Key(head.member.as_slice().try_into().ok()?);
        let hash = Sha256Digest(head.head.as_slice().try_into().ok()?);
        let signature = Signature::from_slice(&head.signature).ok()?;
        let key = VerifyingKey::from_bytes(&member.0).ok()?;
        let signed = signed_head(key_provider_id, head.entries, &hash);
        key.verify_strict(&signed, &signature).ok()?;
        Some(SignedHead { member, entries: head.entries, hash })
    };
    read().ok_or_else(|| HeadUnsigned { entries: head.entries, member: hex::encode(&head.member) })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn sign(key: &SigningKey, id: &Sha256Digest, entries: u64, hash: &Sha256Digest) -> MemberHead {
        MemberHead {
            member: key.verifying_key().to_bytes().to_vec(),
            entries,
            head: hash.0.to_vec(),
            signature: key.sign(&signed_head(id, entries, hash)).to_bytes().to_vec(),
        }
    }

    #[test]
    fn a_head_is_its_members_word_for_one_ledger_of_one_kms() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let (ours, hash) = (Sha256Digest([7; 32]), Sha256Digest([8; 32]));
        let head = sign(&key, &ours, 5, &hash);
        let member = Ed25519Key(key.verifying_key().to_bytes());
        assert_eq!(verify(&head, &ours), Ok(SignedHead { member, entries: 5, hash }));
        let other = SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes().to_vec();
        for wrong in [
            MemberHead { entries: 6, ..head.clone() },
            MemberHead { head: vec![9; 32], ..head.clone() },
            MemberHead { head: vec![8; 31], ..head.clone() },
            MemberHead { member: other, ..head.clone() },
            MemberHead { member: Vec::new(), ..head.clone() },
            MemberHead { signature: vec![0; 64], ..head.clone() },
            MemberHead { signature: Vec::new(), ..head.clone() },
        ] {
            assert!(verify(&wrong, &ours).is_err(), "{wrong:?}");
        }
        assert!(verify(&head, &Sha256Digest([6; 32])).is_err());
    }
}
