//! Why a key of a Pad is not kept or not released, or a use of a quota not counted: one variant a
//! rule, each with a code for programs and what to try.

use pad_format::enrolment::EnrolmentError;
use pad_format::grant::GrantError;
use pad_format::update::UpdateError;
use pad_format::uuid::PadId;
use pad_format::{CustodianId, KeyName};
use protocol::digest::{AppId, ComposeHash, Ed25519Key, OsImageHash, Sha256Digest};

/// The rule that refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PadRefused {
    /// a field of another form
    #[error("the request's {0}")]
    Field(&'static str),
    /// more than one call may name, or none
    #[error("the request names {found} {what}, expected 1 to {limit}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// one thing twice
    #[error("the request names one of the {0} twice")]
    Twice(&'static str),
    /// a custodian of another delegator
    #[error("the custodian {0} is not enrolled here")]
    CustodianUnknown(CustodianId),
    /// a key that may not have this KMS keep anything
    #[error("the policy's pad_custodians do not name the key {0}")]
    NotListed(Ed25519Key),
    /// a caller who is no member
    #[error("the caller's key {0} is no member of the custodian")]
    NotMember(Ed25519Key),
    /// no enrolment of this custodian
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// a statement to another delegator
    #[error("it names the delegator {found}, and this is {expected}")]
    OtherDelegator {
        /// As it says.
        found: Sha256Digest,
        /// This KMS.
        expected: Sha256Digest,
    },
    /// an enrolment that was replaced
    #[error("the enrolment has version {found}, and {known} is known")]
    EnrolmentOld {
        /// Its version.
        found: u64,
        /// The one that counts.
        known: u64,
    },
    /// custodians beyond the budget
    #[error("{0} custodians are enrolled, and no more are kept")]
    TooManyCustodians(usize),
    /// no statement of the custodian
    #[error("the {what}: {source}")]
    Statement {
        /// A grant or a revocation.
        what: &'static str,
        /// What is wrong.
        source: GrantError,
    },
    /// a grant that was replaced
    #[error("the grant has version {found}, and {known} is known")]
    GrantOld {
        /// Its version.
        found: u64,
        /// The one that counts.
        known: u64,
    },
    /// no key
    #[error("no key came with the grant, and none is here")]
    KeyMissing,
    /// another key than is granted
    #[error("the key is another one than the grant has the digest of")]
    OtherKey,
    /// a second key under one name
    #[error("there is another {0}")]
    KeyTaken(KeyName),
    /// a key that never came
    #[error("there is no {0}")]
    KeyUnknown(KeyName),
    /// keys beyond the budget
    #[error("{found} keys are kept {of}, and no more")]
    TooManyKeys {
        /// How many there are.
        found: usize,
        /// Of the custodian, or in all.
        of: &'static str,
    },
    /// a key that its custodian revoked
    #[error("the key of Pad {0} was revoked by its custodian")]
    Revoked(PadId),
    /// a key whose Pad has other policies now
    #[error("the key of Pad {pad} was replaced when its owners agreed on version {version}")]
    Replaced {
        /// The Pad.
        pad: PadId,
        /// The version of its policies.
        version: u64,
    },
    /// an image that the custodian does not name
    #[error("the key of Pad {pad} is not granted to the image {image}")]
    Image {
        /// The Pad.
        pad: PadId,
        /// The guest's image.
        image: OsImageHash,
    },
    /// an app that the custodian does not name
    #[error("the key of Pad {pad} is not granted to the app {app_id} with the file {compose_hash}")]
    App {
        /// The Pad.
        pad: PadId,
        /// The guest's app.
        app_id: AppId,
        /// The guest's measured file.
        compose_hash: ComposeHash,
    },
    /// an engine that the custodian does not name
    #[error("the key of Pad {pad} is not granted to runs with the engine {engine}")]
    Engine {
        /// The Pad.
        pad: PadId,
        /// The run's engine.
        engine: Sha256Digest,
    },
    /// containers that could take the key
    #[error("the key of Pad {0} is not granted to guests whose containers may be privileged")]
    Privileged(PadId),
    /// as many releases as were granted
    #[error("the key of Pad {pad} was released {releases} times, and no more were granted")]
    UsedUp {
        /// The Pad.
        pad: PadId,
        /// How often.
        releases: u64,
    },
    /// a grant that ended
    #[error("the key of Pad {pad} was granted until {not_after_secs}")]
    Expired {
        /// The Pad.
        pad: PadId,
        /// The last second, since 1970.
        not_after_secs: u64,
    },
    /// one number for two calls
    #[error("the request id was used for another call")]
    RequestReused,
    /// a quota that no engine counts
    #[error(
        "a quota of {uses} uses in {period_secs} s, expected 1 to {} in 1 to {}",
        pad_rules::MAX_USES,
        pad_rules::MAX_PERIOD_SECS
    )]
    QuotaForm {
        /// As it says.
        uses: u64,
        /// As it says.
        period_secs: u64,
    },
    /// a quota without uses
    #[error("the owner {owner} has no use left of the quota {account}")]
    QuotaUsedUp {
        /// Hex of the account.
        account: String,
        /// Whose use it is.
        owner: Sha256Digest,
    },
    /// accounts beyond the budget
    #[error("{found} accounts of quotas are kept {of}, and no more")]
    TooManyAccounts {
        /// How many there are.
        found: usize,
        /// Of the custodian, or in all.
        of: &'static str,
    },
    /// an engine that the custodian of a parent does not name
    #[error(
        "the engine {engine} is none to which Pad {pad} is released, of which the new one was made"
    )]
    Laxer {
        /// The parent.
        pad: PadId,
        /// The engine.
        engine: Sha256Digest,
    },
    /// an entry of an audit record beyond its budget
    #[error("the sealed entry has {found} bytes, at most {limit} are kept")]
    LargeRecord {
        /// Bytes present.
        found: usize,
        /// Bytes kept.
        limit: usize,
    },
    /// a new Pad of somebody who has nothing of its custodian
    #[error(
        "no key of the custodian is granted to this guest, nor that of any Pad of which the new one was made"
    )]
    NoParent,
    /// no agreement of owners
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// a new key under the old name
    #[error("the new key has the old one's id")]
    SameKeyId,
}

