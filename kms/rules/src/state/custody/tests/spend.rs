//! What is counted of quotas, and when no more is.

use std::slice::from_ref;

use protocol::kms::{QuotaUse, SpendRequest};

use super::*;

fn quota(pad: &KeyName, account: u8, uses: u64) -> QuotaUse {
    QuotaUse {
        pad: Some(named(pad)),
        account: vec![account; 16],
        owner: vec![0x55; 32],
        uses,
        period_secs: 60,
        engine: ENGINE.0.to_vec(),
    }
}

fn request(call: u8, uses: &[QuotaUse]) -> SpendRequest {
    SpendRequest { request_id: vec![call; 16], uses: uses.to_vec() }
}

fn spends(kms: &mut Kms, request: &SpendRequest, now: u64) -> Result<bool, Refused> {
    kms.decided(spend(&kms.state, &middleware(), &MEMBER, request, now))
}

#[test]
fn the_eleventh_use_in_a_minute_is_refused_and_the_first_of_the_next_is_counted() {
    let mut kms = stocked();
    let ten = [quota(&name(&d(), 2), 7, 10)];
    for call in 0..10 {
        assert!(spends(&mut kms, &request(call, &ten), NOW + u64::from(call)).unwrap());
    }
    assert!(!spends(&mut kms, &request(9, &ten), NOW + 10).unwrap(), "its answer was lost");
    let refused = spends(&mut kms, &request(10, &ten), NOW + 59);
    assert!(refused.as_ref().unwrap_err().uses_up_quota());
    assert_eq!(code(refused), "quota-used-up");
    assert!(spends(&mut kms, &request(10, &ten), NOW + 60).unwrap());
    assert_eq!(code(spends(&mut kms, &request(11, &ten), NOW + 60)), "quota-used-up");
    // A clock that is set back gives no use.
    assert_eq!(code(spends(&mut kms, &request(11, &ten), NOW - 3000)), "quota-used-up");
}

#[test]
fn uses_of_one_call_are_counted_together_or_not_at_all() {
    let mut kms = stocked();
    let (one, other) = (name(&a(), 1), name(&d(), 2));
    let both = [quota(&one, 7, 5), quota(&other, 7, 1)];
    assert!(spends(&mut kms, &request(1, &both), NOW).unwrap());
    assert_eq!(code(spends(&mut kms, &request(2, &both), NOW)), "quota-used-up");
    // Nothing of the refused call was counted.
    for call in 3..7 {
        assert!(spends(&mut kms, &request(call, &both[..1]), NOW).unwrap());
    }
    assert_eq!(code(spends(&mut kms, &request(7, &both[..1]), NOW)), "quota-used-up");
}

#[test]
fn an_account_is_its_custodian_s_and_engine_s_and_two_rules_about_it_count_one_use() {
    let mut kms = stocked();
    kms.pushes(&grant(&d(), 3)).unwrap();
    let pads = [name(&d(), 2), name(&d(), 3)];
    let twice = [quota(&pads[0], 7, 2), quota(&pads[1], 7, 2)];
    assert!(spends(&mut kms, &request(1, &twice), NOW).unwrap());
    assert!(spends(&mut kms, &request(2, &twice), NOW).unwrap());
    assert_eq!(code(spends(&mut kms, &request(3, &twice[1..]), NOW)), "quota-used-up");
    let of_a = [quota(&name(&a(), 1), 7, 2)];
    assert!(spends(&mut kms, &request(4, &of_a), NOW).unwrap());
    let of_other = [QuotaUse { owner: vec![0x66; 32], ..quota(&pads[0], 7, 2) }];
    assert!(spends(&mut kms, &request(5, &of_other), NOW).unwrap());
    let other = Sha256Digest([0xe2; 32]);
    let mut granted = Grant { version: 2, ..grant(&d(), 2) };
    granted.conditions.engines.push(other);
    kms.pushes(&granted).unwrap();
    let by_other = [QuotaUse { engine: other.0.to_vec(), ..quota(&pads[0], 7, 2) }];
    assert!(spends(&mut kms, &request(6, &by_other), NOW).unwrap());
}

