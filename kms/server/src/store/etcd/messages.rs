//! Messages of etcd's JSON gateway: the few of its `KV` service that are used.
//!
//! Source: `api/etcdserverpb/rpc.proto` of etcd 3.5, as proto3 writes JSON: bytes are base64,
//! integers of 64 bits are strings, and what is zero is left out. Answers are read strictly; a key
//! that is unknown here is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// An integer that is not negative, as a string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// `RangeRequest`: a key, or those from it up to `range_end`, which is not among them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Range {
    pub(super) key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) range_end: Option<Bytes>,
    /// Most pairs; zero: all.
    pub(super) limit: Number,
    /// Whether their number alone is asked for.
    pub(super) count_only: bool,
}

/// `TxnRequest`: `success` if all comparisons hold, `failure` otherwise, and nothing in between.
#[derive(Debug, Default, Serialize)]
pub(super) struct Transaction {
    pub(super) compare: Vec<Compare>,
    pub(super) success: Vec<Operation>,
    pub(super) failure: Vec<Operation>,
}

/// `Compare` of the revision at which a key came to be with zero, which is that of no key.
#[derive(Debug, Serialize)]
pub(super) struct Compare {
    key: Bytes,
    target: &'static str,
    result: &'static str,
    create_revision: Number,
}

impl Compare {
    /// The key is not there.
    pub(super) fn absent(key: Bytes) -> Self {
        Self::creation(key, "EQUAL")
    }

    /// The key is there.
    pub(super) fn present(key: Bytes) -> Self {
        Self::creation(key, "GREATER")
    }

    fn creation(key: Bytes, result: &'static str) -> Self {
        Self { key, target: "CREATE", result, create_revision: Number(0) }
    }
}

/// `RequestOp`.
#[derive(Debug, Serialize)]
pub(super) enum Operation {
    /// Reads pairs.
    #[serde(rename = "request_range")]
    Range(Range),
    /// Writes a pair.
    #[serde(rename = "request_put")]
    Put {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Removes pairs.
    #[serde(rename = "request_delete_range")]
    Delete {
        /// The first key.
        key: Bytes,
        /// The key behind the last.
        range_end: Bytes,
    },
}

/// `RangeResponse`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeAnswer {
    #[serde(rename = "header", default)]
    _header: IgnoredAny,
    #[serde(default)]
    pub(super) kvs: Vec<Pair>,
    /// Whether there are pairs behind these.
    #[serde(default)]
    pub(super) more: bool,
    /// Number of pairs in the range, whatever the limit was.
    #[serde(default)]
    pub(super) count: Number,
}

/// `KeyValue`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    pub(super) key: Bytes,
    #[serde(default)]
    pub(super) value: Bytes,
    #[serde(rename = "create_revision", default)]
    _create_revision: Number,
    #[serde(rename = "mod_revision", default)]
    _mod_revision: Number,
    #[serde(rename = "version", default)]
    _version: Number,
    #[serde(rename = "lease", default)]
    _lease: Number,
}

/// `TxnResponse`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransactionAnswer {
    #[serde(rename = "header", default)]
    _header: IgnoredAny,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    pub(super) responses: Vec<OperationAnswer>,
}

/// `ResponseOp`.
#[derive(Debug, Deserialize)]
pub(super) enum OperationAnswer {
    /// What was read.
    #[serde(rename = "response_range")]
    Range(RangeAnswer),
    /// Written.
    #[serde(rename = "response_put")]
    Put(IgnoredAny),
    /// Removed.
    #[serde(rename = "response_delete_range")]
    Delete(IgnoredAny),
}

impl TransactionAnswer {
    /// What its `N` operations have read, each of which was to read.
    pub(super) fn ranges<const N: usize>(self) -> Option<[RangeAnswer; N]> {
        let range = |answer| match answer {
            OperationAnswer::Range(range) => Some(range),
            OperationAnswer::Put(_) | OperationAnswer::Delete(_) => None,
        };
        self.responses.into_iter().map(range).collect::<Option<Vec<_>>>()?.try_into().ok()
    }
}

/// The gateway's own form of an error.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    /// What is wrong.
    #[serde(alias = "message")]
    pub(super) error: String,
}
