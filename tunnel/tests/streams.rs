//! Tunnels on connections in memory: streams of bytes, ends, breaks, silence.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::io::ErrorKind;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tunnel::{Ended, Side, Tunnel, TunnelStream};

type Opened = (TunnelStream, NonZeroU16);

/// Two sides on one connection.
struct Pair {
    gateway: Tunnel,
    guest: Tunnel,
    opened: mpsc::UnboundedReceiver<Opened>,
    ready: mpsc::UnboundedReceiver<bool>,
    /// What the gateway and the guest were shown.
    stated: [mpsc::UnboundedReceiver<Vec<u8>>; 2],
    tasks: [JoinHandle<Ended>; 2],
}

fn pair() -> Pair {
    let (left, right) = duplex(8192);
    on(left, right)
}

fn on(left: DuplexStream, right: DuplexStream) -> Pair {
    let (gateway, guest) = (Tunnel::new(Side::Gateway), Tunnel::new(Side::Guest));
    let (said, ready) = mpsc::unbounded_channel();
    let (sender, opened) = mpsc::unbounded_channel();
    let ((to_gateway, at_gateway), (to_guest, at_guest)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let (one, other) = (gateway.clone(), guest.clone());
    let tasks = [
        tokio::spawn(async move {
            let stated = |statement| to_gateway.send(statement).unwrap();
            let none = |_, _| panic!("a guest opens none");
            one.run(left, |is| said.send(is).unwrap(), none, stated).await
        }),
        tokio::spawn(async move {
            // Without a receiver a stream is refused.
            let opened = |stream, port| drop(sender.send((stream, port)));
            let stated = |statement| to_guest.send(statement).unwrap();
            other.run(right, |_| panic!("a gateway is not ready"), opened, stated).await
        }),
    ];
    Pair { gateway, guest, opened, ready, stated: [at_gateway, at_guest], tasks }
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

impl Pair {
    /// A stream and the guest's end of it.
    async fn open(&mut self) -> (TunnelStream, TunnelStream) {
        let (gateway, guest) = (self.gateway.clone(), self.guest.clone());
        let opens = tokio::spawn(async move { gateway.open(port(80)).await.unwrap() });
        let (stream, to) = self.opened.recv().await.unwrap();
        assert_eq!(to, port(80));
        guest.connect(&stream);
        (opens.await.unwrap(), stream)
    }
}

#[tokio::test]
async fn many_streams_carry_much_both_ways_at_once() {
    let mut pair = pair();
    let mut tasks = Vec::new();
    for index in 0..30_u8 {
        let (mut client, app) = pair.open().await;
        tasks.push(tokio::spawn(async move {
            let (mut reads, mut writes) = tokio::io::split(app);
            tokio::io::copy(&mut reads, &mut writes).await.unwrap();
            writes.shutdown().await.unwrap();
            // The other side may read for a while yet.
            reads.unsplit(writes)
        }));
        tasks.push(tokio::spawn(async move {
            let sent = vec![index; 300_000];
            let (mut reads, mut writes) = tokio::io::split(&mut client);
            let mut got = Vec::new();
            let send = async {
                writes.write_all(&sent).await.unwrap();
                writes.shutdown().await.unwrap();
            };
            let (_, read) = tokio::join!(send, reads.read_to_end(&mut got));
            assert!(read.unwrap() == sent.len() && got == sent);
            client
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((pair.gateway.streams(), pair.guest.streams()), (0, 0));
}

#[tokio::test]
async fn a_guest_refuses_a_port_and_says_when_its_app_is_ready() {
    let mut pair = pair();
    pair.guest.say_ready(true);
    assert_eq!(pair.ready.recv().await, Some(true));
    let gateway = pair.gateway.clone();
    let opens = tokio::spawn(async move { gateway.open(port(22)).await });
    let (stream, _) = pair.opened.recv().await.unwrap();
    drop(stream);
    assert_eq!(opens.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn both_sides_show_statements_however_they_are_cut_and_none_that_is_too_long() {
    let (left, right) = duplex(7);
    let mut pair = on(left, right);
    let statement = vec![b'x'; 16 << 10];
    assert!(pair.guest.say_statement(&statement) && pair.gateway.say_statement(b"{}"));
    assert_eq!(pair.stated[0].recv().await.unwrap(), statement);
    assert_eq!(pair.stated[1].recv().await.unwrap(), b"{}");
    assert!(!pair.guest.say_statement(&vec![0; (16 << 10) + 1]));
    assert!(!pair.guest.say_statement(b""));
    pair.guest.say_ready(true);
    assert_eq!(pair.ready.recv().await, Some(true));
}

#[tokio::test]
async fn a_tunnel_that_breaks_is_no_end_of_its_streams() {
    let mut pair = pair();
    let (mut client, mut app) = pair.open().await;
    app.write_all(b"half an answ").await.unwrap();
    let mut got = [0; 12];
    client.read_exact(&mut got).await.unwrap();
    pair.tasks[1].abort();
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(app.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let [gateway, _] = pair.tasks;
    assert!(matches!(gateway.await.unwrap(), Ended::Peer | Ended::Io(_)));
    assert_eq!(pair.gateway.open(port(80)).await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_tunnel_that_is_closed_ends_its_task() {
    let mut pair = pair();
    let (mut client, _app) = pair.open().await;
    pair.gateway.close();
    let [gateway, _] = pair.tasks;
    assert!(matches!(gateway.await.unwrap(), Ended::Closed));
    assert!(client.read(&mut [0]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_peer_is_kept_and_a_silent_one_is_ended() {
    let mut pair = pair();
    let (mut client, mut app) = pair.open().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.write_all(b"after an hour").await.unwrap();
    let mut got = [0; 13];
    app.read_exact(&mut got).await.unwrap();
    let (left, _silent) = duplex(8192);
    let (gateway, begun) = (Tunnel::new(Side::Gateway), tokio::time::Instant::now());
    let ended = gateway.run(left, |_| {}, |_, _| {}, |_| {}).await;
    assert!(matches!(ended, Ended::Silent), "{ended}");
    assert!((60..=90).contains(&begun.elapsed().as_secs()));
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_ended() {
    let (left, mut right) = duplex(8192);
    right.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let ended = Tunnel::new(Side::Gateway).run(left, |_| {}, |_, _| {}, |_| {}).await;
    assert!(matches!(ended, Ended::Violation(_)));
}
