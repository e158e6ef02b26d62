//! Who becomes a member, what a majority is, and a call that is made again.

use std::collections::BTreeSet;

use protocol::digest::{Ed25519Key, PlatformId, RequestId};

use super::super::*;
use crate::fixtures::{INSTANCE, Kms, MEMBER, NOW, guest, list, policy_file, resumption, signed};
use crate::guest::Guest;
use crate::ledger::{Fault, Led, MemberAdmitted};
use crate::refused::Refused;

const OWN_PLATFORM: PlatformId = PlatformId([1; 16]);

fn key(byte: u8) -> Ed25519Key {
    Ed25519Key([byte; 32])
}

/// A process of this KMS on a platform.
fn process(platform: u8) -> Guest {
    let pair = list(1).images[0];
    let (os_image_hash, compose_hash) = (pair.os_image_hash, pair.compose_hash);
    let platform_ids = vec![PlatformId([platform; 16])];
    Guest { os_image_hash, compose_hash, platform_ids, ready: true, ..guest() }
}

fn with_replicas(replicas: Option<u8>) -> Kms {
    let mut file = policy_file(1);
    (file.replicas, file.platform_ids) = (replicas, None);
    Kms::with_policy(&file)
}

fn asked(kms: &Kms, process: &Guest, member: Ed25519Key) -> Result<Option<Entry>, Refused> {
    admit(&kms.state, (process, member), (&MEMBER, OWN_PLATFORM), NOW)
}

fn joined(kms: &mut Kms, platform: u8) {
    let entry = asked(kms, &process(platform), key(platform)).unwrap();
    kms.append(entry.unwrap());
}

#[test]
fn a_process_is_admitted_once_where_the_policy_has_room_on_a_platform_of_its_own() {
    let alone = with_replicas(None);
    assert_eq!(asked(&alone, &process(2), key(2)), Err(Refused::NoReplicas));
    let mut kms = with_replicas(Some(3));
    let same = PlatformId([1; 16]);
    assert_eq!(asked(&kms, &process(1), key(2)), Err(Refused::SamePlatform(same)));
    let strange = Guest { compose_hash: guest().compose_hash, ..process(2) };
    assert!(matches!(asked(&kms, &strange, key(2)), Err(Refused::NotOnList(_))));
    let old = Guest { tcb_evaluation_number: 1, ..process(2) };
    assert!(matches!(asked(&kms, &old, key(2)), Err(Refused::EvaluationNumber { .. })));
    let late = admit(&kms.state, (&process(2), key(2)), (&MEMBER, OWN_PLATFORM), NOW * 2);
    assert!(matches!(late, Err(Refused::PolicyNotValid(_))));
    let by_none = admit(&kms.state, (&process(2), key(2)), (&key(9), OWN_PLATFORM), NOW);
    assert_eq!(by_none, Err(Refused::NotServing("waiting")));

    joined(&mut kms, 2);
    joined(&mut kms, 3);
    // A process that says it found this member elsewhere does not take its place.
    let elsewhere = (&MEMBER, PlatformId([9; 16]));
    let own_place = admit(&kms.state, (&process(1), key(11)), elsewhere, NOW);
    assert_eq!(own_place, Err(Refused::SamePlatform(same)));
    assert_eq!(asked(&kms, &process(2), key(2)), Ok(None), "it is one already");
    let full = Refused::TooManyMembers { known: 3, allowed: 3 };
    assert_eq!(asked(&kms, &process(4), key(4)), Err(full));
    for member in [MEMBER, key(2), key(3)] {
        assert_eq!(kms.state.phase(&member, true), Phase::Serving);
    }
    assert_eq!(kms.state.phase(&key(4), true), Phase::Waiting);
}

#[test]
fn the_root_is_given_by_an_entry_and_only_where_replicas_are_allowed() {
    let give = |kms: &Kms, process: &Guest| give_root(&kms.state, (process, key(2)), &MEMBER, NOW);
    assert_eq!(give(&with_replicas(None), &process(2)), Err(Refused::NoReplicas));
    assert_eq!(give(&with_replicas(Some(1)), &process(2)), Err(Refused::NoReplicas));
    let mut kms = with_replicas(Some(3));
    let entry = give(&kms, &process(2)).unwrap().unwrap();
    kms.append(entry.clone());
    assert_eq!(give(&kms, &process(2)), Ok(None), "a lost answer is given again");
    let mut second = kms.state.next(entry.kind, NOW);
    assert!(kms.state.clone().apply(&second).unwrap_err().to_string().contains("second time"));
    if let Kind::RootGiven(given) = &mut second.kind {
        (given.member, given.policy_version) = (key(3), 9);
    }
    assert!(kms.state.clone().apply(&second).unwrap_err().to_string().contains("the policy 9"));
}

#[test]
fn a_platform_list_of_the_policy_holds_for_replicas_too() {
    let mut file = policy_file(1);
    (file.replicas, file.platform_ids) = (Some(3), Some(vec![PlatformId([2; 16])]));
    let kms = Kms::with_policy(&file);
    asked(&kms, &process(2), key(2)).unwrap();
    assert!(matches!(asked(&kms, &process(3), key(3)), Err(Refused::PlatformNotListed(_))));
}

