//! A look at a name whose gateway, resolvers, aggregator and log are doubles on loopback; the
//! gateway's guest never ran, and proves itself as an emulated one.

use std::sync::{Arc, Mutex};

use ::tests::chrony::now_secs;
use ::tests::emulated::{self, Emulated};
use ::tests::https::{Asked, Local, Reply};
use ::tests::knot::Knot;
use attestation::policy::ExpectedApp;
use attestation::{Image, Parts, TrustAnchor, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_audit::findings::RowVerdict;
use gateway_audit::log_list;
use gateway_domain::account::Account;
use gateway_domain::certificate::Certificate;
use gateway_domain::ct::fixtures::{Leaves, checkpoint, entry, spki};
use gateway_domain::ct::parse_tile;
use gateway_domain::published::{Entry, Leaf, Subject};
use p256::ecdsa::SigningKey;
use pccs::Roots;
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};

use super::*;

const ACCOUNT: &str = "https://authority.example/1";
const ORIGIN: &str = "log.example/2027";
const SCT_LIST: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// What the doubles show; a test changes it while they serve.
#[derive(Default)]
struct Shown {
    evidence: String,
    head: Option<Head>,
    /// Certificates that the aggregator knows, in PEM.
    aggregated: Vec<String>,
    /// Entries of the log.
    entries: Vec<Vec<u8>>,
    /// How many entries the log's head has, if fewer.
    size: Option<usize>,
}

struct Scene {
    shown: Arc<Mutex<Shown>>,
    guest: Emulated,
    sources: Sources,
    asker: Asker,
    _knot: Knot,
}

impl Scene {
    fn new() -> Self {
        let records = format!(
            "@ 60 CAA 0 issue \"authority.example; accounturi={ACCOUNT}; validationmethods=dns-01\"\n\
             @ 60 CAA 0 issuewild \"authority.example; accounturi={ACCOUNT}; validationmethods=dns-01\""
        );
        let knot = Knot::start(&[("example.org", &records)]);
        let local = Local::of(&["*.example.org", "127.0.0.1"]);
        let shown = Arc::new(Mutex::new(Shown::default()));
        let (resolving, showing) = (knot.address(), Arc::clone(&shown));
        let server = local.serve(move |asked| match asked.path.as_str() {
            "/dns-query" => {
                let answer = ::tests::knot::ask(resolving, &asked.body);
                (200, "Content-Type: application/dns-message\r\n".to_owned(), answer)
            }
            _ => answer(&showing.lock().unwrap(), asked),
        });
        let at = |path: &str| format!("https://{server}{path}");
        let key = STANDARD.encode(spki(&log_key()));
        let list = serde_json::json!({ "operators": [{ "tiled_logs": [{
            "description": "a log", "key": key,
            "submission_url": format!("https://{ORIGIN}/"), "monitoring_url": at("/log/"),
        }] }] });
        let sources = Sources {
            evidence: EvidenceSource::Url(at("/evidence")),
            address: Some(server),
            resolvers: vec![at("/dns-query"), at("/dns-query")],
            aggregator: at("/ct/"),
            logs: log_list::parse(list.to_string().as_bytes()).unwrap(),
            watch: true,
        };
        let asker = Asker::new(&Roots::Only(vec![local.root.clone()]));
        let guest = Emulated::new("gateway", true);
        let scene = Self { shown, guest, sources, asker, _knot: knot };
        let account = Account::new("https://authority.example/dir", ACCOUNT, [1; 32]);
        scene.publish(Subject::Account(account.unwrap()));
        // The double's own certificate is the one that is served under the name.
        let served = pem(&local.chain_pem);
        scene.publish_key_of(&served);
        scene
    }

