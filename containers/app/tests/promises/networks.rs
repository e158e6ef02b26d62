//! Promise: services reach each other where the file says so and nowhere else, and what is
//! published is reachable from outside; an agent that is started again finds all of it. All of
//! these tests need root.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use compose::Protocol;
use compose::model::{ComposeFile, NetworkMode, Service};
use containers::network::{Joined, NetworkError, Networks};

use crate::lan::{
    GUEST, GUEST_V6, Guest, OUTSIDE, OUTSIDE_V6, TIMEOUT, add_addresses, compose, in_namespace,
    in_namespace_async, inside, network, on, port, seen_by, seen_by_udp, serve_tcp, serve_udp,
    set_hardware_address, speak_as,
};
use crate::root;
use crate::service::service;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

async fn join(networks: &Networks, id: &str) -> Joined {
    networks.join(id).await.expect("joined")
}

fn with_ports(mut service: Service, ports: &[(u16, u16, Protocol)]) -> Service {
    service.ports = ports
        .iter()
        .map(|(published, target, protocol)| port(*published, *target, *protocol))
        .collect();
    service
}

#[tokio::test]
async fn neighbours_on_a_network_reach_each_other() {
    if !root("neighbours_on_a_network_reach_each_other") {
        return;
    }
    let guest = Guest::new().await;
    let mut both = network("both");
    both.ipv6 = true;
    let file =
        compose(vec![both], vec![service("web", on(&["both"])), service("db", on(&["both"]))]);
    let networks = guest.open(&file).await;
    let (web, db) = (join(&networks, "web-1").await, join(&networks, "db-1").await);
    assert_eq!(
        web.addresses,
        ["172.31.0.2".parse::<IpAddr>().unwrap(), "fd64:7374:7978::2".parse().unwrap()]
    );
    for (port, (address, own)) in (80..).zip(db.addresses.iter().zip(&web.addresses)) {
        inside(&db, || serve_tcp(*address, port));
        assert_eq!(inside(&web, || seen_by(*address, port)), Some(*own));
    }
    assert_eq!(web.hosts[0], ("172.31.0.2".parse().unwrap(), "web".to_owned()));
    assert!(web.resolv_conf.starts_with("nameserver 172.31.0.1\n"), "{}", web.resolv_conf);
    networks.close().await.expect("closed");
}

fn two_networks() -> ComposeFile {
    let services = vec![
        service("front", on(&["front"])),
        service("back", on(&["back"])),
        service("both", on(&["back", "front"])),
        service("lonely", NetworkMode::None),
        service("sidecar", NetworkMode::Service("both".to_owned())),
    ];
    compose(vec![network("front"), network("back")], services)
}

