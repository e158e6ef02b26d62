//! Who gets keys.

use attestation::policy::TcbStatus;
use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, PlatformId};

use super::super::*;
use crate::fixtures::{
    APP, FILES, IMAGES, INSTANCE, Kms, MEMBER, NOW, guest, policy_app, policy_file,
};
use crate::guest::Guest;
use crate::ledger::Call;
use crate::policy::{Instances, PolicyApp, PolicyFile, PolicyRefusal, ToleratedTcb};
use crate::refused::Refused;

const OTHER_APP: AppId = AppId([0xdd; 20]);
const SECOND: InstanceId = InstanceId([0xcc; 20]);

fn second() -> Guest {
    Guest { instance_id: Some(SECOND), ..guest() }
}

/// The only reason; a rule that is broken alone refuses alone.
fn reason(kms: &Kms, guest: &Guest) -> Refused {
    let mut all = reasons(&kms.state, guest, &MEMBER, NOW);
    let refused = release(&kms.state, guest, &MEMBER, NOW).unwrap_err();
    assert_eq!(all, std::slice::from_ref(&refused));
    assert!(!refused.hint().is_empty() && !refused.to_string().is_empty());
    all.remove(0)
}

fn with_app(change: impl FnOnce(&mut PolicyApp)) -> Kms {
    let mut file = policy_file(1);
    change(&mut file.apps[0]);
    Kms::with_policy(&file)
}

#[test]
fn a_guest_that_the_policy_names_gets_keys_and_is_recorded_first() {
    let mut kms = Kms::serving();
    let entry = release(&kms.state, &guest(), &MEMBER, NOW).unwrap();
    let Kind::Released(released) = &entry.kind else { panic!("{entry:?}") };
    assert!(released.new_instance);
    assert_eq!((released.epoch, released.policy_version, released.policy_app), (1, 1, 0));
    assert_eq!(released.who.platform_id, PlatformId([5; 16]));
    kms.append(entry);
    assert_eq!(kms.state.instances()[&(APP, Some(INSTANCE))].compose_hash(), FILES[0]);
    let again = release(&kms.state, &guest(), &MEMBER, NOW).unwrap();
    assert!(matches!(again.kind, Kind::Released(released) if !released.new_instance));
}

#[test]
fn without_a_policy_nobody_gets_keys() {
    let mut kms = Kms::born();
    assert_eq!(
        reasons(&kms.state, &guest(), &MEMBER, NOW),
        [Refused::NotServing("uncertified"), Refused::NoPolicy]
    );
    kms = Kms::default();
    assert_eq!(release(&kms.state, &guest(), &MEMBER, NOW), Err(Refused::NotServing("unborn")));
}

#[test]
fn an_empty_policy_refuses_everybody() {
    let empty = PolicyFile {
        apps: Vec::new(),
        os_images: Vec::new(),
        platform_ids: Some(Vec::new()),
        ..policy_file(1)
    };
    let kms = Kms::with_policy(&empty);
    let expected = [
        Refused::ImageNotListed(IMAGES[0]),
        Refused::PlatformNotListed(
            guest().platform_ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", "),
        ),
        Refused::AppUnknown { app_id: APP },
    ];
    assert_eq!(reasons(&kms.state, &guest(), &MEMBER, NOW), expected);
}

#[test]
fn an_expired_policy_gives_no_keys_whatever_the_clock_says() {
    let mut kms = Kms::serving();
    let end = policy_file(1).not_after_secs;
    let at = |kms: &Kms, now| release(&kms.state, &guest(), &MEMBER, now);
    assert!(at(&kms, end).is_ok());
    let expired = at(&kms, end + 1);
    assert!(
        matches!(expired, Err(Refused::PolicyNotValid(PolicyRefusal::Expired { .. }))),
        "{expired:?}"
    );
    // Once an entry, or collateral, is of a later time, a clock that is set back is not believed.
    let entry = release(&kms.state, &guest(), &MEMBER, end).unwrap();
    kms.append(entry);
    let late = Guest { collateral_issued_secs: end + 1, ..guest() };
    let entry = release(&kms.state, &late, &MEMBER, NOW).unwrap();
    assert_eq!(entry.time_secs, end);
    kms.append(entry);
    assert!(matches!(
        at(&kms, NOW),
        Err(Refused::PolicyNotValid(PolicyRefusal::Expired { now_secs, .. })) if now_secs == end + 1
    ));
}

#[test]
fn a_listed_app_under_another_id_gets_no_key() {
    let kms = Kms::serving();
    let other = Guest { app_id: OTHER_APP, ..guest() };
    let (app_id, compose_hash) = (OTHER_APP, FILES[0]);
    let expected = Refused::FileNotListed { app_id, compose_hash, elsewhere: true };
    assert_eq!(reason(&kms, &other), expected);
    let unknown = ComposeHash([0xf0; 32]);
    let other = Guest { compose_hash: unknown, ..other };
    assert_eq!(reason(&kms, &other), Refused::AppUnknown { app_id: OTHER_APP });
}

