//! Releases: which files were built, from what, and who vouches for it.
//!
//! A release is a [`Statement`] inside an envelope with signatures. A statement holds no time and
//! nothing of the machine that wrote it: signers who rebuild the same sources get the same bytes,
//! and sign them apart from each other. The attacker hands out the envelope and the files; what
//! an envelope says is a claim until [`verify`] has counted its signatures against a [`Trust`].
//! Nothing here reads a file or a clock.

use std::collections::BTreeSet;

pub mod dsse;
pub mod keys;
pub mod statement;

pub use dsse::{Envelope, EnvelopeError};
pub use keys::{KeyError, KeyId, Signer, SigningKey};
pub use statement::{FileDigests, Sources, Statement, StatementError};

use crate::digest::Digest;
use statement::IMAGE;

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
    /// If nobody is named, or the threshold is zero or more than there are signers: no rule accepts
    /// everything.
    pub fn new(signers: Vec<Signer>, threshold: usize) -> Result<Self, ReleaseError> {
        let mut seen = BTreeSet::new();
        let signers: Vec<Signer> =
            signers.into_iter().filter(|signer| seen.insert(signer.id())).collect();
        match signers.len() {
            0 => Err(ReleaseError::NoSigners),
            many if many > MAX_SIGNERS => Err(ReleaseError::ManySigners(many)),
            keys if threshold == 0 || threshold > keys => {
                Err(ReleaseError::Threshold { threshold, keys })
            }
            _ => Ok(Self { signers, threshold }),
        }
    }
}

/// A release that enough signers vouch for.
///
/// Holding one proves that each of [`VerifiedRelease::signers`] signed exactly this statement, and
/// that they are as many as the verifier asked for. It proves nothing of files until
/// [`VerifiedRelease::check`] was asked about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRelease {
    statement: Statement,
    signers: Vec<KeyId>,
}

/// Counts the signatures of an envelope; the only way to a [`VerifiedRelease`].
///
/// Signatures of keys that `trust` does not name are passed over: anybody may add one.
///
/// # Errors
/// If the envelope or its statement is malformed, or too few signers signed these bytes.
pub fn verify(envelope: &[u8], trust: &Trust) -> Result<VerifiedRelease, ReleaseError> {
    let envelope = Envelope::parse(envelope)?;
    let signed_bytes = envelope.signed_bytes(); // once: a megabyte, for each of 32 signers and 64 signatures
    let signed = |signer: &&Signer| {
        envelope.signatures().any(|signature| signer.signed(&signed_bytes, signature))
    };
    let signers: Vec<KeyId> = trust.signers.iter().filter(signed).map(Signer::id).collect();
    if signers.len() < trust.threshold {
        return Err(too_few(&envelope, trust, &signers));
    }
    let statement = Statement::parse(envelope.payload())?;
    Ok(VerifiedRelease { statement, signers })
}

/// Says why: key ids in an envelope are hints that decide nothing, but they tell a changed
/// statement from one that somebody else signed.
fn too_few(envelope: &Envelope, trust: &Trust, counted: &[KeyId]) -> ReleaseError {
    let claimed: BTreeSet<KeyId> = envelope.key_ids().collect();
    let broken = trust
        .signers
        .iter()
        .map(Signer::id)
        .find(|id| claimed.contains(id) && !counted.contains(id));
    match broken {
        Some(signer) => ReleaseError::Altered { signer },
        None if counted.is_empty() => {
            ReleaseError::Foreign { signatures: envelope.signatures().count() }
        }
        None => ReleaseError::TooFew { counted: counted.len(), threshold: trust.threshold },
    }
}

impl VerifiedRelease {
    /// What was signed.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who signed it, of those who count, each once.
    #[must_use]
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Whether an image is the released one: `os_image_hash` is the SHA-256 of the image.json that
    /// was read.
    ///
    /// # Errors
    /// If it is another image.json.
    pub fn check_image(&self, os_image_hash: [u8; 32]) -> Result<(), ReleaseError> {
        let (expected, found) = (self.statement.image().sha256, Digest::from(os_image_hash));
        if expected == found {
            return Ok(());
        }
        let (name, expected, found) = (IMAGE.to_owned(), expected.to_string(), found.to_string());
        Err(ReleaseError::OtherBytes { name, expected, found })
    }

    /// Whether `bytes` are those of the released file `name`.
    ///
    /// # Errors
    /// If the release has no such file, or it has other bytes.
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
        let stated =
            self.statement.file(name).ok_or_else(|| ReleaseError::NoFile(name.to_owned()))?;
        let found = FileDigests::of(bytes);
        if *stated == found {
            return Ok(());
        }
        let (expected, found) = (stated.sha256.to_string(), found.sha256.to_string());
        Err(ReleaseError::OtherBytes { name: name.to_owned(), expected, found })
    }
}

/// Why a release was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
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
    /// the signature that names {signer} is not of this statement: one of them was changed
    #[error("the signature that names {signer} is not of this statement: one of them was changed")]
    Altered {
        /// A key that counts.
        signer: KeyId,
    },
    /// the release has no file named {0:?}
    #[error("the release has no file named {0:?}")]
    NoFile(String),
    /// {name} has the SHA-256 {found}, but the signers vouch for {expected}
    #[error("{name} has the SHA-256 {found}, but the signers vouch for {expected}")]
    OtherBytes {
        /// The file.
        name: String,
        /// As signed.
        expected: String,
        /// Of the bytes at hand.
        found: String,
    },
    /// not an envelope
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// not a statement about a release
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl ReleaseError {
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
            Self::Foreign { .. } => "is this the release of those whose keys you named?",
            Self::Altered { .. } => "do not use it; take the release from another place",
            Self::NoFile(_) => "is this the directory of that release?",
            Self::OtherBytes { .. } => {
                "do not use the file; `dstyx rebuild --against image.json` says where it differs"
            }
            Self::Envelope(_) | Self::Statement(_) => "take the file as `dstyx release` wrote it",
        }
    }
}

#[cfg(test)]
mod tests;
