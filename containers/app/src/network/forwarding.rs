//! What the kernel forwards: set for each interface, never for all, so that the guest goes on being
//! a host.
//!
//! A global switch would make the kernel a router on every interface: it would no longer take IPv6
//! addresses from the uplink's router advertisements. `force_forwarding` (Linux 6.17) forwards what
//! arrives on one interface and changes nothing else.

use std::fs;
use std::io;
use std::path::Path;

/// Parameters of each interface by which packets leave or enter the guest.
const UPLINK: [(&str, &str, &str); 2] =
    [("ipv4", "forwarding", "1"), ("ipv6", "force_forwarding", "1")];
/// Parameters of each bridge. Packets from the guest's own loopback may be translated to a
/// container's address (`route_localnet`); the reverse is dropped by the filter. No address is
/// probed for or taken from the network.
const BRIDGE: [(&str, &str, &str); 9] = [
    ("ipv4", "forwarding", "1"),
    ("ipv4", "route_localnet", "1"),
    ("ipv4", "send_redirects", "0"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv6", "accept_redirects", "0"),
    ("ipv6", "force_forwarding", "1"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "autoconf", "0"),
    ("ipv6", "accept_dad", "0"),
];
/// Groups that may ping from a new container's namespace: everybody's, as Docker has it.
const PING: (&str, &str, &str) = ("net/ipv4/ping_group_range", "0 2147483647", "0 0");
/// Parameters of a new container's namespace. Ports below 1024 need no privilege inside, as Docker
/// has it; addresses are given, never probed for or taken from the network, and IPv6 is off until
/// it is given.
const CONTAINER: [(&str, &str); 5] = [
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Lets packets that arrive on an interface of the guest be forwarded.
pub(super) fn uplink(link: &str) -> io::Result<()> {
    set_all(link, &UPLINK)
}

/// Prepares a bridge.
pub(super) fn bridge(link: &str, ipv6: bool) -> io::Result<()> {
    set_all(link, &BRIDGE)?;
    disable_ipv6(link, !ipv6)
}

/// What a bridge switches is never filtered; a kernel that could (the guest's cannot) is told not
/// to.
const BRIDGED: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// Prepares the guest.
pub(super) fn guest() -> io::Result<()> {
    let known = BRIDGED.iter().filter(|parameter| Path::new("/proc/sys").join(parameter).exists());
    known.into_iter().try_for_each(|parameter| set(parameter, "0"))
}

/// Prepares the calling thread's namespace for a container.
pub(super) fn container() -> io::Result<()> {
    CONTAINER.iter().try_for_each(|(parameter, value)| set(parameter, value))?;
    let (parameter, all, own) = PING;
    // A user namespace of one group has no others: there, root alone may ping.
    set(parameter, all).or_else(|_| set(parameter, own))
}

/// Lets a link of the calling thread's namespace have IPv6.
pub(super) fn enable_ipv6(link: &str) -> io::Result<()> {
    disable_ipv6(link, false)
}

fn disable_ipv6(link: &str, disabled: bool) -> io::Result<()> {
    set(&format!("net/ipv6/conf/{link}/disable_ipv6"), if disabled { "1" } else { "0" })
}

fn set_all(link: &str, parameters: &[(&str, &str, &str)]) -> io::Result<()> {
    parameters.iter().try_for_each(|(family, name, value)| {
        set(&format!("net/{family}/conf/{link}/{name}"), value)
    })
}

fn set(parameter: &str, value: &str) -> io::Result<()> {
    let told = |error| io::Error::other(format!("{parameter}: {error}"));
    fs::write(format!("/proc/sys/{parameter}"), value).map_err(told)
}
