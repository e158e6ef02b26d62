//! The app's networks: a bridge in the guest for each network of the compose file, a namespace for
//! each container.
//!
//! ```text
//! eth0 (uplink) ── the guest ─┬─ dstyx-0 ─┬─ dv0-0 ── eth0 of "web-1"
//!                             │           └─ dv1-0 ── eth0 of "api-1"
//!                             └─ dstyx-1 ─┬─ dv1-1 ── eth1 of "api-1"
//!                                         └─ dv2-1 ── eth0 of "db-1"
//! ```
//!
//! All of it outlives the agent. The plan is a pure function of the compose file, what was made is
//! found again by its names, and [`Networks::open`] takes it over; [`Networks::close`] removes it.
//! What comes from outside the guest, and from one container to another, is hostile.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use tokio::sync::Mutex;

use compose::model::ComposeFile;

mod etc;
mod forwarding;
mod links;
mod names;
mod namespace;
mod nft;
mod plan;
mod record;
mod resolver;
mod rules;
#[cfg(test)]
mod testing;
mod upstream;

pub use plan::{MAX_CONTAINERS, MAX_NETWORKS, PlanError};

use links::{Netlink, Pair};
use plan::{BRIDGE_PREFIX, Endpoint, EndpointMode, Link, Plan, VETH_PREFIX};
use record::Record;
use resolver::Resolver;

/// The networks of one app, and which of its containers are on them.
#[derive(Debug)]
pub struct Networks {
    plan: Plan,
    netlink: Netlink,
    run_dir: PathBuf,
    resolv_conf: PathBuf,
    resolver: Resolver,
    /// One change at a time.
    record: Mutex<Record>,
}

/// What a container needs to know of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The file that stands for its network namespace; `None` is the guest's own.
    pub namespace: Option<PathBuf>,
    /// Its addresses, those of the first network first.
    pub addresses: Vec<IpAddr>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Lines of `/etc/hosts` beyond loopback: address, and names separated by spaces.
    pub hosts: Vec<(IpAddr, String)>,
}

impl Networks {
    /// Makes the networks of `compose`, or takes over what an earlier agent made of the same file;
    /// what it made of another is removed. Files go to `run_dir`; `resolv_conf` names the servers
    /// that the guest asks.
    pub async fn open(
        compose: &ComposeFile,
        run_dir: &Path,
        resolv_conf: &Path,
    ) -> Result<Self, NetworkError> {
        let netlink = Netlink::open().map_err(NetworkError::Io)?;
        let mut directory = fs::DirBuilder::new();
        directory.recursive(true).mode(0o700).create(run_dir).map_err(NetworkError::Io)?;
        let (plan, record) = match Record::read(run_dir).map_err(NetworkError::Io)? {
            Some(record) if record.is_of(compose) => {
                (Plan::new(compose, &record.occupied)?, record)
            }
            found => {
                remove_all(&netlink, run_dir, &found.unwrap_or_default()).await?;
                let record = Record::new(compose, occupied(&netlink).await?);
                (Plan::new(compose, &record.occupied)?, record)
            }
        };
        record.write(run_dir).map_err(NetworkError::Io)?;
        make_bridges(&netlink, &plan).await?;
        filter(&plan, &record).await?;
        let (run_dir, resolv_conf) = (run_dir.to_owned(), resolv_conf.to_owned());
        let resolver = Resolver::start(&plan, &record.joined, resolv_conf.clone())
            .await
            .map_err(NetworkError::Io)?;
        Ok(Self { plan, netlink, run_dir, resolv_conf, resolver, record: Mutex::new(record) })
    }

