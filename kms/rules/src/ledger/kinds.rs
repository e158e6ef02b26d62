//! The kinds of entries, and what each says.

use protocol::digest::{AppId, Ed25519Key, InstanceId, PlatformId, RequestId, Sha256Digest};
use protocol::kms::{Cluster, Renewal};
use serde::{Deserialize, Serialize};

use super::pads::{
    AuditHeadGiven, CustodianEnrolled, PadKeyGranted, PadKeyKept, PadKeyReplaced, PadKeyRevoked,
    PadKeysReleased, QuotasSpent,
};
use super::who::Who;

/// Longest reason of a refusal in the ledger.
pub const MAX_REASON_BYTES: usize = 512;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// A root was made; the first entry, and only that.
    Bootstrap(Bootstrap),
    /// Owners certified the root, that of the first epoch or of one that was offered.
    RootCertified(RootCertified),
    /// The root of another epoch was made, which owners have not certified.
    EpochOffered(EpochOffered),
    /// Owners set the list of what may be a KMS.
    ListSet(Document),
    /// Owners set the policy.
    PolicySet(Document),
    /// Owners let a new process go on.
    Resumed(Resumed),
    /// A process gets the root, to become a member.
    RootGiven(RootGiven),
    /// A process became a member.
    MemberAdmitted(MemberAdmitted),
    /// A member became none.
    MemberRemoved(MemberRemoved),
    /// A member says from here on which entry comes next.
    Led(Led),
    /// A guest gets keys.
    Released(Released),
    /// A guest gets nothing.
    Refused(Refusal),
    /// A guest may mount its disk.
    Opened(Opened),
    /// A guest's disk must never be older.
    Anchored(Anchored),
    /// An app's environment must never be older.
    EnvironmentAccepted(EnvironmentAccepted),
    /// A custodian made this KMS its delegator.
    CustodianEnrolled(CustodianEnrolled),
    /// A custodian says when a key of a Pad is released.
    PadKeyGranted(PadKeyGranted),
    /// A custodian ended the release of a key.
    PadKeyRevoked(PadKeyRevoked),
    /// A guest gets keys of Pads.
    PadKeysReleased(PadKeysReleased),
    /// Uses of quotas were counted.
    QuotasSpent(QuotasSpent),
    /// A guest handed over the key of a new Pad.
    PadKeyKept(PadKeyKept),
    /// A Pad has other policies and another key.
    PadKeyReplaced(PadKeyReplaced),
    /// A guest handed over the next entry of the audit record of a run.
    AuditHeadGiven(AuditHeadGiven),
}

/// A root was made in the memory of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Whose root it is.
    pub cluster: Cluster,
    /// Its epoch: 1.
    pub epoch: u32,
    /// Its identity.
    pub identity: Ed25519Key,
    /// The key of the process.
    pub member: Ed25519Key,
}

/// Owners certified a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootCertified {
    /// The envelope of [`protocol::kms::RootCertificate`].
    pub envelope: String,
}

/// The root of another epoch was made in the memory of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochOffered {
    /// The epoch.
    pub epoch: u32,
    /// The root's identity.
    pub identity: Ed25519Key,
    /// What comes and goes with it.
    pub renewal: Renewal,
}

/// A document with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its version.
    pub version: u64,
    /// Its envelope.
    pub envelope: String,
}

/// A new process goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumed {
    /// The key of the process.
    pub member: Ed25519Key,
    /// Every open counter from now on is at least this.
    pub lowest_counter: u64,
    /// The envelope of [`protocol::kms::Resumption`].
    pub envelope: String,
}

/// A process gets the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootGiven {
    /// The key of the process.
    pub member: Ed25519Key,
    /// Image, measured file and platform.
    pub who: Who,
    /// The policy that allowed it.
    pub policy_version: u64,
}

/// A process became a member, with a vote of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberAdmitted {
    /// The key of the process.
    pub member: Ed25519Key,
    /// Its platform.
    pub platform_id: PlatformId,
    /// The member that verified it.
    pub by: Ed25519Key,
    /// The platform of that member, which the process verified in turn.
    pub by_platform_id: PlatformId,
}

/// A member became none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRemoved {
    /// The key of its process.
    pub member: Ed25519Key,
}

/// A member was elected to say which entry comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Led {
    /// The term, which only rises.
    pub term: u64,
    /// The key of its process.
    pub member: Ed25519Key,
}

/// A guest gets keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// The guest.
    pub who: Who,
    /// The epoch of the keys.
    pub epoch: u32,
    /// The policy that allowed it.
    pub policy_version: u64,
    /// The place of the app in that policy, from 0.
    pub policy_app: usize,
    /// Whether the instance was unknown before.
    pub new_instance: bool,
    /// When the oldest part of its platform's collateral was issued, in seconds since 1970.
    pub collateral_issued_secs: u64,
    /// The guest's own number for the call; with the same one the keys are given again without
    /// another entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// The call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the methods'
pub enum Call {
    GetAppKey,
    OpenDisk,
    Anchor,
    AcceptEnvVersion,
    FetchKeys,
    Spend,
    Keep,
    Update,
    AuditHead,
}

/// A guest gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The guest.
    pub who: Who,
    /// The call.
    pub call: Call,
    /// The first reason, at most [`MAX_REASON_BYTES`] long.
    pub reason: String,
}

/// A guest may mount its disk under a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The guest.
    pub who: Who,
    /// The number.
    pub counter: u64,
    /// Whether the guest ends with its release statement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops: bool,
}

/// A guest's disk is this far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchored {
    /// The app.
    pub app_id: AppId,
    /// The instance; `None` for an app without instance ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The number under which it is mounted.
    pub counter: u64,
    /// The generation.
    pub generation: u64,
    /// The epoch under whose key the disk is from now on; `None` if it is as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The last second of the release statement that goes with it, of a guest that ends with its
    /// statement; `None` if it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_until_secs: Option<u64>,
    /// Whether such a guest says that nothing of its app runs any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// A guest may use an environment of its app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentAccepted {
    /// The guest.
    pub who: Who,
    /// The environment's counter.
    pub counter: u64,
    /// SHA-256 of the encryption that it counts for.
    pub digest: Sha256Digest,
    /// Who signed it.
    pub signer: Ed25519Key,
}
