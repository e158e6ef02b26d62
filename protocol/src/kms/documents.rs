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
