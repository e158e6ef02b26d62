//! What can be seen only when all services are read: profiles, names of others, cycles, and what
//! there may be but once.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::attachments::DEFAULT;
use super::definitions::Definitions;
use super::field::{Field, Findings};
use super::links;
use super::model::Protocol;
use super::model::{ComposeFile, MountSource, Network, NetworkMode, Service};
use super::program::{Programs, no_service};
use super::refusal::Cause;
use super::service::{MAX_REPLICAS, Written};

/// The variable that says which profiles are active (compose specification, `15-profiles.md`).
const PROFILES: &str = "COMPOSE_PROFILES";

/// The whole file; complete only if nothing was refused.
pub(super) fn file(
    name: Option<String>,
    written: Vec<Written<'_>>,
    defined: Definitions,
    at: &Field<'_>,
    findings: &mut Findings<'_>,
) -> ComposeFile {
    let mut written = active(written, findings);
    let programs: Vec<Written<'_>> = written.extract_if(.., |service| service.is_program).collect();
    if written.is_empty() && findings.refusals.is_empty() {
        // Only a service can ask for a run.
        let found = if programs.is_empty() { "none" } else { "programs alone" };
        let cause = Cause::Kind { expected: "a service whose profile is active", found };
        findings.refuse::<()>(at, cause);
    }
    let names = programs.iter().map(|program| program.name).collect();
    links::resolve(&mut written, &names, findings);
    dependencies(&mut written, &names, findings);
    cycles(&written, findings);
    connections(&written, &names, findings);
    replicas(&written, at, findings);
    shared_names(&written, &programs, findings);
    shared_ports(&written, findings);
    written_data(&written, findings);
    findings.notes.sort_by_key(|note| note.line);
    findings.dangers.sort_by_key(|note| note.line);
    let services: Vec<Service> =
        written.into_iter().filter_map(|written| written.service).collect();
    ComposeFile {
        name,
        networks: used_networks(&services, defined.networks),
        volumes: used_volumes(&services, defined.volumes),
        data: data_directories(&services),
        services,
        programs: programs.into_iter().filter_map(|written| written.program).collect(),
        notes: std::mem::take(&mut findings.notes),
        dangers: std::mem::take(&mut findings.dangers),
    }
}

/// Leaves out services none of whose profiles is active, and what was said of them.
fn active<'a>(written: Vec<Written<'a>>, findings: &mut Findings<'_>) -> Vec<Written<'a>> {
    if written.iter().all(|service| service.profiles.is_empty()) {
        return written;
    }
    let chosen = findings.variable(PROFILES).unwrap_or_default();
    let chosen: HashSet<&str> = chosen.split(',').map(str::trim).collect();
    let is_active = |service: &Written<'_>| {
        service.profiles.is_empty()
            || chosen.contains("*")
            || service.profiles.iter().any(|profile| chosen.contains(profile.as_str()))
    };
    let (active, inactive): (Vec<_>, Vec<_>) = written.into_iter().partition(is_active);
    for service in inactive {
        let below = format!("{}.", service.section.field.path);
        findings.notes.retain(|note| !note.path.starts_with(&below));
        findings.dangers.retain(|note| !note.path.starts_with(&below));
        findings.note(
            &service.section.field,
            "does not run: none of its profiles is in COMPOSE_PROFILES",
        );
    }
    active
}

