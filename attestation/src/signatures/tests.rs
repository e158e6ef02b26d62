//! Two of three signers, and everybody who is not two of three.

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

use super::*;

const TYPE: PayloadType = PayloadType("application/vnd.in-toto+json");
const PAYLOAD: &[u8] = b"{\"kernel\":1}";

/// A key that everybody knows, written as other tools write it (RFC 8410).
fn key(seed: u8) -> SigningKey {
    let der = [&hex::decode("302e020100300506032b657004220420").unwrap()[..], &[seed; 32]].concat();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    SigningKey::from_pem(&format!(
        "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    ))
    .unwrap()
}

fn signed_by(seeds: &[u8]) -> Envelope {
    let mut envelope = Envelope::new(TYPE, PAYLOAD.to_vec());
    seeds.iter().for_each(|seed| envelope.sign(&key(*seed)));
    envelope
}

fn verified(
    envelope: &Envelope,
    signers: &[u8],
    threshold: usize,
) -> Result<Signed, SignatureError> {
    let signers = signers.iter().map(|seed| key(*seed).signer()).collect();
    verify(envelope.to_json().as_bytes(), TYPE, &Trust::new(signers, threshold)?)
}

#[test]
fn two_of_three_signers_are_enough() {
    let signed = verified(&signed_by(&[1, 3]), &[1, 2, 3], 2).unwrap();
    assert_eq!(signed.signers(), [key(1).signer().id(), key(3).signer().id()]);
    assert_eq!(signed.payload(), PAYLOAD);
    // Whoever else signed does not matter.
    assert!(verified(&signed_by(&[9, 1, 8, 3]), &[1, 2, 3], 2).is_ok());
}

/// A signature over a payload of one type is none over the same bytes as another type.
#[test]
fn a_signature_counts_for_its_type_only() {
    const OTHER: PayloadType = PayloadType("application/json");
    let renamed = signed_by(&[1]).to_json().replace(TYPE.0, OTHER.0);
    let trust = Trust::new(vec![key(1).signer()], 1).unwrap();
    let altered = Err(SignatureError::Altered { signer: key(1).signer().id() });
    assert_eq!(verify(renamed.as_bytes(), OTHER, &trust), altered);
    let refused = verify(renamed.as_bytes(), TYPE, &trust);
    assert!(matches!(refused, Err(SignatureError::Envelope(EnvelopeError::PayloadType { .. }))));
}

#[test]
fn one_of_three_is_not_even_if_it_signs_twice() {
    let too_few = Err(SignatureError::TooFew { counted: 1, threshold: 2 });
    assert_eq!(verified(&signed_by(&[2]), &[1, 2, 3], 2), too_few);
    assert_eq!(verified(&signed_by(&[2, 9]), &[1, 2, 3], 2), too_few);
    let json = signed_by(&[2]).to_json();
    let (start, end) = (json.find("[{").unwrap() + 1, json.rfind(']').unwrap());
    let twice = json.replace(&json[start..end], &format!("{0},{0}", &json[start..end]));
    let trust = Trust::new((1..=3).map(|seed| key(seed).signer()).collect(), 2).unwrap();
    assert_eq!(verify(twice.as_bytes(), TYPE, &trust), too_few);
}

#[test]
fn foreign_keys_do_not_count() {
    assert_eq!(
        verified(&signed_by(&[8, 9]), &[1, 2, 3], 2),
        Err(SignatureError::Foreign { signatures: 2 })
    );
    // A foreign key that calls itself by a signer's name is no signer.
    let disguised = signed_by(&[9])
        .to_json()
        .replace(&key(9).signer().id().to_string(), &key(1).signer().id().to_string());
    let trust = Trust::new(vec![key(1).signer()], 1).unwrap();
    assert_eq!(
        verify(disguised.as_bytes(), TYPE, &trust),
        Err(SignatureError::Altered { signer: key(1).signer().id() })
    );
}

#[test]
fn a_changed_payload_is_refused() {
    let json = signed_by(&[1, 2]).to_json();
    let payload =
        |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let changed = json.replace(&payload(PAYLOAD), &payload(b"{\"Kernel\":1}"));
    assert_ne!(changed, json);
    let trust = Trust::new((1..=3).map(|seed| key(seed).signer()).collect(), 2).unwrap();
    assert_eq!(
        verify(changed.as_bytes(), TYPE, &trust),
        Err(SignatureError::Altered { signer: key(1).signer().id() })
    );
}

#[test]
fn nobody_and_impossible_thresholds_are_refused() {
    let envelope = signed_by(&[1]);
    assert_eq!(verified(&envelope, &[], 1), Err(SignatureError::NoSigners));
    assert_eq!(
        verified(&envelope, &[1], 0),
        Err(SignatureError::Threshold { threshold: 0, keys: 1 })
    );
    // One key named twice is one signer.
    assert_eq!(
        verified(&envelope, &[1, 1], 2),
        Err(SignatureError::Threshold { threshold: 2, keys: 1 })
    );
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
        std::fs::read(directory.join(name)).unwrap()
    };
    // RFC 8032, section 7.1, test 1.
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
               -----END PUBLIC KEY-----\n";
    let signer = Signer::from_pem(pem).unwrap();
    let trust = Trust::new(vec![signer.clone()], 1).unwrap();
    for name in ["signed.json", "two.json", "url-safe.json"] {
        let signed = verify(&seed(name), TYPE, &trust).unwrap();
        assert_eq!(signed.signers(), [signer.id()], "{name}");
        assert_eq!(signed.payload(), seed("statement.json"), "{name}");
    }
    let altered = Err(SignatureError::Altered { signer: signer.id() });
    assert_eq!(verify(&seed("changed.json"), TYPE, &trust), altered);
    assert_eq!(verify(&seed("bad-signature.json"), TYPE, &trust), altered);
    assert_eq!(
        verify(&seed("foreign.json"), TYPE, &trust),
        Err(SignatureError::Foreign { signatures: 1 })
    );
    assert_eq!(
        verify(&seed("unsigned.json"), TYPE, &trust),
        Err(SignatureError::Foreign { signatures: 0 })
    );
    let other_type = verify(&seed("other-type.json"), TYPE, &trust);
    assert!(matches!(other_type, Err(SignatureError::Envelope(EnvelopeError::PayloadType { .. }))));
}

#[test]
fn a_key_of_a_seed_is_written_and_read_as_the_same_key() {
    // RFC 8032, section 7.1, test 1.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed = zeroize::Zeroizing::new(protocol::digest::decode_hex(seed).unwrap());
    let key = SigningKey::from_seed(&seed);
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(key.signer().key().to_string(), public);
    assert!(hex::encode(key.sign(b"")).starts_with("e5564300c360ac729086e2cc806e828a"));
    let read = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
    assert_eq!(read.signer().key(), key.signer().key());
    assert_eq!(Signer::from_key(&key.signer().key()).unwrap().id(), key.signer().id());
}
