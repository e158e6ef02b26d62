//! A real authority and a real name server on loopback; what the authority does not do itself, it
//! does behind a proxy here: looking at CAA records.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use ::tests::https::{Asked, Local, Reply};
use ::tests::knot::Knot;
use ::tests::pebble::{DIRECTORY, Pebble};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_domain::caa::{Binding, Property};
use gateway_domain::name::CertifiedName;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::*;
use crate::fixtures::{entry, name, resolver, trust, zone};

const BASE: &str = "example.org";
const AUTHORITY: &str = "authority.example";

/// Evidence that is none, in the order in which it is asked for.
#[derive(Default)]
struct Published(Mutex<Vec<Subject>>);

impl Attest for Published {
    fn publish(&self, subject: &Subject) -> Result<Entry, String> {
        self.0.lock().unwrap().push(subject.clone());
        Ok(entry(subject.clone()))
    }
}

/// No evidence.
struct Unavailable;

impl Attest for Unavailable {
    fn publish(&self, _: &Subject) -> Result<Entry, String> {
        Err("the agent gives no quote".to_owned())
    }
}

struct Scene {
    local: Local,
    knot: Knot,
    authority: SocketAddr,
    /// The authority itself, behind the proxy.
    pebble: Pebble,
}

impl Scene {
    fn new(records: &str) -> Self {
        let local = Local::new();
        let knot = Knot::start(&[(BASE, records)]);
        let pebble = Pebble::start(&local.chain_pem, &local.key_pem, knot.address());
        let proxy = Proxy::new(&local, &knot, pebble.address());
        let authority = local.serve(move |asked| proxy.answer(asked));
        Self { local, knot, authority, pebble }
    }

    fn issuer(&self, zone: Zone) -> Issuer {
        let at = |address: SocketAddr| {
            Resolver::new(&format!("https://{address}/dns-query"), &trust(&self.local))
        };
        let resolvers = [(); RESOLVERS].map(|()| at(resolver(&self.local, &self.knot)));
        self.issuer_by(zone, resolvers)
    }

    fn issuer_by(&self, zone: Zone, resolvers: [Resolver; RESOLVERS]) -> Issuer {
        let directory = format!("https://{}{DIRECTORY}", self.authority);
        let authority = Authority::new(&directory, &trust(&self.local));
        let base = BaseDomain::new(name(BASE), name(AUTHORITY));
        Issuer::new(base, authority, zone, resolvers, Duration::ZERO)
    }

    fn own(&self) -> Zone {
        Zone::Own(Box::new(zone(&self.knot, BASE)))
    }

    fn records(&self) -> Vec<Caa> {
        zone(&self.knot, BASE).caa(&name(BASE)).unwrap()
    }
}

/// Hands requests on to the authority, but for orders that records forbid.
struct Proxy {
    config: Arc<ClientConfig>,
    pebble: SocketAddr,
    zone: crate::dns::SignedUpdates,
}