#[test]
fn a_file_counts_under_its_own_app_only_though_both_are_listed() {
    let mut file = policy_file(1);
    let strange = ComposeHash([0xf1; 32]);
    file.apps.push(PolicyApp { app_id: OTHER_APP, compose_hashes: vec![strange], ..policy_app() });
    let kms = Kms::with_policy(&file);
    let swapped = Guest { compose_hash: strange, ..guest() };
    let expected = Refused::FileNotListed { app_id: APP, compose_hash: strange, elsewhere: true };
    assert_eq!(reason(&kms, &swapped), expected);
}

#[test]
fn a_file_that_is_not_listed_gets_no_key_before_and_after_it_once_ran() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let mut file = policy_file(2);
    file.apps[0].compose_hashes = vec![FILES[1]];
    kms.set_policy(&file);
    let expected = Refused::FileNotListed { app_id: APP, compose_hash: FILES[0], elsewhere: false };
    assert_eq!(reason(&kms, &guest()), expected);
    let unknown = ComposeHash([0xf2; 32]);
    let expected = Refused::FileNotListed { app_id: APP, compose_hash: unknown, elsewhere: false };
    assert_eq!(reason(&kms, &Guest { compose_hash: unknown, ..guest() }), expected);
}

#[test]
fn each_fact_of_the_guest_can_refuse_alone() {
    let kms = Kms::serving();
    let image = OsImageHash([0xf3; 32]);
    let rows = [
        (Guest { ready: true, ..guest() }, Refused::Ready),
        (Guest { reserves_report_data: false, ..guest() }, Refused::TagsNotReserved),
        (Guest { privileged: true, ..guest() }, Refused::Privileged),
        (Guest { storage: "ext4", ..guest() }, Refused::Storage("ext4".into())),
        (Guest { storage: "btrfs-plain", ..guest() }, Refused::Storage("btrfs-plain".into())),
        (Guest { os_image_hash: image, ..guest() }, Refused::ImageNotListed(image)),
        (
            Guest { platform_ids: vec![PlatformId([8; 16])], ..guest() },
            Refused::PlatformNotListed("08".repeat(16)),
        ),
        (
            Guest { tcb_evaluation_number: 16, ..guest() },
            Refused::EvaluationNumber { found: 16, minimum: 17 },
        ),
        (
            Guest { tcb_date_secs: NOW - 1_000_001, ..guest() },
            Refused::TcbDate { found_secs: NOW - 1_000_001, minimum_secs: NOW - 1_000_000 },
        ),
        (
            Guest { tcb_status: TcbStatus::OutOfDate, ..guest() },
            Refused::TcbStatus { status: TcbStatus::OutOfDate, advisory_ids: Vec::new() },
        ),
        (Guest { app_id: AppId(INSTANCE.0), ..guest() }, Refused::InstanceIdIsApp(INSTANCE)),
        (
            Guest { instance_id: Some(InstanceId(APP.0)), ..guest() },
            Refused::InstanceIdIsApp(InstanceId(APP.0)),
        ),
    ];
    for (guest, expected) in rows {
        let all = reasons(&kms.state, &guest, &MEMBER, NOW);
        assert_eq!(all.first(), Some(&expected));
        assert_eq!(release(&kms.state, &guest, &MEMBER, NOW), Err(expected));
    }
}

#[test]
fn words_of_danger_let_one_app_do_one_thing() {
    let privileged = Guest { privileged: true, ..guest() };
    let mut kms = with_app(|app| app.danger_privileged = true);
    kms.release(&privileged).unwrap();
    assert_eq!(
        reason(&kms, &Guest { storage: "ext4", ..guest() }),
        Refused::Storage("ext4".into())
    );
    let mut kms = with_app(|app| app.danger_storage = vec!["ext4".into()]);
    kms.release(&Guest { storage: "ext4", ..guest() }).unwrap();
    assert_eq!(reason(&kms, &privileged), Refused::Privileged);
    let plain = Guest { storage: "btrfs-plain", ..guest() };
    assert_eq!(reason(&kms, &plain), Refused::Storage("btrfs-plain".into()));
}

#[test]
fn a_tolerated_tcb_is_tolerated_with_its_advisories_until_its_date() {
    let mut file = policy_file(1);
    file.tolerate_tcb = vec![ToleratedTcb {
        status: TcbStatus::SWHardeningNeeded,
        advisories: vec!["INTEL-SA-00001".into()],
        until_secs: NOW,
    }];
    let kms = Kms::with_policy(&file);
    let with = |status, ids: &[&str]| Guest {
        tcb_status: status,
        advisory_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..guest()
    };
    let known = with(TcbStatus::SWHardeningNeeded, &["INTEL-SA-00001"]);
    assert!(release(&kms.state, &known, &MEMBER, NOW).is_ok());
    assert!(matches!(
        release(&kms.state, &known, &MEMBER, NOW + 1),
        Err(Refused::TcbStatus { .. })
    ));
    for other in [
        with(TcbStatus::SWHardeningNeeded, &["INTEL-SA-00001", "INTEL-SA-00002"]),
        with(TcbStatus::OutOfDate, &[]),
        with(TcbStatus::Revoked, &[]),
    ] {
        assert!(matches!(reason(&kms, &other), Refused::TcbStatus { .. }));
    }
}

