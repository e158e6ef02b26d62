//! The guest's network: loopback, one Ethernet interface, an IPv4 lease that is kept, IPv6 by the
//! kernel's own autoconfiguration.
//!
//! All of it is the host's word. A value is used only if it is well formed and of its kind (an
//! address that can be a host's, a contiguous mask); a wrong one can deny service and nothing else,
//! since nothing in the guest is trusted for where it was reached.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console;

mod client;
mod lease;
mod link;
mod message;

use client::{Client, ClientError};
use lease::Lease;
use link::Netlink;

/// Where the resolver's configuration is written; `/etc/resolv.conf` links to it.
pub const RESOLV_CONF: &str = "/run/dstyx/resolv.conf";
/// How long the first lease may take: servers answer in milliseconds, switches that learn a port in
/// seconds.
const FIRST_LEASE_WITHIN: Duration = Duration::from_secs(30);
/// The loopback interface's index in every network namespace.
const LOOPBACK: u32 = 1;
/// `ARPHRD_ETHER`, as sysfs shows it.
const ETHERNET: &str = "1";

/// Why the network could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// no interface to configure
    #[error("no Ethernet interface; start the guest with a virtio network device")]
    NoInterface,
    /// sysfs or the resolver's file
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// the kernel refused a configuration
    #[error("{action}: {source}")]
    Netlink {
        /// What was asked for.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// the DHCP socket or its messages
    #[error(transparent)]
    Client(#[from] ClientError),
    /// nobody answered, or nothing usable
    #[error("no usable DHCP lease on {interface} within {} seconds", FIRST_LEASE_WITHIN.as_secs())]
    NoLease {
        /// The interface.
        interface: String,
    },
}

/// The interface that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    index: u32,
    hardware_address: [u8; 6],
}

/// A configured network and the lease behind it, to be driven by the supervisor's loop.
#[derive(Debug)]
pub struct Network {
    interface: Interface,
    netlink: Netlink,
    client: Client,
    applied: Option<Lease>,
}

impl Network {
    /// Brings loopback and the first Ethernet interface up and waits for the first lease.
    pub fn configure() -> Result<Self, NetworkError> {
        let netlink = Netlink::open()?;
        netlink.set_up(LOOPBACK)?;
        let interface = Interface::first(Path::new("/sys/class/net"))?;
        netlink.set_up(interface.index)?;
        let client = Client::start(&interface.name, interface.hardware_address, Instant::now())?;
        let mut network = Self { interface, netlink, client, applied: None };
        network.wait_for_first_lease()?;
        Ok(network)
    }

    /// The socket on which answers arrive.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.client.socket()
    }

    /// When [`Self::advance`] has to be called next.
    pub fn deadline(&self) -> Instant {
        self.client.deadline()
    }

    /// Takes what has arrived and does what is due; a lease that was renewed is applied.
    pub fn advance(&mut self, now: Instant) -> Result<(), NetworkError> {
        if let Some(lease) = self.client.advance(now)? {
            console::say(&format!("{}: {lease}", self.interface.name));
            self.apply(lease)?;
        }
        Ok(())
    }

    fn wait_for_first_lease(&mut self) -> Result<(), NetworkError> {
        let end = Instant::now() + FIRST_LEASE_WITHIN;
        loop {
            let now = Instant::now();
            self.advance(now)?;
            if self.client.is_bound() {
                return Ok(());
            }
            if now >= end {
                return Err(NetworkError::NoLease { interface: self.interface.name.clone() });
            }
            let wait = self.deadline().min(end).saturating_duration_since(now);
            // An interrupted wait is a short one.
            let _ = poll(&mut [PollFd::new(self.socket(), PollFlags::POLLIN)], poll_timeout(wait));
        }
    }

    /// Configures what was leased, and takes away an address that it replaces.
    fn apply(&mut self, lease: Lease) -> Result<(), NetworkError> {
        let replaced = self.applied.take().filter(|before| before.address != lease.address);
        if let Some(before) = replaced
            && let Err(error) = self.netlink.remove_address(self.interface.index, &before)
        {
            // Usually because its lease has ended and the kernel was faster.
            console::say(&format!("{error}"));
        }
        self.netlink.set_address(self.interface.index, &lease)?;
        if let Some(gateway) = lease.gateway {
            self.netlink.set_default_route(
                self.interface.index,
                gateway,
                !lease.contains(gateway),
            )?;
        }
        let written = fs::write(RESOLV_CONF, resolv_conf(&lease.name_servers));
        self.applied = Some(lease);
        written.map_err(|source| NetworkError::Io { path: RESOLV_CONF.to_owned(), source })
    }
}

/// A timeout for `poll`, rounded up so that a deadline has passed when it ends.
pub fn poll_timeout(wait: Duration) -> PollTimeout {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

impl Interface {
    /// The Ethernet interface with the lowest index.
    fn first(class: &Path) -> Result<Self, NetworkError> {
        let io = |source| NetworkError::Io { path: class.display().to_string(), source };
        let mut interfaces = Vec::new();
        for entry in fs::read_dir(class).map_err(io)? {
            interfaces.extend(Self::read(&entry.map_err(io)?.path()));
        }
        interfaces
            .into_iter()
            .min_by_key(|interface| interface.index)
            .ok_or(NetworkError::NoInterface)
    }

    fn read(directory: &Path) -> Option<Self> {
        let attribute = |name: &str| {
            fs::read_to_string(directory.join(name)).ok().map(|text| text.trim().to_owned())
        };
        if attribute("type")? != ETHERNET {
            return None;
        }
        let mut hardware_address = [0; 6];
        let text = attribute("address")?;
        let mut octets = text.split(':');
        for octet in &mut hardware_address {
            *octet = u8::from_str_radix(octets.next()?, 16).ok()?;
        }
        let name = directory.file_name()?.to_str()?.to_owned();
        Some(Self { name, index: attribute("ifindex")?.parse().ok()?, hardware_address })
    }
}

fn resolv_conf(name_servers: &[Ipv4Addr]) -> String {
    name_servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ethernet_interface_is_taken() {
        let class = tempfile::tempdir().unwrap();
        for (name, kind, index, address) in [
            ("lo", "772", "1", "00:00:00:00:00:00"),
            ("eth1", "1", "3", "52:54:00:12:34:57"),
            ("eth0", "1", "2", "52:54:00:12:34:56"),
        ] {
            let directory = class.path().join(name);
            fs::create_dir(&directory).unwrap();
            for (file, content) in [("type", kind), ("ifindex", index), ("address", address)] {
                fs::write(directory.join(file), format!("{content}\n")).unwrap();
            }
        }
        let expected = Interface {
            name: "eth0".into(),
            index: 2,
            hardware_address: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        };
        assert_eq!(Interface::first(class.path()).unwrap(), expected);
        fs::remove_dir_all(class.path().join("eth0")).unwrap();
        fs::remove_dir_all(class.path().join("eth1")).unwrap();
        assert!(matches!(Interface::first(class.path()), Err(NetworkError::NoInterface)));
    }

    #[test]
    fn a_wait_never_ends_before_its_deadline() {
        assert_eq!(poll_timeout(Duration::from_micros(1)), PollTimeout::from(1u8));
        assert_eq!(poll_timeout(Duration::ZERO), PollTimeout::ZERO);
        assert_eq!(poll_timeout(Duration::from_secs(u64::MAX)), PollTimeout::MAX);
    }
}
