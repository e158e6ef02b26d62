//! The messages of a KMS. Those of dstack have its field names and numbers (dstack,
//! `kms_rpc.proto`); fields and messages of ours begin at number 100, so that they meet none of
//! dstack's.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::members::MemberHead;
use super::time::GetTimeResponse;
use crate::digest::Ed25519Key;
use crate::prpc::hex_bytes;

/// Asks for the keys of the guest at the other end of the channel; what it is, the channel proved.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetAppKeyRequest {
    /// dstack's version of the call.
    #[prost(uint32, tag = "1")]
    pub api_version: u32,
    /// dstack's statement of the machine; the channel's evidence counts instead.
    #[prost(string, tag = "2")]
    pub vm_config: String,
    /// The guest's own random number for this call; 16 bytes, or none. A call that is made again
    /// with the same one, because its answer was lost, is one decision.
    #[prost(bytes = "vec", tag = "100")]
    #[serde(with = "hex_bytes")]
    pub request_id: Vec<u8>,
    /// The epoch whose keys are asked for; 0 for the one that the instance runs on.
    #[prost(uint32, tag = "101")]
    pub epoch: u32,
}

/// The keys of an app. Whoever holds one clears it when it is no longer needed.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppKeyResponse {
    /// PEM of the certificate authority of the cluster.
    #[prost(string, tag = "1")]
    pub ca_cert: String,
    /// Key of the instance's data disk; 64 bytes.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub disk_crypt_key: Vec<u8>,
    /// X25519 secret of the app's environment; 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub env_crypt_key: Vec<u8>,
    /// secp256k1 scalar that the app's own keys are derived from; 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "hex_bytes")]
    pub k256_key: Vec<u8>,
    /// Recoverable signature of that key by the root's; 65 bytes.
    #[prost(bytes = "vec", tag = "5")]
    #[serde(with = "hex_bytes")]
    pub k256_signature: Vec<u8>,
    /// The older name of the next field.
    #[prost(string, tag = "6")]
    pub tproxy_app_id: String,
    /// The app that is the gateway; empty if the policy names none.
    #[prost(string, tag = "7")]
    pub gateway_app_id: String,
    /// The image that the KMS verified; 32 bytes.
    #[prost(bytes = "vec", tag = "8")]
    #[serde(with = "hex_bytes")]
    pub os_image_hash: Vec<u8>,
    /// The epoch of all keys.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
    /// The epoch to which the instance should move, or that of these keys; a guest that moves asks
    /// for its keys too, and anchors under it.
    #[prost(uint32, tag = "101")]
    pub newest_epoch: u32,
    /// Which keys these are: `dstyx` or `dstack`.
    #[prost(string, tag = "102")]
    pub keys: String,
    /// Keys of the epochs before this one, the newest first: what was encrypted under them is read
    /// until its epoch is retired.
    #[prost(message, repeated, tag = "103")]
    pub earlier: Vec<EarlierKeys>,
}

/// What an app keeps of an epoch that its instance does not run on any more.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlierKeys {
    /// The epoch.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
    /// X25519 secret of the app's environment; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub env_crypt_key: Vec<u8>,
    /// secp256k1 scalar that the app's own keys are derived from; 32 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub k256_key: Vec<u8>,
    /// Recoverable signature of that key by the root's; 65 bytes.
    #[prost(bytes = "vec", tag = "103")]
    #[serde(with = "hex_bytes")]
    pub k256_signature: Vec<u8>,
}

/// Asks for a new number under which the data disk is mounted.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenDiskRequest {}

/// A number that was never given out before, and how old the disk may be.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenDiskResponse {
    /// The open counter of this mount.
    #[prost(uint64, tag = "100")]
    pub open_counter: u64,
    /// The highest generation that the KMS was told; none if the disk was never anchored, and so
    /// must be made anew.
    #[prost(uint64, optional, tag = "101")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<u64>,
}

/// Tells how far the data disk is.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AnchorRequest {
    /// The open counter of the mount.
    #[prost(uint64, tag = "100")]
    pub open_counter: u64,
    /// A generation that is on the disk whole.
    #[prost(uint64, tag = "101")]
    pub generation: u64,
    /// The epoch under whose key the disk is from now on; 0 for the one that it was under.
    #[prost(uint32, tag = "102")]
    pub epoch: u32,
    /// Whether it is the last one of this mount: nothing of the app runs any more.
    #[prost(bool, tag = "103")]
    pub last: bool,
}

/// The anchor was kept.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AnchorResponse {
    /// The anchor that counts now.
    #[prost(uint64, tag = "100")]
    pub anchor: u64,
    /// Text of [`super::SignedRelease`] for this guest; empty if it would get no keys now.
    #[prost(string, tag = "101")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release: String,
}

