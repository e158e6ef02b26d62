//! Entries of the key delegator: custodians, the keys of their Pads, and what was used of quotas.
//!
//! Keys have numbers, in the order in which they came. The keys themselves stand here sealed under
//! the root, so that who reads a ledger reads none.

use std::fmt;

use protocol::digest::{Ed25519Key, RequestId, Sha256Digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::who::Who;

/// Bytes that a line has as lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HexBytes({self})")
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A custodian made this KMS its delegator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodianEnrolled {
    /// Its id.
    pub custodian: Sha256Digest,
    /// The member who handed it over.
    pub by: Ed25519Key,
    /// The signed enrolment.
    pub enrolment: HexBytes,
}

/// A custodian says when one of its keys is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadKeyGranted {
    /// The key's number.
    pub key: u64,
    /// The member who handed it over.
    pub by: Ed25519Key,
    /// The signed grant.
    pub grant: HexBytes,
    /// The key, sealed; empty if it was here.
    #[serde(default, skip_serializing_if = "HexBytes::is_empty")]
    pub sealed: HexBytes,
}

/// A custodian ended the release of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadKeyRevoked {
    /// The key's number.
    pub key: u64,
    /// The member who handed it over.
    pub by: Ed25519Key,
    /// The signed revocation.
    pub revocation: HexBytes,
}

/// A guest gets keys of Pads for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadKeysReleased {
    /// The guest.
    pub who: Who,
    /// The guest's own number for the call.
    pub request_id: RequestId,
    /// The keys' numbers.
    pub keys: Vec<u64>,
    /// Every engine of the run, as the guest says.
    pub engines: Vec<Sha256Digest>,
    /// The program, as the guest says.
    pub program: Sha256Digest,
    /// The program's owner, as the guest says; `None` if nobody signed the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Sha256Digest>,
}

/// Uses of quotas were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotasSpent {
    /// The guest.
    pub who: Who,
    /// The guest's own number for the call.
    pub request_id: RequestId,
    /// Each use.
    pub uses: Vec<QuotaSpent>,
}

/// A use of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpent {
    /// The number of the key of the Pad whose policy has the quota.
    pub key: u64,
    /// The engine that asked for it.
    pub engine: Sha256Digest,
    /// The account; 16 bytes.
    pub account: HexBytes,
    /// Whose use it is.
    pub owner: Sha256Digest,
    /// How often the owner may use it in a period.
    pub uses: u64,
    /// The period.
    pub period_secs: u64,
}

/// A guest handed over the key of a new Pad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadKeyKept {
    /// The guest.
    pub who: Who,
    /// The key's number.
    pub key: u64,
    /// Whose it is.
    pub custodian: Sha256Digest,
    /// The key's id.
    pub key_id: HexBytes,
    /// The Pad; 16 bytes.
    pub pad_id: HexBytes,
    /// The digest of the key.
    pub digest: Sha256Digest,
    /// When it is released, in CBOR.
    pub conditions: HexBytes,
    /// Numbers of the keys of Pads of which it was made, as the guest says.
    pub parents: Vec<u64>,
    /// The key, sealed.
    pub sealed: HexBytes,
}

/// Owners agreed on other policies of a Pad, for which a guest made another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadKeyReplaced {
    /// The guest.
    pub who: Who,
    /// The old key's number.
    pub old: u64,
    /// The new key's.
    pub key: u64,
    /// The new key's id.
    pub key_id: HexBytes,
    /// The digest of the new key.
    pub digest: Sha256Digest,
    /// The signed update.
    pub update: HexBytes,
    /// The new key, sealed.
    pub sealed: HexBytes,
}

/// A guest handed over the next entry of the audit record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHeadGiven {
    /// The guest.
    pub who: Who,
    /// The run; 16 bytes.
    pub run: HexBytes,
    /// The entry's place in the record, from 0.
    pub sequence: u64,
    /// The head before it.
    pub previous: Sha256Digest,
    /// The head with it.
    pub head: Sha256Digest,
    /// The entry as each custodian may read it.
    pub records: Vec<RecordSealed>,
}

/// An entry of an audit record, sealed for one custodian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSealed {
    /// The number of the key of a Pad of that custodian.
    pub key: u64,
    /// The sealed entry.
    pub sealed: HexBytes,
}
