//! Signatures: whose count, how many are needed, and which bytes enough people vouch for.
//!
//! The form is an envelope (DSSE) with Ed25519 signatures of people who sign apart from each
//! other. The attacker hands out the envelope: its payload is a claim until [`verify`] has counted
//! its signatures against a [`Trust`]. Nothing here knows what a payload means, reads a file or a
//! clock.

use std::collections::BTreeSet;

use protocol::rule::unless;

pub mod dsse;
pub mod keys;

pub use dsse::{Envelope, EnvelopeError, PayloadType};
pub use keys::{KeyError, KeyId, Signer, SigningKey};

/// Most keys that one verifier names; each signature is tried with each.
const MAX_SIGNERS: usize = 32;

/// Whose signatures count, and how many of them are needed.
#[derive(Debug, Clone)]
pub struct Trust {
    signers: Vec<Signer>,
    threshold: usize,
}

impl Trust {
    /// `threshold` of `signers`; a key that is named twice is one signer.
    ///
    /// # Errors
    /// If no key is named, or the threshold is zero or more than there are signers: no rule accepts
    /// everything.
    pub fn new(signers: Vec<Signer>, threshold: usize) -> Result<Self, SignatureError> {
        let mut seen = BTreeSet::new();
        let signers: Vec<Signer> =
            signers.into_iter().filter(|signer| seen.insert(signer.id())).collect();
        match signers.len() {
            0 => Err(SignatureError::NoSigners),
            many if many > MAX_SIGNERS => Err(SignatureError::ManySigners(many)),
            keys if threshold == 0 || threshold > keys => {
                Err(SignatureError::Threshold { threshold, keys })
            }
            _ => Ok(Self { signers, threshold }),
        }
    }

    /// The keys, each once.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// How many of them are needed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

/// A payload that enough signers vouch for.
///
/// Holding one proves that each of [`Signed::signers`] signed exactly this payload under its type,
/// and that they are as many as the verifier asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    payload: Vec<u8>,
    signers: Vec<KeyId>,
}

impl Signed {
    /// The bytes that were signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The keys that count and signed, each once.
    #[must_use]
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }
}

/// Counts the signatures of an envelope; the only way to a [`Signed`].
///
/// Signatures of keys that `trust` does not name are passed over: anybody may add one.
///
/// # Errors
/// If the envelope is malformed or of another type, or too few signers signed these bytes.
pub fn verify(
    envelope: &[u8],
    payload_type: PayloadType,
    trust: &Trust,
) -> Result<Signed, SignatureError> {
    let envelope = Envelope::parse(envelope, payload_type)?;
    let signed_bytes = envelope.signed_bytes(); // once: a megabyte, for each of 32 signers and 64 signatures
    let signed = |signer: &&Signer| {
        envelope.signatures().any(|signature| signer.signed(&signed_bytes, signature))
    };
    let signers: Vec<KeyId> = trust.signers.iter().filter(signed).map(Signer::id).collect();
    let enough = signers.len() >= trust.threshold;
    unless(enough, || too_few(&envelope, trust, &signers))?;
    Ok(Signed { payload: envelope.into_payload(), signers })
}

/// The signatures of an envelope that count, each under its signer's own name, and whose they are;
/// nothing is said of whether they are enough.
///
/// # Errors
/// If the envelope is malformed or of another type.
pub fn counted(
    envelope: &[u8],
    payload_type: PayloadType,
    trust: &Trust,
) -> Result<(Envelope, Vec<KeyId>), SignatureError> {
    let envelope = Envelope::parse(envelope, payload_type)?;
    let signed_bytes = envelope.signed_bytes();
    let mut counted = Envelope::new(payload_type, envelope.payload().to_vec());
    let mut signers = Vec::new();
    for signer in &trust.signers {
        let own = |signature: &&[u8]| signer.signed(&signed_bytes, signature);
        if let Some(signature) = envelope.signatures().find(own) {
            counted.add(signer.id(), signature);
            signers.push(signer.id());
        }
    }
    Ok((counted, signers))
}

/// The reason for a refusal: key ids in an envelope are hints that decide nothing, but they tell a
/// changed payload from one that other keys signed.
fn too_few(envelope: &Envelope, trust: &Trust, counted: &[KeyId]) -> SignatureError {
    let claimed: BTreeSet<KeyId> = envelope.key_ids().collect();
    let broken = trust
        .signers
        .iter()
        .map(Signer::id)
        .find(|id| claimed.contains(id) && !counted.contains(id));
    match broken {
        Some(signer) => SignatureError::Altered { signer },
        None if counted.is_empty() => {
            SignatureError::Foreign { signatures: envelope.signatures().count() }
        }
        None => SignatureError::TooFew { counted: counted.len(), threshold: trust.threshold },
    }
}

/// Why signatures were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// no signer is named: an empty list trusts nobody
    #[error("no signer is named: an empty list trusts nobody")]
    NoSigners,
    /// {0} signers are named; at most 32 are tried
    #[error("{0} signers are named; at most {MAX_SIGNERS} are tried")]
    ManySigners(usize),
    /// the threshold is {threshold}, but {keys} different keys are named; legal are 1 to their
    /// number
    #[error(
        "the threshold is {threshold}, but {keys} different keys are named; legal are 1 to their number"
    )]
    Threshold {
        /// As asked for.
        threshold: usize,
        /// Different keys.
        keys: usize,
    },
    /// only {counted} of the named signers signed; {threshold} are needed
    #[error("only {counted} of the named signers signed; {threshold} are needed")]
    TooFew {
        /// Signers whose signature is right.
        counted: usize,
        /// As asked for.
        threshold: usize,
    },
    /// none of the {signatures} signatures is by a named signer
    #[error("none of the {signatures} signatures is by a named signer")]
    Foreign {
        /// In the envelope.
        signatures: usize,
    },
    /// the signature that names {signer} is not of this payload: one of them was changed
    #[error("the signature that names {signer} is not of this payload: one of them was changed")]
    Altered {
        /// A key that counts.
        signer: KeyId,
    },
    /// not an envelope
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl SignatureError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSigners | Self::ManySigners(_) => {
                "name the public keys that you trust with --signer"
            }
            Self::Threshold { .. } => {
                "give a --threshold between 1 and the number of different --signer keys"
            }
            Self::TooFew { .. } => "wait for more signers, or trust fewer with --threshold",
            Self::Foreign { .. } => "is it signed by those whose keys you named?",
            Self::Altered { .. } => "do not use it; take it from another source",
            Self::Envelope(_) => "take the file as `dstyx release` wrote it",
        }
    }
}

#[cfg(test)]
mod tests;