#[tokio::test]
async fn networks_are_kept_apart() {
    if !root("networks_are_kept_apart") {
        return;
    }
    let guest = Guest::new().await;
    let networks = guest.open(&two_networks()).await;
    let (front, back) = (join(&networks, "front-1").await, join(&networks, "back-1").await);
    assert!(
        matches!(networks.join("sidecar-1").await, Err(NetworkError::NotJoined(id)) if id == "both-1")
    );
    let both = join(&networks, "both-1").await;
    let sidecar = join(&networks, "sidecar-1").await;
    let lonely = join(&networks, "lonely-1").await;
    for server in [&front, &back, &both, &lonely] {
        inside(server, || serve_tcp(V4, 80));
    }
    assert_eq!(inside(&front, || seen_by(back.addresses[0], 80)), None, "another network");
    assert_eq!(inside(&back, || seen_by(front.addresses[0], 80)), None, "and back");
    assert_eq!(
        inside(&front, || seen_by(both.addresses[0], 80)),
        None,
        "not by its address on another network"
    );
    assert_eq!(inside(&front, || seen_by(both.addresses[1], 80)), Some(front.addresses[0]));
    assert_eq!(inside(&both, || seen_by(front.addresses[0], 80)), Some(both.addresses[1]));
    assert_eq!(inside(&both, || seen_by(back.addresses[0], 80)), Some(both.addresses[0]));
    assert_eq!((sidecar.namespace, &sidecar.addresses), (both.namespace, &both.addresses));
    assert_eq!(lonely.addresses, [] as [IpAddr; 0]);
    assert_eq!(
        inside(&lonely, || seen_by(Ipv4Addr::LOCALHOST, 80)),
        Some(Ipv4Addr::LOCALHOST.into())
    );
    assert_eq!(inside(&lonely, || seen_by(front.addresses[0], 80)), None);
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn who_is_on_the_guests_own_network_joins_and_publishes_nothing() {
    if !root("who_is_on_the_guests_own_network_joins_and_publishes_nothing") {
        return;
    }
    let guest = Guest::new().await;
    let services = vec![
        service("host", NetworkMode::Host),
        service("beside", NetworkMode::Service("host".to_owned())),
    ];
    let networks = guest.open(&compose(Vec::new(), services)).await;
    // Again, as an agent does that finds the container running.
    for id in ["host-1", "beside-1", "host-1"] {
        let joined = join(&networks, id).await;
        assert_eq!((joined.namespace, joined.addresses), (None, Vec::new()), "{id}");
        assert_eq!(networks.publish(id).await.expect("published"), [], "{id}");
    }
    networks.leave("host-1").await.expect("left");
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn containers_reach_nothing_of_the_guest_itself() {
    if !root("containers_reach_nothing_of_the_guest_itself") {
        return;
    }
    let guest = Guest::new().await;
    let networks = guest.open(&two_networks()).await;
    let front = join(&networks, "front-1").await;
    // As the agent does.
    serve_tcp(V4, 8090);
    assert_eq!(
        in_namespace(&guest.outside, || seen_by(GUEST, 8090)),
        Some(OUTSIDE.into()),
        "outside reaches it"
    );
    for address in
        [GUEST, Ipv4Addr::new(172, 31, 0, 1), Ipv4Addr::new(172, 31, 16, 1), Ipv4Addr::LOCALHOST]
    {
        assert_eq!(inside(&front, || seen_by(address, 8090)), None, "{address}");
    }
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn published_ports_are_reached_by_peers_that_keep_their_address() {
    if !root("published_ports_are_reached_by_peers_that_keep_their_address") {
        return;
    }
    let guest = Guest::new().await;
    let mut dual = network("dual");
    dual.ipv6 = true;
    let ports = [(8080, 80, Protocol::Tcp), (5353, 53, Protocol::Udp)];
    let mut local = with_ports(service("local", on(&["dual"])), &[(9090, 80, Protocol::Tcp)]);
    local.ports[0].host_ip = Some(Ipv4Addr::LOCALHOST.into());
    let services = vec![
        with_ports(service("web", on(&["dual"])), &ports),
        local,
        service("peer", on(&["dual"])),
    ];
    let networks = guest.open(&compose(vec![dual], services)).await;
    let (web, local) = (join(&networks, "web-1").await, join(&networks, "local-1").await);
    let peer = join(&networks, "peer-1").await;
    inside(&web, || serve_tcp(web.addresses[1], 80));
    inside(&web, || serve_udp(53));
    inside(&local, || serve_tcp(V4, 80));
    let outside = |work: fn() -> Option<IpAddr>| in_namespace(&guest.outside, work);
    assert_eq!(outside(|| seen_by(GUEST, 8080)), None, "not yet published");
    let reachable = networks.publish("web-1").await.expect("published");
    assert_eq!(reachable, ["0.0.0.0:8080".parse().unwrap(), "0.0.0.0:5353".parse().unwrap()]);
    networks.publish("local-1").await.expect("published");
    assert_eq!(outside(|| seen_by(GUEST_V6, 8080)), Some(OUTSIDE_V6.into()));
    assert_eq!(outside(|| seen_by_udp(GUEST, 5353)), Some(OUTSIDE.into()));
    // A socket of both families tells an IPv4 peer as a mapped address.
    let mapped = |address: Ipv4Addr| Some(IpAddr::V6(address.to_ipv6_mapped()));
    assert_eq!(outside(|| seen_by(GUEST, 8080)), mapped(OUTSIDE));
    assert!(
        inside(&peer, || seen_by(GUEST, 8080)).is_some(),
        "a neighbour, by the guest's address"
    );
    assert!(inside(&web, || seen_by(GUEST, 8080)).is_some(), "itself, by the guest's address");
    assert!(seen_by(Ipv4Addr::LOCALHOST, 8080).is_some(), "the guest's own loopback");
    assert!(seen_by(Ipv4Addr::LOCALHOST, 9090).is_some(), "published there");
    assert_eq!(outside(|| seen_by(GUEST, 9090)), None, "and only there");
    let IpAddr::V4(address) = web.addresses[0] else { panic!("{web:?}") };
    assert_eq!(
        in_namespace(&guest.outside, || seen_by(address, 80)),
        None,
        "not by the container's own address"
    );
    networks.unpublish("web-1").await.expect("unpublished");
    assert_eq!(outside(|| seen_by(GUEST, 8080)), None, "no longer published");
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn only_internal_networks_have_no_way_out() {
    if !root("only_internal_networks_have_no_way_out") {
        return;
    }
    let guest = Guest::new().await;
    let (mut open, mut closed) = (network("open"), network("closed"));
    (open.ipv6, closed.ipv6, closed.internal) = (true, true, true);
    let both = service("both", on(&["closed", "open"]));
    let web = with_ports(service("web", on(&["open"])), &[(8080, 80, Protocol::Tcp)]);
    let services = vec![web, both, service("db", on(&["closed"]))];
    let networks = guest.open(&compose(vec![open, closed], services)).await;
    let (web, db) = (join(&networks, "web-1").await, join(&networks, "db-1").await);
    let both = join(&networks, "both-1").await;
    networks.publish("web-1").await.expect("published");
    in_namespace(&guest.outside, || serve_tcp(OUTSIDE_V6.into(), 80));
    inside(&web, || serve_tcp(V4, 80));
    let mapped = Some(IpAddr::V6(GUEST.to_ipv6_mapped()));
    for from in [&web, &both] {
        assert_eq!(inside(from, || seen_by(OUTSIDE, 80)), mapped, "as the guest");
        assert_eq!(inside(from, || seen_by(OUTSIDE_V6, 80)), Some(GUEST_V6.into()), "as the guest");
    }
    assert_eq!(inside(&db, || seen_by(OUTSIDE, 80)), None);
    assert_eq!(inside(&db, || seen_by(OUTSIDE_V6, 80)), None);
    assert_eq!(inside(&db, || seen_by(GUEST, 8080)), None, "not even what is published");
    inside(&db, || serve_tcp(V4, 81));
    assert_eq!(
        inside(&both, || seen_by(db.addresses[0], 81)),
        Some(both.addresses[0]),
        "a neighbour reaches it"
    );
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn nobody_speaks_as_somebody_else() {
    if !root("nobody_speaks_as_somebody_else") {
        return;
    }
    let guest = Guest::new().await;
    let networks = guest.open(&two_networks()).await;
    let (front, both) = (join(&networks, "front-1").await, join(&networks, "both-1").await);
    in_namespace(&guest.outside, || serve_udp(53));
    inside(&both, || serve_udp(53));
    // Root of the guest can do here what no container can: its namespace is not its own.
    let other = Ipv4Addr::new(172, 31, 16, 200);
    let namespace = File::open(front.namespace.as_deref().expect("its own")).expect("namespace");
    assert!(inside(&front, || seen_by_udp(OUTSIDE, 53)).is_some());
    in_namespace_async(&namespace, async || {
        speak_as("eth0", other, Ipv4Addr::new(172, 31, 0, 1)).await;
    });
    assert_eq!(inside(&front, || seen_by_udp(OUTSIDE, 53)), None, "an address of another network");
    assert!(inside(&front, || seen_by_udp(both.addresses[1], 53)).is_some());
    in_namespace_async(&namespace, async || {
        set_hardware_address("eth0", [0x02, 0x64, 0x73, 0, 0, 2]).await;
    });
    assert_eq!(
        inside(&front, || seen_by_udp(both.addresses[1], 53)),
        None,
        "a hardware address of another"
    );
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn a_lease_inside_a_networks_subnet_diverts_nothing() {
    if !root("a_lease_inside_a_networks_subnet_diverts_nothing") {
        return;
    }
    let guest = Guest::new().await;
    let mut front = network("front");
    front.ipv6 = true;
    let web = with_ports(service("web", on(&["front"])), &[(5353, 53, Protocol::Udp)]);
    let services = vec![web, service("peer", on(&["back"]))];
    let networks = guest.open(&compose(vec![front, network("back")], services)).await;
    let (web, peer) = (join(&networks, "web-1").await, join(&networks, "peer-1").await);
    networks.publish("web-1").await.expect("published");
    inside(&web, || serve_udp(53));
    assert!(inside(&peer, || seen_by_udp(GUEST, 5353)).is_some(), "by the guest's address");
    // The lease's subnets are parts of the network's, so that their routes are taken first; the
    // host has the container's addresses there.
    let (lease, lease_v6) = ("172.31.0.6".parse().unwrap(), "fd64:7374:7978::6".parse().unwrap());
    add_addresses("up0", (lease, 29), (lease_v6, 125)).await;
    let [IpAddr::V4(address), IpAddr::V6(address_v6)] = web.addresses[..] else {
        panic!("{web:?}")
    };
    in_namespace_async(&guest.outside, async || {
        add_addresses("out0", (address, 29), (address_v6, 125)).await;
    });
    let host = in_namespace(&guest.outside, || UdpSocket::bind("[::]:53").expect("free to take"));
    host.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // What the guest says itself, to a container, and what containers say: by the guest's address,
    // which is translated, and to another network.
    assert_eq!(seen_by_udp(address, 53), None);
    assert_eq!(seen_by_udp(address_v6, 53), None);
    assert_eq!(inside(&peer, || seen_by_udp(GUEST, 5353)), None);
    assert_eq!(inside(&peer, || seen_by_udp(address, 53)), None);
    let diverted = host.recv_from(&mut [0; 16]);
    assert!(diverted.is_err(), "the host got what was for a container: {diverted:?}");
    // The guest's own addresses on its networks are still its own.
    serve_tcp(V4, 8090);
    assert!(seen_by(Ipv4Addr::new(172, 31, 0, 1), 8090).is_some());
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn an_agent_that_is_started_again_finds_its_networks() {
    if !root("an_agent_that_is_started_again_finds_its_networks") {
        return;
    }
    let guest = Guest::new().await;
    let web = with_ports(service("web", on(&["one"])), &[(8080, 80, Protocol::Tcp)]);
    let file = compose(vec![network("one")], vec![web, service("db", on(&["one"]))]);
    let networks = guest.open(&file).await;
    let web = join(&networks, "web-1").await;
    inside(&web, || serve_tcp(V4, 80));
    networks.publish("web-1").await.expect("published");
    drop(networks);
    assert_eq!(
        in_namespace(&guest.outside, || seen_by(GUEST, 8080)),
        Some(OUTSIDE.into()),
        "while nobody looks"
    );
    let networks = guest.open(&file).await;
    assert_eq!(
        in_namespace(&guest.outside, || seen_by(GUEST, 8080)),
        Some(OUTSIDE.into()),
        "still published"
    );
    assert_eq!(join(&networks, "web-1").await, web, "as it was");
    let db = join(&networks, "db-1").await;
    assert_eq!(inside(&db, || seen_by(web.addresses[0], 80)), Some(db.addresses[0]));
    networks.leave("web-1").await.expect("left");
    networks.leave("web-1").await.expect("twice is fine");
    assert!(!web.namespace.as_ref().expect("namespace").exists());
    assert_eq!(in_namespace(&guest.outside, || seen_by(GUEST, 8080)), None);
    let web = join(&networks, "web-1").await;
    inside(&web, || serve_tcp(V4, 80));
    assert_eq!(
        inside(&db, || seen_by(web.addresses[0], 80)),
        Some(db.addresses[0]),
        "joined again"
    );
    drop(networks);
    let other = compose(vec![network("other")], vec![service("new", on(&["other"]))]);
    let networks = guest.open(&other).await;
    assert!(!web.namespace.expect("namespace").exists(), "what is of another file is removed");
    networks.close().await.expect("closed");
    assert_eq!(guest.run_dir().read_dir().expect("run directory").count(), 0, "nothing is left");
}
