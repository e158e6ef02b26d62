//! Who is a custodian here, and what its word does.

use super::*;

#[test]
fn a_custodian_is_enrolled_once_and_a_later_version_replaces_an_earlier_one() {
    let mut kms = Kms::with_policy(&policy());
    assert!(kms.enrols(&enrolment(&d(), 2)).unwrap());
    assert!(!kms.enrols(&enrolment(&d(), 2)).unwrap(), "the very same once more");
    assert_eq!(code(kms.enrols(&enrolment(&d(), 1))), "enrolment-old");
    assert!(kms.enrols(&enrolment(&d(), 3)).unwrap());
    assert_eq!(code(kms.enrols(&enrolment(&d(), 2))), "enrolment-old");
    let members: Vec<_> = kms.state.custody().members().collect();
    assert_eq!(members, d().members());
    assert_eq!(kms.state.custody().enrolments(), 2);
}

#[test]
fn an_enrolment_that_the_custodian_did_not_sign_for_this_kms_is_refused() {
    let mut kms = Kms::with_policy(&policy());
    let request = |signed: SignedEnrolment| EnrolRequest {
        custodian: d().id().0.0.to_vec(),
        enrolment: signed.to_bytes(),
    };
    let few = request(signed_enrolment(&d(), &[1], |_| {}));
    assert_eq!(code(kms.enrols(&few)), "enrolment");
    let elsewhere = request(signed_enrolment(&d(), &[1, 2], |e| e.key_provider_id = strange()));
    assert_eq!(code(kms.enrols(&elsewhere)), "other-delegator");
    let of_a = EnrolRequest { custodian: d().id().0.0.to_vec(), ..enrolment(&a(), 1) };
    assert_eq!(code(kms.enrols(&of_a)), "enrolment");
    let short = EnrolRequest { custodian: vec![1; 31], ..enrolment(&a(), 1) };
    assert_eq!(code(kms.enrols(&short)), "malformed");
    let nothing = EnrolRequest { enrolment: Vec::new(), ..enrolment(&a(), 1) };
    assert_eq!(code(kms.enrols(&nothing)), "enrolment");
}

#[test]
fn only_custodians_whose_members_the_policy_names_are_enrolled_and_by_a_member() {
    let named = |keys: &[u8]| {
        let pad_custodians = keys.iter().map(|number| key(*number)).collect();
        Kms::with_policy(&PolicyFile { pad_custodians, ..policy_file(1) })
    };
    assert_eq!(code(named(&[]).enrols(&enrolment(&a(), 1))), "custodian-not-listed");
    assert_eq!(code(named(&[1, 2]).enrols(&enrolment(&d(), 1))), "custodian-not-listed");
    assert!(named(&[1, 2, 3]).enrols(&enrolment(&d(), 1)).unwrap());
    let kms = named(&[1, 2, 3]);
    let stranger = enrol(&kms.state, &key(4), &MEMBER, &enrolment(&d(), 1), NOW);
    assert_eq!(code(stranger), "not-a-member");
    let later = NOW + 30 * 24 * 3600;
    let expired = enrol(&kms.state, &key(1), &MEMBER, &enrolment(&d(), 1), later);
    assert!(matches!(expired, Err(Refused::PolicyNotValid(_))));
    let elsewhere = enrol(&kms.state, &key(1), &key(9), &enrolment(&d(), 1), NOW);
    assert!(matches!(elsewhere, Err(Refused::NotServing(_))));
    let unborn = enrol(&State::default(), &key(1), &MEMBER, &enrolment(&d(), 1), NOW);
    assert!(matches!(unborn, Err(Refused::NotServing(_))));
}

#[test]
fn custodians_and_keys_are_bounded() {
    let mut kms = delegator();
    let known = kms.state.custody.custodians[&a().id()].clone();
    for number in 0..MAX_CUSTODIANS {
        let id = CustodianId(Sha256Digest::of(&number.to_le_bytes()));
        kms.state.custody.custodians.insert(id, known.clone());
    }
    kms.state.custody.custodians.remove(&a().id());
    assert_eq!(code(kms.enrols(&enrolment(&a(), 1))), "too-many-custodians");
    assert!(kms.enrols(&enrolment(&d(), 2)).unwrap(), "one that is there");

    let mut kms = stocked();
    kms.state.custody.custodians.get_mut(&a().id()).unwrap().keys = MAX_KEYS_EACH;
    assert_eq!(code(kms.pushes(&grant(&a(), 3))), "too-many-keys");
    assert!(kms.pushes(&Grant { version: 2, ..grant(&a(), 1) }).unwrap());
    assert!(kms.pushes(&grant(&d(), 3)).unwrap(), "another's share");
    let one = kms.state.custody.keys[0].clone();
    kms.state.custody.keys = vec![one; MAX_KEYS];
    assert_eq!(code(kms.pushes(&grant(&d(), 4))), "too-many-keys");
}

