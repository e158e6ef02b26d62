//! ECDSA P-256 with SHA-256, the only signature of Intel's attestation: one primitive, computed
//! once for each signature.
//!
//! Two implementations of Intel's rules look at every quote (ours, which name the broken link, and
//! dcap-qvl), and both ask whether the same keys signed the same bytes. The answer is a pure
//! function of key, message and signature, so within one judgement the second question is answered
//! from the first: a signature that was found *valid* is remembered under the SHA-256 of the
//! message's digest, signature and key. Nothing else is remembered, and nothing outlives the
//! judgement.

use std::cell::RefCell;
use std::collections::HashSet;

use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::crypto::RustCryptoCrypto;
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha256};

thread_local! {
    /// Signatures that this thread's judgement found valid. dcap-qvl takes its primitives as types,
    /// so there is no other way in.
    static VALID: RefCell<HashSet<[u8; 32]>> = RefCell::new(HashSet::new());
}

/// Makes `judgement` with an empty memory, and forgets afterwards.
pub(crate) fn in_one_judgement<T>(judgement: impl FnOnce() -> T) -> T {
    let forget = || VALID.with_borrow_mut(HashSet::clear);
    forget();
    let result = judgement();
    forget();
    result
}

/// Whether the key `point` (SEC 1) signed `message`.
pub(crate) fn verifies(point: &[u8], message: &[u8], signature: &Signature) -> bool {
    let digest = Sha256::digest(message);
    let question = Sha256::new()
        .chain_update(digest)
        .chain_update(signature.to_bytes())
        .chain_update(point)
        .finalize()
        .into();
    if VALID.with_borrow(|valid| valid.contains(&question)) {
        return true;
    }
    let valid = VerifyingKey::from_sec1_bytes(point)
        .is_ok_and(|key| key.verify_prehash(&digest, signature).is_ok());
    if valid {
        VALID.with_borrow_mut(|known| known.insert(question));
    }
    valid
}

/// dcap-qvl's own parts with the primitive above.
pub(crate) struct OneJudgement;

impl Config for OneJudgement {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for OneJudgement {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &EcdsaP256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        RustCryptoCrypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        RustCryptoCrypto::sha384(data)
    }
}

#[derive(Debug)]
struct EcdsaP256;

impl SignatureVerificationAlgorithm for EcdsaP256 {
    fn verify_signature(
        &self,
        point: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        if verifies(point, message, &signature) { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    use super::*;

    fn signed() -> (Vec<u8>, Signature) {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        (VerifyingKey::from(&key).to_sec1_point(false).as_bytes().to_vec(), key.sign(b"message"))
    }

    fn remembered() -> usize {
        VALID.with_borrow(HashSet::len)
    }

    #[test]
    fn only_the_same_key_message_and_signature_are_answered_from_memory() {
        let (point, signature) = signed();
        let other_key = SigningKey::from_slice(&[8; 32]).unwrap();
        let other_point = VerifyingKey::from(&other_key).to_sec1_point(false).as_bytes().to_vec();
        let other_signature: Signature = other_key.sign(b"message");
        in_one_judgement(|| {
            assert!(verifies(&point, b"message", &signature));
            assert!(!verifies(&point, b"messagf", &signature));
            assert!(!verifies(&other_point, b"message", &signature));
            assert!(!verifies(&point, b"message", &other_signature));
            assert!(!verifies(&[], b"message", &signature));
            assert_eq!(remembered(), 1);
            assert!(verifies(&point, b"message", &signature));
            assert_eq!(remembered(), 1);
        });
    }

    #[test]
    fn a_judgement_ends_with_nothing_remembered() {
        let (point, signature) = signed();
        in_one_judgement(|| assert!(verifies(&point, b"message", &signature)));
        assert_eq!(remembered(), 0);
        assert!(verifies(&point, b"message", &signature));
        in_one_judgement(|| assert_eq!(remembered(), 0));
    }
}
