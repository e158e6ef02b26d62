//! `ports`: which port of the guest leads to which port of a service.
//!
//! Short form `[host_ip:]published:target[/tcp]`, long form with `target` and `published`. What Docker
//! would choose by itself (a free host port) is refused, because nobody outside would know it.

use std::net::IpAddr;

use super::document::{Entry, Node, Value};
use super::keys::{self, PORT};
use super::refusal::{Cause, KeyPath, Refusals};
use super::value;

/// TCP port of the guest on which its agent answers; never a service's.
pub const AGENT_PORT: u16 = 8090;
/// More than one service of a real app publishes; each costs a listening socket.
pub const MAX_PORTS: usize = 64;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
}

/// One port of the guest that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Address of the guest to listen on; all of them if `None`.
    pub host_ip: Option<IpAddr>,
    /// Port of the guest; not 0, not [`AGENT_PORT`].
    pub published: u16,
    /// Port of the service; not 0.
    pub target: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// All ports of one service.
pub(super) fn read(node: &Node, path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<PublishedPort>> {
    let Value::Sequence(items) = &node.value else {
        if node.is_null() {
            return Some(Vec::new());
        }
        return value::wrong_kind(node, "a list", path, refusals);
    };
    if items.len() > MAX_PORTS {
        let cause = Cause::TooMany { what: "ports", found: items.len(), limit: MAX_PORTS };
        refusals.add(path, node.line, cause);
        return None;
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let path = path.item(index);
            let port = one(item, &path, refusals)?;
            if port.published == AGENT_PORT {
                refusals.add(&path, item.line, Cause::PortReserved(AGENT_PORT));
                return None;
            }
            Some(port)
        })
        .collect()
}

fn one(item: &Node, path: &KeyPath, refusals: &mut Refusals) -> Option<PublishedPort> {
    match &item.value {
        Value::Mapping(entries) => long(item, entries, path, refusals),
        Value::Scalar { .. } => {
            let text = value::text(item, path, refusals)?;
            short(&text, item.line).map_err(|cause| refusals.add(path, item.line, cause)).ok()
        }
        Value::Sequence(_) => value::wrong_kind(item, "text or a mapping", path, refusals),
    }
}

/// `[host_ip:]published:target[/protocol]`.
fn short(text: &str, line: usize) -> Result<PublishedPort, Cause> {
    let (mapping, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    check_protocol(protocol, text)?;
    let Some((rest, target)) = mapping.rsplit_once(':') else {
        return Err(bad(text, "name both ports: published:target"));
    };
    let (host_ip, published) = match rest.rsplit_once(':') {
        Some((ip, published)) => (Some(address(ip, text)?), published),
        None => (None, rest),
    };
    Ok(PublishedPort {
        host_ip,
        published: number(published, text)?,
        target: number(target, text)?,
        protocol: Protocol::Tcp,
        line,
    })
}

fn long(item: &Node, entries: &[Entry], path: &KeyPath, refusals: &mut Refusals) -> Option<PublishedPort> {
    keys::check(entries, PORT, path, refusals);
    let mut field = |name: &'static str, required: bool| -> Option<Option<(String, usize)>> {
        match value::find(entries, name) {
            Some(entry) => {
                let text = value::text(&entry.node, &path.key(name), refusals)?;
                Some(Some((text, entry.line)))
            }
            None if required => {
                refusals.add(path, item.line, Cause::Missing(name));
                None
            }
            None => Some(None),
        }
    };
    let (target, published) = (field("target", true), field("published", true));
    let (host_ip, protocol) = (field("host_ip", false)?, field("protocol", false)?);
    let (target, published) = (target??, published??);
    let mut parse = |name: &str, (text, line): &(String, usize)| {
        number(text, text).map_err(|cause| refusals.add(&path.key(name), *line, cause)).ok()
    };
    let (target, published) = (parse("target", &target)?, parse("published", &published)?);
    if let Some((text, line)) = protocol {
        check_protocol(&text, &text).map_err(|cause| refusals.add(&path.key("protocol"), line, cause)).ok()?;
    }
    let host_ip = match host_ip {
        Some((text, line)) => {
            Some(address(&text, &text).map_err(|cause| refusals.add(&path.key("host_ip"), line, cause)).ok()?)
        }
        None => None,
    };
    Some(PublishedPort { host_ip, published, target, protocol: Protocol::Tcp, line: item.line })
}

fn check_protocol(protocol: &str, whole: &str) -> Result<(), Cause> {
    match protocol {
        "tcp" => Ok(()),
        "udp" | "sctp" => Err(Cause::NotYet { hint: Some("only TCP is published") }),
        _ => Err(bad(whole, "the protocol is tcp")),
    }
}

fn address(text: &str, whole: &str) -> Result<IpAddr, Cause> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse().map_err(|_| bad(whole, "the address before the ports is an IP address"))
}

/// A port in decimal digits, no sign, not 0; a range is refused by name.
fn number(text: &str, whole: &str) -> Result<u16, Cause> {
    if text.contains('-') {
        return Err(Cause::NotYet { hint: Some("write each port of a range by itself") });
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(bad(whole, "a port is a number from 1 to 65535")),
    }
}

fn bad(found: &str, rule: &'static str) -> Cause {
    Cause::Port { found: found.to_owned(), rule }
}
