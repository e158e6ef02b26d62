//! `ports`: which port of the guest leads to which port of a service.
//!
//! Short form `[host_ip:]published:target[/tcp|/udp]`, both sides single or ranges of one length,
//! and the long form with `target` and `published`. What Docker would choose by itself (a free
//! port) is refused, because nobody outside would know it.

use std::net::IpAddr;

use super::document::Value;
use super::field::{Field, Findings, Section};
use super::keys::PORT;
use super::model::{AGENT_PORT, OWNER_PORT, Protocol, PublishedPort};
use super::refusal::Cause;

/// More than one service of a real app publishes; each costs rules or a listening socket.
pub const MAX_PORTS: usize = 64;

/// All ports of one service.
pub(super) fn read(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<PublishedPort>> {
    let mut ports = Vec::new();
    for item in field.items(findings) {
        let read = one(&item, findings).unwrap_or_default();
        for reserved in [AGENT_PORT, OWNER_PORT] {
            if read.iter().any(|port| (port.published, port.protocol) == (reserved, Protocol::Tcp))
            {
                findings.refuse::<()>(&item, Cause::PortReserved(reserved));
            }
        }
        ports.extend(read);
    }
    if ports.len() > MAX_PORTS {
        return findings
            .refuse(field, Cause::TooMany { what: "ports", found: ports.len(), limit: MAX_PORTS });
    }
    Some(ports)
}

/// `expose`: ports or ranges that other services use. They reach every port anyway.
pub(super) fn expose(field: &Field<'_>, findings: &mut Findings<'_>) {
    for item in field.items(findings) {
        let Some(text) = item.text(findings) else { continue };
        let (range, name) = text.split_once('/').unwrap_or((&text, "tcp"));
        if let Err(cause) = protocol(name, &text).and_then(|_| ports_of(range, &text)) {
            findings.refuse::<()>(&item, cause);
        }
    }
    findings.note(field, "changes nothing: services on one network reach each other on every port");
}

fn one(item: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<PublishedPort>> {
    match &item.node.value {
        Value::Mapping(_) => long(&item.section(PORT, findings)?, findings).map(|port| vec![port]),
        Value::Scalar { .. } => {
            let text = item.text(findings)?;
            match short(&text, item.line) {
                Ok(ports) => Some(ports),
                Err(cause) => findings.refuse(item, cause),
            }
        }
        Value::Sequence(_) => item.wrong_kind("text or a mapping", findings),
    }
}

/// `[host_ip:]published:target[/protocol]`.
fn short(text: &str, line: usize) -> Result<Vec<PublishedPort>, Cause> {
    let (mapping, name) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(name, text)?;
    let Some((rest, target)) = mapping.rsplit_once(':') else {
        return Err(bad(text, "name both ports: published:target"));
    };
    let (host_ip, published) = match rest.rsplit_once(':') {
        Some((ip, published)) => (Some(address(ip, text)?), published),
        None => (None, rest),
    };
    let (published, targets) = (ports_of(published, text)?, ports_of(target, text)?);
    if published.len() != targets.len() {
        return Err(bad(text, "both ranges have the same length"));
    }
    let port = |(published, target)| PublishedPort { host_ip, published, target, protocol, line };
    Ok(published.zip(targets).map(port).collect())
}

fn long(section: &Section<'_>, findings: &mut Findings<'_>) -> Option<PublishedPort> {
    for name in ["name", "app_protocol"] {
        if let Some(field) = section.get(name) {
            findings.note(&field, "changes nothing");
        }
    }
    section.read("mode", findings, |field, findings| match field.text(findings)?.as_str() {
        "host" | "ingress" => Some(()),
        other => field.invalid(
            "mode",
            other,
            "host or ingress, which are the same in one guest",
            findings,
        ),
    });
    let parsed = |name: &'static str, findings: &mut Findings<'_>| {
        section.required(name, findings, |field, findings| {
            checked(field, findings, |text| number(text, text))
        })
    };
    let (target, published) = (parsed("target", findings), parsed("published", findings));
    let host_ip = section.read("host_ip", findings, |field, findings| {
        checked(field, findings, |text| address(text, text))
    });
    let protocol = section.read("protocol", findings, |field, findings| {
        checked(field, findings, |text| protocol(text, text))
    });
    let line = section.field.line;
    Some(PublishedPort {
        host_ip,
        published: published?,
        target: target?,
        protocol: protocol.unwrap_or_default(),
        line,
    })
}

fn checked<T>(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
    parse: impl Fn(&str) -> Result<T, Cause>,
) -> Option<T> {
    let text = field.text(findings)?;
    parse(&text).map_or_else(|cause| findings.refuse(field, cause), Some)
}

fn protocol(protocol: &str, whole: &str) -> Result<Protocol, Cause> {
    match protocol {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(bad(whole, "the protocol is tcp or udp")),
    }
}

fn address(text: &str, whole: &str) -> Result<IpAddr, Cause> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse().map_err(|_| bad(whole, "the address before the ports is an IP address"))
}

/// A port, or `first-last`.
fn ports_of(text: &str, whole: &str) -> Result<std::ops::RangeInclusive<u16>, Cause> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first, whole)?, number(last, whole)?);
    if first > last {
        return Err(bad(whole, "a range goes from the lower port to the higher"));
    }
    Ok(first..=last)
}

/// A port in decimal digits, no sign, not 0.
fn number(text: &str, whole: &str) -> Result<u16, Cause> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(bad(whole, "a port is a number from 1 to 65535")),
    }
}

fn bad(found: &str, rule: &'static str) -> Cause {
    Cause::Port { found: found.to_owned(), rule }
}