/// Dependencies on what is not there are refused, or left out if they are not required.
fn dependencies(written: &mut [Written<'_>], programs: &Programs<'_>, findings: &mut Findings<'_>) {
    let names: HashSet<&str> = written.iter().map(|service| service.name).collect();
    for service in written {
        let (Some(field), Some(read)) = (service.section.get("depends_on"), &mut service.service)
        else {
            continue;
        };
        for missing in
            read.depends_on.extract_if(.., |needed| !names.contains(needed.service.as_str()))
        {
            if missing.required || programs.contains(missing.service.as_str()) {
                findings.refuse::<()>(&field, no_service(missing.service, programs));
            } else {
                findings
                    .note(&field, &format!("{} does not run and is not required", missing.service));
            }
        }
    }
}

/// Whom a service waits for: its dependencies, and the owner of the network that it joins.
fn waits_for(service: &Service) -> impl Iterator<Item = &str> {
    let joined = match &service.network {
        NetworkMode::Service(name) => Some(name.as_str()),
        _ => None,
    };
    service.depends_on.iter().map(|needed| needed.service.as_str()).chain(joined)
}

/// Takes away services that wait for nobody left; who remains waits in a circle or for one.
fn cycles(written: &[Written<'_>], findings: &mut Findings<'_>) {
    let mut left: HashMap<&str, Vec<&str>> = HashMap::new();
    for service in written {
        left.insert(service.name, service.service.iter().flat_map(waits_for).collect());
    }
    loop {
        let waits = |needed: &&str| left.contains_key(needed);
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, needed)| !needed.iter().any(waits))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|name, _| !free.contains(name));
    }
    // The first in file order stands for its circle; going from one to the next that is left must
    // come round.
    let Some(first) = written.iter().find(|service| left.contains_key(service.name)) else {
        return;
    };
    let mut path = vec![first.name];
    while let Some(next) = left[path[path.len() - 1]].iter().find(|name| left.contains_key(*name)) {
        if let Some(start) = path.iter().position(|seen| seen == next) {
            path.push(next);
            let cycle = path[start..].join(" → ");
            findings.refuse::<()>(&first.section.field, Cause::Cycle(cycle));
            return;
        }
        path.push(next);
    }
}

