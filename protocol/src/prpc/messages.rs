//! The messages of dstack's guest agent, with its field names and numbers.
//!
//! Written by hand from dstack's `agent_rpc.proto` (frozen as of 0.5.11), so that the build needs
//! no compiler of interface files.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::hex_bytes;

/// Asks for a key and a certificate over it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTlsKeyArgs {
    /// Subject of the certificate.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// Further DNS names.
    #[prost(string, repeated, tag = "2")]
    pub alt_names: Vec<String>,
    /// Whether a quote goes into the certificate.
    #[prost(bool, tag = "3")]
    pub usage_ra_tls: bool,
    /// For servers.
    #[prost(bool, tag = "4")]
    pub usage_server_auth: bool,
    /// For clients.
    #[prost(bool, tag = "5")]
    pub usage_client_auth: bool,
    /// Seconds since 1970.
    #[prost(uint64, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Seconds since 1970.
    #[prost(uint64, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// Whether what the app is goes into the certificate.
    #[prost(bool, tag = "8")]
    pub with_app_info: bool,
}

/// The same of the older interface, with a path for the key.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeriveKeyArgs {
    /// Names the key.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Subject of the certificate.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// Further DNS names.
    #[prost(string, repeated, tag = "3")]
    pub alt_names: Vec<String>,
    /// Whether a quote goes into the certificate.
    #[prost(bool, tag = "4")]
    pub usage_ra_tls: bool,
    /// For servers.
    #[prost(bool, tag = "5")]
    pub usage_server_auth: bool,
    /// For clients.
    #[prost(bool, tag = "6")]
    pub usage_client_auth: bool,
    /// A new key every time.
    #[prost(bool, tag = "7")]
    pub random_seed: bool,
}

/// A key and its certificate, both PEM.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTlsKeyResponse {
    /// The private key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The certificate and those above it.
    #[prost(string, repeated, tag = "2")]
    pub certificate_chain: Vec<String>,
}

/// Names a derived key.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKeyArgs {
    /// Which key.
    #[prost(string, tag = "1")]
    pub path: String,
    /// What its signature says that it is for.
    #[prost(string, tag = "2")]
    pub purpose: String,
    /// `secp256k1` if empty, or `ed25519`.
    #[prost(string, tag = "3")]
    pub algorithm: String,
    /// Of which epoch; 0 for the one that the instance runs on. A field of dstyx.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
}

/// A derived key.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKeyResponse {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub key: Vec<u8>,
    /// Signatures from it to the KMS.
    #[prost(bytes = "vec", repeated, tag = "2")]
    #[serde(with = "hex_bytes::list")]
    pub signature_chain: Vec<Vec<u8>>,
}

/// The same of the older interface.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeriveK256KeyResponse {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub k256_key: Vec<u8>,
    /// Signatures from it to the KMS.
    #[prost(bytes = "vec", repeated, tag = "2")]
    #[serde(with = "hex_bytes::list")]
    pub k256_signature_chain: Vec<Vec<u8>>,
}

/// Asks for a quote over a hash.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TdxQuoteArgs {
    /// What is hashed.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub report_data: Vec<u8>,
    /// `sha512` if empty.
    #[prost(string, tag = "2")]
    pub hash_algorithm: String,
    /// What stands before it; `app-data` if empty.
    #[prost(string, tag = "3")]
    pub prefix: String,
}

/// A quote of the older interface.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TdxQuoteResponse {
    /// The quote.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub quote: Vec<u8>,
    /// JSON list of events.
    #[prost(string, tag = "2")]
    pub event_log: String,
    /// How the report data came about.
    #[prost(string, tag = "3")]
    pub hash_algorithm: String,
    /// What stood before it.
    #[prost(string, tag = "4")]
    pub prefix: String,
}

/// Asks for a quote over exactly these bytes.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RawQuoteArgs {
    /// At most 64 bytes, zeros behind them.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub report_data: Vec<u8>,
}

