//! The statement of the test vector, which the KMS's rules make, and what is near to it.

use protocol::kms::{Cluster, EpochKeys, Renewal};
use serde::{Deserialize, Serialize};

use super::*;
use crate::signatures::{Envelope, SigningKey};

/// What other implementations verify.
#[derive(Deserialize)]
struct Vector {
    key_provider_id: Sha256Digest,
    agent_spki: String,
    release: String,
}

fn vector() -> Vector {
    let file = include_str!("../../../tests/vectors/attestation/kms-release.json");
    serde_json::from_str(file).unwrap()
}

fn rules() -> ReleaseRules {
    ReleaseRules { key_provider_id: vector().key_provider_id, minimum_epoch: 1 }
}

fn genuine() -> SignedRelease {
    SignedRelease::parse(vector().release.as_bytes()).unwrap()
}

/// What the vector states.
fn stated() -> ReleaseStatement {
    let payload_type = PayloadType(payload_type::RELEASE);
    let envelope = Envelope::parse(genuine().statement.as_bytes(), payload_type).unwrap();
    ReleaseStatement::parse(envelope.payload()).unwrap()
}

/// The identity of a root of these tests, whose certificate the owner signs.
fn identity() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

fn owner() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn cluster() -> Cluster {
    Cluster { name: "own".into(), owners: vec![owner().signer().key()], threshold: 1 }
}

fn envelope(payload_type: &'static str, document: &impl Serialize, key: &SigningKey) -> String {
    let payload = serde_json::to_vec(document).unwrap();
    let mut envelope = Envelope::new(PayloadType(payload_type), payload);
    envelope.sign(key);
    envelope.to_json()
}

fn certificate(epoch: u32) -> RootCertificate {
    let renewal = (epoch > 1).then(|| Renewal { keys: EpochKeys::Dstyx, ..Renewal::default() });
    let identity = identity().signer().key();
    RootCertificate { key_provider_id: cluster().id(), epoch, identity, renewal }
}

/// A statement of the cluster of these tests, with a change.
fn signed(change: impl FnOnce(&mut ReleaseStatement)) -> SignedRelease {
    let mut statement = ReleaseStatement { key_provider_id: cluster().id(), ..stated() };
    change(&mut statement);
    SignedRelease {
        cluster: cluster(),
        root: envelope(payload_type::ROOT, &certificate(1), &owner()),
        statement: envelope(payload_type::RELEASE, &statement, &identity()),
    }
}

fn refusal(signed: &SignedRelease, change: impl FnOnce(&mut ReleaseRules)) -> ReleaseRefusal {
    let mut rules = ReleaseRules { key_provider_id: cluster().id(), minimum_epoch: 1 };
    change(&mut rules);
    judge_release(signed, &rules, stated().issued_secs).unwrap_err()
}

#[test]
fn the_vector_holds_from_its_issue_to_its_end_and_no_second_longer() {
    let ReleaseStatement { issued_secs, not_after_secs, .. } = stated();
    for now_secs in [issued_secs - CLOCKS_DIFFER_SECS, issued_secs, not_after_secs] {
        let verified = judge_release(&genuine(), &rules(), now_secs).unwrap();
        assert_eq!(verified.statement(), &stated());
        assert_eq!(verified.root().epoch, 1);
    }
    let now_secs = issued_secs - CLOCKS_DIFFER_SECS - 1;
    let early = judge_release(&genuine(), &rules(), now_secs);
    assert_eq!(early, Err(ReleaseRefusal::Early { issued_secs, now_secs }));
    let now_secs = not_after_secs + 1;
    let late = judge_release(&genuine(), &rules(), now_secs);
    assert_eq!(late, Err(ReleaseRefusal::Ended { not_after_secs, now_secs }));
}

#[test]
fn a_statement_of_a_genuine_kms_of_strangers_is_none_of_the_pinned_one() {
    judge_release(&signed(|_| {}), &rules(), stated().issued_secs).unwrap_err();
    let refused = refusal(&signed(|_| {}), |rules| rules.key_provider_id = Sha256Digest([1; 32]));
    assert!(matches!(refused, ReleaseRefusal::Kms(KmsRefusal::Foreign { .. })), "{refused:?}");
    // The pinned cluster is stated, and strangers signed its root.
    let foreign = SignedRelease { cluster: genuine().cluster, ..signed(|_| {}) };
    let refused = judge_release(&foreign, &rules(), stated().issued_secs).unwrap_err();
    assert!(matches!(refused, ReleaseRefusal::Kms(KmsRefusal::Signatures { .. })), "{refused:?}");
    // The owners' root of another cluster of theirs.
    let other = RootCertificate { key_provider_id: Sha256Digest([2; 32]), ..certificate(1) };
    let root = envelope(payload_type::ROOT, &other, &owner());
    let refused = refusal(&SignedRelease { root, ..signed(|_| {}) }, |_| {});
    assert!(matches!(refused, ReleaseRefusal::Kms(KmsRefusal::OtherCluster { .. })), "{refused:?}");
}

