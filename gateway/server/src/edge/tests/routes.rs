//! Where names lead: instances, headers for apps, domains of others, certificates.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway_rules::custom::Answer;
use gateway_rules::guests::TunnelId;
use gateway_rules::proxy_protocol::{self, Ends, Version};
use protocol::digest::InstanceId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{Client, alert, answer};
use super::rig::{BASE, Rig, echo, secret, taken};
use crate::fixtures::Place;
use crate::slots::locked;

/// What an app says first to a client of this name.
async fn greeting(rig: &Rig, name: &str) -> std::io::Result<String> {
    let mut stream = Client::of(&rig.certificate).connect(rig.address, name).await?;
    stream.shutdown().await?;
    let mut got = String::new();
    stream.read_to_string(&mut got).await?;
    Ok(got)
}

#[tokio::test]
async fn a_passed_through_connection_ends_in_the_app() {
    let rig = Rig::new(|_| {}).await;
    let name = Rig::name(1, "-443s");
    let (place, own) = secret(&[&name]).await;
    rig.guest(1, 10, place);
    let mut stream = Client::of(&own).connect(rig.address, &name).await.unwrap();
    stream.write_all(b"secret").await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "secret");
    // The gateway's certificate is not shown there.
    assert!(Client::of(&rig.certificate).connect(rig.address, &name).await.is_err());
}

#[tokio::test]
async fn http_2_is_agreed_only_where_the_name_asks_for_it() {
    let rig = Rig::new(|_| {}).await;
    rig.guest(1, 10, echo("").await);
    let of = |alpn: &[&[u8]], suffix: &str| {
        let client = Client::of(&rig.certificate).alpn(alpn);
        let (address, name) = (rig.address, Rig::name(1, suffix));
        async move {
            let stream = client.connect(address, &name).await.ok()?;
            Some(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
        }
    };
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    assert_eq!(of(both, "").await, Some(Some(b"http/1.1".to_vec())));
    assert_eq!(of(both, "-g").await, Some(Some(b"h2".to_vec())));
    assert_eq!(of(&[b"h2"], "").await, None);
    assert_eq!(of(&[b"http/1.1"], "-g").await, None);
    assert_eq!(of(&[], "").await, Some(None));
}

#[tokio::test]
async fn an_app_that_asks_for_it_is_told_who_connected_whatever_the_name_ends_in() {
    let rig = Rig::new(|_| {}).await;
    let (place, mut connections) = taken().await;
    let policy = r#"{"ports":[{"port":80,"pp":true},{"port":443,"pp":true}]}"#;
    rig.guest_with(1, 10, place, policy);
    let client = Client::of(&rig.certificate).alpn(&[b"h2", b"http/1.1"]);
    for suffix in ["", "-80", "-g", "-443", "-443g"] {
        let stream = client.connect(rig.address, &Rig::name(1, suffix)).await.unwrap();
        let source = stream.get_ref().0.local_addr().unwrap();
        let expected =
            proxy_protocol::write(Version::V2, Ends { source, destination: rig.address });
        let mut got = vec![0; expected.len()];
        connections.recv().await.unwrap().read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected, "{suffix}");
    }
    for suffix in ["-s", "-80s"] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let hello = client.hello(&Rig::name(1, suffix));
        stream.write_all(&hello).await.unwrap();
        let source = stream.local_addr().unwrap();
        let header = proxy_protocol::write(Version::V2, Ends { source, destination: rig.address });
        let expected = [&header[..], &hello].concat();
        let mut got = vec![0; expected.len()];
        connections.recv().await.unwrap().read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected, "{suffix}");
    }
    // Other letters name nothing.
    for suffix in ["-80p", "-80sp", "-80n", "-80s-pp"] {
        assert!(client.connect(rig.address, &Rig::name(1, suffix)).await.is_err(), "{suffix}");
    }
}

