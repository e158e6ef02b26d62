//! Links, addresses, routes and neighbours of one namespace, by rtnetlink; what is there already is
//! made right, not twice.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth};
use tokio::task::JoinHandle;

use super::NetworkError;

/// The kernel needs less than one pause, on an emulated machine some.
const UP_TRIES: usize = 500;
const UP_PAUSE: Duration = Duration::from_millis(1);

/// A netlink socket of one namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens one in the calling thread's namespace; inside a tokio runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// The index of a link, if it is there.
    pub(super) async fn find(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(rtnetlink::Error::NetlinkError(error))
                if error.raw_code() == -nix::libc::ENODEV =>
            {
                Ok(None)
            }
            Err(error) => Err(failed("look up a link")(error)),
        }
    }

    /// The index of a link that must be there.
    pub(super) async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        self.find(name).await?.ok_or_else(|| NetworkError::NoLink(name.to_owned()))
    }

    /// Every link's index and name.
    pub(super) async fn links(&self) -> Result<Vec<(u32, String)>, NetworkError> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(failed("list links"))?;
        let name = |link: &LinkMessage| {
            link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
        };
        Ok(links.iter().filter_map(|link| Some((link.header.index, name(link)?))).collect())
    }

    /// Every address, with its prefix length and its link's index.
    pub(super) async fn addresses(&self) -> Result<Vec<(u32, IpNet)>, NetworkError> {
        let listed = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let listed = listed.map_err(failed("list addresses"))?;
        let address = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        };
        let nets = listed.iter().filter_map(|message| {
            let address = message.attributes.iter().find_map(address)?;
            Some((message.header.index, IpNet::new(address, message.header.prefix_len).ok()?))
        });
        Ok(nets.collect())
    }

    /// Removes a link, if it is there.
    pub(super) async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let Some(index) = self.find(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            // It went by itself: the other end's namespace has ended.
            Err(_) if self.find(name).await?.is_none() => Ok(()),
            done => done.map_err(failed("remove a link")),
        }
    }

    /// Changes a link.
    pub(super) async fn set(
        &self,
        message: LinkMessage,
        what: &'static str,
    ) -> Result<(), NetworkError> {
        self.handle.link().set(message).execute().await.map_err(failed(what))
    }

    /// Starts a link.
    pub(super) async fn up(&self, index: u32) -> Result<(), NetworkError> {
        self.set(LinkUnspec::new_with_index(index).up().build(), "start a link").await
    }

    /// Returns when packets pass: a pair that has just been joined drops the first ones, whose
    /// repetition would cost a service's start a second. One that does not come up in time is left
    /// to come up later.
    pub(super) async fn wait_until_up(&self, name: &str) -> Result<(), NetworkError> {
        for _ in 0..UP_TRIES {
            let found = self.handle.link().get().match_name(name).execute().try_next().await;
            let found = found.map_err(failed("look up a link"))?;
            if found
                .is_some_and(|link| link.attributes.contains(&LinkAttribute::OperState(State::Up)))
            {
                return Ok(());
            }
            tokio::time::sleep(UP_PAUSE).await;
        }
        tracing::warn!(link = name, "is not up yet");
        Ok(())
    }

    /// Gives a link an address, which can be bound to at once: an IPv6 one would else be tentative
    /// until the kernel has found time to see that it need not be probed for.
    pub(super) async fn set_address(
        &self,
        link: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), NetworkError> {
        let mut add = self.handle.address().add(link, address, prefix).replace();
        if address.is_ipv6() {
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        add.execute().await.map_err(failed("set an address"))
    }

    /// Sets a route.
    pub(super) async fn set_route(&self, route: RouteMessage) -> Result<(), NetworkError> {
        self.handle.route().add(route).replace().execute().await.map_err(failed("set a route"))
    }

    /// Fixes where an address is, whatever answers say.
    pub(super) async fn set_neighbour(
        &self,
        link: u32,
        address: IpAddr,
        at: [u8; 6],
    ) -> Result<(), NetworkError> {
        let add = self.handle.neighbours().add(link, address).link_layer_address(&at);
        let add = add.state(NeighbourState::Permanent).replace();
        add.execute().await.map_err(failed("set a neighbour"))
    }

    /// Makes a bridge with this hardware address, stopped, unless it is there.
    pub(super) async fn make_bridge(
        &self,
        name: &str,
        hardware_address: [u8; 6],
    ) -> Result<u32, NetworkError> {
        if self.find(name).await?.is_none() {
            // Nobody asks who listens to which group, so snooping would only lose neighbour
            // discovery.
            let bridge =
                LinkBridge::new(name).mcast_snooping(false).address(hardware_address.to_vec());
            self.handle
                .link()
                .add(bridge.build())
                .execute()
                .await
                .map_err(failed("make a bridge"))?;
        }
        self.index(name).await
    }

    /// Makes a pair of links, one end on a bridge; only `peer_address` may speak from that end.
    pub(super) async fn make_pair(&self, pair: &Pair<'_>) -> Result<(), NetworkError> {
        // What an agent that died half-way left.
        self.remove(pair.outer).await?;
        let made = LinkVeth::new(pair.outer, pair.inner).controller(pair.bridge).up().build();
        self.handle.link().add(made).execute().await.map_err(failed("make a pair of links"))?;
        let outer = self.index(pair.outer).await?;
        let port = LinkBridgePort::new(outer).learning(false).flood(false).locked(true).build();
        self.handle.link().set_port(port).execute().await.map_err(failed("lock a port"))?;
        let known = self.handle.neighbours().add_bridge(outer, &pair.peer_address);
        let known = known.state(NeighbourState::Noarp).flags(NeighbourFlags::Controller).replace();
        known.execute().await.map_err(failed("fix a hardware address"))?;
        let moved = LinkUnspec::new_with_name(pair.inner).address(pair.peer_address.to_vec());
        self.set(moved.build(), "set a hardware address").await?;
        let moved = LinkUnspec::new_with_name(pair.inner).setns_by_fd(pair.namespace.as_raw_fd());
        self.set(moved.build(), "move a link").await
    }
}

/// A pair of links to be made.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    /// The guest's end.
    pub(super) outer: &'a str,
    /// The container's end, before it is renamed.
    pub(super) inner: &'a str,
    /// Index of the bridge that the guest's end is a port of.
    pub(super) bridge: u32,
    /// Hardware address of the container's end.
    pub(super) peer_address: [u8; 6],
    /// Where that end goes.
    pub(super) namespace: BorrowedFd<'a>,
}

fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> NetworkError {
    move |error| NetworkError::Netlink { what, error }
}
