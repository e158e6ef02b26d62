//! `Verify`: whether a signature is right, and the algorithms of signatures. No key of the guest is
//! needed for it.
//!
//! The answer is as trustworthy as the guest; a relying party verifies by itself. Source: dstack,
//! `guest-agent`.

use ed25519_dalek::Verifier as _;
use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use protocol::prpc::VerifyRequest;

/// Bytes of a digest that is signed as it is.
pub(super) const DIGEST_BYTES: usize = 32;

/// Why a signature cannot be judged; a wrong one can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// an algorithm that nobody knows
    #[error("Unsupported algorithm {0:?}: known are ed25519, secp256k1 and secp256k1_prehashed")]
    Algorithm(String),
    /// bytes that are no public key
    #[error("invalid public key")]
    PublicKey,
    /// bytes that are no signature
    #[error("invalid signature")]
    Signature,
    /// what was signed is no digest
    #[error("pre-hashed signing takes a digest of {DIGEST_BYTES} bytes, found {0}")]
    Digest(usize),
    /// an epoch whose keys are not here
    #[error("there are no keys of the epoch {found}: this instance runs on {runs_on}")]
    Epoch {
        /// As asked for.
        found: u32,
        /// That of its keys.
        runs_on: u32,
    },
    /// a derived key that is none, with a probability of 2^-128
    #[error("the derived bytes are not a scalar of secp256k1: take another path")]
    Key,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ed25519,
    /// ECDSA over the SHA-256 of the data.
    Secp256k1,
    /// ECDSA over the data, which is a digest.
    Secp256k1Prehashed,
}

impl Algorithm {
    /// The algorithm of a name as dstack has it.
    pub(super) fn named(name: &str) -> Result<Self, SignatureError> {
        match name {
            "ed25519" => Ok(Self::Ed25519),
            "secp256k1" | "k256" => Ok(Self::Secp256k1),
            "secp256k1_prehashed" => Ok(Self::Secp256k1Prehashed),
            other => Err(SignatureError::Algorithm(other.chars().take(32).collect())),
        }
    }
}

/// Whether the signature is right.
pub(super) fn verify(request: &VerifyRequest) -> Result<bool, SignatureError> {
    match Algorithm::named(&request.algorithm)? {
        Algorithm::Ed25519 => ed25519(request),
        Algorithm::Secp256k1 => secp256k1(request, |key, signature| {
            use k256::ecdsa::signature::Verifier as _;
            key.verify(&request.data, signature).is_ok()
        }),
        Algorithm::Secp256k1Prehashed if request.data.len() != DIGEST_BYTES => {
            Err(SignatureError::Digest(request.data.len()))
        }
        Algorithm::Secp256k1Prehashed => secp256k1(request, |key, signature| {
            key.verify_prehash(&request.data, signature).is_ok()
        }),
    }
}

fn ed25519(request: &VerifyRequest) -> Result<bool, SignatureError> {
    let key = request.public_key.as_slice().try_into().map_err(|_| SignatureError::PublicKey)?;
    let key =
        ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| SignatureError::PublicKey)?;
    let signature = ed25519_dalek::Signature::from_slice(&request.signature)
        .map_err(|_| SignatureError::Signature)?;
    Ok(key.verify(&request.data, &signature).is_ok())
}

fn secp256k1(
    request: &VerifyRequest,
    verify: impl FnOnce(&k256::ecdsa::VerifyingKey, &k256::ecdsa::Signature) -> bool,
) -> Result<bool, SignatureError> {
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&request.public_key)
        .map_err(|_| SignatureError::PublicKey)?;
    let signature = k256::ecdsa::Signature::from_slice(&request.signature)
        .map_err(|_| SignatureError::Signature)?;
    Ok(verify(&key, &signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `algorithm public-key data signature` in hex, each right.
    const VECTORS: &str = include_str!("../../../tests/vectors/prpc/signatures.txt");

    fn requests() -> Vec<VerifyRequest> {
        let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
        let request = |line: &str| {
            let [algorithm, key, data, signature] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let [public_key, data, signature] =
                [key, data, signature].map(|text| hex::decode(text).unwrap());
            VerifyRequest { algorithm: algorithm.into(), data, signature, public_key }
        };
        lines.map(request).collect()
    }

    #[test]
    fn right_signatures_are_right_and_others_wrong() {
        let requests = requests();
        assert_eq!(requests.len(), 3);
        for request in requests {
            assert_eq!(verify(&request), Ok(true), "{}", request.algorithm);
            let mut other = request.clone();
            other.data[0] ^= 1;
            assert_eq!(verify(&other), Ok(false), "{}", request.algorithm);
        }
    }

    #[test]
    fn what_cannot_be_judged_says_why() {
        for request in requests() {
            let cut =
                VerifyRequest { signature: request.signature[1..].to_vec(), ..request.clone() };
            assert_eq!(verify(&cut), Err(SignatureError::Signature));
            let cut =
                VerifyRequest { public_key: request.public_key[1..].to_vec(), ..request.clone() };
            assert_eq!(verify(&cut), Err(SignatureError::PublicKey));
        }
        let short =
            VerifyRequest { algorithm: "secp256k1_prehashed".into(), ..VerifyRequest::default() };
        assert_eq!(verify(&short), Err(SignatureError::Digest(0)));
    }
}
