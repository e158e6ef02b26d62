//! Hellos of rustls's client, cut and changed, and bytes that are none.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The handshake message of a client, without headers of records.
fn message(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
    let provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        // No handshake of these tests comes to a certificate.
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    assert_eq!(wire.len(), 5 + usize::from(u16::from_be_bytes([wire[3], wire[4]])), "one record");
    wire.split_off(5)
}

/// The same with an extension before all others, such as GREASE, ECH or padding.
fn extended(message: &[u8], kind: u16, payload: &[u8]) -> Vec<u8> {
    // Type and length, version, random, then session id, suites and compression with lengths.
    let session = 4 + 2 + 32;
    let suites = session + 1 + usize::from(message[session]);
    let compression =
        suites + 2 + usize::from(u16::from_be_bytes([message[suites], message[suites + 1]]));
    let at = compression + 1 + usize::from(message[compression]);
    let old = usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let mut extension = kind.to_be_bytes().to_vec();
    extension.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    extension.extend(payload);
    let mut made = message[..at].to_vec();
    made.extend(u16::try_from(old + extension.len()).unwrap().to_be_bytes());
    made.extend(extension);
    made.extend(&message[at + 2..]);
    let length = u32::try_from(made.len() - 4).unwrap().to_be_bytes();
    made[1..4].copy_from_slice(&length[1..]);
    made
}

/// A message in records of so many bytes.
fn records(message: &[u8], bytes: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, 1], &length[..], part].concat()
    };
    message.chunks(bytes).flat_map(record).collect()
}

