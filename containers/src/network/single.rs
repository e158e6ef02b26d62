//! The app's network: one bridge in the guest, a namespace and an address for each service, ports proxied.
//!
//! ```text
//! 172.31.0.1 dstyx0 (the guest: its agent answers here)
//!   ├─ dstyx-v2 ── eth0 172.31.0.2 (first service)
//!   └─ dstyx-v3 ── eth0 172.31.0.3 (second service) …
//! ```
//!
//! Services reach each other and the guest; nothing else is routed: there is no way out of the guest yet,
//! and no way in but the published ports. A service is hostile to its neighbours' addresses at most as far
//! as any machine on one Ethernet is.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

mod namespace;
mod proxy;

pub use proxy::Proxy;

use super::NetworkError;
use namespace::Namespace;

/// The bridge's name.
pub const BRIDGE: &str = "dstyx0";
/// The guest's address on the bridge, and the default gateway of every service.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// 254 addresses: more than [`crate::compose::MAX_SERVICES`] and the gateway.
const PREFIX_LENGTH: u8 = 24;

/// The bridge of one app.
#[derive(Debug)]
pub struct Network {
    netlink: Netlink,
    bridge: u32,
}

impl Network {
    /// Makes the bridge, or takes over the one that an earlier agent left.
    pub async fn create() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Namespace)?;
        let netlink = Netlink { handle, connection: tokio::spawn(connection) };
        if netlink.index(BRIDGE).await.is_err() {
            let made = netlink.handle.link().add(LinkBridge::new(BRIDGE).build()).execute().await;
            made.map_err(failed("make the bridge"))?;
        }
        let bridge = netlink.index(BRIDGE).await?;
        netlink.set_address(bridge, GATEWAY).await?;
        netlink.set(LinkUnspec::new_with_index(bridge).up().build(), "start the bridge").await?;
        Ok(Self { netlink, bridge })
    }

    /// The address of the service in place `place` of the file, from 0.
    pub fn address(place: u8) -> Ipv4Addr {
        let [a, b, c, d] = GATEWAY.octets();
        Ipv4Addr::new(a, b, c, d.saturating_add(1).saturating_add(place))
    }

    /// Makes a network namespace at `file` and connects it to the bridge.
    pub async fn attach(&self, place: u8, file: PathBuf) -> Result<Attached, NetworkError> {
        let address = Self::address(place);
        let [.., last] = address.octets();
        let (outer, inner) = (format!("dstyx-v{last}"), format!("dstyx-n{last}"));
        let (namespace, netlink) = Namespace::create(file).await?;
        let links = self.netlink.handle.link();
        if let Ok(left_over) = self.netlink.index(&outer).await {
            // It may be going by itself, its namespace having ended; if it stays, the next step fails.
            let _ = links.del(left_over).execute().await;
        }
        let pair = LinkVeth::new(&outer, &inner).controller(self.bridge).up().build();
        links.add(pair).execute().await.map_err(failed("make a pair of links"))?;
        let target = namespace.open()?;
        let moved = LinkUnspec::new_with_name(&inner).setns_by_fd(target.as_fd().as_raw_fd()).build();
        self.netlink.set(moved, "move a link").await?;
        netlink.set(LinkUnspec::new_with_name("lo").up().build(), "start loopback").await?;
        let eth0 = netlink.index(&inner).await?;
        netlink.set(LinkUnspec::new_with_index(eth0).name("eth0").build(), "name a link").await?;
        netlink.set_address(eth0, address).await?;
        netlink.set(LinkUnspec::new_with_index(eth0).up().build(), "start a link").await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).build();
        netlink.handle.route().add(route).execute().await.map_err(failed("set the default route"))?;
        Ok(Attached { namespace, address })
    }
}

/// A namespace on the bridge; it ends with this value once no process is in it.
#[derive(Debug)]
pub struct Attached {
    namespace: Namespace,
    address: Ipv4Addr,
}

impl Attached {
    /// The file that stands for the namespace.
    pub fn namespace(&self) -> &Path {
        self.namespace.path()
    }

    /// Its address on the bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

/// A netlink socket of one namespace.
#[derive(Debug)]
struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        let found: Option<LinkMessage> = found.map_err(failed("look up a link"))?;
        found.map(|link| link.header.index).ok_or_else(|| NetworkError::NoLink(name.to_owned()))
    }

    async fn set(&self, message: LinkMessage, what: &'static str) -> Result<(), NetworkError> {
        self.handle.link().set(message).execute().await.map_err(failed(what))
    }

    async fn set_address(&self, link: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
        let add = self.handle.address().add(link, IpAddr::V4(address), PREFIX_LENGTH).replace();
        add.execute().await.map_err(failed("set an address"))
    }
}

fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> NetworkError {
    move |error| NetworkError::Netlink { what, error }
}
