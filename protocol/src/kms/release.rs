//! Release statements: what a KMS signs of keys that it released, for those who did not see the
//! guest prove itself to it.
//!
//! A statement is the payload of an envelope that the identity of the KMS's newest root signs. It
//! travels with what leads from the owners to that identity, so that whoever knows a
//! `key_provider_id` can judge it without asking the KMS. Everything here is a claim until that was
//! done.

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use crate::digest::{AppId, ComposeHash, InstanceId, OsImageHash, Sha256Digest};
use crate::strict_json::{self, JsonError};

/// The only version.
pub const RELEASE_VERSION: u8 = 1;
/// Longest time for which a statement holds: a guest that is superseded, or whose app the owners'
/// policy names no more, has one for no longer. It is renewed with each anchor, every two minutes.
pub const MAX_RELEASE_SECS: u64 = 3600;
/// Largest statement: one has at most 900 bytes.
const MAX_STATEMENT_BYTES: usize = 2048;
/// Largest signed one: with 16 owners and their signatures it has less than 12 KiB.
pub const MAX_SIGNED_RELEASE_BYTES: usize = 16 * 1024;

/// What a KMS says of a guest that has keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseStatement {
    /// [`RELEASE_VERSION`].
    pub version: u8,
    /// Whose KMS it is.
    pub key_provider_id: Sha256Digest,
    /// The epoch of the root whose identity signs; the newest one when it was signed.
    pub root_epoch: u32,
    /// The app.
    pub app_id: AppId,
    /// The instance; absent for an app without instance ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The measured file.
    pub compose_hash: ComposeHash,
    /// The image.
    pub os_image_hash: OsImageHash,
    /// SHA-256 of the SubjectPublicKeyInfo (DER) that the guest's agent showed on the attested
    /// channel. The key is in the memory of one process of the agent.
    pub agent_key: Sha256Digest,
    /// The number under which the guest has its data disk mounted; the newest of the instance.
    pub open_counter: u64,
    /// The policy by which the guest would get its keys at `issued_secs`.
    pub policy_version: u64,
    /// The decision that gave the keys.
    pub released: ReleasedAt,
    /// When it was signed, in seconds since 1970, by the KMS's time.
    pub issued_secs: u64,
    /// Last second at which it holds; at most [`MAX_RELEASE_SECS`] later.
    pub not_after_secs: u64,
}

/// An entry of the KMS's ledger that gave keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedAt {
    /// Its place, from 0.
    pub entry: u64,
    /// SHA-256 of its line.
    pub hash: Sha256Digest,
    /// Its time, in seconds since 1970.
    pub time_secs: u64,
}

/// A statement in its envelope, and what leads from a `key_provider_id` to its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRelease {
    /// Who the KMS is; the hash of it is what others know.
    pub cluster: Cluster,
    /// The envelope of [`super::RootCertificate`], which owners signed.
    pub root: String,
    /// The envelope of [`ReleaseStatement`], which the certified identity signed.
    pub statement: String,
}

/// Why bytes are no release statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// not its JSON
    #[error("no release statement: {0}")]
    Json(#[from] JsonError),
    /// another version
    #[error("version {0}, expected {RELEASE_VERSION}")]
    Version(u8),
    /// the same in another spelling
    #[error("another spelling than that of a release statement")]
    Spelling,
    /// a root of no epoch
    #[error("root_epoch is 0, the first is 1")]
    Epoch,
    /// times that no KMS writes
    #[error(
        "signed at {issued_secs}, holding until {not_after_secs}: 0 to {MAX_RELEASE_SECS} seconds are expected"
    )]
    Times {
        /// When it was signed.
        issued_secs: u64,
        /// Until when it holds.
        not_after_secs: u64,
    },
    /// keys that were released later
    #[error("signed at {issued_secs} about keys that were released at {released_secs}, later")]
    Later {
        /// When it was signed.
        issued_secs: u64,
        /// When the keys were released.
        released_secs: u64,
    },
}

impl ReleaseStatement {
    /// Reads the payload of an envelope.
    ///
    /// # Errors
    /// If it is not exactly what [`Self::to_json`] writes for a statement that a KMS can make.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let statement: Self = strict_json::parse(bytes, MAX_STATEMENT_BYTES)?;
        let Self { version, root_epoch, released, issued_secs, not_after_secs, .. } = statement;
        if version != RELEASE_VERSION {
            return Err(ReleaseError::Version(version));
        }
        if root_epoch == 0 {
            return Err(ReleaseError::Epoch);
        }
        let holds = not_after_secs.checked_sub(issued_secs);
        if holds.is_none_or(|secs| secs > MAX_RELEASE_SECS) {
            return Err(ReleaseError::Times { issued_secs, not_after_secs });
        }
        let released_secs = released.time_secs;
        if released_secs > issued_secs {
            return Err(ReleaseError::Later { issued_secs, released_secs });
        }
        if statement.to_json() != bytes {
            return Err(ReleaseError::Spelling);
        }
        Ok(statement)
    }

    /// The payload; the one spelling of the statement.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}

