//! The gateway as a process: what it serves, proves and refuses, with a real authority, a real name
//! server, and quotes of the emulator.

#![allow(clippy::unwrap_used)] // a test whose input cannot be made has failed

#[path = "program/rig.rs"]
mod rig;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ::tests::https::Local;
use ::tests::knot::{self, KEY_NAME, Knot};
use ::tests::pebble::{DIRECTORY, Pebble};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_acme::dns::{Provider as _, SignedUpdates, UpdateKey};
use gateway_domain::certificate::Certificate;
use gateway_domain::published::{self, Subject};
use gateway_rules::admin::{RawCall, RawWish};
use protocol::digest::{InstanceId, Sha256Digest};
use protocol::quote::Quote;
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use rig::{DNS_SECRET, Guest, Running, signed};

const BASE: &str = "apps.example.org";

/// The base domain with a local authority.
fn local() -> Value {
    json!([{ "name": BASE, "danger_local_ca": true }])
}

/// Checks that the served key has evidence of this guest; what all lines are about.
fn evidenced(guest: &Guest, running: &Running) -> Vec<Subject> {
    let page = running.page(&format!("gateway.{BASE}"), "/.dstyx/evidence").unwrap();
    let text = String::from_utf8(page.body).unwrap();
    let (entries, _) = published::read(&text, None).unwrap();
    for entry in &entries {
        let quote = Quote::parse(&entry.evidence.quote).unwrap();
        assert_eq!(quote.report.report_data, entry.subject.report_data());
        assert!(entry.collateral.contains("tcb_info"), "{}", entry.collateral);
    }
    let served = Certificate::parse(&page.chain[0]).unwrap();
    let own =
        |subject: &Subject| matches!(subject, Subject::Leaf(leaf) if leaf.spki() == served.spki());
    let subjects: Vec<Subject> = entries.into_iter().map(|entry| entry.subject).collect();
    assert!(subjects.iter().any(own), "the served key has no evidence");
    let info = running.page(&format!("gateway.{BASE}"), "/.dstack/app-info").unwrap();
    let info: Value = serde_json::from_slice(&info.body).unwrap();
    assert_eq!(info["app_id"], guest.app.app_id().to_string());
    subjects
}

#[test]
fn with_a_local_authority_it_serves_says_so_everywhere_and_is_the_same_after_a_restart() {
    let guest = Guest::new();
    let running = guest.start(&local(), &json!({}));
    let served = running.served(BASE);
    assert_eq!(evidenced(&guest, &running).len(), 1);
    let page = running.page(&format!("gateway.{BASE}"), "/").unwrap();
    let text = String::from_utf8(page.body).unwrap();
    let key = served["spki_sha256"].as_str().unwrap();
    assert!(text.contains("Danger: the certificates here are of a local authority"), "{text}");
    assert!(text.contains(key) && text.contains("dstyx domain verify"));
    let leaf = Certificate::parse(&page.chain[0]).unwrap();
    assert!(leaf.issuer().contains("DANGER"));
    let pem = running.page(&format!("gateway.{BASE}"), "/.dstyx/local-ca.pem").unwrap().body;
    assert!(String::from_utf8(pem).unwrap().contains(&STANDARD.encode(&page.chain[1])[..60]));
    assert!(
        running
            .page(&format!("gateway.{BASE}"), "/.dstack/acme-info")
            .unwrap()
            .head
            .contains("404")
    );
    assert_eq!(running.page(&format!("health.{BASE}"), "/").unwrap().body, b"serving\n");
    assert!(running.log().contains("danger: "));
    let (head, metrics) = running.plain("metrics", "GET /metrics", b"");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "));
    let until = format!("not_after_seconds{{base=\"{BASE}\"}} {}", served["not_after"]);
    assert!(metrics.contains(&until) && metrics.contains("connections_open"), "{metrics}");
    assert!(running.end(), "it ends in order");

    let again = guest.start(&local(), &json!({}));
    assert_eq!(again.served(BASE), served);
    assert!(again.log().contains("the stored certificate is served"));
    assert_eq!(evidenced(&guest, &again).len(), 1, "nothing new was certified");
}

