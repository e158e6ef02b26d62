//! The messages of a KMS as the key delegator of Pads: with the middleware of guests, which proves
//! itself on a channel in the role `pads`, and with custodians, who sign theirs.

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::prpc::hex_bytes;

/// Most Pads that one call names: entries of the ledger stay short, and a run of more Pads asks
/// several times.
pub const MAX_PADS_A_CALL: usize = 256;
/// Most engines that a run states.
pub const MAX_ENGINES_A_RUN: usize = 64;
/// Largest entry of an audit record, sealed for one custodian.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;
/// The same for all custodians of a run together.
pub const MAX_RECORDS_BYTES: usize = 64 * 1024;
/// HTTP status of a call that would use more of a quota than is left; nothing of it was counted.
pub const QUOTA_STATUS: u16 = 429;

/// Names the data key of one Pad.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PadKeyName {
    /// The full id of the Pad's custodian; 32 bytes.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub custodian: Vec<u8>,
    /// The id of the key in the Pad's metadata; 1 to 64 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub key_id: Vec<u8>,
    /// The Pad's id; 16 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub pad_id: Vec<u8>,
}

/// Asks for the keys of a run's Pads, all of them or none.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchKeysRequest {
    /// The middleware's random number for this call, 16 bytes: a call that is made again with the
    /// same one, because its answer was lost, counts once.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub request_id: Vec<u8>,
    /// The Pads, none twice.
    #[prost(message, repeated, tag = "101")]
    pub pads: Vec<PadKeyName>,
    /// The SHA-256 of every engine of the run, none twice.
    #[prost(bytes = "vec", repeated, tag = "102")]
    #[serde(with = "hex_bytes::list")]
    pub engines: Vec<Vec<u8>>,
    /// The SHA-256 of the program; 32 bytes.
    #[prost(bytes = "vec", tag = "103")]
    #[serde(with = "hex_bytes")]
    pub program: Vec<u8>,
    /// The full id of the program's owner; 32 bytes, empty if nobody signed the run.
    #[prost(bytes = "vec", tag = "104")]
    #[serde(with = "hex_bytes")]
    pub owner: Vec<u8>,
}

/// The keys. Whoever holds one clears it when it is no longer needed.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchKeysResponse {
    /// One for each Pad, in the order of the request.
    #[prost(bytes = "vec", repeated, tag = "100")]
    #[serde(with = "hex_bytes::list")]
    pub keys: Vec<Vec<u8>>,
    /// Second since 1970 after which the middleware has to ask again.
    #[prost(uint64, tag = "101")]
    pub expires_secs: u64,
}

/// Counts uses of quotas, all of them or none; an answer says that they were counted.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SpendRequest {
    /// See [`FetchKeysRequest::request_id`].
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub request_id: Vec<u8>,
    /// What the engines of the run's Pads asked to be counted. Uses of one account by one owner
    /// under Pads of one custodian with one engine are one use, which each of them has to allow.
    #[prost(message, repeated, tag = "101")]
    pub uses: Vec<QuotaUse>,
}

/// One use of a quota.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaUse {
    /// The Pad whose policy has the quota.
    #[prost(message, optional, tag = "100")]
    pub pad: Option<PadKeyName>,
    /// The account; 16 bytes. Each custodian has accounts of its own with each engine.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub account: Vec<u8>,
    /// The full id of the owner whose use it is; 32 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub owner: Vec<u8>,
    /// How often the owner may use it in a period.
    #[prost(uint64, tag = "103")]
    pub uses: u64,
    /// The period.
    #[prost(uint64, tag = "104")]
    pub period_secs: u64,
    /// The SHA-256 of the engine that asks for it; 32 bytes.
    #[prost(bytes = "vec", tag = "105")]
    #[serde(with = "hex_bytes")]
    pub engine: Vec<u8>,
}

/// They were counted.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SpendResponse {
    /// The second since 1970 in which they were counted.
    #[prost(uint64, tag = "100")]
    pub time_secs: u64,
}

