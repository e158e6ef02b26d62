//! Who gets which bridge, subnet and address: a pure function of the compose file and of what the
//! guest itself uses.
//!
//! Everything is decided before anything is made: names are the places in the file and in this
//! plan, so an agent that was started again comes to the same plan and finds what its predecessor
//! made.
//!
//! ```text
//! network 0 "default"  dstyx-0  172.31.0.0/20   gateway 172.31.0.1   (IPv6: fd64:7374:7978:0::/64)
//! network 1 "back"     dstyx-1  172.31.16.0/20  gateway 172.31.16.1
//! container 2 "web-1"   eth0 on dstyx-0 by way of dv2-0, eth1 on dstyx-1 by way of dv2-1
//! ```

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::{Attachment, ComposeFile, Names, Network, NetworkMode, PublishedPort, Service};

/// What names of bridges start with; no other link's name does.
pub const BRIDGE_PREFIX: &str = "dstyx-";
/// What the guest's ends of pairs start with; no other link's name does.
pub const VETH_PREFIX: &str = "dv";
/// More networks than an app has; one octet of the hardware addresses tells them apart.
pub const MAX_NETWORKS: usize = 64;
/// Ports of a Linux bridge (`BR_MAX_PORTS`, without one for ourselves), which bounds the containers
/// of an app.
pub const MAX_CONTAINERS: usize = 1022;
/// 4,093 containers: more than [`MAX_CONTAINERS`], and 16 networks fit into 172.31.0.0/16.
const CHOSEN_PREFIX: u8 = 20;
/// Where subnets are chosen from: private, and the part of it that fewest clouds and homes use
/// first.
const POOLS: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 192, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
];
/// `fd`, then "dstyx": a unique local prefix (RFC 4193) that is the same in every guest, since it
/// never leaves one.
const UNIQUE_LOCAL: [u16; 3] = [0xfd64, 0x7374, 0x7978];
/// Prefix lengths that a file may state: room for two hosts, and no bigger part of the Internet
/// than is private.
const STATED_V4: std::ops::RangeInclusive<u8> = 8..=29;
const STATED_V6: std::ops::RangeInclusive<u8> = 7..=120;

/// The whole of an app's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In file order.
    pub bridges: Vec<Bridge>,
    /// In the order of services and replicas.
    pub containers: Vec<Endpoint>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name in the file.
    pub network: String,
    /// Its link in the guest.
    pub link: String,
    /// Whether nothing of it leaves the guest.
    pub internal: bool,
    /// Its IPv4 subnet.
    pub v4: Ipv4Net,
    /// Its IPv6 subnet.
    pub v6: Option<Ipv6Net>,
    /// The bridge's own hardware address.
    pub hardware_address: [u8; 6],
}

impl Bridge {
    /// The guest's address on it: the first of the subnet.
    pub fn gateway_v4(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.v4.network()).saturating_add(1))
    }

    /// The same for IPv6.
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        self.v6.map(|subnet| Ipv6Addr::from(u128::from(subnet.network()).saturating_add(1)))
    }

    /// Both.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        [Some(IpAddr::V4(self.gateway_v4())), self.gateway_v6().map(IpAddr::V6)]
            .into_iter()
            .flatten()
    }

    /// Its subnets.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        [Some(IpNet::V4(self.v4)), self.v6.map(IpNet::V6)].into_iter().flatten()
    }

    /// The subnet that an address is in.
    pub fn subnet_of(&self, address: IpAddr) -> Option<IpNet> {
        self.subnets().find(|subnet| subnet.contains(&address))
    }
}

/// One container on the networks of the app, or on none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `SERVICE-N`.
    pub id: String,
    /// Its service.
    pub service: String,
    /// What it is connected to.
    pub mode: EndpointMode,
    /// The names by which others on the networks of its links find it, lower case; aliases are the
    /// links' own.
    pub found_as: Vec<String>,
    /// How it is called by itself, and what it knows of others.
    pub names: Names,
    /// What of it is published.
    pub ports: Vec<PublishedPort>,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointMode {
    /// Loopback only.
    None,
    /// The namespace of the container with this id.
    Shared(String),
    /// The guest's own namespace.
    Host,
    /// `eth0`, `eth1` and so on.
    Links(Vec<Link>),
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which of [`Plan::bridges`].
    pub bridge: usize,
    /// The guest's end of the pair.
    pub outer: String,
    /// The container's hardware address.
    pub hardware_address: [u8; 6],
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, if the network has IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Further names on this network, lower case.
    pub aliases: Vec<String>,
}

