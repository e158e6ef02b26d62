//! Which middleware gets keys, and by which rule it does not.

use super::*;

fn both() -> [KeyName; 2] {
    [name(&a(), 1), name(&d(), 2)]
}

#[test]
fn middleware_that_meets_the_conditions_of_every_custodian_gets_the_keys() {
    let mut kms = stocked();
    assert!(kms.fetches(&middleware(), &fetching(&both(), 1)).unwrap());
    let Kind::PadKeysReleased(released) = &kms.entries.last().unwrap().kind else { panic!() };
    assert_eq!((&released.keys[..], &released.engines[..]), (&[0, 1][..], &[ENGINE][..]));
    assert_eq!(released.program, Sha256Digest([0x99; 32]));
    assert_eq!(released.owner, Some(Sha256Digest([0x55; 32])));
    let unsigned = FetchKeysRequest { owner: Vec::new(), ..fetching(&both(), 2) };
    assert!(kms.fetches(&middleware(), &unsigned).unwrap());
}

#[test]
fn a_guest_that_the_owners_policy_gives_nothing_gets_no_key_of_a_pad() {
    let mut kms = stocked();
    let request = fetching(&both(), 1);
    let unknown = Guest { app_id: AppId([1; 20]), ..middleware() };
    assert!(matches!(kms.fetches(&unknown, &request), Err(Refused::FileNotListed { .. })));
    let unreserved = Guest { reserves_report_data: false, ..middleware() };
    assert_eq!(kms.fetches(&unreserved, &request), Err(Refused::TagsNotReserved));
    let elsewhere = release_pad_keys(&kms.state, &middleware(), &key(9), &request, NOW);
    assert!(matches!(elsewhere, Err(Refused::NotServing(_))));
}

#[test]
fn an_image_app_or_engine_that_one_custodian_does_not_name_gets_none_of_the_keys() {
    let rows: [(fn(&mut Conditions), &str); 6] = [
        (|conditions| conditions.os_images = vec![IMAGES[1]], "image-not-granted"),
        (|conditions| conditions.os_images.clear(), "image-not-granted"),
        (|conditions| conditions.apps = vec![(APP, FILES[1])], "app-not-granted"),
        (|conditions| conditions.apps = vec![(AppId([1; 20]), FILES[0])], "app-not-granted"),
        (|conditions| conditions.engines.clear(), "engine-not-granted"),
        (|conditions| conditions.not_after_secs = Some(NOW - 1), "grant-expired"),
    ];
    for (change, expected) in rows {
        let mut kms = stocked();
        kms.grants(2, change);
        assert_eq!(code(kms.fetches(&middleware(), &fetching(&both(), 1))), expected);
        assert!(kms.fetches(&middleware(), &fetching(&both()[1..], 1)).unwrap());
    }
    let mut kms = stocked();
    let other = vec![ENGINE.0.to_vec(), vec![0xe2; 32]];
    let request = FetchKeysRequest { engines: other, ..fetching(&both(), 1) };
    assert_eq!(code(kms.fetches(&middleware(), &request)), "engine-not-granted");
    kms.grants(2, |conditions| conditions.not_after_secs = Some(NOW));
    assert!(kms.fetches(&middleware(), &fetching(&both(), 1)).unwrap());
}

#[test]
fn a_guest_that_may_be_privileged_gets_a_key_only_where_its_custodian_says_so() {
    let mut file = policy();
    file.apps[0].danger_privileged = true;
    let mut kms = Kms::with_policy(&file);
    kms.enrols(&enrolment(&a(), 1)).unwrap();
    kms.pushes(&grant(&a(), 1)).unwrap();
    let privileged = Guest { privileged: true, ..middleware() };
    let request = fetching(&both()[..1], 1);
    assert_eq!(code(kms.fetches(&privileged, &request)), "privileged");
    kms.grants(2, |conditions| conditions.danger_privileged = true);
    assert!(kms.fetches(&privileged, &request).unwrap());
    // Nobody's word makes it good that the owners' policy does not allow it.
    kms.set_policy(&PolicyFile { version: 2, ..policy() });
    assert_eq!(kms.fetches(&privileged, &fetching(&both()[..1], 2)), Err(Refused::Privileged));
}

