//! Certificates as their readers see them, and requests that get none.

use std::str::FromStr as _;

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use protocol::digest::AppId;
use protocol::kms::SignCertRequest;
use protocol::ra_tls;
use x509_cert::Certificate;
use x509_cert::builder::Builder as _;
use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_CODE_SIGNING, ID_KP_SERVER_AUTH};
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::RequestBuilder;
use zeroize::Zeroizing;

use super::*;
use crate::derivation::Root;

const NOW: u64 = 1_796_000_000;
const APP: AppId = AppId([7; 20]);

fn root() -> Root {
    Root::from_bytes(Zeroizing::new([5; 32]))
}

fn authority() -> AppAuthority {
    AppAuthority::of(&root(), APP).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[9; 32]).unwrap()
}

/// A request with `change` made to what is asked for.
fn csr(subject: &str, change: impl FnOnce(&mut RequestBuilder)) -> Vec<u8> {
    let empty = subject.is_empty();
    let name = if empty { Name::default() } else { Name::from_str(subject).unwrap() };
    let mut builder = RequestBuilder::new(name).unwrap();
    change(&mut builder);
    builder.build::<_, DerSignature>(&key()).unwrap().to_der().unwrap()
}

fn dns(names: &[&str]) -> SubjectAltName {
    let dns = |name: &&str| GeneralName::DnsName(Ia5String::new(*name).unwrap());
    SubjectAltName(names.iter().map(dns).collect())
}

/// `web.example` is what the policy lists.
fn policy(names: &[String]) -> Result<(), Refused> {
    match names.iter().find(|name| *name != "web.example") {
        Some(name) => Err(Refused::NameNotListed(name.clone())),
        None => Ok(()),
    }
}

fn sign(csr: Vec<u8>) -> Result<Vec<String>, CertificateRefusal> {
    authority().sign(&SignCertRequest { csr, ..SignCertRequest::default() }, policy, NOW)
}

