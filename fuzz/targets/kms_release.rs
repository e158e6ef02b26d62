//! Release statements: bytes that a KMS's root signed, whatever they are, and texts of anybody.
//! What counts is of the pinned KMS and its newest root, holds now and for at most an hour, and has
//! one spelling; a text that the KMS did not sign is none.
#![no_main]

use std::sync::LazyLock;

use attestation::release_statement::{CLOCKS_DIFFER_SECS, ReleaseRules, judge_release};
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use libfuzzer_sys::fuzz_target;
use protocol::kms::{
    Cluster, MAX_RELEASE_SECS, MAX_SIGNED_RELEASE_BYTES, ReleaseStatement, RootCertificate,
    SignedRelease, payload_type,
};

/// 2026-11-24T00:00:00Z, at which the seeds hold.
const NOW: u64 = 1_795_478_400;

/// The rules of a verifier, and an empty statement under the root that the owner certified.
static PINNED: LazyLock<(ReleaseRules, SignedRelease)> = LazyLock::new(|| {
    let owner = SigningKey::from_seed(&[1; 32]);
    let owners = vec![owner.signer().key()];
    let cluster = Cluster { name: "fuzz".into(), owners, threshold: 1 };
    let (key_provider_id, identity) = (cluster.id(), identity().signer().key());
    let root = RootCertificate { key_provider_id, epoch: 1, identity, renewal: None };
    let root = serde_json::to_vec(&root).expect("strings and numbers serialise");
    let mut envelope = Envelope::new(PayloadType(payload_type::ROOT), root);
    envelope.sign(&owner);
    let root = envelope.to_json();
    let rules = ReleaseRules { key_provider_id, minimum_epoch: 1 };
    (rules, SignedRelease { cluster, root, statement: String::new() })
});

fn identity() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

fuzz_target!(|bytes: &[u8]| {
    let (rules, pinned) = &*PINNED;
    if let Ok(text) = std::str::from_utf8(bytes) {
        let unsigned = SignedRelease { statement: text.to_owned(), ..pinned.clone() };
        assert!(judge_release(&unsigned, rules, NOW).is_err(), "the KMS signed nothing");
    }
    if let Ok(handed_on) = SignedRelease::parse(bytes) {
        assert_eq!(handed_on.to_json().as_bytes(), bytes);
        assert!(bytes.len() <= MAX_SIGNED_RELEASE_BYTES);
        assert!(judge_release(&handed_on, rules, NOW).is_err(), "the KMS signed nothing");
    }
    let mut envelope = Envelope::new(PayloadType(payload_type::RELEASE), bytes.to_vec());
    envelope.sign(&identity());
    let signed = SignedRelease { statement: envelope.to_json(), ..pinned.clone() };
    let Ok(verified) = judge_release(&signed, rules, NOW) else { return };
    let stated = verified.statement();
    assert_eq!(ReleaseStatement::parse(bytes).as_ref(), Ok(stated));
    assert_eq!(stated.to_json(), bytes);
    assert_eq!((stated.key_provider_id, stated.root_epoch), (rules.key_provider_id, 1));
    assert!(stated.issued_secs <= NOW + CLOCKS_DIFFER_SECS && NOW <= stated.not_after_secs);
    assert!(stated.not_after_secs - stated.issued_secs <= MAX_RELEASE_SECS);
    assert!(stated.released.time_secs <= stated.issued_secs);
    let again = SignedRelease::parse(signed.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&signed));
});
