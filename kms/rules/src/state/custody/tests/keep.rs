//! Keys of new Pads, and of Pads with other policies.

use std::slice::from_ref;

use pad_format::update::Update;
use protocol::kms::{KeepRequest, UpdateRequest};

use super::*;

/// A Pad with the number 9 of D, made of the Pads 1 of A and 2 of D.
fn made() -> KeepRequest {
    KeepRequest {
        pad: Some(named(&name(&d(), 9))),
        key: Vec::new(),
        engines: vec![ENGINE.0.to_vec()],
        parents: vec![named(&name(&a(), 1)), named(&name(&d(), 2))],
        enrolment: Vec::new(),
    }
}

fn keeps(kms: &mut Kms, request: &KeepRequest) -> Result<bool, Refused> {
    kms.decided(keep_key(&kms.state, &middleware(), &MEMBER, (request, &sealed(9)), NOW))
}

fn with(engines: &[Sha256Digest]) -> KeepRequest {
    KeepRequest { engines: engines.iter().map(|engine| engine.0.to_vec()).collect(), ..made() }
}

#[test]
fn the_key_of_a_new_pad_is_kept_once_and_released_under_its_conditions() {
    let mut kms = stocked();
    assert!(keeps(&mut kms, &made()).unwrap());
    assert!(!keeps(&mut kms, &made()).unwrap(), "its answer was lost");
    let names = [name(&d(), 9), name(&a(), 1)];
    assert!(kms.fetches(&middleware(), &fetching(&names, 1)).unwrap());
    assert_eq!(kms.state.custody().key(&names[0]).unwrap().sealed(), sealed(9).sealed);
    let other = keep_key(&kms.state, &middleware(), &MEMBER, (&made(), &sealed(8)), NOW);
    assert_eq!(code(other), "key-taken");
    assert_eq!(code(keeps(&mut kms, &with(&[]))), "key-taken");
    // The custodian, who never had the key, grants it otherwise.
    let mut granted = grant(&d(), 9);
    granted.conditions.releases = Some(1);
    assert!(kms.pushes_signed(&signed_by(&granted, &[1, 2]), None).unwrap());
    assert!(kms.fetches(&middleware(), &fetching(&names[..1], 2)).is_err());
}

#[test]
fn a_new_pad_is_released_to_nobody_to_whom_a_parent_is_not() {
    let mut kms = stocked();
    let other = Sha256Digest([0xe2; 32]);
    assert_eq!(code(keeps(&mut kms, &with(&[ENGINE, other]))), "laxer-than-parent");
    kms.grants(2, |conditions| {
        conditions.os_images.push(IMAGES[1]);
        conditions.engines.push(other);
        conditions.releases = Some(1);
        conditions.not_after_secs = Some(NOW + 5);
        conditions.danger_privileged = true;
    });
    // The other parent is not released to that engine.
    assert_eq!(code(keeps(&mut kms, &with(&[ENGINE, other]))), "laxer-than-parent");
    assert!(keeps(&mut kms, &made()).unwrap());
    let kept = &kms.state.custody().key(&name(&d(), 9)).unwrap().conditions;
    assert_eq!(*kept, Conditions { not_after_secs: Some(NOW + 5), ..conditions() });
    let mut kms = stocked();
    assert!(keeps(&mut kms, &with(&[])).unwrap());
    let names = [name(&d(), 9)];
    assert_eq!(code(kms.fetches(&middleware(), &fetching(&names, 1))), "engine-not-granted");
}

#[test]
fn a_revocation_ends_the_release_of_what_was_made_of_the_pad_too() {
    let mut kms = stocked();
    keeps(&mut kms, &made()).unwrap();
    // The Pad 10 is made of 9, which then has another key; 11 is made of the Pad 2 of D alone.
    let of = |pad, parent| KeepRequest {
        pad: Some(named(&name(&d(), pad))),
        parents: vec![named(&name(&d(), parent))],
        ..made()
    };
    keeps(&mut kms, &of(10, 9)).unwrap();
    keeps(&mut kms, &of(11, 2)).unwrap();
    let other =
        Update { pad_id: name(&d(), 9).pad_id, policies: Sha256Digest([4; 32]), version: 2 };
    let signatures = sign(&[1], &other.signed_bytes(&a().id()));
    let changed = UpdateRequest {
        pad: Some(named(&name(&d(), 9))),
        update: other.signed(vec![(a(), signatures)]).to_bytes(),
        ..update(2, b"new")
    };
    assert!(replaces(&mut kms, &changed).unwrap());
    let new = KeyName { key_id: KeyId::new(b"new").unwrap(), ..name(&d(), 9) };
    let [tenth, eleventh] = [10, 11].map(|pad| name(&d(), pad));
    for (number, key) in (1..).zip([&new, &tenth, &eleventh]) {
        assert!(kms.fetches(&middleware(), &fetching(from_ref(key), number)).unwrap());
    }
    kms.revokes(&revocation(&a(), 1)).unwrap();
    for (number, key) in (4..).zip([&name(&a(), 1), &new, &tenth]) {
        let refused = kms.fetches(&middleware(), &fetching(from_ref(key), number));
        assert_eq!(code(refused), "key-revoked");
        assert!(kms.state.custody().key(key).unwrap().sealed().is_empty());
    }
    assert!(kms.fetches(&middleware(), &fetching(&[eleventh, name(&d(), 2)], 7)).unwrap());
}

