//! A real authority, and ones that answer what they should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ::tests::https::{Asked, Local, Reply, read};
use gateway_domain::caa::Plan;
use gateway_domain::issuance::{AccountNamed, BaseDomain};
use gateway_domain::published::Subject;
use gateway_domain::read_back::Views;

use super::*;
use crate::fixtures::{entry, name, trust};

struct Nowhere;

impl Challenges for Nowhere {
    fn show(&self, _: &DomainName, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    fn hide(&self, _: &DomainName, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }
}

fn key() -> AccountKey {
    let (_, pkcs8) = Key::generate_pkcs8().unwrap();
    let pkcs8 = Zeroizing::new(pkcs8.secret_pkcs8_der().to_vec());
    AccountKey::new("https://a.example/dir", "https://a.example/1", pkcs8).unwrap()
}

/// An order by that account, as far as the rules let it come.
fn ordered(key: &AccountKey) -> Ordered {
    let base = BaseDomain::new(name("example.org"), name("authority.example"));
    let entry = entry(Subject::Account(key.account().clone()));
    let published = AccountNamed::new(key.account().clone()).published(&entry).unwrap();
    let Plan { add, .. } = published.plan(&base, &[], &[]);
    let views = Views { provider: None, resolvers: [add.clone(), add] };
    published.read_back(base, views, &[]).unwrap().order(vec![1; 91]).unwrap()
}

/// What an order at a server comes to.
fn order(local: &Local, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> String {
    let address = local.serve(answer);
    let authority = Authority::new(&format!("https://{address}/dir"), &trust(local));
    let key = key();
    let refused = authority.order(&key, &ordered(&key), b"", None, &Nowhere);
    refused.unwrap_err().to_string()
}

fn directory(asked: &Asked, elsewhere: Option<&str>) -> String {
    let host = asked
        .head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    let base = elsewhere.map_or_else(|| format!("https://{}", host.unwrap()), str::to_owned);
    serde_json::json!({
        "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"), "renewalInfo": format!("{base}/renewal"),
    })
    .to_string()
}

#[test]
fn a_stored_account_is_itself_and_a_corrupt_one_is_none() {
    let key = key();
    let stored = key.to_stored();
    let again = AccountKey::from_stored(&stored).unwrap();
    assert_eq!(again.account(), key.account());
    for corrupt in [&b""[..], b"{}", &stored[..stored.len() - 1], &[&stored[..], b"x"].concat()] {
        assert!(matches!(AccountKey::from_stored(corrupt), Err(AcmeError::Stored(_))));
    }
}

#[test]
fn an_authority_that_leads_elsewhere_is_not_followed() {
    let local = Local::new();
    let refusal = order(&local, |request| {
        (200, String::new(), directory(request, Some("https://127.0.0.1:1")).into_bytes())
    });
    assert!(refusal.contains("127.0.0.1:1/nonce, which is not at"), "{refusal}");
}

#[test]
fn a_waiting_time_beyond_every_clock_is_passed_over() {
    let local = Local::new();
    let refusal = order(&local, |request| {
        let head = format!("Retry-After: {}\r\nReplay-Nonce: abc\r\n", u64::MAX);
        match request.path.as_str() {
            "/dir" => (200, head, directory(request, None).into_bytes()),
            "/nonce" => (200, head, Vec::new()),
            _ => {
                let problem =
                    br#"{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids"}"#;
                (403, head, problem.to_vec())
            }
        }
    });
    assert!(refusal.contains("CAA forbids"), "{refusal}");
}

#[test]
fn a_request_whose_nonce_is_refused_is_made_again_with_another() {
    let local = Local::new();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let refusal = order(&local, move |request| {
        let head = |nonce: &str| format!("Replay-Nonce: {nonce}\r\n");
        match request.path.as_str() {
            "/dir" => (200, String::new(), directory(request, None).into_bytes()),
            "/nonce" => (200, head("first"), Vec::new()),
            _ if counted.fetch_add(1, Ordering::Relaxed) < 2 => {
                let problem = br#"{"type":"urn:ietf:params:acme:error:badNonce"}"#;
                (400, head("another"), problem.to_vec())
            }
            _ => {
                let problem =
                    br#"{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids"}"#;
                (403, head("last"), problem.to_vec())
            }
        }
    });
    assert!(refusal.contains("CAA forbids"), "{refusal}");
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[test]
fn an_authority_that_hangs_is_left() {
    let local = Local::new();
    let address = local.serve_raw(|stream| {
        read(stream)?;
        std::thread::sleep(Duration::from_secs(120));
        Ok(())
    });
    let authority = Authority::new(&format!("https://{address}/dir"), &trust(&local));
    let started = Instant::now();
    assert!(matches!(authority.create_account(), Err(AcmeError::Authority(_))));
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_window_comes_from_the_authority_or_there_is_none() {
    let local = Local::new();
    let signed = signed_certificate();
    let window = |answer: &'static [u8]| {
        let address = local.serve(move |request| match request.path.as_str() {
            "/dir" => (200, String::new(), directory(request, None).into_bytes()),
            path if path.starts_with("/renewal/") => {
                (200, "Retry-After: 7200\r\n".to_owned(), answer.to_vec())
            }
            _ => (404, String::new(), Vec::new()),
        });
        let authority = Authority::new(&format!("https://{address}/dir"), &trust(&local));
        authority.renewal_window(&signed)
    };
    let good = window(
        br#"{"suggestedWindow":{"start":"2026-01-03T00:00:00Z","end":"2026-01-04T00:00:00Z"}}"#,
    );
    assert_eq!(good.unwrap().poll_secs, 7200);
    assert!(matches!(window(b"{}"), Err(AcmeError::Window(_))));
}

/// A certificate that says which key signed it.
fn signed_certificate() -> Certificate {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    Certificate::parse(leaf.der()).unwrap()
}
