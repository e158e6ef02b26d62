//! A release's statement, and its check against files and images.

use attestation::NotVouched;
use attestation::signatures::SigningKey;
use protocol::digest::OsImageHash;
use protocol::image::Flavour;
use reproducible_build::lock::Lock;

use super::*;

const FILES: [(&str, &[u8]); 2] = [("image.json", b"{}"), ("kernel", b"MZ")];

/// A key that everybody knows, written as other tools write it (RFC 8410).
fn key(seed: u8) -> SigningKey {
    let der = [&hex::decode("302e020100300506032b657004220420").unwrap()[..], &[seed; 32]].concat();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    SigningKey::from_pem(&format!(
        "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    ))
    .unwrap()
}

fn statement() -> Statement {
    let lock = Lock::parse(include_str!("../../../reproducible-build/inputs.lock")).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let sources =
        Sources { flavour: "release", version: "0.1.0", commit, lock: &lock, cargo_lock: b"[]" };
    Statement::new(&FILES, &sources).unwrap()
}

fn released() -> VerifiedRelease {
    let mut envelope = statement().envelope();
    envelope.sign(&key(1));
    let trust = Trust::new(vec![key(1).signer()], 1).unwrap();
    verify(envelope.to_json().as_bytes(), &trust).unwrap()
}

#[test]
fn the_statement_is_the_one_that_was_signed() {
    assert_eq!(released().statement(), &statement());
    assert_eq!(released().signers(), [key(1).signer().id()]);
    assert_eq!(released().statement().flavour(), "release");
}

#[test]
fn signatures_do_not_make_a_statement() {
    let mut envelope = Envelope::new(PAYLOAD_TYPE, b"{}".to_vec());
    envelope.sign(&key(1));
    let trust = Trust::new(vec![key(1).signer()], 1).unwrap();
    let refused = verify(envelope.to_json().as_bytes(), &trust);
    assert!(matches!(refused, Err(ReleaseError::Statement(StatementError::Json(_)))));
    let trust = Trust::new(vec![key(2).signer()], 1).unwrap();
    let refused = verify(envelope.to_json().as_bytes(), &trust);
    assert_eq!(refused, Err(SignatureError::Foreign { signatures: 1 }.into()));
}

#[test]
fn files_are_those_that_were_signed() {
    let release = released();
    assert_eq!(release.check("kernel", b"MZ"), Ok(()));
    assert!(matches!(release.check("kernel", b"MY"), Err(ReleaseError::OtherBytes { .. })));
    assert_eq!(release.check("initrd", b""), Err(ReleaseError::NoFile("initrd".to_owned())));
}

#[test]
fn the_image_is_the_one_that_was_signed() {
    let release = released();
    let vouched =
        |json: &[u8]| release.image().vouches_for(OsImageHash::of(json), Flavour::Release);
    assert_eq!(vouched(b"{}"), Ok(()));
    assert!(matches!(vouched(b"{ }"), Err(NotVouched::OtherImage { .. })));
}

#[test]
fn a_statement_is_read_only_as_it_is_written() {
    let json = String::from_utf8(statement().to_json()).unwrap();
    assert_eq!(Statement::parse(json.as_bytes()), Ok(statement()));
    let refused = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        Statement::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    assert!(matches!(
        refused("Statement/v1", "Statement/v2"),
        StatementError::Constant { key: "_type", .. }
    ));
    assert!(matches!(refused("\"kernel\"", "\"../kernel\""), StatementError::Name(_)));
    assert!(matches!(refused("\"kernel\"", "\"image.json\""), StatementError::Name(_)));
    assert_eq!(refused("\"image.json\"", "\"image.txt\""), StatementError::NoImage);
    assert!(matches!(
        refused("0123456789abcdef0123456789abcdef01234567", "main"),
        StatementError::Commit
    ));
    assert!(matches!(refused("\"subject\"", "\"more\": 1, \"subject\""), StatementError::Json(_)));
    assert!(json.contains("pkg:deb/debian/g%2B%2B@4:14.2.0-1?arch=amd64"));
}
