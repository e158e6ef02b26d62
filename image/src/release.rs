//! Releases: which files were built, from what, and who vouches for it.
//!
//! A release is a [`Statement`] inside an envelope with signatures. A statement holds no time and
//! nothing of the machine that wrote it: signers who rebuild the same sources get the same bytes,
//! and sign them apart from each other. The attacker hands out the envelope and the files; what
//! an envelope says is a claim until [`verify`] has had its signatures counted. Nothing here reads
//! a file or a clock.

use attestation::Release;
use attestation::signatures::{self, Envelope, KeyId, PayloadType, SignatureError, Signed, Trust};

pub mod statement;

pub use statement::{FileDigests, Sources, Statement, StatementError};

/// The type of in-toto statements.
pub const PAYLOAD_TYPE: PayloadType = PayloadType("application/vnd.in-toto+json");

/// A release that enough signers vouch for.
///
/// Holding one proves that each of [`VerifiedRelease::signers`] signed exactly this statement, and
/// that they are as many as the verifier asked for. It proves nothing of files until
/// [`VerifiedRelease::check`] was asked about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRelease {
    statement: Statement,
    signed: Signed,
}

/// Counts the signatures of a release's envelope and reads its statement; the only way to a
/// [`VerifiedRelease`].
///
/// # Errors
/// If the envelope or its statement is malformed, or too few signers signed these bytes.
pub fn verify(envelope: &[u8], trust: &Trust) -> Result<VerifiedRelease, ReleaseError> {
    let signed = signatures::verify(envelope, PAYLOAD_TYPE, trust)?;
    let statement = Statement::parse(signed.payload())?;
    Ok(VerifiedRelease { statement, signed })
}

impl Statement {
    /// The envelope of this statement, without signatures.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        Envelope::new(PAYLOAD_TYPE, self.to_json())
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
        self.signed.signers()
    }

    /// What the signers say of the image that a guest is judged by.
    #[must_use]
    pub fn image(&self) -> Release {
        Release {
            image_json: self.statement.image().sha256,
            flavour: self.statement.flavour().to_owned(),
        }
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
    /// too few signers, or not an envelope
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// not a statement about a release
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl ReleaseError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoFile(_) => "is this the directory of that release?",
            Self::OtherBytes { .. } => {
                "do not use the file; `dstyx rebuild --against image.json` says where it differs"
            }
            Self::Signatures(error) => error.hint(),
            Self::Statement(_) => "take the file as `dstyx release` wrote it",
        }
    }
}

#[cfg(test)]
mod tests;
