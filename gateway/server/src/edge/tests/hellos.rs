//! Hellos of every form, and bytes that are none.

use super::clients::{Client, alert, answer, renamed};
use super::rig::{Rig, echo, taken};
use rustls::{NamedGroup, ProtocolVersion, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// `unrecognized_name`.
const UNRECOGNIZED: u8 = 112;

#[tokio::test]
async fn tls_1_2_and_1_3_are_terminated_and_post_quantum_keys_are_agreed() {
    let rig = Rig::new(|_| {}).await;
    rig.guest(1, 10, echo("hello ").await);
    for version in [&version::TLS12, &version::TLS13] {
        let client = Client::with(&rig.certificate, &[version]);
        let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
        stream.write_all(b"world").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "hello world");
        let session = stream.get_ref().1;
        if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            let group = session.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
    }
}

#[tokio::test]
async fn a_hello_in_small_records_or_with_a_late_name_is_served() {
    let rig = Rig::new(|_| {}).await;
    rig.guest(1, 10, echo("hello").await);
    let many: Vec<Vec<u8>> = (0..40_u8).map(|index| vec![b'a' + index % 26; 200]).collect();
    let mut many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    many.push(b"http/1.1");
    // Extensions come in an order that the client draws: with 8 KB of another one, in some of them
    // the name is beyond 4,096 bytes.
    for round in 0..8 {
        let mut client = Client::of(&rig.certificate).alpn(&many);
        client.config.max_fragment_size = (round % 2 == 0).then_some(512);
        let mut stream = client.connect(rig.address, &Rig::name(1, "")).await.unwrap();
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    }
}

#[tokio::test]
async fn what_is_no_hello_for_this_gateway_is_answered_at_once() {
    let rig = Rig::new(|_| {}).await;
    let client = Client::of(&rig.certificate);
    let name = Rig::name(1, "");
    let http = answer(rig.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(http.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(alert(&answer(rig.address, &client.hello("192.0.2.1")).await), UNRECOGNIZED);
    let mut data = client.hello(&name);
    data[0] = 23;
    assert_eq!(alert(&answer(rig.address, &data).await), 10, "unexpected_message");
    // Each of these names is read and leads nowhere.
    for unknown in [
        name.clone(),
        Rig::name(1, "-0"),
        Rig::name(1, "-gs"),
        Rig::name(1, "-080"),
        "apps.example".to_owned(),
        format!("a.{name}"),
        "www.other.example".to_owned(),
    ] {
        let got = answer(rig.address, &client.hello(&unknown)).await;
        assert_eq!(alert(&got), UNRECOGNIZED, "{unknown}");
    }
    // A client's library would not send these.
    let port = Rig::name(1, "-180");
    for wrong in [port.replace("-180", "-+80"), port.replace("-180", "\n180")] {
        let got = answer(rig.address, &renamed(client.hello(&port), &port, &wrong)).await;
        assert!([UNRECOGNIZED, 47, 50].contains(&alert(&got)), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_name_in_upper_case_is_passed_through_as_it_was_sent() {
    let rig = Rig::new(|_| {}).await;
    let (place, mut connections) = taken().await;
    rig.guest(0xab, 10, place);
    let name = Rig::name(0xab, "-s");
    let hello = renamed(Client::of(&rig.certificate).hello(&name), &name, &name.to_uppercase());
    // What follows the hello looks like another one, and belongs to the app.
    let other = Client::of(&rig.certificate).hello(&Rig::name(2, "-s"));
    let mut data = vec![23, 3, 3];
    data.extend(u16::try_from(other.len()).unwrap().to_be_bytes());
    let sent = [&hello[..], &data, &other].concat();
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    let mut app = connections.recv().await.unwrap();
    let mut got = vec![0; sent.len()];
    app.read_exact(&mut got).await.unwrap();
    assert_eq!(got, sent);
}
