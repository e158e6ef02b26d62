//! What a KMS and those who talk to it share: who a KMS is, the documents that its owners sign,
//! what it states beside its evidence, and its calls.
//!
//! A call with keys in its answer travels on an attested channel ([`crate::channel::ALPN_KMS`])
//! alone; the names and numbers of dstack's messages are kept where dstack has the call. Owners
//! sign documents as DSSE envelopes; the types here are their payloads, which say nothing before
//! the signatures were counted.

mod address;
mod cluster;
mod documents;
mod endpoints;
mod members;
mod messages;
mod pads;
mod release;
mod service;
mod statement;
mod time;
mod webhook;

pub use address::{Address, AddressError};
pub use cluster::{
    BOOT_AUTH_VARIABLE, DANGER_ROOT_VARIABLE, ETCD_VARIABLE, NAME_VARIABLE, PCCS_VARIABLE,
    PEERS_VARIABLE, THRESHOLD_VARIABLE,
};
pub use cluster::{Cluster, ClusterError, MAX_OWNERS, OWNER_KEYS_VARIABLE, VariableError};
pub use documents::{
    EpochKeys, KmsImage, KmsList, MAX_DOCUMENT_BYTES, Renewal, Resumption, RootCertificate,
    payload_type,
};
pub use endpoints::{EndpointError, EtcdEndpoints};
pub use members::*;
pub use messages::*;
pub use pads::*;
pub use release::{
    MAX_RELEASE_SECS, MAX_SIGNED_RELEASE_BYTES, RELEASE_VERSION, ReleaseError, ReleaseStatement,
    ReleasedAt, SignedRelease,
};
pub use service::{KmsService, Request};
pub use statement::{
    MEMBER_SIGNATURE_LABEL, MemberClaim, ROOT_SIGNATURE_LABEL, Statement, signed_by_member,
    signed_by_root,
};
pub use time::{
    GetTimeRequest, GetTimeResponse, TIME_SERVERS_VARIABLE, TimeServer, TimeServersError,
    TimeSource, ToldTimeError,
};
pub use webhook::{WebhookAddress, WebhookError};

/// Port of the attested channel in a KMS's guest.
pub const CHANNEL_PORT: u16 = 8443;
/// Port of the public calls, which anybody may make.
pub const PUBLIC_PORT: u16 = 8444;
/// Bits of a generation number below its open counter: a mount with counter N has the generations
/// from N · 2⁴⁰ on, below (N + 1) · 2⁴⁰.
pub const GENERATION_BITS: u32 = 40;
/// HTTP status of a call by a guest whose data disk a later boot of its instance has opened.
pub const SUPERSEDED_STATUS: u16 = 409;
/// HTTP status of a call for a data disk that an earlier guest of the instance may still use; it
/// ends with its release statement.
pub const HELD_STATUS: u16 = 423;
/// HTTP status of a call that a KMS cannot answer yet, such as before it has its root; any other
/// status from 400 to 499 is a refusal for good.
pub const UNAVAILABLE_STATUS: u16 = 503;
/// What the text of a refusal begins with where no majority of a KMS's members could be reached, so
/// that nothing was decided that is known of.
pub const NO_MAJORITY: &str = "no-majority";
/// `name` of the event `key-provider` in a guest whose keys a KMS gave.
pub const KEY_PROVIDER_NAME: &str = crate::app_compose::KEY_PROVIDER_KMS;