#[test]
fn a_key_comes_with_a_grant_and_later_grants_change_its_conditions() {
    let mut kms = delegator();
    let first = grant(&d(), 1);
    assert_eq!(code(kms.pushes_signed(&signed_by(&first, &[1, 2]), None)), "key-missing");
    assert!(kms.pushes(&first).unwrap());
    assert!(!kms.pushes(&first).unwrap(), "the very same once more");
    let stored = kms.state.custody().key(&first.name).unwrap();
    assert_eq!(stored.sealed(), sealed(1).sealed);

    let mut second = Grant { version: 2, ..first.clone() };
    second.conditions.releases = Some(5);
    assert!(kms.pushes_signed(&signed_by(&second, &[1, 3]), None).unwrap());
    assert_eq!(kms.state.custody().key(&first.name).unwrap().conditions, second.conditions);
    assert_eq!(code(kms.pushes(&first)), "grant-old");
    let mut other = second.clone();
    other.conditions.releases = Some(6);
    assert_eq!(code(kms.pushes(&other)), "grant-old");
}

#[test]
fn a_grant_that_the_custodian_did_not_sign_for_this_kms_and_key_is_refused() {
    let mut kms = delegator();
    let good = grant(&d(), 1);
    assert_eq!(code(kms.pushes_signed(&signed_by(&good, &[1]), Some(&sealed(1)))), "statement");
    assert_eq!(code(kms.pushes_signed(b"", Some(&sealed(1)))), "statement");
    let elsewhere = Grant { key_provider_id: strange(), ..good.clone() };
    assert_eq!(code(kms.pushes(&elsewhere)), "other-delegator");
    let bytes = signed_by(&good, &[1, 2]);
    assert_eq!(code(kms.pushes_signed(&bytes, Some(&sealed(9)))), "other-key");
    let unknown = Custodian::single(key(2));
    let stranger = signed_by(&grant(&unknown, 1), &[2]);
    assert_eq!(code(kms.pushes_signed(&stranger, Some(&sealed(1)))), "custodian-unknown");
    let pushed = (&bytes[..], Some(&sealed(1)));
    let by_stranger = push_key(&kms.state, &key(4), &MEMBER, pushed, NOW);
    assert_eq!(code(by_stranger), "not-a-member");
    assert!(kms.pushes(&good).unwrap());
    let swapped = Grant { version: 2, digest: data_key(9).digest(), ..good };
    let came = Some(&sealed(9));
    assert_eq!(code(kms.pushes_signed(&signed_by(&swapped, &[1, 2]), came)), "key-taken");
}

#[test]
fn a_revoked_key_is_gone_and_never_comes_back() {
    let mut kms = stocked();
    let names = [name(&a(), 1)];
    kms.fetches(&middleware(), &fetching(&names, 1)).unwrap();
    assert!(kms.revokes(&revocation(&a(), 1)).unwrap());
    assert!(!kms.revokes(&revocation(&a(), 1)).unwrap(), "once more");
    assert!(kms.state.custody().key(&names[0]).unwrap().sealed().is_empty());
    assert_eq!(code(kms.fetches(&middleware(), &fetching(&names, 2))), "key-revoked");
    assert_eq!(code(kms.fetches(&middleware(), &fetching(&names, 1))), "key-revoked");
    let again = Grant { version: 7, ..grant(&a(), 1) };
    assert_eq!(code(kms.pushes(&again)), "key-revoked");
    assert!(kms.fetches(&middleware(), &fetching(&[name(&d(), 2)], 3)).unwrap());
}

#[test]
fn only_the_custodian_revokes() {
    let mut kms = stocked();
    let revoking = |signers: &[u8], key_provider_id| {
        let revocation = Revocation { name: name(&d(), 2), key_provider_id };
        let signatures = sign(signers, &revocation.signed_bytes());
        revocation.signed(signatures).to_bytes()
    };
    assert_eq!(code(kms.revokes(&revoking(&[1], cluster().id()))), "statement");
    assert_eq!(code(kms.revokes(&revoking(&[1, 2], strange()))), "other-delegator");
    assert_eq!(code(kms.revokes(&revocation(&a(), 9))), "key-unknown");
    let of_d = revocation(&d(), 2);
    let by_stranger = revoke_key(&kms.state, &key(4), &MEMBER, &of_d, NOW);
    assert_eq!(code(by_stranger), "not-a-member");
    assert!(kms.revokes(&of_d).unwrap());
}