impl Link {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [Some(IpAddr::V4(self.v4)), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

impl Endpoint {
    /// Its links; none unless it has networks of its own.
    pub fn links(&self) -> &[Link] {
        match &self.mode {
            EndpointMode::Links(links) => links,
            EndpointMode::None | EndpointMode::Shared(_) | EndpointMode::Host => &[],
        }
    }
}

impl Plan {
    /// Plans `compose`, staying clear of `occupied`, the subnets that the guest itself is on.
    pub fn new(compose: &ComposeFile, occupied: &[IpNet]) -> Result<Self, PlanError> {
        let bridges = bridges(&compose.networks, occupied)?;
        let containers = compose.services.iter().map(|service| usize::from(service.replicas)).sum();
        if containers > MAX_CONTAINERS {
            return Err(PlanError::TooManyContainers { found: containers });
        }
        let mut addresses = Addresses::reserve(compose, &bridges)?;
        let mut plan = Self { bridges, containers: Vec::new() };
        for service in &compose.services {
            for replica in 1..=service.replicas {
                let endpoint = plan.endpoint(service, replica, &mut addresses)?;
                plan.containers.push(endpoint);
            }
        }
        Ok(plan)
    }

    /// The container with this id.
    pub fn container(&self, id: &str) -> Option<&Endpoint> {
        self.containers.iter().find(|endpoint| endpoint.id == id)
    }

    /// The link by which a container leaves the guest: that of highest priority to a network that
    /// is not internal.
    pub fn way_out<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a Link> {
        endpoint.links().iter().find(|link| !self.bridges[link.bridge].internal)
    }

    fn endpoint(
        &self,
        service: &Service,
        replica: u16,
        addresses: &mut Addresses,
    ) -> Result<Endpoint, PlanError> {
        let id = format!("{}-{replica}", service.name);
        let mode = match &service.network {
            NetworkMode::None => EndpointMode::None,
            NetworkMode::Host => EndpointMode::Host,
            NetworkMode::Service(other) => EndpointMode::Shared(format!("{other}-1")),
            NetworkMode::Networks(attachments) => {
                let links = attachments.iter().map(|attachment| self.link(attachment, addresses));
                EndpointMode::Links(links.collect::<Result<_, _>>()?)
            }
        };
        let mut found_as = vec![service.name.clone(), id.clone()];
        found_as.extend(service.names.container_name.clone());
        found_as.iter_mut().for_each(|name| name.make_ascii_lowercase());
        let (names, ports) = (service.names.clone(), service.ports.clone());
        let endpoint = Endpoint { id, service: service.name.clone(), mode, found_as, names, ports };
        if matches!(endpoint.mode, EndpointMode::Links(_))
            && !endpoint.ports.is_empty()
            && self.way_out(&endpoint).is_none()
        {
            return Err(PlanError::PublishedInside { service: service.name.clone() });
        }
        Ok(endpoint)
    }

    fn link(&self, attachment: &Attachment, addresses: &mut Addresses) -> Result<Link, PlanError> {
        let bridge = find(&self.bridges, &attachment.network)?;
        let network = &self.bridges[bridge];
        let place = self.containers.len();
        let fixed = |wanted: fn(&IpAddr) -> bool| attachment.addresses.iter().copied().find(wanted);
        let v4 = match fixed(IpAddr::is_ipv4) {
            Some(IpAddr::V4(address)) => address,
            _ => addresses.next_v4(network)?,
        };
        let v6 = match (fixed(IpAddr::is_ipv6), network.v6) {
            (Some(IpAddr::V6(address)), _) => Some(address),
            (_, Some(subnet)) => Some(addresses.next_v6(network, subnet)?),
            (_, None) => None,
        };
        let aliases = attachment.aliases.iter().map(|alias| alias.to_ascii_lowercase()).collect();
        let outer = format!("{VETH_PREFIX}{place}-{bridge}");
        Ok(Link {
            bridge,
            outer,
            hardware_address: hardware_address(bridge, place),
            v4,
            v6,
            aliases,
        })
    }
}

/// Locally administered (bit 1 of the first octet), then "ds", the network, the container.
fn hardware_address(bridge: usize, place: usize) -> [u8; 6] {
    let [.., high, low] = place.to_be_bytes();
    let [.., bridge] = bridge.to_be_bytes();
    [0x02, 0x64, 0x73, bridge, high, low]
}

fn find(bridges: &[Bridge], network: &str) -> Result<usize, PlanError> {
    let place = bridges.iter().position(|bridge| bridge.network == network);
    place.ok_or_else(|| PlanError::NoNetwork { network: network.to_owned() })
}

fn bridges(networks: &[Network], occupied: &[IpNet]) -> Result<Vec<Bridge>, PlanError> {
    if networks.len() > MAX_NETWORKS {
        return Err(PlanError::TooManyNetworks { found: networks.len() });
    }
    let mut taken: Vec<(IpNet, &str)> =
        occupied.iter().map(|subnet| (*subnet, "the guest's own network")).collect();
    // Those that are stated come first: what is chosen must keep clear of them.
    for network in networks {
        for subnet in &network.subnets {
            let subnet = stated(&network.name, *subnet)?;
            if let Some((_, other)) = taken.iter().find(|(other, _)| overlap(other, &subnet)) {
                let (network, other) = (network.name.clone(), (*other).to_owned());
                return Err(PlanError::SubnetTaken { network, subnet, other });
            }
            taken.push((subnet, &network.name));
        }
    }
    let mut bridges = Vec::new();
    for (place, network) in networks.iter().enumerate() {
        let own = |kind: fn(&IpNet) -> bool| {
            taken.iter().find(|(net, name)| *name == network.name && kind(net))
        };
        let v4 = own(|net| matches!(net, IpNet::V4(_))).map(|(net, _)| *net);
        let v6 = own(|net| matches!(net, IpNet::V6(_))).map(|(net, _)| *net);
        let v4 = match v4 {
            Some(IpNet::V4(subnet)) => subnet,
            _ => choose_v4(&taken)
                .ok_or_else(|| PlanError::NoSubnetLeft { network: network.name.clone() })?,
        };
        let v6 = match v6 {
            Some(IpNet::V6(subnet)) => Some(subnet),
            _ => network.ipv6.then(|| chosen_v6(place)),
        };
        taken.push((IpNet::V4(v4), &network.name));
        bridges.push(Bridge {
            network: network.name.clone(),
            link: format!("{BRIDGE_PREFIX}{place}"),
            internal: network.internal,
            v4,
            v6,
            hardware_address: hardware_address(place, usize::from(u16::MAX)),
        });
    }
    Ok(bridges)
}

/// A subnet as the file gives it.
fn stated(network: &str, (address, length): (IpAddr, u8)) -> Result<IpNet, PlanError> {
    let refused = |why| PlanError::BadSubnet { network: network.to_owned(), address, length, why };
    let (allowed, special) = match address {
        IpAddr::V4(v4) => (
            STATED_V4,
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.octets()[0] >= 224,
        ),
        IpAddr::V6(v6) => (
            STATED_V6,
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast(),
        ),
    };
    if !allowed.contains(&length) {
        return Err(refused("its prefix length is not 8 to 29 (IPv4) or 7 to 120 (IPv6)"));
    }
    let subnet = IpNet::new(address, length).map_err(|_| refused("it is no subnet"))?;
    if subnet.trunc() != subnet {
        return Err(refused("bits after the prefix are set"));
    }
    if special {
        return Err(refused("it is loopback, link-local, multicast or unspecified"));
    }
    Ok(subnet)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn choose_v4(taken: &[(IpNet, &str)]) -> Option<Ipv4Net> {
    let candidates = POOLS.iter().filter_map(|pool| pool.subnets(CHOSEN_PREFIX).ok()).flatten();
    candidates
        .into_iter()
        .find(|subnet| !taken.iter().any(|(other, _)| overlap(other, &IpNet::V4(*subnet))))
}

fn chosen_v6(place: usize) -> Ipv6Net {
    let [a, b, c] = UNIQUE_LOCAL;
    let place = u16::try_from(place).unwrap_or(u16::MAX);
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, place, 0, 0, 0, 0), 64)
}

/// Which addresses are given away.
#[derive(Debug, Default)]
struct Addresses {
    used: HashSet<IpAddr>,
    /// By network, the next offsets to try: IPv4, IPv6.
    next: HashMap<String, (u32, u32)>,
}

/// Network, then gateway; the first container's comes after them.
const FIRST_OFFSET: u32 = 2;

impl Addresses {
    /// Takes what the file fixes, so that nobody else is given it.
    fn reserve(compose: &ComposeFile, bridges: &[Bridge]) -> Result<Self, PlanError> {
        let mut addresses = Self::default();
        for service in &compose.services {
            let NetworkMode::Networks(attachments) = &service.network else { continue };
            for attachment in attachments {
                let bridge = &bridges[find(bridges, &attachment.network)?];
                for address in &attachment.addresses {
                    let refused = |why| {
                        let (service, network) = (service.name.clone(), attachment.network.clone());
                        PlanError::BadAddress { service, network, address: *address, why }
                    };
                    let subnet = bridge
                        .subnet_of(*address)
                        .ok_or_else(|| refused("it is not in the network's subnet"))?;
                    if *address == subnet.network()
                        || (address.is_ipv4() && *address == subnet.broadcast())
                    {
                        return Err(refused("it is the subnet's own"));
                    }
                    if bridge.gateways().any(|gateway| gateway == *address) {
                        return Err(refused("it is the guest's own: the first of the subnet"));
                    }
                    if service.replicas > 1 {
                        return Err(refused("the service has several replicas"));
                    }
                    if !addresses.used.insert(*address) {
                        return Err(refused("another service has it"));
                    }
                }
            }
        }
        Ok(addresses)
    }