#[test]
fn only_middleware_that_may_have_the_key_counts_uses() {
    let rows: [(fn(&mut Conditions), &str); 4] = [
        (|conditions| conditions.engines.clear(), "engine-not-granted"),
        (|conditions| conditions.os_images.clear(), "image-not-granted"),
        (|conditions| conditions.apps.clear(), "app-not-granted"),
        (|conditions| conditions.not_after_secs = Some(NOW - 1), "grant-expired"),
    ];
    let of_a = [quota(&name(&a(), 1), 7, 2)];
    for (change, expected) in rows {
        let mut kms = stocked();
        kms.grants(2, change);
        assert_eq!(code(spends(&mut kms, &request(1, &of_a), NOW)), expected);
    }
    let mut kms = stocked();
    kms.revokes(&revocation(&a(), 1)).unwrap();
    assert_eq!(code(spends(&mut kms, &request(1, &of_a), NOW)), "key-revoked");
    let booting = Guest { app_id: AppId([1; 20]), ..middleware() };
    let refused = spend(&kms.state, &booting, &MEMBER, &request(1, &of_a), NOW);
    assert!(matches!(refused, Err(Refused::FileNotListed { .. })));
}

#[test]
fn what_is_no_use_of_a_quota_is_refused() {
    let mut kms = stocked();
    let good = quota(&name(&a(), 1), 7, 2);
    let changed = |change: fn(&mut QuotaUse)| {
        let mut quota = good.clone();
        change(&mut quota);
        request(1, &[quota])
    };
    let rows = [
        (request(1, &[]), "count"),
        (request(1, &vec![good.clone(); 257]), "count"),
        (SpendRequest { request_id: Vec::new(), ..request(1, from_ref(&good)) }, "malformed"),
        (changed(|quota| quota.pad = None), "malformed"),
        (changed(|quota| quota.account.clear()), "malformed"),
        (changed(|quota| quota.owner.clear()), "malformed"),
        (changed(|quota| quota.engine.clear()), "malformed"),
        (changed(|quota| quota.pad.as_mut().unwrap().key_id = vec![9]), "key-unknown"),
        (changed(|quota| quota.uses = 0), "quota-form"),
        (changed(|quota| quota.uses = 10_001), "quota-form"),
        (changed(|quota| quota.period_secs = 0), "quota-form"),
        (changed(|quota| quota.period_secs = u64::MAX), "quota-form"),
    ];
    for (request, expected) in rows {
        assert_eq!(code(spends(&mut kms, &request, NOW)), expected, "{request:?}");
    }
    assert!(spends(&mut kms, &request(1, from_ref(&good)), NOW).unwrap());
    let other = request(1, &[quota(&name(&a(), 1), 8, 2)]);
    assert_eq!(code(spends(&mut kms, &other, NOW)), "request-reused");
}

#[test]
fn accounts_are_bounded_for_each_custodian_and_in_all() {
    let mut kms = stocked();
    let of_a = |account| [quota(&name(&a(), 1), account, 2)];
    assert!(spends(&mut kms, &request(1, &of_a(1)), NOW).unwrap());
    let accounts = &mut kms.state.custody.custodians.get_mut(&a().id()).unwrap().accounts;
    for number in 1..MAX_ACCOUNTS_EACH {
        let owner = OwnerId(Sha256Digest::of(&number.to_le_bytes()).0);
        accounts.insert((ENGINE, QuotaId([9; 16]), owner), Spent::default());
    }
    assert_eq!(code(spends(&mut kms, &request(2, &of_a(2)), NOW)), "too-many-accounts");
    assert!(spends(&mut kms, &request(2, &of_a(1)), NOW).unwrap(), "one that is there");
    let of_d = [quota(&name(&d(), 2), 1, 2)];
    kms.state.custody.accounts = MAX_ACCOUNTS;
    assert_eq!(code(spends(&mut kms, &request(3, &of_d), NOW)), "too-many-accounts");
    kms.state.custody.accounts = MAX_ACCOUNTS - 1;
    assert!(spends(&mut kms, &request(3, &of_d), NOW).unwrap(), "another's share");
    assert_eq!(kms.state.custody.accounts, MAX_ACCOUNTS);
}