/// Asks whether an environment counts, before it is used; app and measured file are the guest's at
/// the other end of the channel.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AcceptEnvVersionRequest {
    /// The envelope's counter.
    #[prost(uint64, tag = "100")]
    pub counter: u64,
    /// The envelope's suite.
    #[prost(uint32, tag = "101")]
    pub suite: u32,
    /// SHA-256 of its encapsulated key and ciphertext; 32 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub digest: Vec<u8>,
    /// The key that signed it; 32 bytes.
    #[prost(bytes = "vec", tag = "103")]
    #[serde(with = "hex_bytes")]
    pub signer: Vec<u8>,
    /// Its signature; 64 bytes.
    #[prost(bytes = "vec", tag = "104")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
}

/// The environment counts.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AcceptEnvVersionResponse {
    /// The counter below which no environment of the app is accepted now.
    #[prost(uint64, tag = "100")]
    pub counter: u64,
}

/// Names an app.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppIdRequest {
    /// 20 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub app_id: Vec<u8>,
}

/// A public key and who vouches for it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicKeyResponse {
    /// X25519; 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub public_key: Vec<u8>,
    /// dstack's signature without a time; 65 bytes.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// Seconds since 1970 at which the second signature was made.
    #[prost(uint64, tag = "3")]
    pub timestamp: u64,
    /// dstack's signature over time and key; 65 bytes.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "hex_bytes")]
    pub signature_v1: Vec<u8>,
    /// The epoch of the key.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
}

/// What anybody may know of a KMS.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetMetaResponse {
    /// PEM of the certificate authority of the cluster; empty without a root.
    #[prost(string, tag = "1")]
    pub ca_cert: String,
    /// Always false.
    #[prost(bool, tag = "2")]
    pub allow_any_upgrade: bool,
    /// SEC1 of the key that signs apps' keys; empty without a root.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub k256_pubkey: Vec<u8>,
    /// Whether emulated guests are accepted, so that nothing is proved.
    #[prost(bool, tag = "5")]
    pub is_dev: bool,
    /// The app that is the gateway.
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_app_id: Option<String>,
    /// Lower-case hex of who the KMS is.
    #[prost(string, tag = "100")]
    pub key_provider_id: String,
    /// See [`StatusResponse::state`].
    #[prost(string, tag = "101")]
    pub state: String,
}

/// A request for a certificate of the guest at the other end of the channel.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignCertRequest {
    /// dstack's version of the call.
    #[prost(uint32, tag = "1")]
    pub api_version: u32,
    /// PKCS #10 in DER, signed by its key.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub csr: Vec<u8>,
    /// dstack's second signature; the one in the request counts.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// dstack's statement of the machine; the channel's evidence counts instead.
    #[prost(string, tag = "4")]
    pub vm_config: String,
    /// Seconds since 1970 from which the certificate is valid; none for about now.
    #[prost(uint64, optional, tag = "100")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Seconds since 1970 until which it is valid; none for a year.
    #[prost(uint64, optional, tag = "101")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// A certificate and those above it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignCertResponse {
    /// PEM: leaf, the app's authority, the cluster's.
    #[prost(string, repeated, tag = "1")]
    pub certificate_chain: Vec<String>,
}

/// A certificate authority of this channel alone.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTempCaCertResponse {
    /// PEM of its certificate.
    #[prost(string, tag = "1")]
    pub temp_ca_cert: String,
    /// PEM of its key.
    #[prost(string, tag = "2")]
    pub temp_ca_key: String,
    /// PEM of the certificate authority of the cluster.
    #[prost(string, tag = "3")]
    pub ca_cert: String,
}

