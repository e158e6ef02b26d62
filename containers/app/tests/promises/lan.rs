//! A guest of its own for one test, with an outside behind its uplink; "containers" are threads in
//! their namespaces.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use compose::model::{Attachment, ComposeFile, Network, NetworkMode, Service};
use compose::{Protocol, PublishedPort};
use containers::network::{Joined, Networks};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::mount::{MountPropagationFlags, mount_change};
use std::os::fd::AsRawFd;
use tempfile::TempDir;

/// How long an answer may take here; a refusal by silence takes this long.
pub const TIMEOUT: Duration = Duration::from_millis(700);
/// The guest's address on the uplink, and who is there.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// A guest: this thread's own network and mount namespace.
pub struct Guest {
    pub directory: TempDir,
    pub outside: File,
}

impl Guest {
    pub async fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root may");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        let outside = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            File::open("/proc/thread-self/ns/net").expect("namespace")
        });
        let outside = outside.join().expect("no panic");
        let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
        tokio::spawn(connection);
        let links = netlink.link();
        links.add(LinkVeth::new("up0", "out0").build()).execute().await.expect("a pair");
        let moved = LinkUnspec::new_with_name("out0").setns_by_fd(outside.as_raw_fd()).build();
        links.set(moved).execute().await.expect("moved");
        configure("up0", GUEST, GUEST_V6, None).await;
        in_namespace_async(&outside, async || {
            configure("out0", OUTSIDE, OUTSIDE_V6, Some((GUEST, GUEST_V6))).await
        });
        Self { directory: tempfile::tempdir().expect("directory"), outside }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub async fn open(&self, compose: &ComposeFile) -> Networks {
        let opened =
            Networks::open(compose, &self.run_dir(), &self.directory.path().join("resolv.conf"))
                .await;
        opened.expect("networks")
    }
}

/// Loopback, a link and its addresses; `others` is whom everything else is sent to.
async fn configure(link: &str, v4: Ipv4Addr, v6: Ipv6Addr, others: Option<(Ipv4Addr, Ipv6Addr)>) {
    let probing = format!("/proc/sys/net/ipv6/conf/{link}/accept_dad");
    std::fs::write(probing, "0").expect("addresses are not probed for");
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
    tokio::spawn(connection);
    for name in ["lo", link] {
        netlink
            .link()
            .set(LinkUnspec::new_with_name(name).up().build())
            .execute()
            .await
            .expect("up");
    }
    add_addresses(link, (v4, 24), (v6, 64)).await;
    if let Some((v4, v6)) = others {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(v4).build();
        netlink.route().add(route).execute().await.expect("route");
        let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6).build();
        netlink.route().add(route).execute().await.expect("route");
    }
}

/// Gives a link addresses with their prefix lengths, and so routes to their subnets.
pub async fn add_addresses(link: &str, v4: (Ipv4Addr, u8), v6: (Ipv6Addr, u8)) {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
    tokio::spawn(connection);
    let index = nix::net::if_::if_nametoindex(link).expect("index");
    for (address, length) in [(IpAddr::V4(v4.0), v4.1), (IpAddr::V6(v6.0), v6.1)] {
        netlink.address().add(index, address, length).execute().await.expect("address");
    }
}

/// Gives a link one more address, from which everything goes to `gateway` from now on.
pub async fn speak_as(link: &str, address: Ipv4Addr, gateway: Ipv4Addr) {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
    tokio::spawn(connection);
    let index = nix::net::if_::if_nametoindex(link).expect("index");
    netlink.address().add(index, address.into(), 32).execute().await.expect("address");
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(gateway)
        .pref_source(address)
        .output_interface(index)
        .build();
    netlink.route().add(route).replace().execute().await.expect("route");
}

/// Gives a link another hardware address.
pub async fn set_hardware_address(link: &str, address: [u8; 6]) {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
    tokio::spawn(connection);
    let changed = LinkUnspec::new_with_name(link).address(address.to_vec()).build();
    netlink.link().set(changed).execute().await.expect("address");
}

/// Runs `work` in a container's namespace.
pub fn inside<T: Send>(joined: &Joined, work: impl FnOnce() -> T + Send) -> T {
    let namespace = joined.namespace.as_deref().expect("a namespace of its own");
    in_namespace(&File::open(namespace).expect("namespace"), work)
}

/// Runs `work` in a namespace.
pub fn in_namespace<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            work()
        });
        thread.join().expect("no panic")
    })
}

/// The same for what needs a runtime.
pub fn in_namespace_async<T: Send, F: AsyncFnOnce() -> T + Send>(namespace: &File, work: F) -> T {
    in_namespace(namespace, || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(work())
    })
}

pub fn network(name: &str) -> Network {
    Network { name: name.to_owned(), internal: false, ipv6: false, subnets: Vec::new() }
}

pub fn on(networks: &[&str]) -> NetworkMode {
    let attach = |name: &&str| Attachment {
        network: (*name).to_owned(),
        aliases: Vec::new(),
        addresses: Vec::new(),
    };
    NetworkMode::Networks(networks.iter().map(attach).collect())
}

pub fn compose(networks: Vec<Network>, services: Vec<Service>) -> ComposeFile {
    ComposeFile {
        name: None,
        services,
        programs: Vec::new(),
        networks,
        volumes: Vec::new(),
        data: Vec::new(),
        notes: Vec::new(),
        dangers: Vec::new(),
    }
}

pub fn port(published: u16, target: u16, protocol: Protocol) -> PublishedPort {
    PublishedPort { host_ip: None, published, target, protocol, line: 1 }
}

fn any(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Answers each connection to `port` with the peer's address, from now on, in the calling thread's
/// namespace.
pub fn serve_tcp(family: IpAddr, port: u16) {
    let listener = TcpListener::bind(SocketAddr::new(any(family), port)).expect("free to take");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().expect("connected").ip();
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
}

/// Answers each datagram to `port` the same way.
pub fn serve_udp(port: u16) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free to take");
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
        }
    });
}

/// What a server of [`serve_tcp`] answers to the calling thread: as whom it saw us; `None` if it
/// cannot be reached.
pub fn seen_by(server: impl Into<IpAddr>, port: u16) -> Option<IpAddr> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(server.into(), port), TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.parse().ok()
}

/// The same of [`serve_udp`].
pub fn seen_by_udp(server: impl Into<IpAddr>, port: u16) -> Option<IpAddr> {
    let server = server.into();
    let socket = UdpSocket::bind((any(server), 0)).expect("socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    socket.connect(SocketAddr::new(server, port)).ok()?;
    socket.send(b"?").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.parse().ok()
}