#[test]
fn a_new_process_of_a_platform_replaces_the_old_one_which_never_comes_back() {
    let mut kms = with_replicas(Some(3));
    joined(&mut kms, 2);
    joined(&mut kms, 3);
    let removed = asked(&kms, &process(3), key(13)).unwrap().unwrap();
    assert!(matches!(removed.kind, Kind::MemberRemoved(_)));
    kms.append(removed);
    assert_eq!(kms.state.phase(&key(3), true), Phase::Waiting);
    let entry = asked(&kms, &process(3), key(13)).unwrap().unwrap();
    kms.append(entry);
    assert_eq!(asked(&kms, &process(4), key(3)), Err(Refused::FormerMember(key(3))));
    // The ledger itself has none of these either.
    let entry = |kind| kms.state.next(kind, NOW);
    let admitted = |member, platform, by, on| MemberAdmitted {
        member,
        platform_id: PlatformId([platform; 16]),
        by,
        by_platform_id: PlatformId([on; 16]),
    };
    for (kind, expected) in [
        (Kind::MemberAdmitted(admitted(key(5), 5, MEMBER, 1)), "beyond the policy's 3"),
        (Kind::MemberRemoved(crate::ledger::MemberRemoved { member: key(3) }), "the end of"),
        (Kind::Led(Led { term: 9, member: key(3) }), "the term 9"),
        (Kind::Led(Led { term: 1, member: key(2) }), "the term 1"),
    ] {
        let error = kms.state.clone().apply(&entry(kind)).unwrap_err();
        assert!(error.what.to_string().contains(expected), "{error}");
    }
    let mut small = with_replicas(Some(5));
    joined(&mut small, 2);
    for (admitted, expected) in [
        (admitted(key(2), 5, MEMBER, 1), "a second time"),
        (admitted(key(5), 5, key(9), 9), "who is none"),
        (admitted(key(5), 5, MEMBER, 8), "on the platform"),
        (admitted(key(5), 2, MEMBER, 1), "on the platform of"),
        (admitted(key(5), 1, MEMBER, 1), "on the platform of"),
    ] {
        let entry = small.state.next(Kind::MemberAdmitted(admitted), NOW);
        match small.state.clone().apply(&entry).unwrap_err().what {
            Fault::Rule(text) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_majority_is_one_of_all_enrolled_on_distinct_platforms() {
    let mut kms = with_replicas(Some(5));
    let quorum = |kms: &Kms, keys: &[Ed25519Key]| {
        kms.state.members().is_quorum(&keys.iter().copied().collect::<BTreeSet<_>>())
    };
    assert!(quorum(&kms, &[MEMBER]) && !quorum(&kms, &[]));
    joined(&mut kms, 2);
    assert!(!quorum(&kms, &[MEMBER]) && quorum(&kms, &[MEMBER, key(2)]));
    (3..=5).for_each(|platform| joined(&mut kms, platform));
    assert!(!quorum(&kms, &[MEMBER, key(2)]));
    assert!(quorum(&kms, &[MEMBER, key(2), key(5)]));
    let strangers: Vec<_> = (20..40).map(key).chain([MEMBER, key(2)]).collect();
    assert!(!quorum(&kms, &strangers), "two of five and whoever else answers");
    let platform = PlatformId([7; 16]);
    let crowded = Members::on_one_platform(&[key(2), key(3), key(4)], &[key(5)], platform);
    assert!(!quorum_of(&crowded, &[key(2), key(3), key(4)]), "one host, one vote");
}

fn quorum_of(members: &Members, keys: &[Ed25519Key]) -> bool {
    members.is_quorum(&keys.iter().copied().collect())
}

#[test]
fn a_member_whose_majority_is_lost_goes_on_alone_by_the_owners_word() {
    let mut kms = with_replicas(Some(3));
    joined(&mut kms, 2);
    joined(&mut kms, 3);
    let document = resumption(&kms.state, key(2));
    let envelope = signed(protocol::kms::payload_type::RESUMPTION, &document, &[0, 1]);
    let entry = resume(&kms.state, &envelope, &key(2), NOW).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.members().keys().collect::<Vec<_>>(), [&key(2)]);
    assert_eq!(kms.state.phase(&MEMBER, true), Phase::Waiting);
    assert_eq!(kms.state.members().leader(), Some(key(2)));
}

#[test]
fn a_call_that_is_made_again_with_its_number_is_one_entry() {
    let mut kms = with_replicas(None);
    let ask = |kms: &Kms, guest: &Guest, id: Option<u8>| {
        let id = id.map(|id| RequestId([id; 16]));
        release_once(&kms.state, guest, &MEMBER, id, NOW)
    };
    let first = ask(&kms, &guest(), Some(1)).unwrap().unwrap();
    kms.append(first.clone());
    assert_eq!(ask(&kms, &guest(), Some(1)), Ok(None));
    // Neither does a member that decided at the same time get a second one in.
    let again = Entry { index: kms.state.entries(), previous: kms.state.head(), ..first };
    let mut again = again;
    if let Kind::Released(released) = &mut again.kind {
        released.new_instance = false;
    }
    let error = kms.state.clone().apply(&again).unwrap_err().to_string();
    assert!(error.contains("a second entry for one call"), "{error}");

    // Another call, another file, another policy, or no number: another decision.
    assert!(ask(&kms, &guest(), Some(2)).unwrap().is_some());
    assert!(ask(&kms, &guest(), None).unwrap().is_some());
    let upgraded = Guest { compose_hash: crate::fixtures::FILES[1], ..guest() };
    assert!(ask(&kms, &upgraded, Some(1)).unwrap().is_some());
    kms.set_policy(&policy_file(2));
    assert!(ask(&kms, &guest(), Some(1)).unwrap().is_some());
    // And what is refused is refused again.
    let mut empty = policy_file(3);
    empty.apps.clear();
    kms.set_policy(&empty);
    assert!(matches!(ask(&kms, &guest(), Some(1)), Err(Refused::AppUnknown { .. })));
    assert!(kms.state.instances().contains_key(&(guest().app_id, Some(INSTANCE))));
}