    /// Connects a container, `SERVICE-N`, before it starts; once connected, it only tells again
    /// what it told.
    pub async fn join(&self, container_id: &str) -> Result<Joined, NetworkError> {
        let endpoint = self.endpoint(container_id)?;
        if self.is_on_the_guests(endpoint)? {
            return Ok(self.joined_host(endpoint));
        }
        let mut record = self.record.lock().await;
        let connected = match &endpoint.mode {
            EndpointMode::Shared(_) => {
                let other = self.shared(endpoint)?;
                if !record.joined.contains(&other.id) {
                    return Err(NetworkError::NotJoined(other.id.clone()));
                }
                other
            }
            EndpointMode::Host | EndpointMode::None | EndpointMode::Links(_) => endpoint,
        };
        let file = self.namespace_file(&connected.id);
        if !namespace::is_bound(&file) {
            self.connect(connected, &file).await?;
        }
        if record.joined.insert(endpoint.id.clone()) {
            record.write(&self.run_dir).map_err(NetworkError::Io)?;
            self.resolver.set_joined(&record.joined);
        }
        Ok(Joined {
            namespace: Some(file),
            addresses: connected.links().iter().flat_map(Link::addresses).collect(),
            resolv_conf: etc::resolv_conf(&self.plan, connected, endpoint),
            hosts: etc::hosts(&self.plan, connected, endpoint),
        })
    }

    /// Disconnects a container that has ended; its ports are no longer published. One that is not
    /// connected is fine.
    pub async fn leave(&self, container_id: &str) -> Result<(), NetworkError> {
        let endpoint = self.endpoint(container_id)?;
        let mut record = self.record.lock().await;
        record.joined.remove(&endpoint.id);
        self.resolver.set_joined(&record.joined);
        let published = record.published.remove(&endpoint.id);
        record.write(&self.run_dir).map_err(NetworkError::Io)?;
        if published {
            filter(&self.plan, &record).await?;
        }
        namespace::unbind(&self.namespace_file(&endpoint.id)).map_err(NetworkError::Io)?;
        for link in endpoint.links() {
            self.netlink.remove(&link.outer).await?;
        }
        Ok(())
    }

