//! The messages between the processes of one KMS. Who sends one, the channel proved.

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::derivation::length_prefixed;
use crate::digest::Sha256Digest;
use crate::prpc::hex_bytes;

/// Domain of a member's signature over the head of its ledger.
pub const HEAD_SIGNATURE_LABEL: &[u8] = b"dstyx-kms-head-1";

/// The member that leads tells another one what it has.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppendRequest {
    /// The leader's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Entries that are agreed.
    #[prost(uint64, tag = "2")]
    pub entries: u64,
    /// Hash of the last of them; 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub head: Vec<u8>,
    /// Those behind, which are to be agreed; each a line of JSON.
    #[prost(string, repeated, tag = "4")]
    pub lines: Vec<String>,
}

/// What the other one then has.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppendResponse {
    /// Its term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Whether it has everything that the leader sent.
    #[prost(bool, tag = "2")]
    pub accepted: bool,
    /// Entries that it has in common with the leader, if it accepted.
    #[prost(uint64, tag = "3")]
    pub matched: u64,
}

/// A member asks for another one's vote.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VoteRequest {
    /// The term for which it asks.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Whether it only asks how the other one would vote.
    #[prost(bool, tag = "2")]
    pub trial: bool,
    /// Entries that it has, agreed or not.
    #[prost(uint64, tag = "3")]
    pub entries: u64,
    /// The term of the last of them.
    #[prost(uint64, tag = "4")]
    pub last_term: u64,
}

/// The vote.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VoteResponse {
    /// The other one's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Whether it is for the one who asked.
    #[prost(bool, tag = "2")]
    pub granted: bool,
}

/// A member proposes the next entry to the one that leads.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ProposeRequest {
    /// A line of JSON.
    #[prost(string, tag = "1")]
    pub line: String,
}

/// Whether it is the next.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ProposeResponse {
    /// Whether it is; otherwise it follows another entry than the leader's last, or the other one
    /// does not lead.
    #[prost(bool, tag = "1")]
    pub taken: bool,
}

/// Asks for the roots; dstack's name of the call.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKmsKeyRequest {
    /// dstack's statement of the machine; the channel's evidence counts instead.
    #[prost(string, tag = "1")]
    pub vm_config: String,
    /// The epoch whose root a member asks for, which is offered or certified; 0 for the newest
    /// certified one, as a process does that is to be a member.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
}

/// A root of one epoch. Whoever holds one clears it when it is no longer needed.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RootKey {
    /// The epoch.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
    /// The root; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub root: Vec<u8>,
}

/// The roots, for a process that becomes a member.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KmsKeyResponse {
    /// That of the newest epoch.
    #[prost(message, repeated, tag = "100")]
    pub roots: Vec<RootKey>,
    /// The roots of all epochs whose keys can be had, as a KMS writes them down; empty in the first
    /// epoch.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub keyring: Vec<u8>,
}

/// A process asks to be a member.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AdmitRequest {
    /// The platform on which it found the member that it asks; 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub platform_id: Vec<u8>,
}

/// The texts of all `image.json` files by which guests are judged.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagesResponse {
    /// Each text.
    #[prost(string, repeated, tag = "1")]
    pub images: Vec<String>,
}

/// A member's word for how its ledger ends.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberHead {
    /// Key of the member; 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub member: Vec<u8>,
    /// Entries of which it knows that they are agreed.
    #[prost(uint64, tag = "2")]
    pub entries: u64,
    /// Hash of the last of them; 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub head: Vec<u8>,
    /// Its signature over [`signed_head`]; 64 bytes.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
}

/// What a member signs of its ledger.
pub fn signed_head(key_provider_id: &Sha256Digest, entries: u64, head: &Sha256Digest) -> Vec<u8> {
    let entries = entries.to_le_bytes();
    length_prefixed(&[HEAD_SIGNATURE_LABEL, key_provider_id.as_bytes(), &entries, head.as_bytes()])
}