impl Proxy {
    fn new(local: &Local, knot: &Knot, pebble: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(local.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), pebble, zone: zone(knot, BASE) }
    }

    fn answer(&self, asked: &Asked) -> Reply {
        if asked.path == "/order-plz" && !self.permitted(&asked.body) {
            let problem = br#"{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids issuance","status":403}"#;
            return (403, String::new(), problem.to_vec());
        }
        self.hand_on(asked)
    }

    /// Whether the records let the account of a new order have all its names (RFC 8659, RFC 8657).
    fn permitted(&self, body: &[u8]) -> bool {
        let jws: Value = serde_json::from_slice(body).unwrap();
        let part = |key: &str| -> Value {
            let bytes = URL_SAFE_NO_PAD.decode(jws[key].as_str().unwrap()).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        let (account, payload) =
            (part("protected")["kid"].as_str().unwrap().to_owned(), part("payload"));
        payload["identifiers"].as_array().unwrap().iter().all(|identifier| {
            let certified: CertifiedName = identifier["value"].as_str().unwrap().parse().unwrap();
            let records = self.zone.caa(certified.authorized_by()).unwrap();
            let property = match certified.is_wildcard() {
                true => Property::IssueWild,
                false => Property::Issue,
            };
            let about =
                records.iter().filter_map(Caa::issue).filter(|(found, _)| *found == property);
            let mut values = about.map(|(_, value)| value).peekable();
            values.peek().is_none()
                || values.any(|value| {
                    value.is_ok_and(|value| {
                        let by = |key, wanted: &str| {
                            value.parameter(key).is_none_or(|found| found == wanted)
                        };
                        value.issuer() == Some(&name(AUTHORITY))
                            && by("accounturi", &account)
                            && by("validationmethods", "dns-01")
                    })
                })
        })
    }

    fn hand_on(&self, asked: &Asked) -> Reply {
        let stream = TcpStream::connect(self.pebble).unwrap();
        let host = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), host).unwrap();
        let mut tls = StreamOwned::new(connection, stream);
        // An answer to the older version comes whole, without chunks.
        let head = asked.head.trim_end().replacen("HTTP/1.1", "HTTP/1.0", 1) + "\r\n\r\n";
        tls.write_all(&[head.as_bytes(), &asked.body].concat()).unwrap();
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer);
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kept = ["location", "replay-nonce", "retry-after", "content-type", "link"];
        let lines = head.lines().skip(1).filter(|line| {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            kept.contains(&name.as_str())
        });
        (status, lines.map(|line| format!("{line}\r\n")).collect(), answer[end + 4..].to_vec())
    }
}

fn account(issuer: &Issuer) -> AccountKey {
    issuer.account(None, &mut |_| Ok(())).unwrap()
}

#[test]
fn a_name_gets_its_certificate_keeps_foreign_records_and_is_renewed() {
    let scene = Scene::new("@ 60 CAA 0 iodef \"mailto:owner@example.org\"");
    let issuer = scene.issuer(scene.own());
    let mut saved = Vec::new();
    let made = issuer.account(None, &mut |bytes| {
        saved = bytes.to_vec();
        Ok(())
    });
    let key = made.unwrap();
    let published = Published::default();
    let first = issuer.certificate(&key, &[], None, &published).unwrap();
    let certificate = first.servable.certificate();
    let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["example.org", "*.example.org"]);
    assert_eq!(certificate.spki(), first.key.spki().unwrap());
    let subjects = published.0.lock().unwrap().clone();
    assert!(matches!(subjects[..], [Subject::Account(_), Subject::Leaf(_)]), "in this order");
    let binding = Binding::new(name(AUTHORITY), key.account().uri());
    let records = scene.records();
    assert_eq!(records.len(), 3);
    assert!(binding.records().iter().all(|record| records.contains(record)));

    // The second time the account is the stored one, and its own records let it.
    let again = issuer.account(Some(&saved), &mut |_| panic!("a second account")).unwrap();
    assert_eq!(again.account(), key.account());
    let suggested = issuer.authority.renewal_window(certificate);
    let second = issuer.certificate(&again, &[], Some(certificate), &published).unwrap();
    assert_ne!(second.servable.certificate().serial(), certificate.serial());
    assert_ne!(second.key.spki().unwrap(), first.key.spki().unwrap(), "a key of its own");
    assert_eq!(scene.records(), records);
    assert!(suggested.is_ok(), "{suggested:?}");
    drop(scene.pebble);
}

