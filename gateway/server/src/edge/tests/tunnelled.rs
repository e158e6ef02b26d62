//! The whole way: a client, the edge, a tunnel, and the guest's end of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use gateway_rules::guests::GuestFacts;
use gateway_rules::names::{DomainName, RouteId};
use protocol::app_compose::PortPolicy;
use protocol::digest::{AppId, InstanceId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tunnel::{Side, Tunnel, TunnelStream};

use super::clients::Client;
use super::rig::{BASE, Rig, certificate};
use crate::edge::{Edge, Settings};
use crate::fixtures::Records;
use crate::slots::locked;
use crate::tunnels::Tunnels;

#[tokio::test]
async fn a_reply_comes_through_a_tunnel_whole_or_is_seen_to_be_cut() {
    let guests = Arc::default();
    let tunnels = Tunnels::new(Arc::clone(&guests));
    let base = DomainName::parse(BASE).unwrap();
    let settings = Settings::new(vec![base.clone()], 100);
    let carrier = Arc::clone(&tunnels);
    let edge = Edge::new(settings, Arc::clone(&guests), carrier, Records::default()).unwrap();
    let (leaf, key) = certificate(&[&format!("*.{BASE}")]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    edge.certificates().install(&base, vec![leaf.clone()], key.into(), now).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_ending, told) = watch::channel(false);
    tokio::spawn(edge.serve(listener, told));

    // The guest's end hands its streams to the test.
    let (left, right) = duplex(1 << 16);
    let (app, instance) = (AppId([1; 20]), InstanceId([10; 20]));
    let facts = GuestFacts { app, instance, open_counter: 1, ports: PortPolicy::default() };
    tokio::spawn(async move { tunnels.run(facts, left, |_| {}).await });
    let guest = Tunnel::new(Side::Guest);
    let (sender, mut streams) = mpsc::unbounded_channel::<TunnelStream>();
    let task = guest.clone();
    tokio::spawn(async move {
        let opened = |stream, _| {
            task.connect(&stream);
            sender.send(stream).unwrap();
        };
        task.run(right, |_| {}, opened, |_| {}).await
    });
    let port = std::num::NonZeroU16::new(80).unwrap();
    Rig::until("the guest is routed", || locked(&guests).find(RouteId(app.0), port).is_some())
        .await;
    let client = Client::of(&leaf);
    let mut stream = client.connect(address, &Rig::name(1, "")).await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut app = streams.recv().await.unwrap();
    let mut asked = Vec::new();
    app.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"question");
    let reply = vec![7; 300_000];
    app.write_all(&reply).await.unwrap();
    app.shutdown().await.unwrap();
    drop(app);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert!(got == reply, "{} bytes", got.len());

    // The tunnel breaks in the middle of a reply.
    let mut stream = client.connect(address, &Rig::name(1, "")).await.unwrap();
    let mut app = streams.recv().await.unwrap();
    app.write_all(b"half an answ").await.unwrap();
    let mut got = [0; 12];
    stream.read_exact(&mut got).await.unwrap();
    guest.close();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "no close_notify");
    assert!(client.connect(address, &Rig::name(1, "")).await.is_ok(), "TLS ends in the gateway");
}
