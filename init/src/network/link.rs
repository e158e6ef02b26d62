//! Interfaces, addresses and routes, set by rtnetlink; each request waits for the kernel's
//! acknowledgement.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, CacheInfo};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::NetworkError;
use super::lease::Lease;

/// A lifetime without end (`INFINITY_LIFE_TIME`).
const FOREVER: u32 = u32::MAX;

/// A socket to the kernel's routing tables.
#[derive(Debug)]
pub struct Netlink(Socket);

impl Netlink {
    /// Opens it.
    pub fn open() -> Result<Self, NetworkError> {
        let connect = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        connect()
            .map(Self)
            .map_err(|source| NetworkError::Netlink { action: "open a netlink socket", source })
    }

    /// Brings an interface up.
    pub fn set_up(&self, index: u32) -> Result<(), NetworkError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request("bring an interface up", RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Sets or prolongs the lease's address; the kernel removes it by itself when the lease has
    /// ended.
    pub fn set_address(&self, index: u32, lease: &Lease) -> Result<(), NetworkError> {
        let mut message = address_message(index, lease);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = lease.valid_secs.unwrap_or(FOREVER);
        lifetime.ifa_preferred = lifetime.ifa_valid;
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        self.request(
            "set an address",
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Removes an address that is leased no longer.
    pub fn remove_address(&self, index: u32, lease: &Lease) -> Result<(), NetworkError> {
        self.request(
            "remove an address",
            RouteNetlinkMessage::DelAddress(address_message(index, lease)),
            0,
        )
    }

    /// Sets the IPv4 default route; `on_link` for a gateway outside the subnet.
    pub fn set_default_route(
        &self,
        index: u32,
        gateway: Ipv4Addr,
        on_link: bool,
    ) -> Result<(), NetworkError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Dhcp,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            flags: if on_link { RouteFlags::Onlink } else { RouteFlags::empty() },
            ..RouteHeader::default()
        };
        message.attributes =
            vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
        self.request(
            "set the default route",
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    fn request(
        &self,
        action: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetworkError> {
        self.exchange(message, flags).map_err(|source| NetworkError::Netlink { action, source })
    }

    fn exchange(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let invalid = |error: netlink_packet_core::DecodeError| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(invalid)?.payload
        {
            NetlinkPayload::Error(error) => match error.code {
                None => Ok(()),
                Some(_) => Err(error.to_io()),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn address_message(index: u32, lease: &Lease) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = lease.prefix_length;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(lease.address)),
        AddressAttribute::Address(IpAddr::V4(lease.address)),
    ];
    message
}