/// Hands over the data key of a new Pad. Whoever holds one clears it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepRequest {
    /// The new Pad.
    #[prost(message, optional, tag = "100")]
    pub pad: Option<PadKeyName>,
    /// Its data key; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub key: Vec<u8>,
    /// The SHA-256 of each engine to which it is released, as far as every parent's custodian
    /// agreed; none twice.
    #[prost(bytes = "vec", repeated, tag = "102")]
    #[serde(with = "hex_bytes::list")]
    pub engines: Vec<Vec<u8>>,
    /// The Pads of which it was made whose keys are here.
    #[prost(message, repeated, tag = "103")]
    pub parents: Vec<PadKeyName>,
    /// The signed enrolment of the Pad's custodian, for the answer if it has another delegator;
    /// empty if the middleware has none.
    #[prost(bytes = "vec", tag = "104")]
    #[serde(with = "hex_bytes")]
    pub enrolment: Vec<u8>,
}

/// Whether the key is kept, or where it has to go.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepResponse {
    /// It is kept.
    #[prost(bool, tag = "100")]
    pub kept: bool,
    /// If not: who keeps the custodian's keys, by its `key_provider_id`; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub key_provider_id: Vec<u8>,
}

/// Hands over the new key of a Pad whose owners agreed on other policies, and retires the old one.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateRequest {
    /// The Pad under its old key.
    #[prost(message, optional, tag = "100")]
    pub pad: Option<PadKeyName>,
    /// The id of the new key; 1 to 64 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub key_id: Vec<u8>,
    /// The new key; 32 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub key: Vec<u8>,
    /// The signed update of `docs/pad-format.md`. That its owners are enough, an engine says.
    #[prost(bytes = "vec", tag = "103")]
    #[serde(with = "hex_bytes")]
    pub update: Vec<u8>,
}

/// Hands over the next entry of a run's audit record, before anything of the run leaves.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditHeadRequest {
    /// The run's id; 16 bytes.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub run: Vec<u8>,
    /// The head of the record with this entry; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub head: Vec<u8>,
    /// The entry, once for each custodian of a Pad of the run.
    #[prost(message, repeated, tag = "102")]
    pub records: Vec<AuditRecord>,
    /// The entry's place in the record, from 0.
    #[prost(uint64, tag = "103")]
    pub sequence: u64,
    /// The head before it; 32 bytes.
    #[prost(bytes = "vec", tag = "104")]
    #[serde(with = "hex_bytes")]
    pub previous: Vec<u8>,
}

/// An entry of an audit record, sealed for one custodian.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditRecord {
    /// A Pad of that custodian.
    #[prost(message, optional, tag = "100")]
    pub pad: Option<PadKeyName>,
    /// The sealed entry, which may be empty.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub sealed: Vec<u8>,
}

/// Makes the KMS the delegator of a custodian.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct EnrolRequest {
    /// The full id of the custodian; 32 bytes.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub custodian: Vec<u8>,
    /// The signed enrolment of `docs/pad-format.md`.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub enrolment: Vec<u8>,
}

/// Hands over a data key, or other conditions for one that is here. Whoever holds one clears it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PushKeyRequest {
    /// The signed grant of `docs/pad-format.md`.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub grant: Vec<u8>,
    /// The key, 32 bytes; empty if it is here.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub key: Vec<u8>,
}

/// Ends the release of a key, for ever.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RevokeRequest {
    /// The signed revocation of `docs/pad-format.md`.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub revocation: Vec<u8>,
}

/// Asks for the entries of the ledger that are about a custodian.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditRequest {
    /// The full id of the custodian; 32 bytes.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub custodian: Vec<u8>,
    /// Index of the first entry that is looked at.
    #[prost(uint64, tag = "101")]
    pub from: u64,
}

/// Entries, as many as were looked for in one call.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditResponse {
    /// Each a line of JSON.
    #[prost(string, repeated, tag = "100")]
    pub entries: Vec<String>,
    /// Index of the first entry that was not looked at.
    #[prost(uint64, tag = "101")]
    pub next: u64,
    /// How many the ledger has in all.
    #[prost(uint64, tag = "102")]
    pub total: u64,
}
