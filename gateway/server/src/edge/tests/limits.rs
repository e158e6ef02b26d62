//! Bounds: connections, places without a hello, and the gateway's end.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clients::{AT_ONCE, Client};
use super::rig::{Rig, echo, taken};
use crate::metrics::Reason;
use crate::slots::locked;

fn open(rig: &Rig) -> u32 {
    locked(&rig.edge.counts).all()
}

#[tokio::test]
async fn connects_at_the_same_time_do_not_pass_an_app_s_limit_together() {
    let rig = Rig::new(|settings| settings.most_per_app = 3).await;
    let (place, mut connections) = taken().await;
    rig.guest(1, 10, place);
    rig.guest(2, 20, echo("other").await);
    let hello = Client::of(&rig.certificate).hello(&Rig::name(1, "-s"));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let hello = hello.clone();
        clients.push(tokio::spawn(async move {
            stream.write_all(&hello).await.unwrap();
            let mut first = [0; 1];
            // Refused ones get an alert, the others nothing from their silent app.
            timeout(AT_ONCE, stream.read(&mut first)).await.is_err().then_some(stream)
        }));
    }
    let mut held = Vec::new();
    for client in clients {
        held.extend(client.await.unwrap());
    }
    assert_eq!(held.len(), 3);
    assert_eq!(rig.edge.metrics().count(Reason::AppFull), 17);
    let mut passed = 0;
    while connections.try_recv().is_ok() {
        passed += 1;
    }
    assert_eq!(passed, 3);
    // Another app has its own share, and a connection that ends makes room.
    let other = Client::of(&rig.certificate);
    assert!(other.connect(rig.address, &Rig::name(2, "")).await.is_ok());
    drop(held);
    Rig::until("slots are free again", || open(&rig) == 0).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    assert!(connections.recv().await.is_some());
}

#[tokio::test]
async fn a_connection_beyond_all_slots_is_refused_at_accept_and_the_rest_go_on() {
    let rig = Rig::new(|settings| settings.most = 4).await;
    rig.guest(1, 10, echo("").await);
    let client = Client::of(&rig.certificate);
    let name = Rig::name(1, "");
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(client.connect(rig.address, &name).await.unwrap());
    }
    for _ in 0..10 {
        assert!(client.connect(rig.address, &name).await.is_err());
    }
    assert_eq!(rig.edge.metrics().count(Reason::Full), 10);
    for stream in &mut held {
        stream.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
    }
    held.pop();
    Rig::until("a slot is free", || open(&rig) < 4).await;
    assert!(client.connect(rig.address, &name).await.is_ok());
    let text = rig.edge.metrics_text();
    assert!(text.contains("dstyx_gateway_connections_ended_total{reason=\"full\"} 10\n"), "{text}");
}

#[tokio::test]
async fn silent_strangers_keep_no_client_out_and_are_ended_in_time() {
    let rig = Rig::new(|settings| {
        settings.most_openings = 4;
        settings.times.hello = Duration::from_secs(2);
    })
    .await;
    rig.guest(1, 10, echo("served").await);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    Rig::until("sixteen are displaced", || rig.edge.metrics().count(Reason::Displaced) == 16).await;
    let client = Client::of(&rig.certificate);
    let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
    let mut got = [0; 6];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"served");
    drop(stream);
    Rig::until("the silent are gone", || open(&rig) == 0).await;
    assert!(rig.edge.metrics().count(Reason::Late) >= 3);
}

#[tokio::test]
async fn a_gateway_that_ends_takes_no_client_and_lets_relays_go_on_for_a_time() {
    let rig = Rig::new(|settings| settings.times.drain = Duration::from_secs(2)).await;
    rig.guest(1, 10, echo("").await);
    let client = Client::of(&rig.certificate);
    let name = Rig::name(1, "");
    let mut stream = client.connect(rig.address, &name).await.unwrap();
    let mut forgotten = client.connect(rig.address, &name).await.unwrap();
    rig.ending.send(true).unwrap();
    let mut refused = false;
    for _ in 0..100 {
        refused = client.connect(rig.address, &name).await.is_err();
        if refused {
            break;
        }
    }
    assert!(refused, "new clients go elsewhere");
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"last words");
    let Rig { task, .. } = rig;
    timeout(Duration::from_secs(10), task).await.expect("it ends").unwrap();
    assert!(forgotten.read(&mut [0; 1]).await.is_err(), "cut off, and not ended as by the app");
}
