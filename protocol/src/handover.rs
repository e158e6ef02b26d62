//! What init hands to the agent after the app is measured: one file that only they can read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{AppId, ComposeHash, InstanceId};
use crate::launch::LaunchClaims;
use crate::strict_json;

/// Where init writes it, mode 0600.
pub const PATH: &str = "/run/dstyx/handover.json";
/// Where the run-time event log lies.
pub const EVENT_LOG_PATH: &str = "/run/dstyx/event_log.jsonl";
/// Largest file: the launch block's content once more.
pub const MAX_BYTES: usize = 2 << 20;
/// Port of the agent's public page and evidence.
pub const AGENT_PORT: u16 = 8090;
/// Port of the agent's channels with the app's owners; open only where the measured file names any.
pub const OWNER_PORT: u16 = 8091;
/// Socket of the agent that containers see as `/var/run/dstack.sock`. Init listens on both and
/// hands them to each agent, so that the file that a container has mounted outlives an agent.
pub const DSTACK_SOCKET: &str = "/run/dstyx/api/dstack.sock";
/// The same of dstack's older interface, `/var/run/tappd.sock`.
pub const TAPPD_SOCKET: &str = "/run/dstyx/api/tappd.sock";
/// Directory of the sockets that services of the measured file's `pad_services` see as
/// `/run/dstyx/pads.sock`: `SERVICE.sock` for each, so that the agent knows which one asks. Init
/// listens on them in the order of the measured file.
pub const PAD_SOCKETS: &str = "/run/dstyx/api/pads";

/// Size of the memory that outlives an agent: init makes it empty and hands it, with both sockets,
/// to each agent. Keys and what was released with them have room in it.
pub const AGENT_MEMORY_BYTES: u64 = 64 * 1024;

/// Launch facts as measured, and the hints that the agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// Base64 of the measured bytes of `app-compose.json`.
    pub app_compose: String,
    /// As extended.
    pub app_id: AppId,
    /// As extended; `None` for an app without instance ids.
    pub instance_id: Option<InstanceId>,
    /// As extended.
    pub compose_hash: ComposeHash,
    /// Registries to ask first (hints).
    pub registry_mirrors: Vec<String>,
    /// Addresses of the KMS, `https://HOST:PORT` (hints): whatever answers there must prove that it
    /// is the one that the measured file pins.
    pub kms_urls: Vec<String>,
    /// Addresses of gateways, `https://HOST:PORT` (hints): whatever answers there must prove that
    /// it is the gateway which the KMS names.
    pub gateway_urls: Vec<String>,
    /// Base64 of the launch block's encrypted environment, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// The host's claims about the launch.
    pub claims: LaunchClaims,
    /// Disks by serial, such as `dstyx-status` → `/dev/vdb`, as init found them.
    pub disks: BTreeMap<String, String>,
}

impl Handover {
    /// Parses the file.
    pub fn parse(json: &[u8]) -> Result<Self, strict_json::JsonError> {
        strict_json::parse(json, MAX_BYTES)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}