#[test]
fn who_may_not_have_a_parent_keeps_nothing_made_of_it() {
    let rows: [(fn(&mut Conditions), &str); 3] = [
        (|conditions| conditions.os_images = vec![IMAGES[1]], "image-not-granted"),
        (|conditions| conditions.apps = vec![(APP, FILES[1])], "app-not-granted"),
        (|conditions| conditions.not_after_secs = Some(NOW - 1), "grant-expired"),
    ];
    for (change, expected) in rows {
        let mut kms = stocked();
        kms.grants(2, change);
        assert_eq!(code(keeps(&mut kms, &made())), expected);
    }
    let mut kms = stocked();
    kms.revokes(&revocation(&a(), 1)).unwrap();
    assert_eq!(code(keeps(&mut kms, &made())), "key-revoked");
    let unknown = KeepRequest { parents: vec![named(&name(&a(), 5))], ..made() };
    assert_eq!(code(keeps(&mut kms, &unknown)), "key-unknown");
    let twice = KeepRequest { parents: vec![named(&name(&d(), 2)); 2], ..made() };
    assert_eq!(code(keeps(&mut kms, &twice)), "named-twice");
    let stranger = Guest { app_id: AppId([1; 20]), ..middleware() };
    let refused = keep_key(&kms.state, &stranger, &MEMBER, (&made(), &sealed(9)), NOW);
    assert!(matches!(refused, Err(Refused::FileNotListed { .. })));
}

#[test]
fn without_a_parent_a_key_is_kept_for_a_custodian_that_grants_the_guest_something() {
    let alone = KeepRequest { parents: Vec::new(), ..made() };
    let mut kms = stocked();
    assert!(keeps(&mut kms, &alone).unwrap());
    assert_eq!(kms.state.custody().key(&name(&d(), 9)).unwrap().conditions, conditions());
    let mut kms = stocked();
    kms.revokes(&revocation(&d(), 2)).unwrap();
    assert_eq!(code(keeps(&mut kms, &alone)), "no-parent");
    let mut kms = delegator();
    assert_eq!(code(keeps(&mut kms, &alone)), "no-parent");
}

#[test]
fn a_key_of_a_custodian_that_is_not_enrolled_is_sent_where_it_says() {
    let mut kms = stocked();
    let elsewhere = |version| {
        signed_enrolment(&d(), &[1, 2], |enrolment| {
            (enrolment.version, enrolment.key_provider_id) = (version, strange());
        })
    };
    let asked = |enrolment: Vec<u8>| KeepRequest { enrolment, ..made() };
    assert_eq!(delegator_elsewhere(&kms.state, &made()), Ok(None));
    let newer = asked(elsewhere(2).to_bytes());
    assert_eq!(delegator_elsewhere(&kms.state, &newer), Ok(Some(strange())));
    let older = asked(elsewhere(1).to_bytes());
    assert_eq!(delegator_elsewhere(&kms.state, &older), Ok(None), "its last word names this one");
    let here = asked(enrolment(&d(), 2).enrolment);
    assert_eq!(delegator_elsewhere(&kms.state, &here), Ok(None));
    let of_a = asked(enrolment(&a(), 2).enrolment);
    assert_eq!(code(delegator_elsewhere(&kms.state, &of_a)), "enrolment");
    assert_eq!(code(delegator_elsewhere(&kms.state, &asked(vec![1]))), "enrolment");

    kms.state.custody.custodians.remove(&d().id());
    assert_eq!(delegator_elsewhere(&kms.state, &older), Ok(Some(strange())));
    assert_eq!(code(keeps(&mut kms, &made())), "custodian-unknown");
}

#[test]
fn keys_that_middleware_hands_over_are_bounded_and_well_formed() {
    let mut kms = stocked();
    assert_eq!(code(keeps(&mut kms, &with(&[ENGINE, ENGINE]))), "named-twice");
    let short = KeepRequest { engines: vec![vec![1; 31]], ..made() };
    assert_eq!(code(keeps(&mut kms, &short)), "malformed");
    let many: Vec<_> = (0..65).map(|number| Sha256Digest([number; 32])).collect();
    assert_eq!(code(keeps(&mut kms, &with(&many))), "count");
    assert_eq!(code(keeps(&mut kms, &KeepRequest { pad: None, ..made() })), "malformed");
    let many = (0..=255).chain([0]).map(|number| named(&name(&a(), number))).collect();
    assert_eq!(code(keeps(&mut kms, &KeepRequest { parents: many, ..made() })), "count");
    kms.state.custody.custodians.get_mut(&d().id()).unwrap().keys = MAX_KEYS_EACH;
    assert_eq!(code(keeps(&mut kms, &made())), "too-many-keys");
    assert_eq!(code(replaces(&mut kms, &update(1, b"new"))), "too-many-keys");
}