/// What makes no sense without a network of one's own.
fn connections(written: &[Written<'_>], programs: &Programs<'_>, findings: &mut Findings<'_>) {
    for service in written {
        let Some(read) = &service.service else { continue };
        let NetworkMode::Networks(_) = &read.network else {
            let why = "it belongs to a service with a network of its own";
            let mut without = vec!["ports"];
            if !matches!(read.network, NetworkMode::None) {
                without.extend([
                    "hostname",
                    "domainname",
                    "extra_hosts",
                    "dns",
                    "dns_search",
                    "dns_opt",
                ]);
            }
            for field in without.into_iter().filter_map(|key| service.section.get(key)) {
                findings.refuse::<()>(&field, Cause::Conflict { with: "network_mode", why });
            }
            network_parameters(service, read, findings);
            joined((service, read), written, programs, findings);
            continue;
        };
    }
}

fn network_parameters(service: &Written<'_>, read: &Service, findings: &mut Findings<'_>) {
    let shared = !matches!(read.network, NetworkMode::None);
    if let (true, Some(field)) = (shared, service.section.get("sysctls"))
        && read.privileges.sysctls.iter().any(|(name, _)| name.starts_with("net."))
    {
        let why = "parameters of net. belong to whom the network belongs to";
        findings.refuse::<()>(&field, Cause::Conflict { with: "network_mode", why });
    }
}

/// `network_mode: service:NAME` names one container.
fn joined(
    (service, read): (&Written<'_>, &Service),
    written: &[Written<'_>],
    programs: &Programs<'_>,
    findings: &mut Findings<'_>,
) {
    let (NetworkMode::Service(name), Some(field)) =
        (&read.network, service.section.get("network_mode"))
    else {
        return;
    };
    let Some(owner) = written.iter().find(|other| other.name == name) else {
        return findings.refuse(&field, no_service(name.clone(), programs)).unwrap_or_default();
    };
    if owner.service.as_ref().is_some_and(|owner| owner.replicas != 1) {
        let why = "the service whose network is shared runs once";
        findings.refuse::<()>(&field, Cause::Conflict { with: "its replicas", why });
    }
}

/// What only one container can have.
fn replicas(written: &[Written<'_>], at: &Field<'_>, findings: &mut Findings<'_>) {
    let mut all = 0usize;
    for service in written {
        let Some(read) = &service.service else { continue };
        all += usize::from(read.replicas);
        if read.replicas < 2 {
            continue;
        }
        let why = "only one container can have it";
        for key in ["ports", "container_name"] {
            if let Some(field) = service.section.get(key) {
                findings.refuse::<()>(&field, Cause::Conflict { with: "replicas", why });
            }
        }
        let NetworkMode::Networks(attached) = &read.network else { continue };
        if let (true, Some(field)) =
            (attached.iter().any(|it| !it.addresses.is_empty()), service.section.get("networks"))
        {
            findings.refuse::<()>(
                &field,
                Cause::Conflict { with: "replicas", why: "a fixed address is for one container" },
            );
        }
    }
    let limit = usize::from(MAX_REPLICAS);
    if all > limit {
        findings.refuse::<()>(at, Cause::TooMany { what: "containers", found: all, limit });
    }
}

/// Container names are unique, and no other service's name.
fn shared_names(written: &[Written<'_>], programs: &[Written<'_>], findings: &mut Findings<'_>) {
    let mut taken: HashMap<&str, String> = HashMap::new();
    for service in written.iter().chain(programs) {
        taken.insert(service.name, service.section.field.path.to_string());
    }
    for service in written {
        let name = service.service.as_ref().and_then(|read| read.names.container_name.as_deref());
        let (Some(name), Some(field)) = (name, service.section.get("container_name")) else {
            continue;
        };
        if name == service.name {
            continue;
        }
        if let Some(other) = taken.insert(name, field.path.to_string()) {
            let cause = Cause::Taken { what: "the name", name: name.to_owned(), other };
            findings.refuse::<()>(&field, cause);
        }
    }
}

/// Two publications of one port would leave it to chance who answers, whatever address they name.
fn shared_ports(written: &[Written<'_>], findings: &mut Findings<'_>) {
    let mut taken: HashMap<(u16, Protocol), String> = HashMap::new();
    for service in written {
        let (Some(read), Some(field)) = (&service.service, service.section.get("ports")) else {
            continue;
        };
        let items = field.items(findings);
        for port in &read.ports {
            // A range is one item with several ports, all of its line.
            let item = items.iter().find(|item| item.line == port.line).unwrap_or(&field);
            let key = (port.published, port.protocol);
            if let Some(other) = taken.get(&key) {
                let cause = Cause::PortTaken { port: port.published, other: other.clone() };
                findings.refuse::<()>(item, cause);
            } else {
                taken.insert(key, item.path.to_string());
            }
        }
    }
}

/// A data directory that is only mounted read-only stays empty: a path that was meant otherwise.
fn written_data(written: &[Written<'_>], findings: &mut Findings<'_>) {
    let mounts = || written.iter().filter_map(|it| it.service.as_ref()).flat_map(|it| &it.mounts);
    let within = |path: &str, above: &str| {
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let can_be_written = |path: &str| {
        mounts().any(|mount| match &mount.source {
            MountSource::Data { path: other, .. } if !mount.read_only => {
                within(path, other) || within(other, path)
            }
            _ => false,
        })
    };
    for service in written {
        let Some(read) = &service.service else { continue };
        for mount in read.mounts.iter().filter(|mount| mount.read_only) {
            let MountSource::Data { path, seed } = &mount.source else { continue };
            if seed.is_empty() && !can_be_written(path) {
                let field = service.section.get("volumes").unwrap_or(service.section.field.clone());
                findings.refuse::<()>(&field, Cause::NeverWritten(path.clone()));
            }
        }
    }
}

fn data_directories(services: &[Service]) -> Vec<String> {
    let mounts = services.iter().flat_map(|service| &service.mounts);
    let paths: BTreeSet<&str> = mounts
        .filter_map(|mount| match &mount.source {
            MountSource::Data { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    paths.into_iter().map(str::to_owned).collect()
}

fn used_networks(services: &[Service], defined: Vec<Network>) -> Vec<Network> {
    let attached = |name: &str| {
        services.iter().any(|service| match &service.network {
            NetworkMode::Networks(attached) => attached.iter().any(|it| it.network == name),
            _ => false,
        })
    };
    let mut used: Vec<Network> =
        defined.into_iter().filter(|network| attached(&network.name)).collect();
    if attached(DEFAULT) && !used.iter().any(|network| network.name == DEFAULT) {
        used.push(Network {
            name: DEFAULT.to_owned(),
            internal: false,
            ipv6: false,
            subnets: Vec::new(),
        });
    }
    used
}

fn used_volumes(services: &[Service], mut defined: Vec<String>) -> Vec<String> {
    let mounted = |volume: &String| {
        let mounts = services.iter().flat_map(|service| &service.mounts);
        mounts.into_iter().any(
            |mount| matches!(&mount.source, MountSource::Volume { name, .. } if name == volume),
        )
    };
    defined.retain(mounted);
    defined
}