#[test]
fn a_second_instance_is_refused_unless_the_policy_allows_it() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    assert_eq!(reason(&kms, &second()), Refused::TooManyInstances { known: 1, allowed: 1 });
    let without_id = Guest { instance_id: None, ..guest() };
    assert_eq!(reason(&kms, &without_id), Refused::TooManyInstances { known: 1, allowed: 1 });
    let mut two = policy_file(2);
    two.apps[0].instances = Instances::Number(2);
    kms.set_policy(&two);
    kms.release(&second()).unwrap();
    assert_eq!(reason(&kms, &without_id), Refused::TooManyInstances { known: 2, allowed: 2 });
    // Both stay.
    kms.release(&guest()).unwrap();
    kms.release(&second()).unwrap();
}

#[test]
fn instances_may_be_any_none_or_listed() {
    let serde_any = serde_json::from_str("\"any\"").unwrap();
    let mut kms = with_app(|app| app.instances = serde_any);
    for byte in 0..20 {
        let id = Some(InstanceId([byte; 20]));
        kms.release(&Guest { instance_id: id, ..guest() }).unwrap();
    }
    let kms = with_app(|app| app.instances = Instances::Number(0));
    assert_eq!(reason(&kms, &guest()), Refused::TooManyInstances { known: 0, allowed: 0 });
    let mut kms = with_app(|app| app.instances = Instances::Ids(vec![SECOND]));
    assert_eq!(reason(&kms, &guest()), Refused::InstanceNotListed(INSTANCE.to_string()));
    let without_id = Guest { instance_id: None, ..guest() };
    assert_eq!(reason(&kms, &without_id), Refused::InstanceNotListed("without an id".into()));
    kms.release(&second()).unwrap();
}

#[test]
fn an_id_has_one_meaning() {
    let mut file = policy_file(1);
    let as_app = AppId(INSTANCE.0);
    file.apps[0].instances = Instances::Number(9);
    file.apps.push(PolicyApp { app_id: OTHER_APP, ..policy_app() });
    let mut kms = Kms::with_policy(&file);
    kms.release(&guest()).unwrap();
    let taken = Guest { app_id: OTHER_APP, ..guest() };
    let expected = Refused::InstanceOfOther { instance_id: INSTANCE, app_id: APP };
    assert_eq!(reason(&kms, &taken), expected);
    let as_id = InstanceId(OTHER_APP.0);
    let named = Guest { instance_id: Some(as_id), ..guest() };
    assert_eq!(reason(&kms, &named), Refused::InstanceIdIsApp(as_id));
    // A later policy names an app after a known instance.
    file.version = 2;
    file.apps.push(PolicyApp { app_id: as_app, ..policy_app() });
    kms.set_policy(&file);
    let app = Guest { app_id: as_app, instance_id: Some(SECOND), ..guest() };
    assert_eq!(reason(&kms, &app), Refused::AppIdIsInstance(as_app));
}

#[test]
fn an_instance_goes_forward_and_back_only_where_owners_say_so() {
    let mut kms = Kms::serving();
    let newer = Guest { compose_hash: FILES[1], os_image_hash: IMAGES[1], ..guest() };
    kms.release(&guest()).unwrap();
    kms.release(&newer).unwrap();
    let older_file = Guest { os_image_hash: IMAGES[1], ..guest() };
    let (older, newest) = (FILES[0], FILES[1]);
    assert_eq!(reason(&kms, &older_file), Refused::OlderFile { older, newer: newest });
    let older_image = Guest { compose_hash: FILES[1], ..guest() };
    let (older, newest) = (IMAGES[0], IMAGES[1]);
    assert_eq!(reason(&kms, &older_image), Refused::OlderImage { older, newer: newest });

    let mut back = policy_file(2);
    back.apps[0].danger_go_back_to = vec![FILES[0]];
    kms.set_policy(&back);
    assert!(matches!(reason(&kms, &older_image), Refused::OlderImage { .. }));
    kms.release(&older_file).unwrap();
    // What was left behind is new again.
    kms.release(&newer).unwrap();
    back.version = 3;
    back.danger_go_back_to_images = vec![IMAGES[0]];
    kms.set_policy(&back);
    kms.release(&older_image).unwrap();
}

#[test]
fn refusals_are_recorded_as_many_as_fit_an_hour() {
    let mut kms = Kms::serving();
    let other = Guest { ready: true, ..guest() };
    let mut recorded = 0;
    while let Some(entry) = refusal(&kms.state, &other, Call::GetAppKey, &Refused::Ready, NOW) {
        kms.append(entry);
        recorded += 1;
    }
    assert_eq!(recorded, 64);
    let later = NOW + 3600;
    assert!(refusal(&kms.state, &other, Call::OpenDisk, &Refused::Ready, later).is_some());
    // Keys are given all the same.
    kms.release(&guest()).unwrap();
}