/// Owners agree on other policies of the Pad 2 of D.
fn update(version: u64, key_id: &[u8]) -> UpdateRequest {
    update_of(&name(&d(), 2), version, key_id)
}

fn update_of(pad: &KeyName, version: u64, key_id: &[u8]) -> UpdateRequest {
    let pad_id = name(&d(), 2).pad_id;
    let update = Update { pad_id, policies: Sha256Digest([4; 32]), version };
    let signatures = sign(&[1], &update.signed_bytes(&a().id()));
    let update = update.signed(vec![(a(), signatures)]).to_bytes();
    UpdateRequest { pad: Some(named(pad)), key_id: key_id.to_vec(), key: Vec::new(), update }
}

fn replaces(kms: &mut Kms, request: &UpdateRequest) -> Result<bool, Refused> {
    kms.decided(replace_key(&kms.state, &middleware(), &MEMBER, (request, &sealed(9)), NOW))
}

#[test]
fn an_update_retires_the_old_key_and_keeps_the_new_one() {
    let mut kms = stocked();
    assert!(replaces(&mut kms, &update(2, b"new")).unwrap());
    assert!(!replaces(&mut kms, &update(2, b"new")).unwrap(), "its answer was lost");
    let old = name(&d(), 2);
    let new = KeyName { key_id: KeyId::new(b"new").unwrap(), ..old.clone() };
    assert_eq!(code(kms.fetches(&middleware(), &fetching(from_ref(&old), 1))), "key-replaced");
    assert!(kms.state.custody().key(&old).unwrap().sealed().is_empty());
    assert!(kms.fetches(&middleware(), &fetching(from_ref(&new), 1)).unwrap());
    assert_eq!(code(kms.pushes(&Grant { version: 2, ..grant(&d(), 2) })), "key-replaced");
    // An agreement is put back by nobody.
    assert_eq!(code(replaces(&mut kms, &update_of(&new, 2, b"newer"))), "update");
    assert!(replaces(&mut kms, &update_of(&new, 3, b"newer")).unwrap());
    assert_eq!(code(replaces(&mut kms, &update(4, b"newest"))), "key-replaced");
}

#[test]
fn an_update_that_no_owner_signed_for_this_pad_is_refused() {
    let mut kms = stocked();
    assert_eq!(code(replaces(&mut kms, &update_of(&name(&a(), 1), 2, b"new"))), "update");
    let unsigned = UpdateRequest { update: vec![0], ..update(2, b"new") };
    assert_eq!(code(replaces(&mut kms, &unsigned)), "update");
    let mut forged = update(2, b"new");
    *forged.update.last_mut().unwrap() ^= 1;
    assert_eq!(code(replaces(&mut kms, &forged)), "update");
    assert_eq!(code(replaces(&mut kms, &update(2, b"k\x02"))), "same-key-id");
    assert_eq!(code(replaces(&mut kms, &update(2, b""))), "malformed");
    assert_eq!(code(replaces(&mut kms, &update_of(&name(&d(), 5), 2, b"new"))), "key-unknown");
    let mut taken = grant(&d(), 2);
    taken.name.key_id = KeyId::new(b"k\x03").unwrap();
    taken.digest = data_key(3).digest();
    kms.pushes(&taken).unwrap();
    assert_eq!(code(replaces(&mut kms, &update(2, b"k\x03"))), "key-taken");
}

#[test]
fn who_may_not_have_a_key_replaces_none() {
    let rows: [(fn(&mut Conditions), &str); 3] = [
        (|conditions| conditions.os_images.clear(), "image-not-granted"),
        (|conditions| conditions.apps.clear(), "app-not-granted"),
        (|conditions| conditions.not_after_secs = Some(NOW - 1), "grant-expired"),
    ];
    for (change, expected) in rows {
        let mut kms = stocked();
        let mut grant = Grant { version: 2, ..grant(&d(), 2) };
        change(&mut grant.conditions);
        kms.pushes(&grant).unwrap();
        assert_eq!(code(replaces(&mut kms, &update(2, b"new"))), expected);
    }
    let kms = stocked();
    let stranger = Guest { app_id: AppId([1; 20]), ..middleware() };
    let asked = (&update(2, b"new"), &sealed(9));
    let refused = replace_key(&kms.state, &stranger, &MEMBER, asked, NOW);
    assert!(matches!(refused, Err(Refused::FileNotListed { .. })));
}