fn refused_request(csr: Vec<u8>) -> RequestError {
    match sign(csr) {
        Err(CertificateRefusal::Request(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn parsed(pem: &str) -> Certificate {
    Certificate::from_pem(pem).unwrap()
}

/// Whether `issuer` is an authority that signed `certificate`, for no longer than it is valid.
fn issued(issuer: &Certificate, certificate: &Certificate) -> bool {
    let (above, below) = (issuer.tbs_certificate(), certificate.tbs_certificate());
    let (_, constraints) = above.get_extension::<BasicConstraints>().unwrap().unwrap();
    let (_, usage) = above.get_extension::<KeyUsage>().unwrap().unwrap();
    let key = above.subject_public_key_info().to_der().unwrap();
    let signature = DerSignature::from_bytes(certificate.signature().as_bytes().unwrap()).unwrap();
    let message = below.to_der().unwrap();
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration();
    constraints.ca
        && usage.key_cert_sign()
        && above.subject() == below.issuer()
        && seconds(above.validity().not_before) <= seconds(below.validity().not_before)
        && seconds(below.validity().not_after) <= seconds(above.validity().not_after)
        && VerifyingKey::from_public_key_der(&key).unwrap().verify(&message, &signature).is_ok()
}

fn octets(certificate: &Certificate, oid: &str) -> Option<Vec<u8>> {
    let mut extensions = certificate.tbs_certificate().extensions().unwrap().iter();
    let found = extensions.find(|extension| extension.extn_id.to_string() == oid)?;
    // OCTET STRING of less than 128 bytes.
    let [4, length, bytes @ ..] = found.extn_value.as_bytes() else { panic!() };
    assert_eq!(usize::from(*length), bytes.len());
    Some(bytes.to_vec())
}

#[test]
fn a_chain_leads_from_the_leaf_to_the_root_and_follows_from_its_keys() {
    let request = csr("CN=web.example", |builder| {
        builder.add_extension(&dns(&["web.example"])).unwrap();
        builder.add_extension(&ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH])).unwrap();
    });
    let chain = sign(request.clone()).unwrap();
    assert_eq!(chain, sign(request).unwrap(), "the same request at the same time");
    assert_eq!(chain[2], RootAuthority::of(&root()).unwrap().pem());
    let [leaf, app, root] = &chain.iter().map(|pem| parsed(pem)).collect::<Vec<_>>()[..] else {
        panic!("{} certificates", chain.len())
    };
    assert!(issued(root, root) && issued(root, app) && issued(app, leaf));
    assert!(!issued(leaf, leaf) && !issued(root, leaf));
    let leaf_says = leaf.tbs_certificate();
    assert_eq!(leaf_says.subject().to_string(), "CN=web.example");
    let (_, names) = leaf_says.get_extension::<SubjectAltName>().unwrap().unwrap();
    assert_eq!(names, dns(&["web.example", &ra_tls::internal_name(&APP)]));
    let (_, usages) = leaf_says.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    assert_eq!(usages.0, [ID_KP_SERVER_AUTH]);
    assert_eq!(octets(leaf, ra_tls::APP_ID).unwrap(), APP.0);
    assert_eq!(octets(leaf, ra_tls::CERTIFICATE_USAGE).unwrap(), b"app:custom");
    let validity = leaf_says.validity();
    assert_eq!(validity.not_before.to_unix_duration().as_secs(), NOW - 3600);
    assert_eq!(validity.not_after.to_unix_duration().as_secs(), NOW + 365 * 24 * 3600);
}

#[test]
fn what_asks_for_nothing_is_for_tls_under_the_app_s_own_name() {
    let chain = sign(csr("", |_| ())).unwrap();
    let leaf = parsed(&chain[0]);
    let says = leaf.tbs_certificate();
    let (_, names) = says.get_extension::<SubjectAltName>().unwrap().unwrap();
    assert_eq!(names, dns(&[&ra_tls::internal_name(&APP)]));
    let (_, usages) = says.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    assert_eq!(usages.0, [ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH]);
    let (critical, constraints) = says.get_extension::<BasicConstraints>().unwrap().unwrap();
    assert!(critical && !constraints.ca);
    assert_eq!(says.subject().to_string(), format!("CN=dstyx app {APP}"));
}

#[test]
fn names_are_asked_of_the_policy_wherever_they_stand() {
    let named = |subject: &str, names: &[&str]| {
        sign(csr(subject, |builder| {
            if !names.is_empty() {
                builder.add_extension(&dns(names)).unwrap();
            }
        }))
    };
    named("CN=my app", &["web.example", &ra_tls::internal_name(&APP)]).unwrap();
    named("CN=/wallet.v1/eth", &[]).unwrap();
    let other_app = ra_tls::internal_name(&AppId([8; 20]));
    let cases: [(&str, &[&str]); 6] = [
        ("CN=a", &["bank.example"]),
        ("CN=a", &["web.example", "*.example"]),
        ("CN=a", &["localhost"]),
        ("CN=a", &[&other_app]),
        ("CN=bank.example", &[]),
        ("CN=Web.Example", &["web.example"]),
    ];
    for (subject, names) in cases {
        let refused = named(subject, names);
        let is_name =
            matches!(refused, Err(CertificateRefusal::Refused(Refused::NameNotListed(_))));
        assert!(is_name, "{subject} {names:?}: {refused:?}");
    }
    let ip = csr("CN=a", |builder| {
        let ip = OctetString::new([127, 0, 0, 1]).unwrap();
        builder.add_extension(&SubjectAltName(vec![GeneralName::IpAddress(ip)])).unwrap();
    });
    assert_eq!(refused_request(ip), RequestError::NameKind);
    let many = vec!["web.example"; 33];
    let many = csr("CN=a", |builder| builder.add_extension(&dns(&many)).unwrap());
    assert_eq!(refused_request(many), RequestError::Names(33));
}

#[test]
fn a_guest_that_gets_nothing_gets_no_certificate_for_its_own_name_either() {
    let request = SignCertRequest { csr: csr("", |_| ()), ..SignCertRequest::default() };
    let refused = authority().sign(&request, |_| Err(Refused::NoPolicy), NOW);
    assert!(matches!(refused, Err(CertificateRefusal::Refused(Refused::NoPolicy))));
}

#[test]
fn no_request_is_for_an_authority_or_a_usage_beyond_tls() {
    let with = |extension: Extension| {
        refused_request(csr("CN=a", |builder| builder.add_extension(extension).unwrap()))
    };
    let authority = csr("CN=a", |builder| {
        let ca = BasicConstraints { ca: true, path_len_constraint: None };
        builder.add_extension(&ca).unwrap();
    });
    assert_eq!(refused_request(authority), RequestError::Authority);
    let signer = csr("CN=a", |builder| {
        let usages = ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH, ID_KP_CODE_SIGNING]);
        builder.add_extension(&usages).unwrap();
    });
    assert!(matches!(refused_request(signer), RequestError::Usage(_)));
    for usage in ["kms:rpc", "app:ca"] {
        let usage_extension =
            super::authority::octets(ra_tls::CERTIFICATE_USAGE, usage.as_bytes()).unwrap();
        assert_eq!(with(usage_extension), RequestError::Usage(usage.into()));
    }
    for oid in [ra_tls::APP_ID, "2.5.29.30", "1.3.6.1.4.1.62397.1.9"] {
        let other = super::authority::octets(oid, &[8; 20]).unwrap();
        let oid = ObjectIdentifier::new_unwrap(oid);
        assert_eq!(with(other), RequestError::Extension(oid));
    }
    let twice = csr("CN=a", |builder| {
        builder.add_extension(&dns(&["web.example"])).unwrap();
        builder.add_extension(&dns(&["bank.example"])).unwrap();
    });
    assert_eq!(refused_request(twice), RequestError::Extensions);
}