#[test]
fn owners_calls_need_enough_signatures_a_nonce_and_a_base_domain_that_is_served() {
    let guest = Guest::new();
    let running = guest.start(&local(), &json!({}));
    let first = running.served(BASE);
    let (head, status) = running.call(RawWish::Status, &[1, 2]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(status[0]["base_domain"], BASE);
    let renew = || RawWish::Renew { base: BASE.to_owned() };
    for owners in [&[][..], &[1], &[1, 3], &[3, 4]] {
        let (head, body) = running.call(renew(), owners);
        assert!(head.starts_with("HTTP/1.1 403 "), "{owners:?}: {head} {body}");
    }
    let gateway = InstanceId([guest.app.instance; 20]);
    let nonce = Sha256Digest([1; 32]);
    let call = RawCall { gateway, nonce, not_after_secs: u64::MAX, call: renew() };
    let (head, body) = running.plain("admin", "POST /call", signed(&call, &[1, 2]).as_bytes());
    let body = String::from_utf8(body).unwrap();
    assert!(head.starts_with("HTTP/1.1 403 ") && body.contains("nonce"), "{body}");
    let other = RawWish::Renew { base: "other.example".to_owned() };
    assert!(running.call(other, &[1, 2]).0.starts_with("HTTP/1.1 404 "));
    assert!(running.plain("admin", "GET /status", b"").0.starts_with("HTTP/1.1 404 "));
    assert_eq!(running.served(BASE), first, "nothing of it did anything");
    assert!(running.call(renew(), &[1, 2]).0.starts_with("HTTP/1.1 200 "));
    rig::until("a new certificate", || (running.served(BASE) != first).then_some(()));
    assert_eq!(evidenced(&guest, &running).len(), 2);
}

/// A real authority with its zone and resolvers.
struct Authority {
    local: Local,
    knot: Knot,
    pebble: Pebble,
    resolvers: [String; 2],
}

impl Authority {
    fn new() -> Self {
        let local = Local::new();
        let knot = Knot::start(&[(BASE, "@ 60 CAA 0 iodef \"mailto:owner@example.org\"")]);
        let pebble = Pebble::start(&local.chain_pem, &local.key_pem, knot.address());
        let server = knot.address();
        let resolvers = [(); 2].map(|()| {
            let address = local.serve(move |asked| {
                let answer = knot::ask(server, &asked.body);
                (200, "Content-Type: application/dns-message\r\n".to_owned(), answer)
            });
            format!("https://{address}/dns-query")
        });
        Self { local, knot, pebble, resolvers }
    }

    fn bases(&self) -> Value {
        let directory = format!("https://{}{DIRECTORY}", self.pebble.address());
        json!([{ "name": BASE, "acme": {
            "directory": directory,
            "issuer": "authority.example",
            "zone": { "own": { "updates": {
                "server": self.knot.address(), "zone": BASE, "key_name": KEY_NAME,
                "secret_variable": "DNS_SECRET",
            } } },
        } }])
    }

    fn more(&self) -> Value {
        let body = STANDARD.encode(&self.local.root);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        json!({ "resolvers": self.resolvers, "roots": [pem] })
    }

    fn records(&self) -> Vec<String> {
        let secret = zeroize::Zeroizing::new(STANDARD.decode(DNS_SECRET).unwrap());
        let key = UpdateKey::new(KEY_NAME.parse().unwrap(), secret);
        let zone = SignedUpdates::new(self.knot.address(), BASE.parse().unwrap(), &key).unwrap();
        let records = zone.caa(&BASE.parse().unwrap()).unwrap();
        records.iter().map(ToString::to_string).collect()
    }
}

/// Changes a sealed value of the store, as its disk's holder does.
fn corrupt(guest: &Guest, name: &str) {
    const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
    let database = Database::open(guest.data().join("gateway.redb")).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(VALUES).unwrap().insert(name, &b"changed"[..]).unwrap();
    write.commit().unwrap();
}

#[test]
fn an_authority_certifies_a_key_that_has_evidence_and_no_token_is_shown_anywhere() {
    let authority = Authority::new();
    let guest = Guest::new();
    let running = guest.start(&authority.bases(), &authority.more());
    let first = running.served(BASE);
    let subjects = evidenced(&guest, &running);
    assert!(matches!(subjects[..], [Subject::Account(_), Subject::Leaf(_)]), "in this order");
    let info = running.page(&format!("gateway.{BASE}"), "/.dstack/acme-info").unwrap().body;
    let info: Value = serde_json::from_slice(&info).unwrap();
    let Subject::Account(account) = &subjects[0] else { panic!() };
    assert_eq!(info["account_uri"], account.uri());
    assert_eq!(info["quoted_hist_keys"].as_array().unwrap().len(), 1);
    let records = authority.records();
    assert_eq!(records.len(), 3, "the owner's and two of the gateway's: {records:?}");
    assert!(records.iter().filter(|record| record.contains(account.uri())).count() == 2);

    // Owners renew; the account stays the same.
    let renew = RawWish::Renew { base: BASE.to_owned() };
    assert!(running.call(renew, &[1, 2]).0.starts_with("HTTP/1.1 200 "));
    let second = rig::until("a new certificate", || {
        Some(running.served(BASE)).filter(|served| *served != first)
    });
    assert_eq!(evidenced(&guest, &running).len(), 3);
    assert_eq!(authority.records(), records);

    let page = running.page(&format!("gateway.{BASE}"), "/").unwrap();
    let (_, status) = running.call(RawWish::Status, &[1, 2]);
    let (_, metrics) = running.plain("metrics", "GET /metrics", b"");
    let shown = [page.body, status.to_string().into_bytes(), metrics, running.log().into_bytes()];
    let shown = String::from_utf8(shown.concat()).unwrap();
    assert!(shown.contains(account.uri()) && !shown.contains(DNS_SECRET));
    assert!(running.end());

    // The disk's holder takes the account away: no other is made, and what was served goes on.
    corrupt(&guest, &format!("account/{BASE}"));
    let again = guest.start(&authority.bases(), &authority.more());
    assert_eq!(again.served(BASE), second);
    let renew = RawWish::Renew { base: BASE.to_owned() };
    assert!(again.call(renew, &[1, 2]).0.starts_with("HTTP/1.1 200 "));
    again.says("the stored account cannot be read");
    let page = again.page(&format!("gateway.{BASE}"), "/").unwrap();
    assert!(String::from_utf8(page.body).unwrap().contains("the stored account cannot be read"));
    assert_eq!((again.served(BASE), authority.records()), (second, records));
    assert!(again.end());

    // And the certificate: it is not served, and no order is made by anybody else.
    corrupt(&guest, &format!("certificate/{BASE}"));
    let bare = guest.start(&authority.bases(), &authority.more());
    bare.says("the stored certificate: certificate/apps.example.org does not open");
    bare.says("the stored account cannot be read");
    assert!(bare.page(&format!("gateway.{BASE}"), "/").is_none());
}

#[test]
fn an_authority_that_hangs_delays_no_client_no_other_domain_and_no_end() {
    let (authority, guest) = (Authority::new(), Guest::new());
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bases = authority.bases();
    bases[0]["name"] = json!("hangs.example");
    bases[0]["acme"]["directory"] = json!(format!("https://{}/dir", silent.local_addr().unwrap()));
    bases.as_array_mut().unwrap().extend(local().as_array().unwrap().clone());
    let mut more = authority.more();
    // Its records cannot be read either: this resolver is as silent.
    more["resolvers"][1] = json!(format!("https://{}/", silent.local_addr().unwrap()));
    let started = Instant::now();
    let running = guest.start(&bases, &more);
    running.served(BASE);
    assert!(running.page("gateway.hangs.example", "/").is_none());
    assert!(running.end(), "it ends in order");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn another_node_s_store_a_missing_secret_and_an_unknown_field_stop_the_start() {
    let guest = Guest::new();
    let running = guest.start(&local(), &json!({}));
    running.served(BASE);
    assert!(running.end());
    let other = Guest::of_instance(0xcc);
    std::fs::copy(guest.data().join("gateway.redb"), other.data().join("gateway.redb")).unwrap();
    let log = other.start(&local(), &json!({})).failed();
    assert!(log.contains("does not open") && log.contains("another instance's"), "{log}");

    let log = guest.start(&local(), &json!({ "no_attestation": true })).failed();
    assert!(log.contains("unknown field"), "{log}");
    let authority = Authority::new();
    let mut bases = authority.bases();
    bases[0]["acme"]["zone"]["own"]["updates"]["secret_variable"] = json!("NOT_SET");
    let log = guest.start(&bases, &authority.more()).failed();
    assert!(log.contains("NOT_SET") && log.contains("is not set"), "{log}");
}
