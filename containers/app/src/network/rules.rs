//! The packet filter as values: what passes, what is translated, what is dropped; a pure function
//! of the plan and of which containers publish their ports.
//!
//! | from | to | |
//! |---|---|---|
//! | container | same network | switched by the bridge, never filtered |
//! | container | another network | rejected |
//! | container on a network that is not internal | outside | accepted, source translated |
//! | container | the guest | its resolver on the container's own network and ICMP; the rest, the
//! agent's port included, is rejected |
//! | container, guest, outside | a published port of the guest | translated to the container; peers
//! outside keep their address |
//! | outside | a container | dropped |
//! | anything | a subnet of a network, by another link than a bridge | dropped |
//!
//! The last row holds whatever routes there are: a lease whose subnet lies in that of a network
//! would otherwise lead what is for a container to the host.
//!
//! A packet whose source is not of the network that it comes from goes nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use compose::{Protocol, PublishedPort};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::plan::{Bridge, Endpoint, Plan};

/// Where the resolver listens.
pub(super) const DNS: u16 = 53;
/// `127.0.0.0/8`.
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// `fe80::/10`
const LINK_LOCAL: Ipv6Net =
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
/// `::`, from which an address that is being probed is asked for.
const UNSPECIFIED: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128);

/// A place in a packet's way, with what becomes of those that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Chain {
    /// Everything that arrives, before connections are looked up; accepted.
    Arriving,
    /// What is for the guest; accepted.
    Input,
    /// What passes through; dropped.
    Forward,
    /// Destinations of new connections that arrive.
    Prerouting,
    /// Destinations of the guest's own new connections.
    Output,
    /// Everything that leaves, with its destination translated; accepted.
    Leaving,
    /// Sources of new connections.
    Postrouting,
}

/// What a packet must be; all matches of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// It comes by this link.
    From(String),
    /// It comes by any bridge, or by none.
    FromBridge(bool),
    /// It leaves by this link.
    To(String),
    /// It leaves by any bridge, or by none.
    ToBridge(bool),
    /// It is of this family.
    Family(Family),
    /// Its source is in this subnet, or is not.
    Source(IpNet, bool),
    /// Its destination is in this subnet.
    Destination(IpNet),
    /// Its destination is an address of the guest.
    ToGuest,
    /// It is of this protocol, by IANA's number.
    Protocol(u8),
    /// It is for this port.
    Port(Protocol, u16),
    /// Its connection's state is one of these bits.
    State(u32),
    /// Its connection's destination was translated.
    Translated,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What becomes of a packet that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Refused with an answer: a program need not wait to learn it.
    Reject,
    /// Its source becomes the address of the link that it leaves by.
    Masquerade,
    /// Its destination becomes this.
    Translate(SocketAddr),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: Chain,
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

/// Established and related (`NF_CT_STATE_BIT`).
pub(super) const ESTABLISHED: u32 = 1 << 1 | 1 << 2;
/// Belonging to no connection that is possible.
pub(super) const INVALID: u32 = 1;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Every rule, in order.
pub(super) fn rules(plan: &Plan, is_published: impl Fn(&Endpoint) -> bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    arriving(plan, &mut rules);
    input(plan, &mut rules);
    forward(plan, &mut rules);
    for endpoint in plan.containers.iter().filter(|endpoint| is_published(endpoint)) {
        published(plan, endpoint, &mut rules);
    }
    let translations: Vec<Rule> =
        rules.extract_if(.., |rule| rule.chain == Chain::Prerouting).collect();
    not_translated(plan, &mut rules);
    for rule in translations {
        rules.push(Rule { chain: Chain::Output, ..rule.clone() });
        rules.push(rule);
    }
    leaving(plan, &mut rules);
    postrouting(plan, &mut rules);
    rules
}

fn rule(chain: Chain, matches: impl Into<Vec<Match>>, verdict: Verdict) -> Rule {
    Rule { chain, matches: matches.into(), verdict }
}

fn arriving(plan: &Plan, rules: &mut Vec<Rule>) {
    use Match::{Destination, Family as Is, From, FromBridge, Source};
    let drop = |matches: Vec<Match>| rule(Chain::Arriving, matches, Verdict::Drop);
    rules.push(rule(Chain::Arriving, [From("lo".to_owned())], Verdict::Accept));
    rules.push(drop(vec![FromBridge(true), Destination(IpNet::V4(LOOPBACK))]));
    for bridge in &plan.bridges {
        let by = || From(bridge.link.clone());
        rules.push(drop(vec![by(), Source(IpNet::V4(bridge.v4), false)]));
        if let Some(subnet) = bridge.v6 {
            for own in [LINK_LOCAL, UNSPECIFIED] {
                rules.push(rule(
                    Chain::Arriving,
                    [by(), Source(IpNet::V6(own), true)],
                    Verdict::Accept,
                ));
            }
            rules.push(drop(vec![by(), Source(IpNet::V6(subnet), false)]));
        } else {
            rules.push(drop(vec![by(), Is(Family::V6)]));
        }
        for subnet in bridge.subnets() {
            rules.push(drop(vec![FromBridge(false), Source(subnet, true)]));
        }
    }
}