#[test]
fn a_request_is_whole_and_signed_by_its_own_p256_key() {
    let good = csr("CN=a", |_| ());
    sign(good.clone()).unwrap();
    for index in 0..good.len() {
        let mut flipped = good.clone();
        flipped[index] ^= 1;
        assert!(sign(flipped).is_err(), "byte {index}");
    }
    assert!(sign([good.clone(), vec![0]].concat()).is_err(), "trailing bytes");
    for length in 0..good.len() {
        assert!(sign(good[..length].to_vec()).is_err(), "{length} bytes");
    }
    let large = vec![0x30; ra_tls::MAX_REQUEST_BYTES + 1];
    assert_eq!(refused_request(large), RequestError::TooLarge(ra_tls::MAX_REQUEST_BYTES + 1));
    let organization = csr("CN=a,O=b", |_| ());
    assert_eq!(refused_request(organization), RequestError::Subject);
    let rsa = include_bytes!("../../vectors/rsa.csr.der");
    assert_eq!(refused_request(rsa.to_vec()), RequestError::Key);
}

#[test]
fn no_leaf_is_valid_beyond_its_authority_or_when_it_is_over() {
    let Window { from_secs, until_secs } = Window::OF_A_ROOT;
    let asked = |not_before, not_after, now| {
        let csr = csr("CN=a", |_| ());
        let request = SignCertRequest { csr, not_before, not_after, ..SignCertRequest::default() };
        authority().sign(&request, policy, now)
    };
    asked(Some(from_secs), Some(until_secs), NOW).unwrap();
    // A year is cut where the authority ends.
    let chain = asked(None, None, until_secs - 10).unwrap();
    let validity = *parsed(&chain[0]).tbs_certificate().validity();
    assert_eq!(validity.not_after.to_unix_duration().as_secs(), until_secs);
    for (not_before, not_after) in
        [(Some(from_secs - 1), None), (None, Some(until_secs + 1)), (Some(0), Some(u64::MAX))]
    {
        let refused = asked(not_before, not_after, NOW);
        assert!(
            matches!(refused, Err(CertificateRefusal::BeyondAuthority { .. })),
            "{not_before:?} {not_after:?}: {refused:?}"
        );
    }
    let hour_ago = Some(NOW - 3600);
    for (not_before, not_after, now) in [
        (None, hour_ago, NOW),
        (None, Some(NOW), NOW),
        (Some(NOW + 2), Some(NOW + 1), NOW),
        (None, None, until_secs + 1),
    ] {
        let refused = asked(not_before, not_after, now);
        assert!(matches!(refused, Err(CertificateRefusal::Expired { .. })), "{refused:?}");
    }
}

#[test]
fn a_quote_is_copied_as_dstack_s_extensions() {
    let chain = sign(csr("CN=a", |builder| {
        for (oid, bytes) in [(ra_tls::QUOTE, [1; 50]), (ra_tls::EVENT_LOG, [2; 50])] {
            builder.add_extension(super::authority::octets(oid, &bytes).unwrap()).unwrap();
        }
    }));
    let leaf = parsed(&chain.unwrap()[0]);
    assert_eq!(octets(&leaf, ra_tls::QUOTE).unwrap(), [1; 50]);
    assert_eq!(octets(&leaf, ra_tls::EVENT_LOG).unwrap(), [2; 50]);
}

#[test]
fn each_channel_has_a_short_authority_of_its_own_that_nothing_stands_above() {
    let TemporaryAuthority { certificate, key } = TemporaryAuthority::new(&[1; 32], NOW).unwrap();
    let parsed = parsed(&certificate);
    assert!(issued(&parsed, &parsed));
    let validity = parsed.tbs_certificate().validity();
    assert_eq!(validity.not_before.to_unix_duration().as_secs(), NOW);
    assert_eq!(validity.not_after.to_unix_duration().as_secs(), NOW + 600);
    let key = SigningKey::from_pkcs8_pem(&key).unwrap();
    let public = x509_cert::spki::SubjectPublicKeyInfo::from_key(key.verifying_key()).unwrap();
    assert_eq!(public, *parsed.tbs_certificate().subject_public_key_info());
    let other = TemporaryAuthority::new(&[2; 32], NOW).unwrap();
    assert_ne!(*other.key, *TemporaryAuthority::new(&[1; 32], NOW).unwrap().key);
}

#[test]
fn another_root_is_another_authority_with_another_serial_number() {
    let other = Root::from_bytes(Zeroizing::new([6; 32]));
    let [one, other] = [root(), other].map(|root| parsed(RootAuthority::of(&root).unwrap().pem()));
    let [one, other] = [one.tbs_certificate(), other.tbs_certificate()];
    assert_ne!(one.serial_number(), other.serial_number());
    assert_ne!(one.subject_public_key_info(), other.subject_public_key_info());
}

#[test]
fn a_request_that_openssl_made_is_answered() {
    let chain = sign(include_bytes!("../../vectors/openssl.csr.der").to_vec()).unwrap();
    assert_eq!(parsed(&chain[0]).tbs_certificate().subject().to_string(), "CN=web.example");
}