#[test]
fn another_account_is_forbidden_and_a_lost_one_makes_no_new_one() {
    let scene = Scene::new("");
    let issuer = scene.issuer(scene.own());
    let key = account(&issuer);
    issuer.certificate(&key, &[], None, &Published::default()).unwrap();
    // The store is lost, or what is in it.
    let lost = issuer.account(None, &mut |_| panic!("a new account")).err().unwrap();
    assert!(lost.why.contains("not in the store"), "{lost}");
    let corrupt = issuer.account(Some(b"{}"), &mut |_| panic!("a new account")).err().unwrap();
    assert!(corrupt.why.contains("cannot be read"), "{corrupt}");
    assert_eq!(corrupt.step, Step::Account);
    // A stranger with a token of the zone's challenges has an account of his own.
    let stranger = issuer.authority.create_account().unwrap();
    let base = BaseDomain::new(name(BASE), name(AUTHORITY));
    let entry = Published::default().publish(&Subject::Account(stranger.account().clone()));
    let published = AccountNamed::new(stranger.account().clone()).published(&entry.unwrap());
    let records = Binding::new(name(AUTHORITY), stranger.account().uri()).records().to_vec();
    let views = Views { provider: None, resolvers: [records.clone(), records] };
    let bound = published.unwrap().read_back(base, views, &[]).unwrap();
    let leaf_key = LeafKey::generate().unwrap();
    let ordered = bound.order(leaf_key.spki().unwrap()).unwrap();
    let request = leaf_key.request(ordered.names()).unwrap();
    let refused = issuer.authority.order(&stranger, &ordered, &request, None, &ZoneOf(&issuer));
    assert!(refused.unwrap_err().to_string().contains("CAA forbids issuance"));
}

#[test]
fn an_account_s_successor_takes_its_records_over() {
    let scene = Scene::new("");
    let issuer = scene.issuer(scene.own());
    let (old, new) = (account(&issuer), account(&issuer));
    issuer.certificate(&old, &[], None, &Published::default()).unwrap();
    let former = [old.account().uri().to_owned()];
    issuer.certificate(&new, &former, None, &Published::default()).unwrap();
    let mut expected = Binding::new(name(AUTHORITY), new.account().uri()).records().to_vec();
    expected.sort();
    assert_eq!(scene.records(), expected);
}

#[test]
fn a_resolver_that_sees_other_records_stops_the_order() {
    let scene = Scene::new("");
    let at = |address: SocketAddr| {
        Resolver::new(&format!("https://{address}/dns-query"), &trust(&scene.local))
    };
    let other = Knot::start(&[(BASE, "@ 60 CAA 0 issue \"other.example\"")]);
    let resolvers = [at(resolver(&scene.local, &scene.knot)), at(resolver(&scene.local, &other))];
    let issuer = scene.issuer_by(scene.own(), resolvers);
    let published = Published::default();
    let refused = issuer.certificate(&account(&issuer), &[], None, &published).err().unwrap();
    assert_eq!(refused.step, Step::ReadBack);
    assert!(refused.why.contains("resolver 2"), "{refused}");
    assert_eq!(published.0.lock().unwrap().len(), 1, "nothing was ordered");
}

#[test]
fn without_evidence_about_the_account_nothing_is_changed_or_ordered() {
    let scene = Scene::new("");
    let issuer = scene.issuer(scene.own());
    let refused = issuer.certificate(&account(&issuer), &[], None, &Unavailable).err().unwrap();
    assert_eq!(refused.step, Step::AccountEvidence);
    assert_eq!(scene.records(), []);
}

#[test]
fn a_delegated_zone_is_its_owner_s_who_is_told_what_to_set() {
    // One server does not look names up in another zone: the alias stays in this one.
    let alias = "_acme-challenge 60 CNAME base.challenges";
    let scene = Scene::new(alias);
    let delegated = Zone::Delegated {
        provider: Box::new(zone(&scene.knot, BASE)),
        challenge: name("base.challenges.example.org"),
    };
    let issuer = scene.issuer(delegated);
    let key = account(&issuer);
    let refused = issuer.certificate(&key, &[], None, &Published::default()).err().unwrap();
    assert_eq!(refused.step, Step::Records);
    let binding = Binding::new(name(AUTHORITY), key.account().uri());
    for record in binding.records() {
        assert!(refused.why.contains(&record.to_string()), "{refused}");
        zone(&scene.knot, BASE).add_caa(&name(BASE), &record).unwrap();
    }
    issuer.certificate(&key, &[], None, &Published::default()).unwrap();
}
