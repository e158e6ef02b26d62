//! Two of three signers, and everybody who is not two of three.

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

use super::*;
use crate::lock::Lock;

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
    let lock = Lock::parse(include_str!("../../inputs.lock")).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let sources =
        Sources { flavour: "release", version: "0.1.0", commit, lock: &lock, cargo_lock: b"[]" };
    Statement::new(&FILES, &sources).unwrap()
}

fn signed_by(seeds: &[u8]) -> Envelope {
    let mut envelope = Envelope::new(statement().to_json());
    seeds.iter().for_each(|seed| envelope.sign(&key(*seed)));
    envelope
}

fn verified(
    envelope: &Envelope,
    signers: &[u8],
    threshold: usize,
) -> Result<VerifiedRelease, ReleaseError> {
    let signers = signers.iter().map(|seed| key(*seed).signer()).collect();
    verify(envelope.to_json().as_bytes(), &Trust::new(signers, threshold)?)
}

#[test]
fn two_of_three_signers_are_enough() {
    let release = verified(&signed_by(&[1, 3]), &[1, 2, 3], 2).unwrap();
    assert_eq!(release.signers(), [key(1).signer().id(), key(3).signer().id()]);
    assert_eq!(release.statement(), &statement());
    assert_eq!(release.statement().flavour(), "release");
    // Whoever else signed does not matter.
    assert!(verified(&signed_by(&[9, 1, 8, 3]), &[1, 2, 3], 2).is_ok());
}

#[test]
fn one_of_three_is_not_even_if_it_signs_twice() {
    let too_few = Err(ReleaseError::TooFew { counted: 1, threshold: 2 });
    assert_eq!(verified(&signed_by(&[2]), &[1, 2, 3], 2), too_few);
    assert_eq!(verified(&signed_by(&[2, 9]), &[1, 2, 3], 2), too_few);
    let json = signed_by(&[2]).to_json();
    let (start, end) = (json.find("[{").unwrap() + 1, json.rfind(']').unwrap());
    let twice = json.replace(&json[start..end], &format!("{0},{0}", &json[start..end]));
    let trust = Trust::new((1..=3).map(|seed| key(seed).signer()).collect(), 2).unwrap();
    assert_eq!(verify(twice.as_bytes(), &trust), too_few);
}

#[test]
fn foreign_keys_do_not_count() {
    assert_eq!(
        verified(&signed_by(&[8, 9]), &[1, 2, 3], 2),
        Err(ReleaseError::Foreign { signatures: 2 })
    );
    // A foreign key that calls itself by a signer's name is no signer.
    let disguised = signed_by(&[9])
        .to_json()
        .replace(&key(9).signer().id().to_string(), &key(1).signer().id().to_string());
    let trust = Trust::new(vec![key(1).signer()], 1).unwrap();
    assert_eq!(
        verify(disguised.as_bytes(), &trust),
        Err(ReleaseError::Altered { signer: key(1).signer().id() })
    );
}

#[test]
fn a_changed_statement_is_refused() {
    let json = signed_by(&[1, 2]).to_json();
    let payload = |statement: &[u8]| {
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, statement)
    };
    let changed =
        String::from_utf8(statement().to_json()).unwrap().replace("\"kernel\"", "\"Kernel\"");
    let changed = json.replace(&payload(&statement().to_json()), &payload(changed.as_bytes()));
    assert_ne!(changed, json);
    let trust = Trust::new((1..=3).map(|seed| key(seed).signer()).collect(), 2).unwrap();
    assert_eq!(
        verify(changed.as_bytes(), &trust),
        Err(ReleaseError::Altered { signer: key(1).signer().id() })
    );
}

#[test]
fn nobody_and_impossible_thresholds_are_refused() {
    let envelope = signed_by(&[1]);
    assert_eq!(verified(&envelope, &[], 1), Err(ReleaseError::NoSigners));
    assert_eq!(
        verified(&envelope, &[1], 0),
        Err(ReleaseError::Threshold { threshold: 0, keys: 1 })
    );
    // One key named twice is one signer.
    assert_eq!(
        verified(&envelope, &[1, 1], 2),
        Err(ReleaseError::Threshold { threshold: 2, keys: 1 })
    );
}

#[test]
fn files_are_those_that_were_signed() {
    let release = verified(&signed_by(&[1]), &[1], 1).unwrap();
    assert_eq!(release.check("kernel", b"MZ"), Ok(()));
    assert!(matches!(release.check("kernel", b"MY"), Err(ReleaseError::OtherBytes { .. })));
    assert_eq!(release.check("initrd", b""), Err(ReleaseError::NoFile("initrd".to_owned())));
}

#[test]
fn the_image_is_the_one_that_was_signed() {
    let release = verified(&signed_by(&[1]), &[1], 1).unwrap();
    let hash = |bytes: &[u8]| <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(bytes));
    assert_eq!(release.check_image(hash(b"{}")), Ok(()));
    let other = release.check_image(hash(b"{ }"));
    assert!(matches!(other, Err(ReleaseError::OtherBytes { name, .. }) if name == "image.json"));
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

#[test]
fn keys_are_named_as_other_tools_would() {
    let signer = key(1).signer();
    let pem = ed25519_dalek::SigningKey::from_bytes(&[1; 32])
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    assert_eq!(Signer::from_pem(&pem).unwrap(), signer);
    assert_eq!(signer.id().to_string().parse(), Ok(signer.id()));
    assert_eq!(
        Signer::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        Err(KeyError::Public)
    );
    assert!(matches!(SigningKey::from_pem(&pem), Err(KeyError::Private)));
    assert_eq!(format!("{:?}", key(1)), format!("SigningKey({})", signer.id()));
}

/// The fuzzer's seeds were signed by OpenSSL, not by this code.
#[test]
fn envelopes_of_another_program_are_judged_by_their_cause() {
    let seed = |name: &str| {
        let directory =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/provenance");
        fs_err::read(directory.join(name)).unwrap()
    };
    // RFC 8032, section 7.1, test 1.
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
               -----END PUBLIC KEY-----\n";
    let signer = Signer::from_pem(pem).unwrap();
    let trust = Trust::new(vec![signer.clone()], 1).unwrap();
    for name in ["signed.json", "two.json", "url-safe.json"] {
        let release = verify(&seed(name), &trust).unwrap();
        assert_eq!(release.signers(), [signer.id()], "{name}");
        assert_eq!(
            release.statement(),
            &Statement::parse(&seed("statement.json")).unwrap(),
            "{name}"
        );
    }
    let altered = Err(ReleaseError::Altered { signer: signer.id() });
    assert_eq!(verify(&seed("changed.json"), &trust), altered);
    assert_eq!(verify(&seed("bad-signature.json"), &trust), altered);
    assert_eq!(verify(&seed("foreign.json"), &trust), Err(ReleaseError::Foreign { signatures: 1 }));
    assert_eq!(
        verify(&seed("unsigned.json"), &trust),
        Err(ReleaseError::Foreign { signatures: 0 })
    );
    let other_type = verify(&seed("other-type.json"), &trust);
    assert!(matches!(other_type, Err(ReleaseError::Envelope(EnvelopeError::PayloadType(_)))));
}