fn input(plan: &Plan, rules: &mut Vec<Rule>) {
    let accept = |matches: Vec<Match>| rule(Chain::Input, matches, Verdict::Accept);
    rules.push(accept(vec![Match::State(ESTABLISHED)]));
    rules.extend(plan.bridges.iter().flat_map(to_resolver).map(accept));
    for protocol in [ICMP, ICMP_V6] {
        rules.push(accept(vec![Match::FromBridge(true), Match::Protocol(protocol)]));
    }
    rules.push(rule(Chain::Input, [Match::FromBridge(true)], Verdict::Reject));
}

/// What containers ask the resolver of their own network.
fn to_resolver(bridge: &Bridge) -> impl Iterator<Item = Vec<Match>> {
    bridge.gateways().flat_map(|gateway| {
        [Protocol::Udp, Protocol::Tcp].map(|protocol| {
            vec![
                Match::From(bridge.link.clone()),
                Match::Destination(gateway.into()),
                Match::Port(protocol, DNS),
            ]
        })
    })
}

fn forward(plan: &Plan, rules: &mut Vec<Rule>) {
    use Match::{From, FromBridge, State, ToBridge, Translated};
    rules.push(rule(Chain::Forward, [State(ESTABLISHED)], Verdict::Accept));
    rules.push(rule(Chain::Forward, [State(INVALID)], Verdict::Drop));
    rules.push(rule(Chain::Forward, [Translated, ToBridge(true)], Verdict::Accept));
    for bridge in plan.bridges.iter().filter(|bridge| !bridge.internal) {
        rules.push(rule(
            Chain::Forward,
            [From(bridge.link.clone()), ToBridge(false)],
            Verdict::Accept,
        ));
    }
    rules.push(rule(Chain::Forward, [FromBridge(true)], Verdict::Reject));
}

/// Before any translation: the resolver stays itself, and an internal network reaches no published
/// port.
fn not_translated(plan: &Plan, rules: &mut Vec<Rule>) {
    for bridge in &plan.bridges {
        if bridge.internal {
            rules.push(rule(
                Chain::Prerouting,
                [Match::From(bridge.link.clone())],
                Verdict::Accept,
            ));
        } else {
            rules.extend(
                to_resolver(bridge)
                    .map(|matches| rule(Chain::Prerouting, matches, Verdict::Accept)),
            );
        }
    }
}

fn published(plan: &Plan, endpoint: &Endpoint, rules: &mut Vec<Rule>) {
    let Some(link) = plan.way_out(endpoint) else { return };
    for port in &endpoint.ports {
        for address in link.addresses() {
            if let Some(mut matches) = at(port, address) {
                matches.push(Match::Port(port.protocol, port.published));
                let verdict = Verdict::Translate(SocketAddr::new(address, port.target));
                rules.push(rule(Chain::Prerouting, matches, verdict));
            }
        }
    }
}

/// Which of the guest's addresses lead to `address` of a container; `None` if those are all of the
/// other family.
fn at(port: &PublishedPort, address: IpAddr) -> Option<Vec<Match>> {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    match port.host_ip {
        Some(host) if host.is_ipv4() != address.is_ipv4() => None,
        Some(host) if !host.is_unspecified() => Some(vec![Match::Destination(host.into())]),
        _ => Some(vec![Match::Family(family), Match::ToGuest]),
    }
}

/// What is for a container leaves by its bridge or not at all; the guest reaches its own addresses
/// there by its loopback.
fn leaving(plan: &Plan, rules: &mut Vec<Rule>) {
    use Match::{Destination, To, ToBridge};
    rules.push(rule(Chain::Leaving, [To("lo".to_owned())], Verdict::Accept));
    for subnet in plan.bridges.iter().flat_map(Bridge::subnets) {
        let diverted = [ToBridge(false), Destination(subnet)];
        rules.push(rule(Chain::Leaving, diverted, Verdict::Drop));
    }
}

fn postrouting(plan: &Plan, rules: &mut Vec<Rule>) {
    use Match::{Source, ToBridge, Translated};
    let masquerade = |matches: Vec<Match>| rule(Chain::Postrouting, matches, Verdict::Masquerade);
    rules.push(masquerade(vec![ToBridge(true), Source(IpNet::V4(LOOPBACK), true)]));
    for bridge in &plan.bridges {
        for subnet in bridge.subnets() {
            // A container that comes by the guest's address: the answer must go back by the guest.
            rules.push(masquerade(vec![ToBridge(true), Source(subnet, true), Translated]));
            if !bridge.internal {
                rules.push(masquerade(vec![ToBridge(false), Source(subnet, true)]));
            }
        }
    }
}