    /// Publishes the ports of a container that has joined, and tells where they are reachable. On
    /// the guest's own network all of them are.
    pub async fn publish(&self, container_id: &str) -> Result<Vec<SocketAddr>, NetworkError> {
        let endpoint = self.endpoint(container_id)?;
        if self.is_on_the_guests(endpoint)? {
            return Ok(Vec::new());
        }
        let mut record = self.record.lock().await;
        if !record.joined.contains(&endpoint.id) {
            return Err(NetworkError::NotJoined(endpoint.id.clone()));
        }
        if record.published.insert(endpoint.id.clone()) {
            record.write(&self.run_dir).map_err(NetworkError::Io)?;
            filter(&self.plan, &record).await?;
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(endpoint
            .ports
            .iter()
            .map(|port| SocketAddr::new(port.host_ip.unwrap_or(any), port.published))
            .collect())
    }

    /// Takes back what [`Self::publish`] did.
    pub async fn unpublish(&self, container_id: &str) -> Result<(), NetworkError> {
        let endpoint = self.endpoint(container_id)?;
        let mut record = self.record.lock().await;
        if record.published.remove(&endpoint.id) {
            record.write(&self.run_dir).map_err(NetworkError::Io)?;
            filter(&self.plan, &record).await?;
        }
        Ok(())
    }

    /// Removes everything; containers that still run are cut off.
    pub async fn close(self) -> Result<(), NetworkError> {
        let record = self.record.into_inner();
        remove_all(&self.netlink, &self.run_dir, &record).await
    }

    /// Makes a container's namespace and everything in it, then lets `file` stand for it.
    async fn connect(&self, endpoint: &Endpoint, file: &Path) -> Result<(), NetworkError> {
        let prepare = || {
            forwarding::container()?;
            Netlink::open()
        };
        let (namespace, inside) = namespace::create(prepare).await.map_err(NetworkError::Io)?;
        inside.up(inside.index("lo").await?).await?;
        for (place, link) in endpoint.links().iter().enumerate() {
            let (name, temporary) = (format!("eth{place}"), format!("dn{place}-{}", link.outer));
            let pair = Pair {
                outer: &link.outer,
                inner: &temporary,
                bridge: self.netlink.index(&self.plan.bridges[link.bridge].link).await?,
                peer_address: link.hardware_address,
                namespace: namespace.as_fd(),
            };
            self.netlink.make_pair(&pair).await?;
            let index = inside.index(&temporary).await?;
            inside
                .set(LinkUnspec::new_with_index(index).name(&name).build(), "name a link")
                .await?;
            if link.v6.is_some() {
                let enable = move || forwarding::enable_ipv6(&name);
                namespace::inside(&namespace, enable).await.map_err(NetworkError::Io)?;
            }
            self.address(&inside, index, endpoint, link).await?;
        }
        for (place, link) in endpoint.links().iter().enumerate() {
            self.netlink.wait_until_up(&link.outer).await?;
            inside.wait_until_up(&format!("eth{place}")).await?;
        }
        if let Some(link) = self.plan.way_out(endpoint) {
            self.set_default_routes(&inside, link).await?;
        }
        namespace::unbind(file)
            .and_then(|()| namespace::bind(&namespace, file))
            .map_err(NetworkError::Io)
    }

    /// Addresses on one link, and where everybody else on its network is: no answer of a neighbour
    /// changes that.
    async fn address(
        &self,
        inside: &Netlink,
        index: u32,
        endpoint: &Endpoint,
        link: &Link,
    ) -> Result<(), NetworkError> {
        let bridge = &self.plan.bridges[link.bridge];
        for address in link.addresses() {
            let subnet = bridge
                .subnet_of(address)
                .ok_or_else(|| NetworkError::NoLink(link.outer.clone()))?;
            inside.set_address(index, address, subnet.prefix_len()).await?;
        }
        inside.up(index).await?;
        let outer = self.netlink.index(&bridge.link).await?;
        for address in link.addresses() {
            self.netlink.set_neighbour(outer, address, link.hardware_address).await?;
        }
        for gateway in bridge.gateways() {
            inside.set_neighbour(index, gateway, bridge.hardware_address).await?;
        }
        let others = self
            .plan
            .containers
            .iter()
            .filter(|other| other.id != endpoint.id)
            .flat_map(Endpoint::links);
        for other in others.filter(|other| other.bridge == link.bridge) {
            for address in other.addresses() {
                inside.set_neighbour(index, address, other.hardware_address).await?;
            }
        }
        Ok(())
    }

    async fn set_default_routes(&self, inside: &Netlink, link: &Link) -> Result<(), NetworkError> {
        let bridge = &self.plan.bridges[link.bridge];
        inside
            .set_route(RouteMessageBuilder::<Ipv4Addr>::new().gateway(bridge.gateway_v4()).build())
            .await?;
        if let Some(gateway) = bridge.gateway_v6() {
            inside
                .set_route(RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build())
                .await?;
        }
        Ok(())
    }

    fn joined_host(&self, endpoint: &Endpoint) -> Joined {
        // Absent before the first lease: then there is nobody to ask.
        let guests = fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        Joined {
            namespace: None,
            addresses: Vec::new(),
            resolv_conf: etc::guests_resolv_conf(&guests, endpoint),
            hosts: etc::hosts(&self.plan, endpoint, endpoint),
        }
    }

    fn endpoint(&self, id: &str) -> Result<&Endpoint, NetworkError> {
        self.plan.container(id).ok_or_else(|| NetworkError::NoContainer(id.to_owned()))
    }

    /// The container whose namespace another uses in the end.
    fn shared<'a>(&'a self, endpoint: &'a Endpoint) -> Result<&'a Endpoint, NetworkError> {
        let mut endpoint = endpoint;
        for _ in 0..self.plan.containers.len() {
            let EndpointMode::Shared(other) = &endpoint.mode else { return Ok(endpoint) };
            endpoint = self.endpoint(other)?;
        }
        Err(NetworkError::NoContainer(endpoint.id.clone()))
    }

    /// Whether a container is on the guest's own network, of which nothing is made and nothing
    /// recorded.
    fn is_on_the_guests(&self, endpoint: &Endpoint) -> Result<bool, NetworkError> {
        Ok(matches!(self.shared(endpoint)?.mode, EndpointMode::Host))
    }

    fn namespace_file(&self, id: &str) -> PathBuf {
        namespace_file(&self.run_dir, id)
    }
}

fn namespace_file(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join(format!("net-{id}"))
}

fn is_ours(link: &str) -> bool {
    link.starts_with(BRIDGE_PREFIX) || link.starts_with(VETH_PREFIX)
}

/// Lets pass what shall pass now.
async fn filter(plan: &Plan, record: &Record) -> Result<(), NetworkError> {
    nft::replace(rules::rules(plan, |endpoint| record.published.contains(&endpoint.id))).await
}

async fn make_bridges(netlink: &Netlink, plan: &Plan) -> Result<(), NetworkError> {
    forwarding::guest().map_err(NetworkError::Io)?;
    for (_, name) in netlink.links().await? {
        if !is_ours(&name) && name != "lo" {
            forwarding::uplink(&name).map_err(NetworkError::Io)?;
        }
    }
    for bridge in &plan.bridges {
        let index = netlink.make_bridge(&bridge.link, bridge.hardware_address).await?;
        forwarding::bridge(&bridge.link, bridge.v6.is_some()).map_err(NetworkError::Io)?;
        for gateway in bridge.gateways() {
            let subnet = bridge
                .subnet_of(gateway)
                .ok_or_else(|| NetworkError::NoLink(bridge.link.clone()))?;
            netlink.set_address(index, gateway, subnet.prefix_len()).await?;
        }
        netlink.up(index).await?;
    }
    Ok(())
}

/// The subnets that the guest is on by links that are not ours.
async fn occupied(netlink: &Netlink) -> Result<Vec<ipnet::IpNet>, NetworkError> {
    let ours: BTreeSet<u32> = netlink
        .links()
        .await?
        .into_iter()
        .filter(|(_, name)| is_ours(name))
        .map(|(index, _)| index)
        .collect();
    let addresses =
        netlink.addresses().await?.into_iter().filter(|(index, _)| !ours.contains(index));
    Ok(addresses.map(|(_, address)| address.trunc()).collect())
}

/// Removes links, namespaces and the record of an app.
async fn remove_all(
    netlink: &Netlink,
    run_dir: &Path,
    record: &Record,
) -> Result<(), NetworkError> {
    for id in &record.joined {
        namespace::unbind(&namespace_file(run_dir, id)).map_err(NetworkError::Io)?;
    }
    for (_, name) in netlink.links().await? {
        if is_ours(&name) {
            netlink.remove(&name).await?;
        }
    }
    nft::remove().await?;
    Record::remove(run_dir).map_err(NetworkError::Io)
}

/// Why the app has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// the file's networks cannot be
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// the kernel refused a change
    #[error("{what}: {error}")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: rtnetlink::Error,
    },
    /// a link is not there
    #[error("no link {0:?}")]
    NoLink(String),
    /// the file has no such container
    #[error("no container {0:?}")]
    NoContainer(String),
    /// a container whose network is needed has none yet
    #[error("container {0:?} has not joined its network")]
    NotJoined(String),
    /// a namespace, a kernel parameter or a file of the run directory
    #[error("network: {0}")]
    Io(io::Error),
    /// the kernel refused the packet filter
    #[error("packet filter: {rule}: {error}")]
    Filter {
        /// Which rule, if it is about one.
        rule: String,
        /// Its answer.
        error: io::Error,
    },
}
