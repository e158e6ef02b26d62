//! Documents that owners sign; each is the payload of a DSSE envelope of its own type.

use serde::{Deserialize, Serialize};

use crate::digest::{ComposeHash, Ed25519Key, OsImageHash, Sha256Digest};

/// Largest document: a list or a policy of some hundred entries.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Media types of the payloads, so that a signature under one is none under another.
pub mod payload_type {
    /// [`super::RootCertificate`].
    pub const ROOT: &str = "application/vnd.dstyx.kms-root+json";
    /// [`super::KmsList`].
    pub const LIST: &str = "application/vnd.dstyx.kms-list+json";
    /// [`super::Resumption`].
    pub const RESUMPTION: &str = "application/vnd.dstyx.kms-resumption+json";
    /// The policy of a KMS, whose form is the KMS's.
    pub const POLICY: &str = "application/vnd.dstyx.kms-policy+json";
    /// [`super::super::ReleaseStatement`], which no owner signs but the KMS.
    pub const RELEASE: &str = "application/vnd.dstyx.kms-release+json";
}

/// The owners' word for the root of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootCertificate {
    /// Whose root it is.
    pub key_provider_id: Sha256Digest,
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The Ed25519 key under this root by which a KMS proves that it has the root.
    pub identity: Ed25519Key,
    /// What comes and goes with the epoch; `None` for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
}

/// What a later epoch is for. Its root is a new one in any case, so that owners get new shares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// Which keys apps get in it.
    pub keys: EpochKeys,
    /// Digest of the public keys that were taken over, with [`EpochKeys::Dstack`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dstack: Option<Sha256Digest>,
    /// Earlier epochs whose roots are erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retires: Vec<u32>,
    /// How many instances may lose their disks, because they still run on one of those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub danger_loses_instances: u64,
}

/// Which keys apps get in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochKeys {
    /// Those derived from its root.
    #[default]
    Dstyx,
    /// Those that a dstack KMS derives from its roots, which were taken over; the data disk's is
    /// derived from the epoch's own root.
    Dstack,
    /// None: the epoch gives owners new shares, or retires others.
    None,
}

impl EpochKeys {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dstyx => "dstyx",
            Self::Dstack => "dstack",
            Self::None => "none",
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The owners' list of what a KMS may be; a later version replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsList {
    /// Whose list it is.
    pub key_provider_id: Sha256Digest,
    /// Counted from 1.
    pub version: u64,
    /// What may be a KMS.
    pub images: Vec<KmsImage>,
}

/// One OS image with one measured app that may be a KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsImage {
    /// The image.
    pub os_image_hash: OsImageHash,
    /// The KMS's measured file.
    pub compose_hash: ComposeHash,
}

/// The owners' word that a KMS may go on from a state behind which something may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// Whose state it is.
    pub key_provider_id: Sha256Digest,
    /// Key of the one replica process that may go on; it was made in its memory.
    pub member: Ed25519Key,
    /// Entries of the ledger that are there.
    pub entries: u64,
    /// Hash of the last of them; zero if there are none.
    pub head: Sha256Digest,
}
