//! What a KMS states of itself beside its evidence on a channel.

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use crate::channel::{EXPORTER_BYTES, MAX_STATEMENT_BYTES};
use crate::derivation::length_prefixed;
use crate::digest::{Ed25519Key, Sha256Digest};
use crate::strict_json::{self, JsonError};

/// First field of what the root's identity signs on every channel.
pub const ROOT_SIGNATURE_LABEL: &[u8] = b"dstyx-kms-channel-1";

/// First field of what the key of a KMS process signs on channels to other processes.
pub const MEMBER_SIGNATURE_LABEL: &[u8] = b"dstyx-kms-member-1";

/// The key under which a process of a KMS is known in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberClaim {
    /// The key.
    pub key: Ed25519Key,
    /// Hex of its Ed25519 signature over [`signed_by_member`].
    pub signature: String,
}

/// The statement; all of it is a claim until signatures and evidence were judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Who the KMS says that it is; the hash of it is what guests pin.
    pub cluster: Cluster,
    /// The text of the image's `image.json`.
    pub image: String,
    /// The text of the collateral for the platform of its quote, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<String>,
    /// The envelope of [`super::RootCertificate`]; none before the root is certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The envelope of [`super::KmsList`]; none before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Hex of the root identity's Ed25519 signature over [`signed_by_root`]; none without a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The key of the process, on channels to other processes of the KMS; absent for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberClaim>,
}

impl Statement {
    /// Parses the bytes beside a proof.
    ///
    /// # Errors
    /// If they are not such a document, or larger than [`MAX_STATEMENT_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        strict_json::parse(bytes, MAX_STATEMENT_BYTES)
    }

    /// The bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}

/// What a KMS signs with its root's identity: that the root is behind this connection and this
/// quote.
pub fn signed_by_root(exporter: &[u8; EXPORTER_BYTES], quote: &[u8]) -> Vec<u8> {
    length_prefixed(&[ROOT_SIGNATURE_LABEL, exporter, Sha256Digest::of(quote).as_bytes()])
}

/// What a process signs with its own key on a channel to another process: that it is the one which
/// the ledger names by that key.
pub fn signed_by_member(exporter: &[u8; EXPORTER_BYTES], quote: &[u8]) -> Vec<u8> {
    length_prefixed(&[MEMBER_SIGNATURE_LABEL, exporter, Sha256Digest::of(quote).as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_written_and_nothing_else_is() {
        let cluster =
            Cluster { name: "local".into(), owners: vec![Ed25519Key([1; 32])], threshold: 1 };
        let statement = Statement {
            cluster,
            image: "{}".into(),
            collateral: None,
            root: Some("{}".into()),
            list: None,
            signature: None,
            member: None,
        };
        let json = statement.to_json();
        assert_eq!(Statement::parse(&json), Ok(statement));
        let text = String::from_utf8(json).unwrap();
        assert!(Statement::parse(text.replacen('{', r#"{"more":1,"#, 1).as_bytes()).is_err());
    }
}
