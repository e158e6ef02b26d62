//! Promise: what a service says is fetched within bounds over HTTP or HTTPS, and is enough to judge
//! a quote; what is no collateral is refused.

#![allow(clippy::unwrap_used)] // a test whose input cannot be built has failed

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, IssuingCa, PlatformKey, Policy, TrustAnchor};
use pccs::{Roots, Service, ServiceError};
use protocol::digest::OsImageHash;
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tdx_emulator::lie::Lie;
use tdx_emulator::pccs::server::Server;
use tdx_emulator::pki::{Chain, root_certificate};
use tdx_emulator::quote::platform::pck_facts;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::Registers;
use x509_cert::der::{DateTime, Encode as _};

/// When collateral is asked for.
const NOW_SECS: u64 = 1_800_000_000;
/// How long the quote's machine has run then: longer than collateral is valid.
const UPTIME: Duration = Duration::from_secs(45 * 24 * 3600);
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECS)
}

/// The emulator's server, in a thread that ends with the test's process.
fn emulated(lie: Option<Lie>) -> String {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), lie, now).unwrap();
    let url = format!("http://{}", server.address());
    thread::spawn(move || server.run());
    url
}

/// A quote by certificates as old as its machine.
fn evidence() -> Evidence {
    let started = DateTime::from_unix_duration(Duration::from_secs(NOW_SECS) - UPTIME).unwrap();
    let chain = Chain::issue(started, &pck_facts(None), None).unwrap();
    let quoter = Quoter::new(&chain, QuoteVersion::V4, None).unwrap();
    Evidence {
        quote: quoter.quote(&Registers::new([1; 48], [2; 48]), &[3; 64]),
        event_log: Vec::new(),
        nonce: [7; 32],
        claims: LaunchClaims {
            os_image_hash: OsImageHash([0; 32]),
            shape: protocol::fixtures::shape(),
        },
        app_compose: None,
    }
}

/// The rows that are not passed by collateral of that service.
fn refusals(url: &str, roots: &Roots) -> Vec<CheckName> {
    let evidence = evidence();
    let key = attestation::platform_key(&evidence.quote).unwrap();
    let collateral = Service::new(url, roots).unwrap().fetch(&key).unwrap();
    let anchor = TrustAnchor::DangerEmulated(root_certificate().unwrap().to_der().unwrap());
    let policy = Policy::strict(anchor, ExpectedReportData::Unstated(String::new()));
    let appraisal = attestation::judge(&evidence, &policy, Some(&collateral), NOW_SECS);
    let judged = appraisal.checks.iter().filter(|row| rests_on_collateral(row.name));
    judged.filter(|row| row.verdict != CheckVerdict::Pass).map(|row| row.name).collect()
}

fn rests_on_collateral(name: CheckName) -> bool {
    (CheckName::CollateralFormat..=CheckName::TdxModule).contains(&name)
        || [CheckName::QuoteVerification, CheckName::TcbStatus].contains(&name)
}

/// A service on loopback that does this with every connection.
fn service(answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The client may hang up at any time.
            let _ = stream.and_then(&answer);
        }
    });
    address.to_string()
}

fn read_head(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

fn fetched_from(answer: Vec<u8>) -> ServiceError {
    let address = service(move |mut stream| {
        read_head(&mut stream)?;
        stream.write_all(&answer)
    });
    let key = PlatformKey { fmspc: [0; 6], ca: IssuingCa::Platform };
    let service = Service::new(&format!("http://{address}"), &Roots::CompiledIn).unwrap();
    service.fetch(&key).unwrap_err()
}

#[test]
fn fetched_collateral_judges_the_quote_of_a_machine_that_has_run_for_weeks() {
    assert_eq!(refusals(&emulated(None), &Roots::CompiledIn), []);
}

#[test]
fn a_revoked_platform_is_refused_by_what_was_fetched() {
    let url = emulated(Some(Lie::RevokedPck));
    assert!(refusals(&url, &Roots::CompiledIn).contains(&CheckName::Revocation));
}

#[test]
fn a_platform_that_the_service_does_not_know_has_no_collateral() {
    let service = Service::new(&emulated(None), &Roots::CompiledIn).unwrap();
    for key in [
        PlatformKey { fmspc: [0; 6], ca: IssuingCa::Platform },
        PlatformKey { fmspc: [0xda, 0x96, 0xe4, 0, 0, 0], ca: IssuingCa::Processor },
    ] {
        let error = service.fetch(&key).unwrap_err();
        assert!(matches!(error, ServiceError::Status { status: 404, .. }), "{error}");
    }
}

#[test]
fn an_answer_that_is_garbage_too_long_or_elsewhere_is_refused() {
    let answer = |head: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let garbage = fetched_from(answer("200 OK", b"<html>"));
    assert!(matches!(garbage, ServiceError::Form { .. }), "{garbage}");
    let long = fetched_from(answer("200 OK", &vec![b'0'; 256 * 1024 + 1]));
    assert!(matches!(long, ServiceError::TooLong { most: 262_144, .. }), "{long}");
    let elsewhere = fetched_from(answer("302 Found\r\nLocation: http://127.0.0.1:9", b""));
    assert!(matches!(elsewhere, ServiceError::Status { status: 302, .. }), "{elsewhere}");
    let chain = format!("200 OK\r\nSGX-PCK-CRL-Issuer-Chain: {}", "a".repeat(64 * 1024));
    let header = fetched_from(answer(&chain, b"00"));
    assert!(matches!(header, ServiceError::Request { .. }), "{header}");
    let no_http = fetched_from(b"garbage\r\n\r\n".to_vec());
    assert!(matches!(no_http, ServiceError::Request { .. }), "{no_http}");
    let half = fetched_from(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0".to_vec());
    assert!(matches!(half, ServiceError::Body { .. }), "{half}");
}

#[test]
fn over_https_the_service_must_lead_to_a_root_that_was_named() {
    let (address, root) = emulated_over_https();
    let url = format!("https://localhost:{}", address.rsplit(':').next().unwrap());
    assert_eq!(refusals(&url, &Roots::Only(vec![root])), []);
    let key = PlatformKey { fmspc: [0; 6], ca: IssuingCa::Platform };
    for others in [Roots::CompiledIn, Roots::Only(Vec::new())] {
        let error = Service::new(&url, &others).unwrap().fetch(&key).unwrap_err();
        assert!(matches!(error, ServiceError::Request { .. }), "{others:?}: {error}");
    }
}

/// The emulator's server behind TLS; where it is, and its certificate.
fn emulated_over_https() -> (String, CertificateDer<'static>) {
    let plain = emulated(None);
    let plain = plain.trim_start_matches("http://").to_owned();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.into())
        .unwrap();
    let config = Arc::new(config);
    let address = service(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let head = read_head(&mut stream)?;
        let mut behind = TcpStream::connect(&plain)?;
        behind.write_all(&head)?;
        let mut answer = Vec::new();
        behind.read_to_end(&mut answer)?;
        stream.write_all(&answer)?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    (address, cert.der().clone())
}
