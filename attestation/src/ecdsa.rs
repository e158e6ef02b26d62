//! ECDSA P-256 with SHA-256, the only signature of Intel's attestation: one primitive, computed
//! once for each signature.
//!
//! Two implementations of Intel's rules look at every quote (ours, which name the broken link, and
//! dcap-qvl), and both ask whether the same keys signed the same bytes. The answer is a pure
//! function of key, message and signature, so within one judgement the second question is answered
//! from the first: a signature that was found *valid* is remembered under the SHA-256 of the
//! message's digest, signature and key. Nothing else is remembered: dates, names and revocations
//! are looked at each time. What a judgement that passed has found may be [kept](Remembered) for
//! those that follow; of any other, nothing outlives it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Most signatures that are kept over judgements: 7 are of the collateral and the CAs, 2 of a
/// platform, and 1 of each quote, which never comes again. One more, and all are forgotten.
const MAX_REMEMBERED: usize = 256;

/// Signatures that were found valid, each by its question.
type Valid = HashSet<[u8; 32]>;

thread_local! {
    /// What this thread's judgement knows. dcap-qvl takes its primitives as types, so there is no
    /// other way in.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Signatures that a judgement knows to be valid.
#[derive(Default)]
struct Known {
    earlier: Arc<Valid>,
    found: Valid,
}

impl Known {
    fn has(&self, question: &[u8; 32]) -> bool {
        self.earlier.contains(question) || self.found.contains(question)
    }
}

/// Signatures that judgements found valid, for later ones.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Arc<Valid>>);

impl Remembered {
    fn all(&self) -> Arc<Valid> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, found: Valid) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() + found.len() > MAX_REMEMBERED {
            *all = Arc::default();
        }
        Arc::make_mut(&mut all).extend(found);
    }
}

/// Makes `judgement` with no other memory than what is remembered. Only a judgement that `passed`
/// adds to it: then the signatures are of keys under the trust anchor, and nobody else can push
/// them out.
pub(crate) fn in_one_judgement<T>(
    remembered: Option<&Remembered>,
    judgement: impl FnOnce() -> T,
    passed: impl FnOnce(&T) -> bool,
) -> T {
    let earlier = remembered.map(Remembered::all).unwrap_or_default();
    KNOWN.set(Known { earlier, found: Valid::new() });
    let result = judgement();
    let Known { found, .. } = KNOWN.take();
    if let Some(remembered) = remembered.filter(|_| !found.is_empty() && passed(&result)) {
        remembered.add(found);
    }
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
    if KNOWN.with_borrow(|known| known.has(&question)) {
        return true;
    }
    let valid = VerifyingKey::from_sec1_bytes(point)
        .is_ok_and(|key| key.verify_prehash(&digest, signature).is_ok());
    if valid {
        KNOWN.with_borrow_mut(|known| known.found.insert(question));
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

    fn found() -> usize {
        KNOWN.with_borrow(|known| known.found.len())
    }

    fn alone<T>(judgement: impl FnOnce() -> T) -> T {
        in_one_judgement(None, judgement, |_| true)
    }

    #[test]
    fn only_the_same_key_message_and_signature_are_answered_from_memory() {
        let (point, signature) = signed();
        let other_key = SigningKey::from_slice(&[8; 32]).unwrap();
        let other_point = VerifyingKey::from(&other_key).to_sec1_point(false).as_bytes().to_vec();
        let other_signature: Signature = other_key.sign(b"message");
        alone(|| {
            assert!(verifies(&point, b"message", &signature));
            assert!(!verifies(&point, b"messagf", &signature));
            assert!(!verifies(&other_point, b"message", &signature));
            assert!(!verifies(&point, b"message", &other_signature));
            assert!(!verifies(&[], b"message", &signature));
            assert_eq!(found(), 1);
            assert!(verifies(&point, b"message", &signature));
            assert_eq!(found(), 1);
        });
    }

    #[test]
    fn a_judgement_by_itself_ends_with_nothing_remembered() {
        let (point, signature) = signed();
        alone(|| assert!(verifies(&point, b"message", &signature)));
        assert_eq!(found(), 0);
        assert!(verifies(&point, b"message", &signature));
        alone(|| assert_eq!(found(), 0));
    }

    #[test]
    fn only_what_a_judgement_that_passed_has_found_is_kept_and_no_more_than_the_bound() {
        let (point, signature) = signed();
        let remembered = Remembered::default();
        let judge = |message: &[u8], passes: bool| {
            let judgement = || {
                let valid = verifies(&point, message, &signature);
                (valid, found())
            };
            in_one_judgement(Some(&remembered), judgement, |_| passes)
        };
        assert_eq!(judge(b"message", false), (true, 1));
        assert_eq!(remembered.all().len(), 0, "of one that failed, nothing");
        assert_eq!(judge(b"message", true), (true, 1));
        assert_eq!(judge(b"message", true), (true, 0), "computed once");
        assert_eq!(judge(b"another", true), (false, 0));
        let other = |number: usize| {
            let mut question = [0; 32];
            question[..8].copy_from_slice(&number.to_le_bytes());
            question
        };
        remembered.add((1..MAX_REMEMBERED).map(other).collect());
        assert_eq!(remembered.all().len(), MAX_REMEMBERED);
        remembered.add(Valid::from([other(0)]));
        assert_eq!(*remembered.all(), Valid::from([other(0)]));
    }
}