impl PadRefused {
    /// Its name for programs, with which the text of a refused call begins.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Field(_) => "malformed",
            Self::Count { .. } => "count",
            Self::Twice(_) => "named-twice",
            Self::CustodianUnknown(_) => "custodian-unknown",
            Self::NotListed(_) => "custodian-not-listed",
            Self::NotMember(_) => "not-a-member",
            Self::Enrolment(_) => "enrolment",
            Self::OtherDelegator { .. } => "other-delegator",
            Self::EnrolmentOld { .. } => "enrolment-old",
            Self::TooManyCustodians(_) => "too-many-custodians",
            Self::Statement { .. } => "statement",
            Self::GrantOld { .. } => "grant-old",
            Self::KeyMissing => "key-missing",
            Self::OtherKey => "other-key",
            Self::KeyTaken(_) => "key-taken",
            Self::KeyUnknown(_) => "key-unknown",
            Self::TooManyKeys { .. } => "too-many-keys",
            Self::Revoked(_) => "key-revoked",
            Self::Replaced { .. } => "key-replaced",
            Self::Image { .. } => "image-not-granted",
            Self::App { .. } => "app-not-granted",
            Self::Engine { .. } => "engine-not-granted",
            Self::Privileged(_) => "privileged",
            Self::UsedUp { .. } => "releases-used-up",
            Self::Expired { .. } => "grant-expired",
            Self::RequestReused => "request-reused",
            Self::QuotaForm { .. } => "quota-form",
            Self::QuotaUsedUp { .. } => "quota-used-up",
            Self::TooManyAccounts { .. } => "too-many-accounts",
            Self::Laxer { .. } => "laxer-than-parent",
            Self::LargeRecord { .. } => "large-record",
            Self::NoParent => "no-parent",
            Self::Update(_) => "update",
            Self::SameKeyId => "same-key-id",
        }
    }

    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Field(_) | Self::Count { .. } | Self::Twice(_) | Self::QuotaForm { .. } => {
                "correct the request; a run of many Pads asks several times"
            }
            Self::CustodianUnknown(_) => "let the custodian enrol: `dstyx pad enrol`",
            Self::NotListed(_) => "let the owners add the key to pad_custodians of the policy",
            Self::NotMember(_) => "call with the key of a member",
            Self::Enrolment(_) | Self::EnrolmentOld { .. } => {
                "sign an enrolment with a higher version, by as many members as decide"
            }
            Self::OtherDelegator { .. } => "call the KMS that it names",
            Self::TooManyCustodians(_)
            | Self::TooManyKeys { .. }
            | Self::TooManyAccounts { .. } => "use another KMS as delegator",
            Self::Statement { .. } | Self::GrantOld { .. } => {
                "sign it again, with a higher version, by as many members as decide"
            }
            Self::KeyMissing | Self::OtherKey => "push the grant with the key of this very Pad",
            Self::KeyTaken(_) | Self::SameKeyId => "give the key another id",
            Self::KeyUnknown(_) => "let the custodian push the key: `dstyx pad push`",
            Self::Revoked(_) => "ask the custodian; a revoked key never comes back",
            Self::Replaced { .. } => "use the Pad with the new policies",
            Self::Image { .. }
            | Self::App { .. }
            | Self::Engine { .. }
            | Self::UsedUp { .. }
            | Self::Expired { .. } => "let the custodian grant it: `dstyx pad push`",
            Self::Privileged(_) => {
                "drop danger_privileged from the app, or let the custodian allow it"
            }
            Self::RequestReused => "draw a request id for each call",
            Self::QuotaUsedUp { .. } => "wait until the period is over",
            Self::Laxer { .. } => "name engines to which every Pad is released that it was made of",
            Self::LargeRecord { .. } => "say less of the run in one entry",
            Self::NoParent => "name the Pads of which it was made",
            Self::Update(_) => "let the owners sign this update of this Pad",
        }
    }
}