    fn publish(&self, subject: Subject) {
        let evidence = self.guest.evidence(subject.report_data());
        let collateral = String::from_utf8(emulated::collateral_json()).unwrap();
        let entry = Entry { made_secs: now_secs(), subject, evidence, collateral };
        let mut shown = self.shown.lock().unwrap();
        let (line, head) = shown.head.unwrap_or(Head::EMPTY).append(&entry);
        shown.evidence += &(line + "\n");
        shown.head = Some(head);
    }

    fn publish_key_of(&self, certificate: &Certificate) {
        let names = certificate.names().to_vec();
        let leaf = Leaf::new(ACCOUNT.to_owned(), names, certificate.spki().to_vec());
        self.publish(Subject::Leaf(leaf.unwrap()));
    }

    /// Adds a certificate to the log, and to what the aggregator knows.
    fn log(&self, der: &[u8], aggregated: bool) {
        let mut shown = self.shown.lock().unwrap();
        let position = shown.entries.len() as u64;
        shown.entries.push(entry(der, 7, position));
        if aggregated {
            shown.aggregated.push(format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode(der)
            ));
        }
    }

    fn look(&self, kept: &mut Kept) -> Findings {
        let image = Image::ours(&emulated::image().to_json(), Parts::default()).unwrap();
        let judge = Judge {
            image,
            anchor: TrustAnchor::DangerEmulated(emulated::root()),
            rules: None,
            app: Some(ExpectedApp::of(self.guest.compose_hash())),
        };
        let gateway = Gateway { app_id: self.guest.app_id(), key_provider_id: None };
        let name = "a.example.org".parse().unwrap();
        let question = Question { name, now_secs: now_secs(), since_secs: 0 };
        look(&question, &gateway, &judge, &self.sources, &self.asker, kept).unwrap()
    }
}

fn log_key() -> SigningKey {
    SigningKey::from_slice(&[1; 32]).unwrap()
}

fn pem(text: &str) -> Certificate {
    gateway_audit::aggregator::parse_certificate(text.as_bytes()).unwrap()
}

/// A certificate for the name's wildcard, with a promise of the log for this position.
fn certificate(position: u8) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("*.example.org".try_into().unwrap())];
    let id = log_list_id();
    let promise =
        [[0].as_slice(), &id, &[0; 8], &[0, 8, 0, 0, 5, 0, 0, 0, 0, position], &[4, 3, 0, 1, 9]]
            .concat();
    let length = u16::try_from(promise.len()).unwrap();
    let list = [&(length + 2).to_be_bytes(), &length.to_be_bytes(), promise.as_slice()].concat();
    let octets = [&[4, u8::try_from(list.len()).unwrap()], list.as_slice()].concat();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&SCT_LIST, octets)];
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(90);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn log_list_id() -> [u8; 32] {
    protocol::digest::Sha256Digest::of(&spki(&log_key())).0
}

fn answer(shown: &Shown, asked: &Asked) -> Reply {
    let body = |bytes: Vec<u8>| (200, String::new(), bytes);
    let path = asked.path.as_str();
    if path == "/evidence" {
        return body(shown.evidence.clone().into_bytes());
    }
    if let Some(id) = path.strip_prefix("/ct/?d=") {
        let index: usize = id.parse().unwrap();
        return body(shown.aggregated[index].clone().into_bytes());
    }
    if path.starts_with("/ct/?q=") {
        let ids = (0..shown.aggregated.len()).map(|id| serde_json::json!({ "id": id }));
        return body(serde_json::Value::from_iter(ids).to_string().into_bytes());
    }
    let size = shown.size.unwrap_or(shown.entries.len());
    let entries = &shown.entries[..size];
    let leaf = |entry: &Vec<u8>| parse_tile(entry, 1).unwrap().remove(0).leaf;
    let leaves = Leaves(entries.iter().map(leaf).collect());
    match path.strip_prefix("/log/") {
        Some("checkpoint") => body(checkpoint(&log_key(), ORIGIN, &leaves.head()).into_bytes()),
        // The logs of these tests fit one tile.
        Some(tile) if tile.starts_with("tile/data/") => body(entries.concat()),
        Some(tile) if tile.starts_with("tile/0/") => {
            let hashes = leaves.0.iter().flat_map(|leaf| gateway_domain::ct::leaf_hash(leaf));
            body(hashes.collect())
        }
        _ => (404, String::new(), Vec::new()),
    }
}

