//! How an epoch comes and goes, and which keys an instance gets.

use protocol::digest::{Ed25519Key, InstanceId, PlatformId, Sha256Digest};
use protocol::kms::payload_type;
use protocol::kms::{AnchorRequest, EpochKeys, GENERATION_BITS, Renewal, RootCertificate};

use super::super::*;
use crate::fixtures::{APP, Kms, MEMBER, NOW, certificate, cluster, guest, list, signed};
use crate::guest::Guest;
use crate::refused::Refused;

const NEXT: Ed25519Key = Ed25519Key([44; 32]);

fn offer(kms: &mut Kms, renewal: Renewal) -> Result<RootCertificate, DocumentRefused> {
    let entry = offer_epoch(&kms.state, NEXT, renewal.clone(), NOW)?;
    kms.append(entry);
    let (key_provider_id, epoch) = (cluster().id(), kms.state.epoch() + 1);
    Ok(RootCertificate { key_provider_id, epoch, identity: NEXT, renewal: Some(renewal) })
}

fn certify(kms: &mut Kms, certificate: &RootCertificate) -> Result<(), DocumentRefused> {
    let envelope = signed(payload_type::ROOT, certificate, &[0, 2]);
    let entry = certify_root(&kms.state, &envelope, NOW)?;
    kms.append(entry);
    Ok(())
}

/// A KMS in its second epoch; an instance got keys in the first.
fn renewed() -> Kms {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let certificate = offer(&mut kms, Renewal::default()).unwrap();
    certify(&mut kms, &certificate).unwrap();
    kms
}

fn epoch_of(kms: &Kms, guest: &Guest, epoch: u32) -> Result<u32, Refused> {
    let asked = Asked { request_id: None, epoch };
    let entry = release_once(&kms.state, guest, &MEMBER, asked, NOW)?.unwrap();
    let Kind::Released(released) = entry.kind else { panic!("{entry:?}") };
    Ok(released.epoch)
}

/// Another instance of the same app, which the policy must allow.
fn second() -> Guest {
    Guest { instance_id: Some(InstanceId([0xcc; 20])), ..guest() }
}

fn move_disk(kms: &mut Kms, epoch: u32) -> Result<(), Refused> {
    let open_counter = kms.open(&guest(), NOW).unwrap();
    let generation = open_counter << GENERATION_BITS | 1;
    let request = AnchorRequest { open_counter, generation, epoch, last: false };
    let entry = anchor(&kms.state, &guest(), &MEMBER, &request, NOW)?;
    kms.append(entry);
    Ok(())
}

#[test]
fn an_epoch_begins_when_owners_certified_the_root_that_was_offered() {
    let mut kms = Kms::serving();
    assert_eq!(kms.state.epochs().live().len(), 1);
    let good = offer(&mut kms, Renewal::default()).unwrap();
    let other = RootCertificate { identity: MEMBER, ..good.clone() };
    assert!(matches!(certify(&mut kms, &other), Err(DocumentRefused::OtherRoot { .. })));
    let renewal = Some(Renewal { keys: EpochKeys::None, ..Renewal::default() });
    let other = RootCertificate { renewal, ..good.clone() };
    assert!(matches!(certify(&mut kms, &other), Err(DocumentRefused::OtherRoot { .. })));
    let few = signed(payload_type::ROOT, &good, &[1]);
    assert!(matches!(certify_root(&kms.state, &few, NOW), Err(DocumentRefused::Document(_))));
    certify(&mut kms, &good).unwrap();
    assert_eq!((kms.state.epoch(), kms.state.identity()), (2, Some(NEXT)));
    assert_eq!(kms.state.epochs().newest(), 2);
    assert_eq!(certify(&mut kms, &good), Err(DocumentRefused::Certified));
    assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);
}

#[test]
fn an_instance_stays_on_its_epoch_until_its_disk_moved() {
    let mut kms = renewed();
    assert_eq!(epoch_of(&kms, &guest(), 0), Ok(1));
    assert_eq!(epoch_of(&kms, &guest(), 2), Ok(2), "both can be had");
    let unknown = Err(Refused::EpochUnknown { found: 3, newest: 2 });
    assert_eq!(epoch_of(&kms, &guest(), 3), unknown);
    assert_eq!(environment_epoch(&kms.state, &APP), 1);
    let refused = move_disk(&mut kms, 3);
    assert_eq!(refused, Err(Refused::EpochUnknown { found: 3, newest: 2 }));
    move_disk(&mut kms, 2).unwrap();
    assert_eq!(epoch_of(&kms, &guest(), 0), Ok(2));
    assert_eq!(epoch_of(&kms, &guest(), 1), Err(Refused::EpochOlder { found: 1, runs_on: 2 }));
    assert_eq!(move_disk(&mut kms, 1), Err(Refused::EpochOlder { found: 1, runs_on: 2 }));
    assert_eq!(environment_epoch(&kms.state, &APP), 2);
    assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);
}

fn release_of(kms: &mut Kms, epoch: u32) -> Result<(), Refused> {
    let asked = Asked { request_id: None, epoch };
    let entry = release_once(&kms.state, &guest(), &MEMBER, asked, NOW)?.unwrap();
    kms.append(entry);
    Ok(())
}