#[tokio::test]
async fn a_client_s_own_word_about_its_address_counts_only_behind_the_operator_s_proxy() {
    let said = Ends {
        source: "203.0.113.7:4711".parse().unwrap(),
        destination: "198.51.100.2:443".parse().unwrap(),
    };
    let header = |version| proxy_protocol::write(version, said);
    let plain = Rig::new(|_| {}).await;
    let hello = Client::of(&plain.certificate).hello(&Rig::name(1, "-s"));
    for version in [Version::V1, Version::V2] {
        let got = answer(plain.address, &[&header(version)[..], &hello].concat()).await;
        assert!(got.starts_with(b"HTTP/1.1 400 ") || alert(&got) == 10, "{version:?}");
    }
    let proxied = Rig::new(|settings| settings.proxied = true).await;
    let (place, mut connections) = taken().await;
    proxied.guest_with(1, 10, place, r#"{"ports":[{"port":443,"pp":true}]}"#);
    for version in [Version::V1, Version::V2] {
        let mut stream = TcpStream::connect(proxied.address).await.unwrap();
        stream.write_all(&[&header(version)[..], &hello].concat()).await.unwrap();
        let expected = [&header(Version::V2)[..], &hello].concat();
        let mut got = vec![0; expected.len()];
        connections.recv().await.unwrap().read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
    }
    assert_eq!(answer(proxied.address, &hello).await, b"", "without a header nothing is said");
}

#[tokio::test]
async fn a_restricted_app_is_reached_on_its_ports_only() {
    let rig = Rig::new(|_| {}).await;
    let policy = r#"{"ports":[{"port":80}],"restrict_mode":true}"#;
    rig.guest_with(1, 10, echo("open").await, policy);
    assert_eq!(greeting(&rig, &Rig::name(1, "")).await.unwrap(), "open");
    let name = Rig::name(1, "-443s");
    let got = answer(rig.address, &Client::of(&rig.certificate).hello(&name)).await;
    assert_eq!(alert(&got), 80, "internal_error");
}

#[tokio::test]
async fn a_domain_of_others_leads_where_its_one_record_says() {
    let rig = Rig::new(|_| {}).await;
    let (place, own) = secret(&["shop.example", "other.example", "gone.example"]).await;
    rig.guest(1, 10, place);
    let record = || format!("{}:443", hex::encode([1; 20])).into_bytes();
    let set = |name: &str, records: Vec<Vec<Vec<u8>>>| {
        rig.records.set(&format!("_dstack-app-address.{name}"), Answer::Records(records));
    };
    set("shop.example", vec![vec![record()]]);
    let client = Client::of(&own);
    assert!(client.connect(rig.address, "shop.example").await.is_ok());
    // Two records, one in two strings, one that names no app.
    set("other.example", vec![vec![record()], vec![record()]]);
    assert!(client.connect(rig.address, "other.example").await.is_err());
    let (first, second) = (record()[..20].to_vec(), record()[20..].to_vec());
    set("cut.example", vec![vec![first, second]]);
    set("gone.example", vec![vec![format!("{}:443", hex::encode([9; 20])).into_bytes()]]);
    for name in ["cut.example", "gone.example", "none.example"] {
        assert_eq!(alert(&answer(rig.address, &client.hello(name)).await), 112, "{name}");
    }
    // What was read is remembered for a while.
    set("shop.example", vec![]);
    assert!(client.connect(rig.address, "shop.example").await.is_ok());
}

#[tokio::test]
async fn an_instance_that_does_not_answer_is_left_within_one_connect_time() {
    let rig = Rig::new(|settings| settings.times.connect = Duration::from_millis(1500)).await;
    let closed: SocketAddr = "127.0.0.1:1".parse().unwrap();
    rig.guest(1, 10, Place::Silent);
    rig.guest(1, 11, Place::At(closed));
    rig.guest(1, 12, echo("alive").await);
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(greeting(&rig, &Rig::name(1, "")).await.unwrap(), "alive");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    // None that answers: a client of HTTP is told in its own protocol.
    rig.guest(2, 20, Place::At(closed));
    let client = Client::of(&rig.certificate).alpn(&[b"http/1.1"]);
    let mut stream = client.connect(rig.address, &Rig::name(2, "")).await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{got}");
    Rig::until("no load is left", || {
        let guests = locked(&rig.guests);
        let port = std::num::NonZeroU16::new(80).unwrap();
        let id = gateway_rules::names::RouteId([1; 20]);
        guests.find(id, port).unwrap().1.iter().all(|candidate| candidate.load == 0)
    })
    .await;
}

#[tokio::test]
async fn a_warming_instance_that_accepts_gets_no_client_while_another_is_ready() {
    let rig = Rig::new(|_| {}).await;
    rig.guest(1, 10, echo("warming").await);
    rig.guest(1, 11, echo("ready").await);
    locked(&rig.guests).ready(InstanceId([10; 20]), TunnelId(10), false);
    for _ in 0..10 {
        assert_eq!(greeting(&rig, &Rig::name(1, "")).await.unwrap(), "ready");
    }
    // By its own name it is reached.
    assert_eq!(greeting(&rig, &Rig::name(10, "")).await.unwrap(), "warming");
}

#[tokio::test]
async fn a_new_certificate_ends_no_connection_and_is_shown_to_the_next_client() {
    let rig = Rig::new(|_| {}).await;
    rig.guest(1, 10, echo("").await);
    let name = Rig::name(1, "");
    let old = Client::of(&rig.certificate);
    let mut stream = old.connect(rig.address, &name).await.unwrap();
    let new = Client::of(&rig.install());
    assert!(new.connect(rig.address, &name).await.is_ok());
    assert!(old.connect(rig.address, &name).await.is_err());
    stream.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn the_gateway_s_own_pages_say_what_it_serves() {
    let rig = Rig::new(|_| {}).await;
    let get = |name: String, path: &'static str| {
        let client = Client::of(&rig.certificate).alpn(&[b"http/1.1"]);
        let address = rig.address;
        async move {
            let mut stream = client.connect(address, &name).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            got
        }
    };
    let health = get(format!("health.{BASE}"), "/").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("serving\n"), "{health}");
    let served = get(format!("gateway.{BASE}"), "/served.json").await;
    assert!(served.contains(r#""base_domain":"apps.example""#) && served.contains("spki_sha256"));
    assert!(get(format!("gateway.{BASE}"), "/other").await.starts_with("HTTP/1.1 404 "));
}
