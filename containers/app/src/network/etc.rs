//! What a container's `/etc/resolv.conf` and `/etc/hosts` say: a pure function of its place in the
//! plan.

use std::net::IpAddr;

use super::plan::{Endpoint, Plan};

/// The content of `resolv.conf`: the resolver of the first network, or none where there is no
/// network.
pub(super) fn resolv_conf(plan: &Plan, connected: &Endpoint, endpoint: &Endpoint) -> String {
    let mut text = String::new();
    if let Some(link) = plan.way_out(connected).or_else(|| connected.links().first()) {
        text.push_str(&format!("nameserver {}\n", plan.bridges[link.bridge].gateway_v4()));
    }
    let names = &endpoint.names;
    if !names.dns_search.is_empty() {
        text.push_str(&format!("search {}\n", names.dns_search.join(" ")));
    }
    // Services' names have no dots, and are to be asked for as they are.
    let own = names.dns_options.iter().any(|option| option.starts_with("ndots:"));
    let mut options: Vec<&str> = if own { Vec::new() } else { vec!["ndots:0"] };
    options.extend(names.dns_options.iter().map(String::as_str));
    text.push_str(&format!("options {}\n", options.join(" ")));
    text
}

/// The same for a container in the guest's own namespace: what the guest asks, or what the file
/// says.
pub(super) fn guests_resolv_conf(guests: &str, endpoint: &Endpoint) -> String {
    let servers: Vec<IpAddr> = if endpoint.names.dns.is_empty() {
        name_servers(guests)
    } else {
        endpoint.names.dns.clone()
    };
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !endpoint.names.dns_search.is_empty() {
        text.push_str(&format!("search {}\n", endpoint.names.dns_search.join(" ")));
    }
    if !endpoint.names.dns_options.is_empty() {
        text.push_str(&format!("options {}\n", endpoint.names.dns_options.join(" ")));
    }
    text
}

/// The servers that a `resolv.conf` names.
pub(super) fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(server).collect()
}

/// Lines of `/etc/hosts` beyond loopback: its own name, and what the file adds.
pub(super) fn hosts(
    plan: &Plan,
    connected: &Endpoint,
    endpoint: &Endpoint,
) -> Vec<(IpAddr, String)> {
    let names = &endpoint.names;
    let name = names.hostname.as_ref().unwrap_or(&endpoint.service);
    let name = match &names.domainname {
        Some(domain) => format!("{name}.{domain} {name}"),
        None => name.clone(),
    };
    let own = connected.links().iter().flat_map(|link| link.addresses());
    let mut hosts: Vec<(IpAddr, String)> = own.map(|address| (address, name.clone())).collect();
    let gateway = plan.way_out(connected).or_else(|| connected.links().first());
    let gateway = gateway.map(|link| IpAddr::V4(plan.bridges[link.bridge].gateway_v4()));
    for (name, address) in &names.extra_hosts {
        // Without a network the guest has no address for it.
        hosts.extend(address.or(gateway).map(|address| (address, name.clone())));
    }
    hosts
}
