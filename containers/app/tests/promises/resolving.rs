//! Promise: services find each other by name on the networks that they share, and nothing of the
//! app's names leaves the guest. All of these tests need root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compose::model::{Attachment, ComposeFile, NetworkMode};
use containers::network::{Joined, Networks};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lan::{Guest, OUTSIDE, compose, in_namespace, inside, network, on};
use crate::root;
use crate::service::service;

/// What the server outside says of every name.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
    message
}

/// Asks the resolver that `from` is told of.
async fn ask(from: &Joined, name: &str, kind: RecordType) -> Message {
    let answer = send(from, &question(name, kind).to_vec().expect("bytes")).await;
    Message::from_vec(&answer.expect("an answer")).expect("well formed")
}

async fn send(from: &Joined, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = inside(from, || UdpSocket::bind("0.0.0.0:0").expect("socket"));
    socket.set_nonblocking(true).expect("not blocking");
    let socket = tokio::net::UdpSocket::from_std(socket).expect("socket");
    socket.send_to(bytes, server(from)).await.expect("sent");
    let mut buffer = vec![0; 65536];
    let received = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await;
    buffer.truncate(received.ok()?.ok()?);
    Some(buffer)
}

fn server(from: &Joined) -> SocketAddr {
    let line = from.resolv_conf.lines().next().expect("a line");
    SocketAddr::new(
        line.strip_prefix("nameserver ").expect("a server").parse().expect("address"),
        53,
    )
}

async fn ask_by_tcp(from: &Joined, name: &str, kind: RecordType) -> Message {
    let stream = inside(from, || std::net::TcpStream::connect(server(from)).expect("connected"));
    stream.set_nonblocking(true).expect("not blocking");
    let mut stream = tokio::net::TcpStream::from_std(stream).expect("stream");
    let bytes = question(name, kind).to_vec().expect("bytes");
    stream.write_u16(u16::try_from(bytes.len()).expect("short")).await.expect("written");
    stream.write_all(&bytes).await.expect("written");
    let mut answer = vec![0; usize::from(stream.read_u16().await.expect("length"))];
    stream.read_exact(&mut answer).await.expect("answer");
    Message::from_vec(&answer).expect("well formed")
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(A(address)) => Some(IpAddr::V4(*address)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

/// A server outside that tells [`SOMEWHERE`] for every name, and whom it was asked for.
fn serve_outside(guest: &Guest) -> Arc<Mutex<Vec<String>>> {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let socket = in_namespace(&guest.outside, || UdpSocket::bind((OUTSIDE, 53)).expect("socket"));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..length]).expect("well formed");
            let name = message.queries[0].name().clone();
            log.lock().expect("not poisoned").push(name.to_ascii());
            message.metadata.message_type = MessageType::Response;
            message.add_answer(Record::from_rdata(name, 60, RData::A(A(SOMEWHERE))));
            // First what nobody asked for: it must be passed over.
            let mut stray = message.clone();
            stray.metadata.id ^= 1;
            for answer in [stray, message] {
                socket.send_to(&answer.to_vec().expect("bytes"), peer).expect("sent");
            }
        }
    });
    std::fs::write(guest.directory.path().join("resolv.conf"), format!("nameserver {OUTSIDE}\n"))
        .expect("written");
    asked
}

/// Three networks: `web` on two of them, three workers, a store on an internal one.
fn file() -> ComposeFile {
    let (mut front, mut inner) = (network("front"), network("inner"));
    (front.ipv6, inner.internal) = (true, true);
    let alias = Attachment {
        network: "back".to_owned(),
        aliases: vec!["Queue.App".to_owned()],
        addresses: Vec::new(),
    };
    let mut worker = service("worker", NetworkMode::Networks(vec![alias]));
    worker.replicas = 3;
    let mut web = service("web", on(&["front", "back"]));
    web.names.container_name = Some("the-web".to_owned());
    let services =
        vec![web, worker, service("peer", on(&["front"])), service("store", on(&["inner"]))];
    compose(vec![front, network("back"), inner], services)
}

async fn join(networks: &Networks, id: &str) -> Joined {
    networks.join(id).await.expect("joined")
}

