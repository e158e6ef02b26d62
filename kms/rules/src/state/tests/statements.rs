//! Which guest has a release statement, and what it says.

use attestation::release_statement::{ReleaseRules, judge_release};
use protocol::digest::Sha256Digest;
use protocol::kms::{
    MAX_RELEASE_SECS, MAX_SIGNED_RELEASE_BYTES, ReleaseStatement, ReleasedAt, RootCertificate,
    payload_type,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::*;
use crate::derivation::Root;
use crate::fixtures::{
    FILES, IMAGES, Kms, MEMBER, NOW, cluster, guest, list, policy_app, policy_file, signed,
};
use crate::guest::Guest;
use crate::policy::PolicyFile;
use crate::refused::Refused;

/// What the guest of the vector shows: an Ed25519 key in its SubjectPublicKeyInfo.
fn agent_spki() -> Vec<u8> {
    [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &[0x42; 32]].concat()
}

fn root() -> Root {
    Root::from_bytes(Zeroizing::new(std::array::from_fn(|index| index as u8)))
}

/// A guest while its app runs.
fn running() -> Guest {
    Guest { ready: true, agent_key: Sha256Digest::of(&agent_spki()), ..guest() }
}

/// A KMS that serves, with a root that signs, and a guest whose disk is open under a counter.
fn opened() -> (Kms, u64) {
    let mut kms = Kms::default();
    let identity = root().identity_key();
    kms.append(bootstrap(&kms.state, &cluster(), identity, MEMBER, NOW - 100).unwrap());
    let certificate =
        RootCertificate { key_provider_id: cluster().id(), epoch: 1, identity, renewal: None };
    let certificate = signed(payload_type::ROOT, &certificate, &[0, 1]);
    kms.append(certify_root(&kms.state, &certificate, NOW - 100).unwrap());
    let list = signed(payload_type::LIST, &list(1), &[1, 2]);
    kms.append(set_list(&kms.state, &list, NOW - 100).unwrap());
    kms.set_policy(&policy_file(1));
    kms.release(&guest()).unwrap();
    let counter = kms.open(&guest(), NOW).unwrap();
    (kms, counter)
}

fn stated(kms: &Kms, guest: &Guest, counter: u64) -> Result<ReleaseStatement, Refused> {
    release_statement(&kms.state, guest, &MEMBER, counter, NOW)
}

#[test]
fn a_statement_says_what_was_proved_and_which_entry_gave_the_keys() {
    let (kms, counter) = opened();
    let statement = stated(&kms, &running(), counter).unwrap();
    let released = kms.entries.iter().find(|entry| matches!(entry.kind, Kind::Released(_)));
    let released = released.unwrap();
    let at = ReleasedAt { entry: released.index, hash: released.hash(), time_secs: NOW };
    let who = running();
    let expected = ReleaseStatement {
        version: 1,
        key_provider_id: cluster().id(),
        root_epoch: 1,
        app_id: who.app_id,
        instance_id: who.instance_id,
        compose_hash: FILES[0],
        os_image_hash: IMAGES[0],
        agent_key: who.agent_key,
        open_counter: counter,
        policy_version: 1,
        released: at,
        issued_secs: NOW,
        not_after_secs: NOW + MAX_RELEASE_SECS,
    };
    assert_eq!(statement, expected);
    // A clock that is set back dates nothing back.
    let again = release_statement(&kms.state, &running(), &MEMBER, counter, 0).unwrap();
    assert_eq!(again.issued_secs, kms.state.last_secs());
}

#[test]
fn the_signed_statement_is_that_of_the_vector_and_a_third_party_verifies_it() {
    let (kms, counter) = opened();
    let statement = stated(&kms, &running(), counter).unwrap();
    let signed = sign_release(&kms.state, &statement, &root()).unwrap();
    let text = signed.to_json();
    assert!(text.len() <= MAX_SIGNED_RELEASE_BYTES, "{}", text.len());
    let vector = json!({
        "key_provider_id": cluster().id(),
        "agent_spki": hex::encode(agent_spki()),
        "release": text,
    });
    let kept = include_str!("../../../../../tests/vectors/attestation/kms-release.json");
    let kept: serde_json::Value = serde_json::from_str(kept).unwrap();
    assert_eq!(vector, kept, "{vector:#}");
    let rules = ReleaseRules { key_provider_id: cluster().id(), minimum_epoch: 1 };
    let verified = judge_release(&signed, &rules, NOW).unwrap();
    assert_eq!(verified.statement(), &statement);
    // A root that owners did not certify signs nothing that counts.
    let other = Root::from_bytes(Zeroizing::new([7; 32]));
    let foreign = sign_release(&kms.state, &statement, &other).unwrap();
    judge_release(&foreign, &rules, NOW).unwrap_err();
    assert_eq!(sign_release(&Kms::born().state, &statement, &root()), None);
}

#[test]
fn a_superseded_guest_or_one_without_this_mount_gets_none() {
    let (mut kms, first) = opened();
    let unknown = Refused::CounterUnknown { found: first + 1, newest: first };
    assert_eq!(stated(&kms, &running(), first + 1), Err(unknown));
    let second = kms.open(&guest(), NOW).unwrap();
    let superseded = Refused::Superseded { found: first, newest: second };
    assert_eq!(stated(&kms, &running(), first), Err(superseded));
    stated(&kms, &running(), second).unwrap();
    let mut kms = Kms::serving();
    assert_eq!(stated(&kms, &running(), 0), Err(Refused::InstanceUnknown));
    kms.release(&guest()).unwrap();
    let unopened = Refused::CounterUnknown { found: 0, newest: 0 };
    assert_eq!(stated(&kms, &running(), 0), Err(unopened));
}

#[test]
fn a_guest_that_would_get_no_keys_now_gets_none() {
    let (mut kms, counter) = opened();
    let privileged = Guest { privileged: true, ..running() };
    assert_eq!(stated(&kms, &privileged, counter), Err(Refused::Privileged));
    let other = release_statement(&kms.state, &running(), &Ed25519Key([1; 32]), counter, NOW);
    assert_eq!(other, Err(Refused::NotServing("waiting")));
    // The owners took the app's file back.
    let mut app = policy_app();
    app.compose_hashes.remove(0);
    kms.set_policy(&PolicyFile { apps: vec![app], ..policy_file(2) });
    assert!(matches!(stated(&kms, &running(), counter), Err(Refused::FileNotListed { .. })));
}

#[test]
fn a_statement_ends_with_the_policy() {
    let (mut kms, counter) = opened();
    let not_after_secs = NOW + 60;
    kms.set_policy(&PolicyFile { not_after_secs, ..policy_file(2) });
    let statement = stated(&kms, &running(), counter).unwrap();
    assert_eq!((statement.policy_version, statement.not_after_secs), (2, not_after_secs));
    let late = release_statement(&kms.state, &running(), &MEMBER, counter, not_after_secs + 1);
    assert!(matches!(late, Err(Refused::PolicyNotValid(_))), "{late:?}");
}

#[test]
fn keys_that_went_to_another_file_or_image_are_stated_of_that_alone() {
    let (mut kms, counter) = opened();
    // A later version got the keys, and has not opened the disk yet.
    kms.release(&Guest { os_image_hash: IMAGES[1], ..guest() }).unwrap();
    let other = Refused::OtherImage { recorded: IMAGES[1], found: IMAGES[0] };
    let older = release_statement(&kms.state, &running(), &MEMBER, counter, NOW);
    assert!(matches!(older, Err(Refused::OlderImage { .. })), "{older:?}");
    let mut file = policy_file(2);
    file.danger_go_back_to_images = vec![IMAGES[0]];
    kms.set_policy(&file);
    assert_eq!(stated(&kms, &running(), counter), Err(other));
    kms.release(&Guest { compose_hash: FILES[1], os_image_hash: IMAGES[1], ..guest() }).unwrap();
    let newer = Guest { compose_hash: FILES[1], os_image_hash: IMAGES[1], ..running() };
    let other = Refused::OtherFile { recorded: FILES[0], found: FILES[1] };
    assert_eq!(stated(&kms, &newer, counter), Err(other));
}