    fn next_v4(&mut self, bridge: &Bridge) -> Result<Ipv4Addr, PlanError> {
        let (next, _) =
            self.next.entry(bridge.network.clone()).or_insert((FIRST_OFFSET, FIRST_OFFSET));
        loop {
            let address = Ipv4Addr::from(u32::from(bridge.v4.network()).saturating_add(*next));
            *next = next.saturating_add(1);
            if !bridge.v4.contains(&address) || address == bridge.v4.broadcast() {
                return Err(PlanError::SubnetFull {
                    network: bridge.network.clone(),
                    subnet: IpNet::V4(bridge.v4),
                });
            }
            if self.used.insert(IpAddr::V4(address)) {
                return Ok(address);
            }
        }
    }

    fn next_v6(&mut self, bridge: &Bridge, subnet: Ipv6Net) -> Result<Ipv6Addr, PlanError> {
        let (_, next) =
            self.next.entry(bridge.network.clone()).or_insert((FIRST_OFFSET, FIRST_OFFSET));
        loop {
            let address =
                Ipv6Addr::from(u128::from(subnet.network()).saturating_add(u128::from(*next)));
            *next = next.saturating_add(1);
            if !subnet.contains(&address) {
                return Err(PlanError::SubnetFull {
                    network: bridge.network.clone(),
                    subnet: IpNet::V6(subnet),
                });
            }
            if self.used.insert(IpAddr::V6(address)) {
                return Ok(address);
            }
        }
    }
}

/// Why networks cannot be as the file wants them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// more networks than there is room for
    #[error("{found} networks; at most {MAX_NETWORKS}")]
    TooManyNetworks {
        /// How many.
        found: usize,
    },
    /// more containers than a bridge has ports
    #[error("{found} containers; at most {MAX_CONTAINERS}")]
    TooManyContainers {
        /// How many.
        found: usize,
    },
    /// a service is on a network that is not there
    #[error("no network {network:?}")]
    NoNetwork {
        /// Its name.
        network: String,
    },
    /// a stated subnet cannot be one
    #[error("network {network:?}: subnet {address}/{length}: {why}")]
    BadSubnet {
        /// Name of the network.
        network: String,
        /// Its address.
        address: IpAddr,
        /// Its prefix length.
        length: u8,
        /// What is wrong.
        why: &'static str,
    },
    /// two subnets overlap
    #[error("network {network:?}: subnet {subnet} overlaps that of {other}")]
    SubnetTaken {
        /// Name of the network.
        network: String,
        /// The subnet.
        subnet: IpNet,
        /// Who has it.
        other: String,
    },
    /// every subnet that could be chosen is taken
    #[error("network {network:?}: no private subnet is left; state one under ipam")]
    NoSubnetLeft {
        /// Name of the network.
        network: String,
    },
    /// a fixed address cannot be given
    #[error("service {service:?} on network {network:?}: address {address}: {why}")]
    BadAddress {
        /// Who wants it.
        service: String,
        /// Name of the network.
        network: String,
        /// The address.
        address: IpAddr,
        /// What is wrong.
        why: &'static str,
    },
    /// a subnet has no address left
    #[error(
        "network {network:?}: subnet {subnet} has no address left; state a larger one under ipam"
    )]
    SubnetFull {
        /// Name of the network.
        network: String,
        /// The subnet.
        subnet: IpNet,
    },
    /// a port leads to where nothing leads
    #[error(
        "service {service:?} publishes ports but is on internal networks only; put it on one that is not"
    )]
    PublishedInside {
        /// Name of the service.
        service: String,
    },
}