#[test]
fn only_the_certified_identity_signs_and_only_under_the_statements_own_type() {
    let is_signature = |signed: &SignedRelease| {
        let refused = refusal(signed, |_| {});
        assert!(matches!(refused, ReleaseRefusal::Signature { .. }), "{refused:?}");
    };
    judge_release(
        &signed(|_| {}),
        &ReleaseRules { key_provider_id: cluster().id(), minimum_epoch: 1 },
        stated().issued_secs,
    )
    .unwrap();
    let statement = ReleaseStatement { key_provider_id: cluster().id(), ..stated() };
    for (payload_type, key) in [
        (payload_type::RELEASE, owner()),
        (payload_type::RELEASE, SigningKey::from_seed(&[3; 32])),
        (payload_type::POLICY, identity()),
    ] {
        let statement = envelope(payload_type, &statement, &key);
        is_signature(&SignedRelease { statement, ..signed(|_| {}) });
    }
    // One byte of what was signed is another one.
    let genuine = signed(|_| {});
    let other = signed(|it| it.open_counter += 1).statement;
    let payload = |text: &str| text.split('"').nth(3).unwrap().to_owned();
    let statement = genuine.statement.replace(&payload(&genuine.statement), &payload(&other));
    assert_ne!(statement, genuine.statement);
    is_signature(&SignedRelease { statement, ..genuine });
}

#[test]
fn a_signed_statement_says_nothing_of_another_root_kms_or_form() {
    let refused = refusal(&signed(|it| it.key_provider_id = Sha256Digest([8; 32])), |_| {});
    assert!(matches!(refused, ReleaseRefusal::OtherKms { .. }), "{refused:?}");
    let refused = refusal(&signed(|it| it.root_epoch = 2), |_| {});
    assert_eq!(refused, ReleaseRefusal::OtherEpoch { found: 2, expected: 1 });
    let refused = refusal(&signed(|it| it.version = 2), |_| {});
    assert_eq!(refused, ReleaseRefusal::Statement(ReleaseError::Version(2)));
    let refused = refusal(&signed(|it| it.not_after_secs = it.issued_secs + 3601), |_| {});
    assert!(
        matches!(refused, ReleaseRefusal::Statement(ReleaseError::Times { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_root_of_an_epoch_that_owners_left_counts_no_more() {
    let refused = refusal(&signed(|_| {}), |rules| rules.minimum_epoch = 2);
    assert_eq!(refused, ReleaseRefusal::OldEpoch { found: 1, minimum: 2 });
    let root = envelope(payload_type::ROOT, &certificate(2), &owner());
    let second = SignedRelease { root, ..signed(|it| it.root_epoch = 2) };
    let rules = ReleaseRules { key_provider_id: cluster().id(), minimum_epoch: 2 };
    judge_release(&second, &rules, stated().issued_secs).unwrap();
    // An identity that is no key signs nothing.
    let no_key = RootCertificate { identity: Ed25519Key([0xff; 32]), ..certificate(1) };
    let root = envelope(payload_type::ROOT, &no_key, &owner());
    let refused = refusal(&SignedRelease { root, ..signed(|_| {}) }, |_| {});
    assert!(
        matches!(refused, ReleaseRefusal::Identity(_) | ReleaseRefusal::Signature { .. }),
        "{refused:?}"
    );
}

#[test]
fn a_statement_of_another_guest_does_not_cover_this_ones_evidence() {
    let verified = judge_release(&genuine(), &rules(), stated().issued_secs).unwrap();
    let spki = hex::decode(vector().agent_spki).unwrap();
    let ReleaseStatement { app_id, instance_id, compose_hash, os_image_hash, .. } = stated();
    let own = MeasuredApp { app_id, instance_id, compose_hash };
    verified.check_facts(&own, os_image_hash, Some(Sha256Digest::of(&spki))).unwrap();
    // A container of the guest has a key of its own, which no KMS saw.
    verified.check_facts(&own, os_image_hash, None).unwrap();
    type Change = fn(&mut MeasuredApp, &mut OsImageHash, &mut Vec<u8>);
    let rows: [(Change, &str); 6] = [
        (|app, _, _| app.app_id.0[0] ^= 1, "of the app"),
        (|app, _, _| app.instance_id = None, "of the instance"),
        (|app, _, _| app.instance_id = Some(InstanceId([1; 20])), "of the instance"),
        (|app, _, _| app.compose_hash.0[0] ^= 1, "of the measured file"),
        (|_, image, _| image.0[0] ^= 1, "of the image"),
        (|_, _, spki| spki[43] ^= 1, "shows the key"),
    ];
    for (change, expected) in rows {
        let (mut app, mut image, mut spki) = (own.clone(), os_image_hash, spki.clone());
        change(&mut app, &mut image, &mut spki);
        let key = Sha256Digest::of(&spki);
        let refused = verified.check_facts(&app, image, Some(key)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(verified.check_facts(&app, image, None).is_ok(), expected == "shows the key");
    }
}
