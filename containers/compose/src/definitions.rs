//! The top level of a compose file beside its services: networks, volumes, configurations and
//! secrets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::app_directory;
use super::data::Declared;
use super::document::{Node, Value};
use super::field::{Field, Findings, Section};
use super::inputs::Encrypted;
use super::interpolate::Unset;
use super::keys::{self, Table};
use super::model::Network;
use super::refusal::Cause;
use super::scalar;

/// Each costs a bridge, an address range and rules.
pub const MAX_NETWORKS: usize = 32;
/// Each costs a directory.
pub const MAX_VOLUMES: usize = 128;
/// Each costs a mount where it is granted.
const MAX_CONTENTS: usize = 128;

/// What services may name. A content that was refused is `None`.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// In file order.
    pub networks: Vec<Network>,
    /// In file order.
    pub volumes: Vec<String>,
    /// By name.
    pub configs: BTreeMap<String, Option<Vec<u8>>>,
    /// By name.
    pub secrets: BTreeMap<String, Option<Vec<u8>>>,
    /// What `x-dstyx` says.
    pub declared: Declared,
}

pub(super) fn read(file: &Section<'_>, findings: &mut Findings<'_>) -> Definitions {
    let mut defined =
        Definitions { declared: Declared::read(file, findings), ..Default::default() };
    for (name, field) in named(file, "networks", MAX_NETWORKS, findings) {
        // A network that was refused is still there for services to name.
        let fallback =
            || Network { name: name.to_owned(), internal: false, ipv6: false, subnets: Vec::new() };
        defined.networks.push(network(name, &field, findings).unwrap_or_else(fallback));
    }
    for (name, field) in named(file, "volumes", MAX_VOLUMES, findings) {
        volume(&field, findings);
        defined.volumes.push(name.to_owned());
    }
    for (name, field) in named(file, "configs", MAX_CONTENTS, findings) {
        defined.configs.insert(name.to_owned(), content(&field, keys::CONFIG, findings));
    }
    for (name, field) in named(file, "secrets", MAX_CONTENTS, findings) {
        defined.secrets.insert(name.to_owned(), content(&field, keys::SECRET, findings));
    }
    if let (false, Some(field)) = (defined.declared.danger_public_secrets, file.get("secrets"))
        && !defined.secrets.is_empty()
    {
        let (secrets, encrypted) = (field.entries(findings), findings.inputs.encrypted);
        if secrets.iter().any(|(_, secret)| !is_encrypted(secret, encrypted)) {
            findings.refuse::<()>(&field, Cause::PublicSecrets);
        }
    }
    defined
}

/// Whether a secret comes from the encrypted environment, and so is not in the measured file.
fn is_encrypted(secret: &Field<'_>, encrypted: Encrypted<'_>) -> bool {
    let Value::Mapping(entries) = &secret.node.value else { return false };
    let source = entries.iter().find(|entry| entry.key == "environment");
    source.is_some_and(|entry| match &entry.node.value {
        Value::Scalar { text, .. } => encrypted.has(text),
        _ => false,
    })
}

/// The entries of the top-level key `key`, their names checked: they become names of files and
/// interfaces.
fn named<'a>(
    file: &Section<'a>,
    key: &str,
    limit: usize,
    findings: &mut Findings<'_>,
) -> Vec<(&'a str, Field<'a>)> {
    let Some(field) = file.get(key) else {
        return Vec::new();
    };
    let mut entries = field.entries(findings);
    if entries.len() > limit {
        let cause = Cause::TooMany { what: "entries", found: entries.len(), limit };
        findings.refuse::<()>(&field, cause);
        entries.truncate(limit);
    }
    let rule = "1 to 63 letters, digits, dots, dashes or underscores, first a letter or digit";
    for (name, field) in &entries {
        if !is_name(name) {
            field.invalid::<()>("name", name, rule, findings);
        }
    }
    entries
}

/// What becomes a name of files, volumes and networks.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=63).contains(&name.len())
        && name.bytes().all(legal)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Keys that mean something only where several apps or drivers are.
fn common(
    section: &Section<'_>,
    drivers: &'static [&'static str],
    rule: &'static str,
    findings: &mut Findings<'_>,
) {
    for name in ["name", "labels", "attachable"] {
        if let Some(field) = section.get(name) {
            findings.note(&field, "changes nothing: the guest runs this app alone");
        }
    }
    section.read("driver", findings, |field, findings| match field.text(findings)? {
        driver if drivers.contains(&driver.as_str()) => Some(()),
        // Networks over several hosts.
        driver if driver == "overlay" && drivers.contains(&"bridge") => {
            findings.note(field, "changes nothing: the guest is the only host");
            Some(())
        }
        driver => field.invalid("driver", &driver, rule, findings),
    });
}

