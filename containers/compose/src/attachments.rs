//! Where a service is reachable: `network_mode` or `networks`, and the names it has there.

use std::net::IpAddr;

use super::definitions::Definitions;
use super::document::Value;
use super::field::{Field, Findings, Section};
use super::keys;
use super::model::{Attachment, Names, NetworkMode};
use super::refusal::Cause;
use super::scalar;

/// The network of services that name none.
pub(super) const DEFAULT: &str = "default";
/// Names and servers of one kind; more is no configuration of a person.
const MAX_NAMES: usize = 32;

/// Another service, and a name for it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Its name in the file.
    pub service: String,
    /// How it is found too.
    pub alias: String,
}

/// How the service is connected.
pub(super) fn read(
    service: &Section<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> NetworkMode {
    let mode = service.read("network_mode", findings, mode);
    let networks = service.get("networks");
    if let (Some(_), Some(networks)) = (&mode, &networks) {
        let why = "a service is on networks or has a mode of its own";
        findings.refuse::<()>(networks, Cause::Conflict { with: "network_mode", why });
    }
    let attached = networks.map(|field| attachments(&field, defined, findings)).unwrap_or_default();
    mode.unwrap_or_else(|| match attached.is_empty() {
        true => NetworkMode::Networks(vec![plain(DEFAULT)]),
        false => NetworkMode::Networks(attached),
    })
}

fn mode(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<NetworkMode> {
    let text = field.text(findings)?;
    if let Some(service) = text.strip_prefix("service:") {
        return Some(NetworkMode::Service(service.to_owned()));
    }
    match text.as_str() {
        "none" => Some(NetworkMode::None),
        "host" => {
            findings.danger(field, "the guest's own network is shared");
            Some(NetworkMode::Host)
        }
        "bridge" | "default" => {
            findings
                .note(field, "changes nothing: the app's default network is the guest's bridge");
            Some(NetworkMode::Networks(vec![plain(DEFAULT)]))
        }
        other => field.invalid(
            "network mode",
            other,
            "none, bridge, service:NAME or, with danger_privileged, host",
            findings,
        ),
    }
}

fn plain(network: &str) -> Attachment {
    Attachment { network: network.to_owned(), aliases: Vec::new(), addresses: Vec::new() }
}

/// `links`: other services, and the names by which this one wants to find them.
pub(crate) fn links(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<Link>> {
    let items = field.items(findings);
    if items.len() > MAX_NAMES {
        let cause = Cause::TooMany { what: "links", found: items.len(), limit: MAX_NAMES };
        return findings.refuse(field, cause);
    }
    let mut links = Vec::new();
    for item in items {
        let text = item.text(findings)?;
        let (service, alias) = text.split_once(':').unwrap_or((&text, &text));
        if !is_host_name(alias) {
            return item.invalid("link", &text, "SERVICE or SERVICE:NAME", findings);
        }
        links.push(Link { service: service.to_owned(), alias: alias.to_owned() });
    }
    Some(links)
}

/// A list of names, or a mapping; those of highest priority first.
fn attachments(
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Vec<Attachment> {
    let mut attached: Vec<(i64, Attachment)> = Vec::new();
    if let Value::Sequence(items) = &field.node.value {
        for item in field.list(items) {
            let Some(name) = item.text(findings) else { continue };
            if attached.iter().any(|(_, known)| known.network == name) {
                findings.refuse::<()>(&item, Cause::Twice(name));
            } else if known(&name, &item, defined, findings) {
                attached.push((0, plain(&name)));
            }
        }
    } else {
        for (name, field) in field.entries(findings) {
            if known(name, &field, defined, findings) {
                attached.extend(attachment(name, &field, defined, findings));
            }
        }
    }
    attached.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    attached.into_iter().map(|(_, attachment)| attachment).collect()
}

fn known(
    name: &str,
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> bool {
    let known = name == DEFAULT || defined.networks.iter().any(|network| network.name == name);
    if !known {
        findings.refuse::<()>(field, Cause::Undefined { what: "network", name: name.to_owned() });
    }
    known
}

fn attachment(
    name: &str,
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<(i64, Attachment)> {
    let section = field.section(keys::ATTACHMENT, findings)?;
    let priority = section.read("priority", findings, |field, findings| {
        scalar::number(field, findings, |_: i64| true, "a whole number")
    });
    let aliases =
        section.read("aliases", findings, |f, findings| Some(checked(f, is_host_name, findings)));
    let mut addresses = Vec::new();
    for (key, v4) in [("ipv4_address", true), ("ipv6_address", false)] {
        let address = section.read(key, findings, |field, findings| {
            let address = address(field, findings)?;
            let inside = |subnet: &(IpAddr, u8)| contains(*subnet, address);
            let network = defined.networks.iter().find(|network| network.name == name);
            let fits = address.is_ipv4() == v4 && network.is_some_and(|network| network.subnets.iter().any(inside));
            if fits {
                return Some(address);
            }
            let rule =
                "an address of that family inside a subnet that the network gives (ipam), not its first two or last";
            field.invalid("address", &address.to_string(), rule, findings)
        });
        addresses.extend(address);
    }
    let aliases = aliases.unwrap_or_default();
    Some((
        priority.unwrap_or_default(),
        Attachment { network: name.to_owned(), aliases, addresses },
    ))
}

/// Whether a container may have `address`: the first of a subnet is the network's name, the second
/// the guest's, the last of IPv4 means everybody.
fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u32::from(network).into(), u32::from(address).into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (u128::from(network), u128::from(address), 128)
        }
        _ => return false,
    };
    let host_bits = (1u128 << (width - u32::from(length))) - 1;
    let host = address & host_bits;
    address & !host_bits == network && host > 1 && (width == 128 || host < host_bits)
}

/// Host name, domain, and what else a service is told about names.
pub(super) fn names(service: &Section<'_>, findings: &mut Findings<'_>) -> Names {
    let host_name = |key: &str, findings: &mut Findings<'_>| {
        service.read(key, findings, |field, findings| {
            let text = field.text(findings)?;
            let rule = "letters, digits, dots and dashes, at most 63 in all, a letter or digit at each end";
            if text.len() <= 63 && is_host_name(&text) {
                Some(text)
            } else {
                field.invalid("host name", &text, rule, findings)
            }
        })
    };
    Names {
        hostname: host_name("hostname", findings),
        domainname: host_name("domainname", findings),
        container_name: service.read("container_name", findings, |field, findings| {
            let text = field.text(findings)?;
            let rule =
                "1 to 63 letters, digits, dots, dashes or underscores, first a letter or digit";
            if super::definitions::is_name(&text) {
                Some(text)
            } else {
                field.invalid("container name", &text, rule, findings)
            }
        }),
        extra_hosts: service.read("extra_hosts", findings, extra_hosts).unwrap_or_default(),
        dns: service.read("dns", findings, servers).unwrap_or_default(),
        dns_search: list(service, "dns_search", |name| name == "." || is_host_name(name), findings),
        dns_options: list(service, "dns_opt", is_option, findings),
    }
}

fn list(
    service: &Section<'_>,
    key: &str,
    legal: fn(&str) -> bool,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    service
        .read(key, findings, |field, findings| Some(checked(field, legal, findings)))
        .unwrap_or_default()
}

/// One text or a list of texts that are `legal`.
fn checked(field: &Field<'_>, legal: fn(&str) -> bool, findings: &mut Findings<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (text, item) in field.text_or_list(findings) {
        if !legal(&text) {
            item.invalid::<()>(
                "name",
                &text,
                "letters, digits, dots, dashes and underscores",
                findings,
            );
        } else if names.len() == MAX_NAMES {
            let cause = Cause::TooMany { what: "names", found: names.len() + 1, limit: MAX_NAMES };
            return findings.refuse(&item, cause).unwrap_or_default();
        } else {
            names.push(text);
        }
    }
    names
}

fn servers(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<IpAddr>> {
    let fields = field.text_or_list(findings);
    if fields.len() > MAX_NAMES {
        return findings.refuse(
            field,
            Cause::TooMany { what: "servers", found: fields.len(), limit: MAX_NAMES },
        );
    }
    Some(fields.iter().filter_map(|(_, field)| address(field, findings)).collect())
}

fn address(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let text = field.text(findings)?;
    let parsed = text.parse().ok();
    parsed.or_else(|| field.invalid("address", &text, "an IP address", findings))
}

/// `name:address` or `name=address` in a list, or a mapping of names to addresses.
fn extra_hosts(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<(String, Option<IpAddr>)>> {
    let mut pairs: Vec<(String, String, Field<'_>)> = Vec::new();
    if let Value::Mapping(entries) = &field.node.value {
        for (name, value) in field.named(entries) {
            let addresses = value.text_or_list(findings);
            pairs.extend(addresses.into_iter().map(|(address, at)| (name.to_owned(), address, at)));
        }
    } else {
        for item in field.items(findings) {
            let text = item.text(findings)?;
            match text.split_once(['=', ':']) {
                Some((name, address)) => pairs.push((name.to_owned(), address.to_owned(), item)),
                None => item.invalid("host", &text, "name=address", findings)?,
            }
        }
    }
    if pairs.len() > MAX_NAMES {
        return findings
            .refuse(field, Cause::TooMany { what: "hosts", found: pairs.len(), limit: MAX_NAMES });
    }
    let host = |(name, address, at): (String, String, Field<'_>)| {
        let inner =
            address.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&address);
        let parsed =
            if inner == "host-gateway" { Some(None) } else { inner.parse().ok().map(Some) };
        match parsed.filter(|_| is_host_name(&name)) {
            Some(address) => Some((name, address)),
            None => at.invalid(
                "host",
                &format!("{name}={address}"),
                "name=address, or name=host-gateway",
                findings,
            ),
        }
    };
    Some(pairs.into_iter().filter_map(host).collect())
}

/// A name that DNS and hosts files can have; underscores as compose's names have them.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// An option of `resolv.conf(5)`: a word, and a number after a colon.
fn is_option(option: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':');
    (1..=63).contains(&option.len()) && option.bytes().all(legal)
}