impl SignedRelease {
    /// Reads what a KMS answers and an agent hands on; nothing in it is verified.
    ///
    /// # Errors
    /// If it is not exactly what [`Self::to_json`] writes, or larger than
    /// [`MAX_SIGNED_RELEASE_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let signed: Self = strict_json::parse(bytes, MAX_SIGNED_RELEASE_BYTES)?;
        if signed.to_json().as_bytes() != bytes {
            return Err(ReleaseError::Spelling);
        }
        Ok(signed)
    }

    /// Its text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Ed25519Key;

    fn statement() -> ReleaseStatement {
        ReleaseStatement {
            version: RELEASE_VERSION,
            key_provider_id: Sha256Digest([1; 32]),
            root_epoch: 1,
            app_id: AppId([2; 20]),
            instance_id: Some(InstanceId([3; 20])),
            compose_hash: ComposeHash([4; 32]),
            os_image_hash: OsImageHash([5; 32]),
            agent_key: Sha256Digest([6; 32]),
            open_counter: u64::MAX,
            policy_version: u64::MAX,
            released: ReleasedAt {
                entry: u64::MAX,
                hash: Sha256Digest([7; 32]),
                time_secs: u64::MAX - MAX_RELEASE_SECS,
            },
            issued_secs: u64::MAX - MAX_RELEASE_SECS,
            not_after_secs: u64::MAX,
        }
    }

    #[test]
    fn the_largest_statement_is_read_as_it_was_written_and_nothing_else_is() {
        let json = statement().to_json();
        assert!(json.len() <= 900, "{}", json.len());
        assert_eq!(ReleaseStatement::parse(&json), Ok(statement()));
        let without = ReleaseStatement { instance_id: None, ..statement() };
        assert_eq!(ReleaseStatement::parse(&without.to_json()), Ok(without));
        let text = String::from_utf8(json).unwrap();
        let spaced = text.replacen(',', ", ", 1);
        assert_eq!(ReleaseStatement::parse(spaced.as_bytes()), Err(ReleaseError::Spelling));
        for other in [
            text.replacen('{', r#"{"more":1,"#, 1),
            text.replacen('{', r#"{"version":1,"#, 1),
            text.replacen(r#""agent_key""#, r#""agent_kez""#, 1),
            format!("{text} x"),
        ] {
            let refused = ReleaseStatement::parse(other.as_bytes());
            assert!(matches!(refused, Err(ReleaseError::Json(_))), "{other}: {refused:?}");
        }
    }

    #[test]
    fn a_statement_that_no_kms_makes_is_refused() {
        type Change = fn(&mut ReleaseStatement);
        let rows: [(Change, &str); 5] = [
            (|it| it.version = 2, "version 2, expected 1"),
            (|it| it.root_epoch = 0, "root_epoch is 0"),
            (|it| it.not_after_secs = it.issued_secs - 1, "0 to 3600 seconds"),
            (|it| it.issued_secs -= 1, "0 to 3600 seconds"),
            (|it| it.released.time_secs += 1, "released at"),
        ];
        for (change, expected) in rows {
            let mut changed = statement();
            change(&mut changed);
            let refused = ReleaseStatement::parse(&changed.to_json()).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_signed_statement_is_bounded_and_has_one_spelling() {
        let cluster =
            Cluster { name: "local".into(), owners: vec![Ed25519Key([1; 32])], threshold: 1 };
        let signed = |statement: String| SignedRelease {
            cluster: cluster.clone(),
            root: "{}".into(),
            statement,
        };
        let text = signed("{}".into()).to_json();
        assert_eq!(SignedRelease::parse(text.as_bytes()), Ok(signed("{}".into())));
        let spaced = text.replacen(',', ", ", 1);
        assert_eq!(SignedRelease::parse(spaced.as_bytes()), Err(ReleaseError::Spelling));
        let large = signed("x".repeat(MAX_SIGNED_RELEASE_BYTES)).to_json();
        let refused = SignedRelease::parse(large.as_bytes());
        assert!(matches!(refused, Err(ReleaseError::Json(JsonError::TooLarge { .. }))));
    }
}
