//! Whether the client of a channel is one of the owners whom a measured file names.
//!
//! An owner has no evidence: its key signed what is unique to the connection. The signature is
//! looked at only for a key that is named.

use ed25519_dalek::{Signature, VerifyingKey};
use protocol::channel::OwnerProof;
use protocol::digest::Ed25519Key;
use protocol::rule::unless;

/// Why a client is not an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnerRefusal {
    /// a key that is not named
    #[error("this key is not one of the owners' that the measured file names")]
    Stranger,
    /// a signature of something else, or by another key
    #[error("the signature is not this owner's over this connection")]
    Signature,
}

/// The owner whose key signed `signed`, which must be unique to the connection.
///
/// # Errors
/// If the key is not among `owners`, or the signature is not the key's.
pub fn judge_owner(
    owners: &[Ed25519Key],
    proof: &OwnerProof,
    signed: &[u8],
) -> Result<Ed25519Key, OwnerRefusal> {
    let key = Ed25519Key(proof.key);
    unless(owners.contains(&key), || OwnerRefusal::Stranger)?;
    let signature = Signature::from_bytes(&proof.signature);
    let verified =
        VerifyingKey::from_bytes(&key.0).and_then(|key| key.verify_strict(signed, &signature));
    unless(verified.is_ok(), || OwnerRefusal::Signature)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn an_owner_is_a_named_key_that_signed_this_connection() {
        let [ours, theirs] = [1, 2].map(|byte| SigningKey::from_bytes(&[byte; 32]));
        let key = |signer: &SigningKey| signer.verifying_key().to_bytes();
        let proof = |named: &SigningKey, signer: &SigningKey, signed: &[u8]| OwnerProof {
            key: key(named),
            signature: signer.sign(signed).to_bytes(),
        };
        let owners = [Ed25519Key(key(&ours))];
        let judged = |proof: &OwnerProof| judge_owner(&owners, proof, b"this");
        assert_eq!(judged(&proof(&ours, &ours, b"this")), Ok(owners[0]));
        assert_eq!(judged(&proof(&theirs, &theirs, b"this")), Err(OwnerRefusal::Stranger));
        assert_eq!(judged(&proof(&ours, &theirs, b"this")), Err(OwnerRefusal::Signature));
        assert_eq!(judged(&proof(&ours, &ours, b"that")), Err(OwnerRefusal::Signature));
        let nobody = judge_owner(&[], &proof(&ours, &ours, b"this"), b"this");
        assert_eq!(nobody, Err(OwnerRefusal::Stranger));
    }
}