#[test]
fn a_disk_that_may_be_half_under_an_epoch_s_key_moves_to_that_one_and_needs_both() {
    let mut kms = renewed();
    let key = (guest().app_id, guest().instance_id);
    release_of(&mut kms, 2).unwrap();
    let certificate = offer(&mut kms, Renewal::default()).unwrap();
    certify(&mut kms, &certificate).unwrap();
    assert_eq!((kms.state.epochs().newest(), newest_epoch(&kms.state, &key)), (3, 2));
    let other = Err(Refused::EpochOther { found: 3, moves_to: 2 });
    assert_eq!(epoch_of(&kms, &guest(), 3), Err(other.clone().unwrap_err()));
    assert_eq!(move_disk(&mut kms, 3), other);
    assert_eq!(epoch_of(&kms, &guest(), 0), Ok(1));
    release_of(&mut kms, 0).unwrap();
    assert_eq!(epoch_of(&kms, &guest(), 2), Ok(2), "a later boot goes on with the move");
    let on = |kms: &Kms| [1, 2, 3].map(|epoch| instances_on(&kms.state, epoch));
    assert_eq!(on(&kms), [1, 1, 0]);
    for (retires, found) in [(vec![1], 1), (vec![2], 1), (vec![1, 2], 1)] {
        let renewal = Renewal { keys: EpochKeys::None, retires, ..Renewal::default() };
        let refused = offer(&mut kms.clone(), renewal);
        assert_eq!(refused, Err(DocumentRefused::Instances { found, allowed: 0 }));
    }
    assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);

    // A disk that is half under an erased key is made anew.
    let mut lost = kms.clone();
    move_disk(&mut lost, 1).unwrap();
    let renewal = Renewal {
        keys: EpochKeys::None,
        retires: vec![2],
        danger_loses_instances: 1,
        ..Renewal::default()
    };
    let certificate = offer(&mut lost, renewal).unwrap();
    certify(&mut lost, &certificate).unwrap();
    let instance = &lost.state.instances()[&key];
    assert_eq!((instance.epoch(), instance.moves_to(), instance.anchor()), (3, None, None));

    move_disk(&mut kms, 2).unwrap();
    assert_eq!(on(&kms), [0, 1, 0]);
    assert_eq!(newest_epoch(&kms.state, &key), 3, "and may then move on");
    assert_eq!(earlier_epochs(&kms.state, 3).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);
}

#[test]
fn a_ledger_in_which_a_disk_moves_to_two_epochs_at_once_is_refused() {
    let mut kms = renewed();
    release_of(&mut kms, 2).unwrap();
    let certificate = offer(&mut kms, Renewal::default()).unwrap();
    certify(&mut kms, &certificate).unwrap();
    let asked = Asked { request_id: None, epoch: 2 };
    let entry = release_once(&kms.state, &guest(), &MEMBER, asked, NOW).unwrap().unwrap();
    let Kind::Released(released) = entry.kind.clone() else { panic!() };
    let wrong = Kind::Released(crate::ledger::Released { epoch: 3, ..released });
    assert!(kms.state.clone().apply(&Entry { kind: wrong, ..entry.clone() }).is_err());
    kms.state.clone().apply(&entry).unwrap();
}

#[test]
fn a_new_instance_begins_on_the_newest_epoch() {
    let mut file = crate::fixtures::policy_file(1);
    file.apps[0].instances = crate::policy::Instances::Number(2);
    let mut kms = Kms::with_policy(&file);
    kms.release(&guest()).unwrap();
    let certificate = offer(&mut kms, Renewal::default()).unwrap();
    certify(&mut kms, &certificate).unwrap();
    assert_eq!(epoch_of(&kms, &second(), 0), Ok(2));
    kms.release(&second()).unwrap();
    assert_eq!((instances_on(&kms.state, 1), instances_on(&kms.state, 2)), (1, 1));
}

#[test]
fn an_epoch_is_retired_when_nothing_runs_on_it_or_owners_give_that_up() {
    let retires = |danger_loses_instances| Renewal {
        keys: EpochKeys::None,
        retires: vec![1],
        danger_loses_instances,
        ..Renewal::default()
    };
    let kms = renewed();
    let refused = offer(&mut kms.clone(), retires(0));
    assert_eq!(refused, Err(DocumentRefused::Instances { found: 1, allowed: 0 }));
    // Moved: nothing is lost, and the newest epoch for keys stays the second.
    let mut moved = kms.clone();
    move_disk(&mut moved, 2).unwrap();
    let certificate = offer(&mut moved, retires(0)).unwrap();
    certify(&mut moved, &certificate).unwrap();
    assert_eq!((moved.state.epoch(), moved.state.epochs().newest()), (3, 2));
    assert_eq!(moved.state.epochs().keys(1), None);
    // Given up: the disk is made anew under the newest epoch's key.
    let mut lost = kms;
    move_disk(&mut lost, 0).unwrap();
    let certificate = offer(&mut lost, retires(1)).unwrap();
    certify(&mut lost, &certificate).unwrap();
    assert_eq!(epoch_of(&lost, &guest(), 0), Ok(2));
    assert_eq!(lost.state.instances().values().next().unwrap().anchor(), None);
    assert_eq!(State::replay(&lost.entries).unwrap(), lost.state);
}