fn network(name: &str, field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Network> {
    let section = field.section(keys::NETWORK, findings)?;
    common(&section, &["bridge", "default"], "bridge is the only one; leave it out", findings);
    section.read("external", findings, external);
    section.read("enable_ipv4", findings, |field, findings| {
        if scalar::boolean(field, findings)? {
            return Some(());
        }
        let cause = Cause::Unsupported { reason: "every network has IPv4", hint: "leave it out" };
        findings.refuse(field, cause)
    });
    let ipam = section.section("ipam", keys::IPAM, findings);
    let subnets = ipam.map(|ipam| subnets(&ipam, findings)).unwrap_or_default();
    let flag =
        |name: &str, findings: &mut Findings<'_>| section.read(name, findings, scalar::boolean);
    let internal = flag("internal", findings).unwrap_or_default();
    let ipv6 = flag("enable_ipv6", findings).unwrap_or_default()
        || subnets.iter().any(|(ip, _)| ip.is_ipv6());
    Some(Network { name: name.to_owned(), internal, ipv6, subnets })
}

/// A network of others is one that only this file's services join: there is nobody else. `external`
/// is a boolean, or a mapping with the name that it has elsewhere (compose files of version 3.4).
fn external(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<()> {
    let external = match &field.node.value {
        Value::Mapping(_) => {
            let section = field.section(keys::EXTERNAL, findings)?;
            section.required("name", findings, Field::text).is_some()
        }
        _ => scalar::boolean(field, findings)?,
    };
    if external {
        findings.note(field, "changes nothing: only this file's services are on the network");
    }
    Some(())
}

/// At most one for each family, as a network has one address of each.
fn subnets(ipam: &Section<'_>, findings: &mut Findings<'_>) -> Vec<(IpAddr, u8)> {
    ipam.read("driver", findings, |field, findings| match field.text(findings)?.as_str() {
        "default" => Some(()),
        other => field.invalid("driver", other, "default is the only one; leave it out", findings),
    });
    let mut subnets: Vec<(IpAddr, u8)> = Vec::new();
    for item in ipam.items("config", findings) {
        let Some(section) = item.section(keys::IPAM_CONFIG, findings) else { continue };
        let Some(subnet) = section.required("subnet", findings, subnet) else { continue };
        if subnets.iter().any(|known| known.0.is_ipv4() == subnet.0.is_ipv4()) {
            let cause = Cause::Conflict {
                with: "the subnet before",
                why: "one IPv4 and one IPv6 subnet are enough",
            };
            findings.refuse::<()>(&item, cause);
        }
        section.read("gateway", findings, |field, findings| {
            let text = field.text(findings)?;
            if text.parse() == Ok(first_address(subnet.0)) {
                return Some(());
            }
            field.invalid(
                "gateway",
                &text,
                "the first address of the subnet is the guest's; leave it out",
                findings,
            )
        });
        subnets.push(subnet);
    }
    subnets
}

/// `10.1.0.0/16`: an address without host bits and a length that leaves room for containers.
fn subnet(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<(IpAddr, u8)> {
    let text = field.text(findings)?;
    let parsed = text
        .split_once('/')
        .and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse().ok()?)));
    let fits = |(ip, length): &(IpAddr, u8)| {
        let (bits, range) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(*ip)) << 96, 8..=29),
            IpAddr::V6(ip) => (u128::from(*ip), 32..=124),
        };
        range.contains(length)
            && !ip.is_loopback()
            && !ip.is_multicast()
            && bits.checked_shl(u32::from(*length)) == Some(0)
    };
    match parsed.filter(fits) {
        Some(subnet) => Some(subnet),
        None => {
            let rule = "a network address and a length from 8 to 29, for IPv6 from 32 to 124, such as 10.5.0.0/24";
            field.invalid("subnet", &text, rule, findings)
        }
    }
}

fn first_address(network: IpAddr) -> IpAddr {
    match network {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + 1).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + 1).into()),
    }
}

fn volume(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<()> {
    let section = field.section(keys::VOLUME, findings)?;
    common(&section, &["local"], "local is the only one; leave it out", findings);
    Some(())
}

/// The bytes of a configuration or secret, from exactly one of `file`, `content` and `environment`.
fn content(field: &Field<'_>, table: Table, findings: &mut Findings<'_>) -> Option<Vec<u8>> {
    let section = field.section(table, findings)?;
    for name in ["name", "labels"] {
        if let Some(field) = section.get(name) {
            findings.note(&field, "changes nothing: the guest runs this app alone");
        }
    }
    let given: Vec<&str> = ["file", "content", "environment"]
        .into_iter()
        .filter(|name| section.get(name).is_some())
        .collect();
    match given[..] {
        ["file"] => section.read("file", findings, |field, findings| {
            let path = app_directory::path(&field.text(findings)?, field, findings)?;
            Some(app_directory::file(&path, field, findings)?.to_vec())
        }),
        ["content"] => section.read("content", findings, Field::text).map(String::into_bytes),
        ["environment"] => section.read("environment", findings, |field, findings| {
            let name = field.text(findings)?;
            let value = findings.text_variable(&name);
            if value.is_none() {
                findings.unset(&field.path, field.line, vec![Unset::named(&name)]);
            }
            value.map(String::into_bytes)
        }),
        [] if is_external(field.node) => None,
        [] => findings.refuse(field, Cause::Missing("file")),
        _ => {
            let cause = Cause::Conflict {
                with: "each other",
                why: "one of file, content and environment is the content",
            };
            findings.refuse(field, cause)
        }
    }
}

/// Refused by its key already; that it has no content needs no second word.
fn is_external(node: &Node) -> bool {
    matches!(&node.value, Value::Mapping(entries) if entries.iter().any(|e| e.key == "external"))
}