#[test]
fn a_key_is_released_as_often_as_it_was_granted_and_a_repeated_call_counts_once() {
    let mut kms = stocked();
    kms.grants(2, |conditions| conditions.releases = Some(2));
    let of_a = |call| fetching(&both()[..1], call);
    assert!(kms.fetches(&middleware(), &of_a(1)).unwrap());
    assert!(!kms.fetches(&middleware(), &of_a(1)).unwrap(), "its answer was lost");
    assert!(kms.fetches(&middleware(), &of_a(2)).unwrap());
    assert_eq!(code(kms.fetches(&middleware(), &of_a(3))), "releases-used-up");
    assert!(!kms.fetches(&middleware(), &of_a(2)).unwrap());
    let other = FetchKeysRequest { program: vec![1; 32], ..of_a(2) };
    assert_eq!(code(kms.fetches(&middleware(), &other)), "request-reused");
    let image = Guest { os_image_hash: IMAGES[1], ..middleware() };
    assert_eq!(code(kms.fetches(&image, &of_a(2))), "request-reused");
    kms.grants(3, |conditions| conditions.releases = Some(3));
    assert!(kms.fetches(&middleware(), &of_a(3)).unwrap());
}

#[test]
fn what_is_no_request_is_refused() {
    let mut kms = stocked();
    let good = fetching(&both(), 1);
    let wrong_pad = |change: fn(&mut PadKeyName)| {
        let mut request = good.clone();
        change(&mut request.pads[1]);
        request
    };
    let many: Vec<_> = (0..=255).chain([0]).map(|number| name(&a(), number)).collect();
    let engine = |count: u8| (0..count).map(|number| vec![number; 32]).collect::<Vec<_>>();
    let rows = [
        (FetchKeysRequest { request_id: vec![1; 15], ..good.clone() }, "malformed"),
        (FetchKeysRequest { program: Vec::new(), ..good.clone() }, "malformed"),
        (FetchKeysRequest { owner: vec![1; 33], ..good.clone() }, "malformed"),
        (FetchKeysRequest { engines: vec![vec![1; 31]], ..good.clone() }, "malformed"),
        (FetchKeysRequest { engines: Vec::new(), ..good.clone() }, "count"),
        (FetchKeysRequest { engines: engine(65), ..good.clone() }, "count"),
        (FetchKeysRequest { engines: vec![vec![1; 32]; 2], ..good.clone() }, "named-twice"),
        (FetchKeysRequest { pads: Vec::new(), ..good.clone() }, "count"),
        (fetching(&many, 1), "count"),
        (fetching(&[name(&a(), 1), name(&a(), 1)], 1), "named-twice"),
        (fetching(&[name(&a(), 1), name(&a(), 9)], 1), "key-unknown"),
        (fetching(&[name(&d(), 1)], 1), "key-unknown"),
        (wrong_pad(|pad| pad.custodian = vec![1; 31]), "malformed"),
        (wrong_pad(|pad| pad.key_id.clear()), "malformed"),
        (wrong_pad(|pad| pad.key_id = vec![1; 65]), "malformed"),
        (wrong_pad(|pad| pad.pad_id = vec![0; 16]), "malformed"),
        (wrong_pad(|pad| pad.pad_id = vec![0x41; 15]), "malformed"),
    ];
    for (request, expected) in rows {
        assert_eq!(code(kms.fetches(&middleware(), &request)), expected, "{request:?}");
    }
    assert!(matches!(key_name(None), Err(PadRefused::Field(_))));
}

#[test]
fn keys_are_used_for_an_hour_or_until_the_first_grant_ends() {
    let mut kms = stocked();
    let names = both();
    assert_eq!(keys_expire(&kms.state, &names, NOW), NOW + 3600);
    kms.grants(2, |conditions| conditions.not_after_secs = Some(NOW + 10));
    assert_eq!(keys_expire(&kms.state, &names, NOW), NOW + 10);
    assert_eq!(keys_expire(&kms.state, &names[1..], NOW), NOW + 3600);
}