fn rows(findings: &Findings, verdict: RowVerdict) -> Vec<&str> {
    let rows = findings.rows.iter().filter(|row| row.verdict == verdict);
    rows.map(|row| row.text.as_str()).collect()
}

#[test]
fn a_name_in_order_passes_and_a_planted_certificate_is_found_by_aggregator_and_tiles() {
    let scene = Scene::new();
    let own = certificate(0);
    scene.publish_key_of(&Certificate::parse(&own).unwrap());
    scene.log(&own, true);
    let mut kept = Kept::default();
    let first = scene.look(&mut kept);
    assert_eq!(first.verdict(), Verdict::Pass, "{first:?}");
    assert!(rows(&first, RowVerdict::Pass).iter().any(|text| text.contains("is at position 0")));
    assert_eq!(kept.logs.values().map(|log| (log.size, log.read)).collect::<Vec<_>>(), [(1, 1)]);

    // The aggregator does not show it: the log's tiles do.
    let planted = certificate(1);
    scene.log(&planted, false);
    let second = scene.look(&mut kept);
    let serial = hex::encode(Certificate::parse(&planted).unwrap().serial());
    let named = rows(&second, RowVerdict::Fail);
    assert!(
        named.iter().any(|text| text.contains(&serial) && text.contains("a log: entry 1")),
        "{named:?}"
    );
    assert!(rows(&second, RowVerdict::Pass).iter().any(|text| text.contains("continues")));

    scene.shown.lock().unwrap().aggregated.push(format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(&planted)
    ));
    let third = scene.look(&mut Kept::default());
    let named = rows(&third, RowVerdict::Fail);
    assert!(
        named.iter().any(|text| text.contains(&serial) && text.contains("/ct/?d=1")),
        "{named:?}"
    );
    assert_eq!(third.verdict(), Verdict::Fail);
}

#[test]
fn a_log_or_a_gateway_that_shows_another_history_is_found() {
    let scene = Scene::new();
    let own = certificate(0);
    scene.publish_key_of(&Certificate::parse(&own).unwrap());
    scene.log(&own, true);
    scene.log(&certificate(1), false);
    let mut kept = Kept::default();
    scene.look(&mut kept);
    // The log forgets an entry, and the gateway a line.
    let lines = {
        let mut shown = scene.shown.lock().unwrap();
        shown.size = Some(1);
        std::mem::take(&mut shown.evidence)
    };
    let shorter: String = lines.lines().take(2).map(|line| format!("{line}\n")).collect();
    scene.shown.lock().unwrap().evidence = shorter;
    let findings = scene.look(&mut kept);
    let named = rows(&findings, RowVerdict::Fail);
    assert!(named.iter().any(|text| text.contains("does not continue")), "{named:?}");
    assert!(
        named.iter().any(|text| text.contains("an earlier reader saw another line")),
        "{named:?}"
    );
    // What was seen stays what the next look compares with.
    assert_eq!(kept.logs.values().next().unwrap().size, 2);
    assert_eq!(kept.evidence.unwrap().lines, 3);
}

#[test]
fn sources_that_do_not_answer_are_named_and_leave_the_verdict_open() {
    let mut scene = Scene::new();
    scene.sources.aggregator = "https://127.0.0.1:1/".to_owned();
    scene.sources.resolvers = vec!["https://127.0.0.1:1/".to_owned()];
    scene.sources.address = Some(([127, 0, 0, 1], 1).into());
    let findings = scene.look(&mut Kept::default());
    assert_eq!(findings.verdict(), Verdict::Incomplete, "{findings:?}");
    assert!(rows(&findings, RowVerdict::Skipped).len() >= 4);
}