/// A quote and what explains it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetQuoteResponse {
    /// The quote.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub quote: Vec<u8>,
    /// JSON list of events.
    #[prost(string, tag = "2")]
    pub event_log: String,
    /// The 64 bytes in it.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub report_data: Vec<u8>,
    /// JSON of the machine, as claimed by the host.
    #[prost(string, tag = "4")]
    pub vm_config: String,
}

/// The same in one piece.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AttestResponse {
    /// dstack's attestation, version 0, in SCALE.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub attestation: Vec<u8>,
}

/// An event of the app.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct EmitEventArgs {
    /// Its name.
    #[prost(string, tag = "1")]
    pub event: String,
    /// Its payload.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub payload: Vec<u8>,
}

/// What runs here. Gaps in the numbers are dstack's.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppInfo {
    /// 20 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub app_id: Vec<u8>,
    /// 20 bytes, or none.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub instance_id: Vec<u8>,
    /// PEM; empty without a KMS.
    #[prost(string, tag = "3")]
    pub app_cert: String,
    /// JSON with registers, log and app-compose; empty where they are not public.
    #[prost(string, tag = "4")]
    pub tcb_info: String,
    /// From app-compose.
    #[prost(string, tag = "5")]
    pub app_name: String,
    /// SHA-256 of the platform's id.
    #[prost(bytes = "vec", tag = "8")]
    #[serde(with = "hex_bytes")]
    pub device_id: Vec<u8>,
    /// SHA-256 over the registers.
    #[prost(bytes = "vec", tag = "9")]
    #[serde(with = "hex_bytes")]
    pub mr_aggregated: Vec<u8>,
    /// Of the image.
    #[prost(bytes = "vec", tag = "10")]
    #[serde(with = "hex_bytes")]
    pub os_image_hash: Vec<u8>,
    /// JSON `{name, id}`.
    #[prost(string, tag = "12")]
    pub key_provider_info: String,
    /// Of app-compose.
    #[prost(bytes = "vec", tag = "13")]
    #[serde(with = "hex_bytes")]
    pub compose_hash: Vec<u8>,
    /// JSON of the machine.
    #[prost(string, tag = "14")]
    pub vm_config: String,
    /// Empty.
    #[prost(string, tag = "15")]
    pub cloud_vendor: String,
    /// Empty.
    #[prost(string, tag = "16")]
    pub cloud_product: String,
    /// The epoch of the keys; 0 without a KMS. A field of dstyx.
    #[prost(uint32, tag = "100")]
    pub epoch: u32,
}

/// What the KMS says of the guest, for a program of it that proves the guest to others.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseResponse {
    /// Text of the guest's [`crate::kms::SignedRelease`].
    #[prost(string, tag = "100")]
    pub release: String,
    /// The time in seconds since 1970: the guest's clock, never before a time that the KMS had.
    #[prost(uint64, tag = "101")]
    pub time_secs: u64,
}

/// Which program answers.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerVersion {
    /// Of dstyx.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Of its source; empty.
    #[prost(string, tag = "2")]
    pub rev: String,
}

/// Asks for a signature.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignRequest {
    /// `ed25519`, `secp256k1` or `secp256k1_prehashed`.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// What is signed.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
}

/// A signature.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignResponse {
    /// The signature.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// From it to the KMS.
    #[prost(bytes = "vec", repeated, tag = "2")]
    #[serde(with = "hex_bytes::list")]
    pub signature_chain: Vec<Vec<u8>>,
    /// Of the signing key.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub public_key: Vec<u8>,
}

/// Asks whether a signature is right.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyRequest {
    /// `ed25519`, `secp256k1` or `secp256k1_prehashed`.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// What was signed.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
    /// The signature.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// Of the signing key.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "hex_bytes")]
    pub public_key: Vec<u8>,
}

/// Whether it is.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyResponse {
    /// Whether the signature is right.
    #[prost(bool, tag = "1")]
    pub valid: bool,
}

/// Names an app key whose quote is asked for.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetAttestationForAppKeyRequest {
    /// As for a signature.
    #[prost(string, tag = "1")]
    pub algorithm: String,
}

/// A message without fields.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Empty {}

/// Why there is no answer.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// For people.
    #[prost(string, tag = "1")]
    pub error: String,
}