/// How a KMS is, for its owners.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusResponse {
    /// `unborn` (no root was ever made), `locked` (shares of the root are missing), `uncertified`
    /// (owners have not signed the root), `waiting` (owners have not signed that it may go on) or
    /// `serving`.
    #[prost(string, tag = "100")]
    pub state: String,
    /// Lower-case hex of who the KMS is.
    #[prost(string, tag = "101")]
    pub key_provider_id: String,
    /// Key of this process; 32 bytes.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub member: Vec<u8>,
    /// The identity of the newest epoch's root; 32 bytes, empty without one.
    #[prost(bytes = "vec", tag = "103")]
    #[serde(with = "hex_bytes")]
    pub identity: Vec<u8>,
    /// The newest epoch; 0 without one.
    #[prost(uint32, tag = "104")]
    pub epoch: u32,
    /// Entries of the ledger.
    #[prost(uint64, tag = "105")]
    pub entries: u64,
    /// Hash of the last of them; 32 bytes.
    #[prost(bytes = "vec", tag = "106")]
    #[serde(with = "hex_bytes")]
    pub head: Vec<u8>,
    /// Version of the policy; 0 without one.
    #[prost(uint64, tag = "107")]
    pub policy_version: u64,
    /// Version of the list of what may be a KMS; 0 without one.
    #[prost(uint64, tag = "108")]
    pub list_version: u64,
    /// Shares of the root that are here, while it is locked.
    #[prost(uint32, tag = "109")]
    pub shares: u32,
    /// Documents that too few owners signed yet.
    #[prost(message, repeated, tag = "110")]
    pub pending: Vec<PendingDocument>,
    /// Lower-case hex of the keys of owners whose shares are here while the root is locked, or who
    /// took theirs from the process that made the root.
    #[prost(string, repeated, tag = "111")]
    pub holders: Vec<String>,
    /// Whether owners certified the root.
    #[prost(bool, tag = "112")]
    pub certified: bool,
    /// Epochs whose keys can be had, ascending.
    #[prost(message, repeated, tag = "113")]
    pub epochs: Vec<EpochStatus>,
    /// JSON of the certificate that owners sign for the root of the next epoch; empty if none was
    /// made.
    #[prost(string, tag = "114")]
    pub offered: String,
    /// How the members' ledgers end: this one's, and the others' as it last heard of them.
    #[prost(message, repeated, tag = "115")]
    pub heads: Vec<MemberHead>,
    /// What time it has; none while too few of the time servers that it names agree.
    #[prost(message, optional, tag = "116")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<GetTimeResponse>,
}

impl StatusResponse {
    /// Whether this owner's signature of a document of this type waits for others.
    pub fn waits_for_others(&self, payload_type: &str, owner: &Ed25519Key) -> bool {
        let owner = owner.to_string();
        let of_type = |document: &&PendingDocument| document.payload_type == payload_type;
        self.pending.iter().filter(of_type).any(|document| document.signers.contains(&owner))
    }
}

/// One epoch.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochStatus {
    /// Its number.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
    /// See [`super::EpochKeys`].
    #[prost(string, tag = "101")]
    pub keys: String,
    /// Instances that run on it.
    #[prost(uint64, tag = "102")]
    pub instances: u64,
}

/// Lets a KMS make the root of another epoch, which counts once owners certified it. Whoever holds
/// one clears it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NewEpochRequest {
    /// JSON of [`super::Renewal`].
    #[prost(string, tag = "100")]
    pub renewal: String,
    /// The scalar of a dstack KMS's root authority; 32 bytes, empty without.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub dstack_ca: Vec<u8>,
    /// That of its root secp256k1 key.
    #[prost(bytes = "vec", tag = "102")]
    #[serde(with = "hex_bytes")]
    pub dstack_k256: Vec<u8>,
}

/// A document that too few owners signed yet.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingDocument {
    /// See [`super::payload_type`].
    #[prost(string, tag = "100")]
    pub payload_type: String,
    /// SHA-256 of the document; 32 bytes.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub digest: Vec<u8>,
    /// Lower-case hex of the keys of the owners who signed it.
    #[prost(string, repeated, tag = "102")]
    pub signers: Vec<String>,
}

/// Asks for documents that too few owners signed yet.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingRequest {
    /// See [`super::payload_type`].
    #[prost(string, tag = "100")]
    pub payload_type: String,
}

/// The documents, as many as fit an answer.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingResponse {
    /// The JSON of each envelope.
    #[prost(string, repeated, tag = "100")]
    pub envelopes: Vec<String>,
}

/// A part of the root, for one owner.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    /// The epoch of the root.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
    /// The share.
    #[prost(bytes = "vec", tag = "101")]
    #[serde(with = "hex_bytes")]
    pub share: Vec<u8>,
}

/// A document with signatures of owners: the text of its envelope.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignedDocument {
    /// The JSON of the envelope; empty if there is none.
    #[prost(string, tag = "100")]
    pub envelope: String,
}

/// A file that a KMS keeps for its judgements.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PutImageRequest {
    /// The exact text of an `image.json`.
    #[prost(string, tag = "100")]
    pub image: String,
}

/// Asks for entries of the ledger.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerRequest {
    /// Index of the first.
    #[prost(uint64, tag = "100")]
    pub from: u64,
}

/// Entries of the ledger, as many as fit an answer.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerResponse {
    /// Each a line of JSON.
    #[prost(string, repeated, tag = "100")]
    pub entries: Vec<String>,
    /// How many there are in all.
    #[prost(uint64, tag = "101")]
    pub total: u64,
}
