//! The kinds of entries, and what each says.

use protocol::digest::{
    AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId, Sha256Digest,
};
use protocol::kms::Cluster;
use serde::{Deserialize, Serialize};

/// Longest reason of a refusal in the ledger.
pub const MAX_REASON_BYTES: usize = 512;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// A root was made; the first entry, and only that.
    Bootstrap(Bootstrap),
    /// Owners certified the root.
    RootCertified(RootCertified),
    /// Owners set the list of what may be a KMS.
    ListSet(Document),
    /// Owners set the policy.
    PolicySet(Document),
    /// Owners let a new process go on.
    Resumed(Resumed),
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

/// A guest, as its evidence proved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The app.
    pub app_id: AppId,
    /// The instance; `None` for an app without instance ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The measured file.
    pub compose_hash: ComposeHash,
    /// The image.
    pub os_image_hash: OsImageHash,
    /// The platform.
    pub platform_id: PlatformId,
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
}

/// The call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the methods'
pub enum Call {
    GetAppKey,
    OpenDisk,
    Anchor,
    AcceptEnvVersion,
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
