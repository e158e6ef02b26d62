//! `gateway_enabled` and `port_policy`: whether gateways lead clients to an app, to which of its
//! ports, and which of them want the PROXY protocol. Source: dstack 312dc605, `PortPolicy` and
//! `PortAttrs`.
//!
//! A gateway reads the policy from the measured bytes in a guest's evidence and from nowhere else:
//! neither a guest's request nor a client's name changes it. The guest's agent holds to it too.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{AppComposeError, KeyProvider, RawAppCompose, refused};
use crate::strict_json::{self, JsonError};

/// Ports that one file may list.
const MAX_PORTS: usize = 256;
/// Largest text of a policy that stands alone.
const MAX_BYTES: usize = 16 << 10;

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortPolicyError {
    /// its JSON
    #[error("port_policy")]
    Json(#[from] JsonError),
    /// too many ports
    #[error("{0} ports are listed, at most {MAX_PORTS} are read")]
    Many(usize),
    /// port 0, or a port twice
    #[error("port {0} is listed, which is 0 or stands there twice")]
    Port(u16),
}

/// A policy as the measured file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPortPolicy {
    /// The ports about which something is said.
    #[serde(default)]
    pub ports: Vec<RawPort>,
    /// Whether no other port is reached.
    #[serde(default)]
    pub restrict_mode: bool,
}

/// One port of a policy as the measured file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPort {
    /// The port.
    pub port: u16,
    /// Whether it wants the PROXY protocol.
    #[serde(default)]
    pub pp: bool,
}

/// What a gateway may do with an app's ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortPolicy {
    /// The ports that are listed, and whether they want a header.
    ports: BTreeMap<NonZeroU16, bool>,
    /// Whether no other port is reached.
    restricted: bool,
}

impl PortPolicy {
    /// Reads the value of `port_policy` as JSON.
    ///
    /// # Errors
    /// If it is not one that has one meaning.
    pub fn parse(json: &[u8]) -> Result<Self, PortPolicyError> {
        let raw: RawPortPolicy = strict_json::parse(json, MAX_BYTES)?;
        Self::of(&raw)
    }

    /// Reads a policy whose JSON was read.
    ///
    /// # Errors
    /// If a port is listed twice or is 0, or too many are listed.
    pub fn of(raw: &RawPortPolicy) -> Result<Self, PortPolicyError> {
        if raw.ports.len() > MAX_PORTS {
            return Err(PortPolicyError::Many(raw.ports.len()));
        }
        let mut ports = BTreeMap::new();
        for RawPort { port, pp } in &raw.ports {
            let number = NonZeroU16::new(*port).ok_or(PortPolicyError::Port(*port))?;
            if ports.insert(number, *pp).is_some() {
                return Err(PortPolicyError::Port(*port));
            }
        }
        Ok(Self { ports, restricted: raw.restrict_mode })
    }

    /// Whether clients may be led to a port.
    pub fn allows(&self, port: NonZeroU16) -> bool {
        !self.restricted || self.ports.contains_key(&port)
    }

    /// Whether the app wants to be told who connected.
    pub fn wants_proxy_header(&self, port: NonZeroU16) -> bool {
        self.ports.get(&port).copied().unwrap_or(false)
    }
}

/// What the file says of its ports; `key_provider` must be this file's. A gateway leads to
/// instances whose KMS vouches for them, so without a KMS or without instance ids none can.
pub(super) fn check(
    raw: &RawAppCompose,
    key_provider: KeyProvider,
) -> Result<PortPolicy, AppComposeError> {
    let policy = raw.port_policy.as_ref().map(PortPolicy::of).transpose();
    let policy = policy.map_err(|error| refused("port_policy", &error.to_string()))?;
    if raw.gateway_enabled && key_provider == KeyProvider::None {
        let what = "needs a KMS, which names the gateway and vouches for the guest; write \
            key_provider kms too, or publish a port in the compose file";
        return Err(refused("gateway_enabled", what));
    }
    if raw.gateway_enabled && raw.no_instance_id {
        let what = "leads to instances by their ids; take no_instance_id out";
        return Err(refused("gateway_enabled", what));
    }
    Ok(policy.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16) -> NonZeroU16 {
        NonZeroU16::new(port).unwrap()
    }

    #[test]
    fn a_policy_restricts_ports_and_asks_for_headers() {
        let json = br#"{"ports":[{"port":80,"pp":true},{"port":443}],"restrict_mode":true}"#;
        let policy = PortPolicy::parse(json).unwrap();
        assert!(policy.allows(port(80)) && policy.allows(port(443)) && !policy.allows(port(22)));
        assert!(policy.wants_proxy_header(port(80)) && !policy.wants_proxy_header(port(443)));
        let open = PortPolicy::parse(br#"{"ports":[{"port":80,"pp":true}]}"#).unwrap();
        assert!(open.allows(port(22)) && !open.wants_proxy_header(port(22)));
        assert!(PortPolicy::default().allows(port(1)));
        let closed = PortPolicy::parse(br#"{"restrict_mode":true}"#).unwrap();
        assert!(!closed.allows(port(80)));
    }

    #[test]
    fn a_policy_with_two_meanings_is_refused() {
        for json in [
            r#"{"ports":[{"port":80,"pp":true},{"port":80}]}"#,
            r#"{"ports":[{"port":0}]}"#,
            r#"{"ports":[{"port":-1}]}"#,
            r#"{"ports":[{"port":"80"}]}"#,
            r#"{"ports":[{"port":80,"pp":1}]}"#,
            r#"{"ports":[],"ports":[]}"#,
            r#"{"port":80}"#,
            r#"{"restrict_mode":"true"}"#,
            "null",
            "",
        ] {
            assert!(PortPolicy::parse(json.as_bytes()).is_err(), "{json}");
        }
        let many: Vec<_> = (1..=257).map(|port| format!("{{\"port\":{port}}}")).collect();
        let many = format!("{{\"ports\":[{}]}}", many.join(","));
        assert_eq!(PortPolicy::parse(many.as_bytes()), Err(PortPolicyError::Many(257)));
    }
}