#[test]
fn an_instance_that_came_after_the_offer_is_not_lost_unnoticed() {
    let mut kms = Kms::serving();
    let certificate = offer(&mut kms, Renewal { retires: vec![1], ..Renewal::default() }).unwrap();
    kms.release(&guest()).unwrap();
    let refused = certify(&mut kms, &certificate);
    assert_eq!(refused, Err(DocumentRefused::Instances { found: 1, allowed: 0 }));
}

#[test]
fn what_cannot_be_an_epoch_is_refused() {
    let kms = renewed();
    let digest = Some(Sha256Digest([1; 32]));
    let rows = [
        (Renewal { dstack: digest, ..Renewal::default() }, DocumentRefused::TakenOver("dstyx")),
        (
            Renewal { keys: EpochKeys::Dstack, ..Renewal::default() },
            DocumentRefused::TakenOver("dstack"),
        ),
        (Renewal { retires: vec![2, 1], ..Renewal::default() }, DocumentRefused::RetiresOrder),
        (Renewal { retires: vec![1, 1], ..Renewal::default() }, DocumentRefused::RetiresOrder),
        (Renewal { retires: vec![9], ..Renewal::default() }, DocumentRefused::UnknownEpoch(9)),
        (
            Renewal { keys: EpochKeys::None, retires: vec![1, 2], ..Renewal::default() },
            DocumentRefused::EpochsLeft(0),
        ),
    ];
    for (renewal, expected) in rows {
        assert_eq!(offer(&mut kms.clone(), renewal), Err(expected));
    }
    let early = offer_epoch(&Kms::born().state, NEXT, Renewal::default(), NOW);
    assert_eq!(early, Err(DocumentRefused::Uncertified));
    let unborn = offer_epoch(&State::default(), NEXT, Renewal::default(), NOW);
    assert_eq!(unborn, Err(DocumentRefused::Unborn));
    let mut many = Kms::serving();
    for _ in 0..15 {
        let certificate = offer(&mut many, Renewal::default()).unwrap();
        certify(&mut many, &certificate).unwrap();
    }
    assert_eq!(offer(&mut many, Renewal::default()), Err(DocumentRefused::EpochsLeft(17)));
}

#[test]
fn an_entry_of_another_epoch_is_no_part_of_a_ledger() {
    let mut kms = renewed();
    let entry = release(&kms.state, &guest(), &MEMBER, NOW).unwrap();
    let Kind::Released(released) = entry.kind.clone() else { panic!() };
    let wrong = Kind::Released(crate::ledger::Released { epoch: 7, ..released });
    assert!(kms.state.apply(&Entry { kind: wrong, ..entry }).is_err());
    let offered = offer_epoch(&kms.state, NEXT, Renewal::default(), NOW).unwrap();
    let Kind::EpochOffered(one) = offered.kind.clone() else { panic!() };
    let wrong = Kind::EpochOffered(crate::ledger::EpochOffered { epoch: 9, ..one });
    assert!(kms.state.apply(&Entry { kind: wrong, ..offered.clone() }).is_err());
    kms.append(offered);
    // A process that goes on alone does not have the root that another one offered.
    let document = crate::fixtures::resumption(&kms.state, Ed25519Key([78; 32]));
    let envelope = signed(payload_type::RESUMPTION, &document, &[0, 1]);
    let entry = resume(&kms.state, &envelope, &Ed25519Key([78; 32]), NOW).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.epochs().offered(), None);
    assert_eq!(certificate().epoch, 1);
}

#[test]
fn of_several_offers_of_members_the_last_one_can_be_certified() {
    let mut file = crate::fixtures::policy_file(1);
    (file.replicas, file.platform_ids) = (Some(2), None);
    let mut kms = Kms::with_policy(&file);
    let pair = list(1).images[0];
    let (os_image_hash, compose_hash) = (pair.os_image_hash, pair.compose_hash);
    let platform_ids = vec![PlatformId([2; 16])];
    let process = Guest { os_image_hash, compose_hash, platform_ids, ..guest() };
    let (new, own) = ((&process, Ed25519Key([2; 32])), (&MEMBER, PlatformId([1; 16])));
    let entry = admit(&kms.state, new, own, NOW).unwrap();
    kms.append(entry.unwrap());
    let first = offer(&mut kms, Renewal::default()).unwrap();
    let other = Ed25519Key([45; 32]);
    let entry = offer_epoch(&kms.state, other, Renewal::default(), NOW).unwrap();
    kms.append(entry);
    assert!(matches!(certify(&mut kms, &first), Err(DocumentRefused::OtherRoot { .. })));
    certify(&mut kms, &RootCertificate { identity: other, ..first }).unwrap();
    assert_eq!((kms.state.epoch(), kms.state.identity()), (2, Some(other)));
    assert_eq!(kms.state.members().len(), 2);
}