#[tokio::test]
async fn names_are_those_of_shared_networks() {
    if !root("names_are_those_of_shared_networks") {
        return;
    }
    let guest = Guest::new().await;
    let networks = guest.open(&file()).await;
    let (web, peer) = (join(&networks, "web-1").await, join(&networks, "peer-1").await);
    let workers = [join(&networks, "worker-1").await, join(&networks, "worker-2").await];
    for name in ["web", "WEB.", "web-1", "the-web"] {
        let answer = ask(&peer, name, RecordType::A).await;
        assert_eq!(addresses(&answer), [web.addresses[0]], "{name}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    }
    assert_eq!(addresses(&ask(&peer, "web", RecordType::AAAA).await), [web.addresses[1]]);
    assert_eq!(addresses(&ask_by_tcp(&peer, "web", RecordType::A).await), [web.addresses[0]]);
    assert_eq!(
        addresses(&ask(&workers[0], "web", RecordType::A).await),
        [web.addresses[2]],
        "by its other network"
    );
    let mail = ask(&peer, "web", RecordType::MX).await;
    assert_eq!(
        (mail.metadata.response_code, mail.answers.len()),
        (ResponseCode::NoError, 0),
        "a name without mail"
    );
    let first = addresses(&ask(&web, "queue.app", RecordType::A).await);
    let second = addresses(&ask(&web, "worker", RecordType::A).await);
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(sorted, [workers[0].addresses[0], workers[1].addresses[0]], "those that run");
    assert_eq!(second, [first[1], first[0]], "in turns");
    for name in ["worker", "queue.app", "worker-1", "nobody"] {
        let answer = ask(&peer, name, RecordType::A).await;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NXDomain,
            "{name} is not on its network"
        );
    }
    let reverse = Name::from(web.addresses[0]).to_ascii();
    let answer = ask(&peer, &reverse, RecordType::PTR).await;
    assert_eq!(answer.answers[0].data.to_string(), "the-web.");
    let answer = ask(&workers[0], &reverse, RecordType::PTR).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "not on its network");
    networks.leave("worker-1").await.expect("left");
    assert_eq!(addresses(&ask(&web, "worker", RecordType::A).await), [workers[1].addresses[0]]);
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn the_rest_is_asked_for_outside_and_the_apps_names_are_not() {
    if !root("the_rest_is_asked_for_outside_and_the_apps_names_are_not") {
        return;
    }
    let guest = Guest::new().await;
    let asked = serve_outside(&guest);
    let mut compose = file();
    compose.services[2].names.dns = vec!["192.0.2.99".parse().unwrap(), OUTSIDE.into()];
    let networks = guest.open(&compose).await;
    let (web, store) = (join(&networks, "web-1").await, join(&networks, "store-1").await);
    let peer = join(&networks, "peer-1").await;
    assert_eq!(addresses(&ask(&web, "example.org", RecordType::A).await), [IpAddr::V4(SOMEWHERE)]);
    assert_eq!(
        addresses(&ask(&peer, "dns.example", RecordType::A).await),
        [IpAddr::V4(SOMEWHERE)],
        "its own servers"
    );
    let not_running = ["queue.app", "worker", "worker-2", "unknown", "5.0.31.172.in-addr.arpa"];
    for name in not_running {
        let answer = ask(&web, name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    let answer = ask(&store, "example.com", RecordType::A).await;
    assert_eq!(
        answer.metadata.response_code,
        ResponseCode::Refused,
        "an internal network has no way out"
    );
    assert_eq!(*asked.lock().expect("not poisoned"), ["example.org.", "dns.example."]);
    std::fs::write(guest.directory.path().join("resolv.conf"), "nameserver 172.31.0.1\n")
        .expect("written");
    let answer = ask(&web, "example.net", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "it never asks itself");
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn hostile_queries_are_refused_and_change_nothing() {
    if !root("hostile_queries_are_refused_and_change_nothing") {
        return;
    }
    let guest = Guest::new().await;
    let networks = guest.open(&file()).await;
    let (web, peer) = (join(&networks, "web-1").await, join(&networks, "peer-1").await);
    let good = question("web", RecordType::A).to_vec().expect("bytes");
    let mut trailing = good.clone();
    trailing.push(0);
    let mut pointing_at_itself = good[..12].to_vec();
    pointing_at_itself.extend([0xc0, 12, 0, 1, 0, 1]);
    for bytes in [&good[..15], &trailing, &pointing_at_itself, &[&good[..4], &[0xff; 200]].concat()]
    {
        let answer =
            Message::from_vec(&send(&peer, bytes).await.expect("an answer")).expect("well formed");
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr, "{bytes:?}");
    }
    let mut update = good.clone();
    update[2] |= 5 << 3;
    let answer =
        Message::from_vec(&send(&peer, &update).await.expect("an answer")).expect("well formed");
    assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
    let mut chaos = question("web", RecordType::A);
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    let answer = send(&peer, &chaos.to_vec().expect("bytes")).await.expect("an answer");
    assert_eq!(
        Message::from_vec(&answer).expect("well formed").metadata.response_code,
        ResponseCode::Refused
    );
    assert_eq!(addresses(&ask(&peer, "web", RecordType::A).await), [web.addresses[0]]);
    networks.close().await.expect("closed");
}
