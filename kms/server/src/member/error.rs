//! Why a KMS cannot start over what is stored, and why a call has no answer.

use attestation::ImageFault;
use attestation::kms::KmsRefusal;
use hyper::StatusCode;
use kms_rules::certificates::{CertificateError, CertificateRefusal};
use kms_rules::derivation::KeyringError;
use kms_rules::derivation::dstack::DstackError;
use kms_rules::heads::HeadUnsigned;
use kms_rules::ledger::LedgerError;
use kms_rules::refused::Refused;
use kms_rules::shares::ShareError;
use kms_rules::state::{DocumentRefused, Phase};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::error::chain;
use protocol::kms::NO_MAJORITY;
use protocol::prpc::PrpcError;
use protocol::strict_json::JsonError;

use crate::judge::NO_TIME;
use crate::store::StoreError;

/// Why what is stored cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// the store
    #[error(transparent)]
    Store(#[from] StoreError),
    /// the root's certificate
    #[error("the stored certificate of the root")]
    Owners(#[from] KmsRefusal),
    /// what is stored beside the certificate
    #[error("the stored root")]
    Record(#[from] JsonError),
    /// no certificate
    #[error("there is a ledger, and the certificate of its root is missing")]
    NoCertificate,
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// the first look
    #[error(transparent)]
    Member(#[from] MemberError),
}

impl OpenError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Store(error) => error.hint(),
            Self::Owners(_) | Self::NoCertificate | Self::Record(_) => {
                "put a copy of all its data back; a KMS does not begin anew over data"
            }
            Self::Random(_) | Self::Member(_) => "start the KMS again",
        }
    }
}