/// Reads bytes that come in pieces of so many.
fn read(wire: &[u8], bytes: usize) -> Result<Option<Hello>, HelloRefused> {
    let mut reader = HelloReader::default();
    for (index, piece) in wire.chunks(bytes).enumerate() {
        if let Some(hello) = reader.push(piece)? {
            assert_eq!(hello.bytes, wire[..hello.bytes.len()]);
            assert!(hello.bytes.len() <= (index + 1) * bytes && hello.taken <= hello.bytes.len());
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

fn name_of(wire: &[u8], bytes: usize) -> String {
    read(wire, bytes).unwrap().expect("a whole hello").name.to_string()
}

#[test]
fn a_hello_is_read_however_it_is_cut() {
    let message = message("app.example", &[b"h2", b"http/1.1"]);
    assert!(message.len() > 1200, "it has a post-quantum key");
    for (record, segment) in [(16384, 16384), (512, 512), (512, 7), (100, 1), (6, 1), (1, 1)] {
        assert_eq!(name_of(&records(&message, record), segment), "app.example", "{record}");
    }
    let hello = read(&records(&message, 512), 1460).unwrap().unwrap();
    assert_eq!(hello.alpn, [&b"h2"[..], b"http/1.1"]);
}

#[test]
fn a_name_beyond_the_first_4096_bytes_is_found() {
    let late = extended(&message("late.example", &[]), 0x4469, &[0; 8192]);
    assert_eq!(name_of(&records(&late, 16384), 1460), "late.example");
    assert_eq!(name_of(&records(&late, 512), 1460), "late.example");
}

#[test]
fn a_hello_may_have_64_kib_and_no_more() {
    let plain = message("app.example", &[]);
    let fill = |bytes: usize| extended(&plain, 0x4469, &vec![0; bytes - plain.len() - 4]);
    let largest = fill(MAX_HELLO_BYTES - 5000);
    assert_eq!(name_of(&records(&largest, 16384), 4096), "app.example");
    assert_eq!(name_of(&records(&largest, 512), 4096), "app.example");
    let mut larger = fill(MAX_HELLO_BYTES - 4);
    larger[1] = 1;
    larger.resize(80_000, 0);
    let error = read(&records(&larger, 16384), 4096).unwrap_err();
    assert!(!error.answer.is_empty(), "{error}");
}

#[test]
fn a_name_is_read_in_any_case() {
    let mut message = message("app.example", &[]);
    let at = message.windows(11).position(|part| part == b"app.example").unwrap();
    message[at..at + 11].copy_from_slice(b"APP.Example");
    assert_eq!(name_of(&records(&message, 512), 512), "app.example");
}

#[test]
fn grease_and_ech_pass_by_the_outer_name() {
    let greased = extended(&message("outer.example", &[]), 0x0a0a, &[]);
    // Of an outer hello: suite, number of a configuration, encapsulated key, payload.
    let head = [0, 0, 1, 0, 1, 7, 0, 32];
    let payload = [&head[..], &[5; 32], &[0, 144], &[9; 144]].concat();
    let ech = extended(&greased, 0xfe0d, &payload);
    assert_eq!(name_of(&records(&ech, 512), 512), "outer.example");
}

#[test]
fn a_hello_without_a_name_is_answered_at_once() {
    for name in ["192.0.2.1", "::1"] {
        let error = read(&records(&message(name, &[]), 512), 512).unwrap_err();
        assert!(matches!(error.error, HelloError::NoName));
        assert_eq!(error.answer, UNRECOGNIZED);
    }
}

#[test]
fn what_is_no_tls_is_answered_at_its_first_byte() {
    let error = read(b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n", 1).unwrap_err();
    assert!(matches!(error.error, HelloError::PlainHttp));
    assert!(error.answer.starts_with(b"HTTP/1.1 400 "));
    let body = error.answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(error.answer.len() - body, 33, "as its head says");
    // Application data, an alert, a heartbeat, SSH, PROXY protocol 2 where none is expected.
    for first in [23, 21, 24, b'\r', 0x80, 0] {
        let mut wire = records(&message("app.example", &[]), 16384);
        wire[0] = first;
        let error = read(&wire, 1).unwrap_err();
        assert!(matches!(error.error, HelloError::NoTls(found) if found == first));
        assert_eq!(error.answer, UNEXPECTED);
    }
}

#[test]
fn bytes_that_look_like_a_name_elsewhere_are_none() {
    let hello = message("app.example", &[]);
    let other = message("evil.example", &[]);
    // After the hello, in a record of another type: they belong to what comes next.
    let mut wire = records(&hello, 16384);
    let length = wire.len();
    wire.extend([23, 3, 3]);
    wire.extend(u16::try_from(other.len()).unwrap().to_be_bytes());
    wire.extend(&other);
    let found = read(&wire, wire.len()).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.bytes.len()), ("app.example", wire.len()));
    assert!(found.taken >= length);
    // A second hello in the same record, and one in a record of its own.
    for bytes in [16384, hello.len()] {
        let twice = records(&[&hello[..], &other].concat(), bytes);
        if let Ok(found) = read(&twice, twice.len()) {
            assert_eq!(found.unwrap().name.as_str(), "app.example");
        }
    }
    // A hello without the extension, whose session id or padding looks like one.
    let nameless =
        extended(&message("192.0.2.1", &[]), 0x4469, b"\0\0\0\x0c\0\x0a\0\0\x07a.evil.b");
    assert!(matches!(read(&records(&nameless, 512), 512).unwrap_err().error, HelloError::NoName));
}

#[test]
fn a_name_that_is_no_name_of_a_host_is_refused() {
    let plain = message("app.example", &[]);
    let at = plain.windows(11).position(|part| part == b"app.example").unwrap();
    for wrong in ["app\nexample", "app.e\0ample", "app..exampl", "-pp.example", "app_example"] {
        let mut message = plain.clone();
        message[at..at + 11].copy_from_slice(wrong.as_bytes());
        let error = read(&records(&message, 512), 512).unwrap_err();
        assert!(matches!(error.error, HelloError::Tls(_) | HelloError::Name(_)), "{wrong:?}");
        assert_eq!(error.answer[0], 21, "an alert");
    }
}

#[test]
fn an_older_handshake_and_another_message_are_refused_with_an_alert() {
    let mut finished = message("app.example", &[]);
    finished[0] = 20;
    let error = read(&records(&finished, 512), 512).unwrap_err();
    assert!(matches!(error.error, HelloError::Tls(_)));
    assert_eq!(error.answer[0], 21);
}

proptest! {
    #[test]
    fn no_cut_changes_what_is_read(record in 1_usize..3000, segment in 1_usize..3000) {
        let message = message("cut.example", &[b"h2"]);
        prop_assert_eq!(name_of(&records(&message, record), segment), "cut.example");
    }

    #[test]
    fn no_change_of_a_byte_breaks_the_reader(at in 0_usize..1500, value: u8, segment in 1_usize..2000) {
        let mut wire = records(&message("app.example", &[]), 700);
        let at = at % wire.len();
        wire[at] = value;
        if let Err(error) = read(&wire, segment) {
            prop_assert!(!error.answer.is_empty());
        }
    }
}
