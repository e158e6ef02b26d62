//! Relays through the edge: halves that end, apps that stay silent, replies in flight.

use std::time::Duration;

use rustls::version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::Client;
use super::rig::{Rig, taken};
use crate::metrics::Reason;
use crate::slots::locked;

#[tokio::test]
async fn a_reply_in_flight_survives_the_client_s_close_notify() {
    let rig = Rig::new(|_| {}).await;
    let (place, mut connections) = taken().await;
    rig.guest(1, 10, place);
    for version in [&version::TLS12, &version::TLS13] {
        let client = Client::with(&rig.certificate, &[version]);
        let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
        stream.write_all(b"question").await.unwrap();
        // Sends close_notify, and ends the half of the connection.
        stream.shutdown().await.unwrap();
        let mut app = connections.recv().await.unwrap();
        let mut asked = Vec::new();
        app.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"question");
        let reply = vec![7; 1 << 20];
        let sent = reply.clone();
        let sends = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            app.write_all(&sent).await.unwrap();
            app.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got == reply, "{} of {} bytes", got.len(), reply.len());
        sends.await.unwrap();
    }
}

#[tokio::test]
async fn a_half_closed_connection_to_a_silent_app_is_ended_when_idle() {
    let rig = Rig::new(|settings| settings.times.idle = Duration::from_millis(500)).await;
    let (place, mut connections) = taken().await;
    rig.guest(1, 10, place);
    let hello = Client::of(&rig.certificate).hello(&Rig::name(1, "-s"));
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut app = connections.recv().await.unwrap();
    let mut got = Vec::new();
    app.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, hello);
    // The app says nothing more and keeps its end.
    Rig::until("it is idle", || rig.edge.metrics().count(Reason::Idle) == 1).await;
    Rig::until("its slot is free", || locked(&rig.edge.counts).all() == 0).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_app_that_breaks_off_is_no_clean_end_for_a_terminated_client() {
    let rig = Rig::new(|_| {}).await;
    let (place, mut connections) = taken().await;
    rig.guest(1, 10, place);
    let client = Client::of(&rig.certificate);
    let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
    let mut app = connections.recv().await.unwrap();
    app.write_all(b"half an ans").await.unwrap();
    let mut got = [0; 11];
    stream.read_exact(&mut got).await.unwrap();
    stream.write_all(b"unread").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // With bytes unread this is a reset.
    drop(app);
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "no close_notify");
}

#[tokio::test]
async fn a_stream_of_events_and_bytes_both_ways_is_not_held_back() {
    let rig = Rig::new(|_| {}).await;
    let (place, mut connections) = taken().await;
    rig.guest(1, 10, place);
    let client = Client::of(&rig.certificate);
    let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
    let mut app = connections.recv().await.unwrap();
    for index in 0..20_u8 {
        app.write_all(&[index; 3]).await.unwrap();
        let mut event = [0; 3];
        stream.read_exact(&mut event).await.unwrap();
        assert_eq!(event, [index; 3]);
        stream.write_all(&[index; 5]).await.unwrap();
        let mut frame = [0; 5];
        app.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame, [index; 5]);
    }
}