/// Why a call has no answer; the text is what the caller reads.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// a call that is none
    #[error(transparent)]
    Prpc(#[from] PrpcError),
    /// a rule
    #[error("{0}; {hint}", hint = .0.hint())]
    Refused(Box<Refused>),
    /// a document of owners
    #[error("{}", chain(.0))]
    Document(#[from] Box<DocumentRefused>),
    /// a certificate that is not issued
    #[error("{}", chain(.0))]
    NotCertified(#[source] CertificateRefusal),
    /// a certificate that cannot be made
    #[error("{}", chain(.0))]
    Certificate(#[from] CertificateError),
    /// a share
    #[error(transparent)]
    Share(#[from] ShareError),
    /// a share of another owner
    #[error("the share is of owner {found}, and owner {caller} gives it")]
    OtherOwner {
        /// As the share says, from 1.
        found: usize,
        /// The place of the caller's key, from 1.
        caller: usize,
    },
    /// a share of another epoch
    #[error("the share is of epoch {found}, expected {expected}")]
    Epoch {
        /// As it came.
        found: u32,
        /// The certified root's.
        expected: u32,
    },
    /// a call at the wrong time
    #[error("{call} is not answered while the KMS is {}", .phase.name())]
    Phase {
        /// The call.
        call: &'static str,
        /// How far the KMS is.
        phase: Phase,
    },
    /// shares that are not here
    #[error("the shares are with their owners: only the process that made the root hands them out")]
    NoShares,
    /// a root that would be lost
    #[error("owners took {taken} shares of the root, and {needed} are needed to join it again")]
    FewTaken {
        /// Shares that were taken.
        taken: usize,
        /// The threshold.
        needed: u8,
    },
    /// no root in memory
    #[error("the root is not here")]
    NoRoot,
    /// a root of a later epoch that is missing
    #[error("the root of epoch {0} is not here")]
    Rootless(u32),
    /// a second root that waits
    #[error("a root of epoch {0} waits for the owners' certificate already")]
    Offered(u32),
    /// a root of the next epoch that another process made
    #[error(
        "the root that is offered was made by another process, or by one that ended: take its \
         share and certify it there, or begin the epoch anew"
    )]
    OfferedElsewhere,
    /// roots of earlier epochs that are missing or do not open
    #[error("the roots before epoch {0} are not stored as they were")]
    NoKeyring(u32),
    /// roots of earlier epochs that are none
    #[error("the stored roots: {0}")]
    Keyring(#[from] KeyringError),
    /// an epoch that cannot be read
    #[error("the new epoch: {0}")]
    Renewal(#[source] JsonError),
    /// other roots than were announced
    #[error("the roots of the dstack KMS are others than the renewal names")]
    OtherDstackRoots {
        /// Of the roots that came.
        found: Option<Sha256Digest>,
        /// As the renewal says.
        expected: Option<Sha256Digest>,
    },
    /// roots of a dstack KMS that are none, or a key that does not exist there
    #[error("keys of a dstack KMS: {0}")]
    DstackRoots(#[from] DstackError),
    /// an image that is none
    #[error("the image: {}", chain(.0))]
    Image(#[from] ImageFault),
    /// an image beyond its budget
    #[error("the image has {found} bytes, at most {limit} are kept")]
    LargeImage {
        /// Bytes present.
        found: usize,
        /// Bytes kept.
        limit: usize,
    },
    /// no time
    #[error("{NO_TIME}")]
    NoTime,
    /// no majority
    #[error("{NO_MAJORITY}: this KMS does not reach a majority of its members; ask another one")]
    NoMajority,
    /// a process that is no member
    #[error("the process {0} is no member of this KMS")]
    NoMember(Ed25519Key),
    /// a head that its member did not sign
    #[error(transparent)]
    Head(#[from] HeadUnsigned),
    /// a process that does not prove the root
    #[error("the process {0} does not prove that it has the root")]
    WithoutRoot(Ed25519Key),
    /// an entry that is none
    #[error("a proposal: {0}")]
    Proposal(String),
    /// a platform's id of another length
    #[error("a platform id has 16 bytes, found {0}")]
    PlatformId(usize),
    /// a call's number of another length
    #[error("a request id has 16 bytes, found {0}")]
    RequestId(usize),
    /// an id of another length
    #[error("an app id has 20 bytes, found {0}")]
    AppId(usize),
    /// the stored chain
    #[error("the stored ledger: {}", chain(.0))]
    Ledger(#[from] LedgerError),
    /// the stored chain is another root's or cluster's
    #[error("the stored ledger is of another {0}")]
    Foreign(&'static str),
    /// a line that is none
    #[error("entry {index} of the stored ledger is no text of an entry: {what}")]
    Line {
        /// Its place.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// the store
    #[error("the KMS cannot use its store: {0}")]
    Store(#[from] StoreError),
    /// a store that nobody knows the state of
    #[error("a decision could not be stored: the KMS must be started again")]
    Broken,
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
}

impl From<Refused> for MemberError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<CertificateRefusal> for MemberError {
    fn from(refusal: CertificateRefusal) -> Self {
        match refusal {
            CertificateRefusal::Refused(refused) => refused.into(),
            other => Self::NotCertified(other),
        }
    }
}

impl From<DocumentRefused> for MemberError {
    fn from(refused: DocumentRefused) -> Self {
        Self::Document(Box::new(refused))
    }
}

impl MemberError {
    /// The HTTP status: 409 to a guest that must halt, 423 to one whose disk another
    /// may still use, 503 where another time may be better.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Prpc(error) => service::prpc::status(error),
            Self::Refused(refused) if refused.superseded() => StatusCode::CONFLICT,
            Self::Refused(refused) if refused.held() => StatusCode::LOCKED,
            Self::Refused(refused) if refused.uses_up_quota() => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(refused)
                if matches!(**refused, Refused::NotServing(_) | Refused::BootAuthSilent(_)) =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Refused(_) | Self::NoMember(_) | Self::WithoutRoot(_) => StatusCode::FORBIDDEN,
            Self::Phase { .. }
            | Self::NoRoot
            | Self::Rootless(_)
            | Self::NoTime
            | Self::NoMajority => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if error.is_unsettled() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Document(_)
            | Self::Share(_)
            | Self::NotCertified(_)
            | Self::OtherOwner { .. }
            | Self::Epoch { .. }
            | Self::NoShares
            | Self::Offered(_)
            | Self::OfferedElsewhere
            | Self::FewTaken { .. }
            | Self::Image(_)
            | Self::LargeImage { .. }
            | Self::Proposal(_)
            | Self::Head(_)
            | Self::PlatformId(_)
            | Self::RequestId(_)
            | Self::Renewal(_)
            | Self::OtherDstackRoots { .. }
            | Self::DstackRoots(_)
            | Self::AppId(_) => StatusCode::BAD_REQUEST,
            Self::Ledger(_)
            | Self::Foreign(_)
            | Self::Line { .. }
            | Self::Store(_)
            | Self::NoKeyring(_)
            | Self::Keyring(_)
            | Self::Certificate(_)
            | Self::Broken
            | Self::Random(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
