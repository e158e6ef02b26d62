//! What the ledger has of it: who reads it verifies the custodians' word and reads no key.

use protocol::kms::{AuditHeadRequest, AuditRecord, KeepRequest, QuotaUse, SpendRequest};

use super::*;
use crate::audit;
use crate::ledger::{Fault, HexBytes, QuotaSpent};

fn head(names: &[KeyName]) -> AuditHeadRequest {
    let record = |name| AuditRecord { pad: Some(named(name)), sealed: vec![6; 100] };
    let records = names.iter().map(record).collect();
    let (run, head, previous) = (vec![3; 16], vec![4; 32], vec![5; 32]);
    AuditHeadRequest { run, head, records, sequence: 1, previous }
}

fn gives(kms: &mut Kms, request: &AuditHeadRequest) -> Result<bool, Refused> {
    kms.decided(give_audit_head(&kms.state, &middleware(), &MEMBER, request, NOW).map(Some))
}

/// Every kind of entry.
fn told() -> Kms {
    let mut kms = stocked();
    let (one, two) = (name(&a(), 1), name(&d(), 2));
    kms.fetches(&middleware(), &fetching(&[one.clone(), two.clone()], 1)).unwrap();
    let uses = vec![QuotaUse {
        pad: Some(named(&two)),
        account: vec![7; 16],
        owner: vec![8; 32],
        uses: 10,
        period_secs: 60,
        engine: ENGINE.0.to_vec(),
    }];
    let spent = SpendRequest { request_id: vec![2; 16], uses };
    let entry = spend(&kms.state, &middleware(), &MEMBER, &spent, NOW);
    kms.decided(entry).unwrap();
    gives(&mut kms, &head(std::slice::from_ref(&two))).unwrap();
    let kept = KeepRequest {
        pad: Some(named(&name(&d(), 9))),
        key: Vec::new(),
        engines: vec![ENGINE.0.to_vec()],
        parents: vec![named(&one)],
        enrolment: Vec::new(),
    };
    let entry = keep_key(&kms.state, &middleware(), &MEMBER, (&kept, &sealed(9)), NOW);
    kms.decided(entry).unwrap();
    kms.revokes(&revocation(&a(), 1)).unwrap();
    kms
}

#[test]
fn a_ledger_gives_the_same_state_again_and_anybody_verifies_it() {
    let kms = told();
    assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);
    let lines = kms.lines();
    let summary = audit::verify(lines.iter().map(String::as_str)).unwrap();
    assert_eq!(summary.entries, kms.entries.len() as u64);
}

#[test]
fn a_custodian_sees_the_entries_that_are_about_it_and_no_others() {
    let kms = told();
    let seen = |custodian: &Custodian| {
        let about = |entry: &&Entry| is_about(&kms.state, entry, &custodian.id());
        kms.entries.iter().filter(about).map(kind_of).collect::<Vec<_>>()
    };
    let of_a = [
        "custodian_enrolled",
        "pad_key_granted",
        "pad_keys_released",
        "pad_key_kept",
        "pad_key_revoked",
    ];
    assert_eq!(seen(&a()), of_a);
    let of_d = [
        "custodian_enrolled",
        "pad_key_granted",
        "pad_keys_released",
        "quotas_spent",
        "audit_head_given",
        "pad_key_kept",
    ];
    assert_eq!(seen(&d()), of_d);
    assert!(seen(&Custodian::single(key(2))).is_empty());
    let may = |by: u8, custodian: &Custodian| {
        may_audit(&kms.state, &key(by), &MEMBER, custodian.id().0.as_bytes())
    };
    assert_eq!(may(3, &d()), Ok(d().id()));
    assert_eq!(code(may(2, &a())), "not-a-member");
    assert_eq!(code(may(2, &Custodian::single(key(2)))), "custodian-unknown");
    let elsewhere = may_audit(&kms.state, &key(3), &key(9), d().id().0.as_bytes());
    assert!(matches!(elsewhere, Err(Refused::NotServing(_))));
}

fn kind_of(entry: &Entry) -> String {
    let kind = serde_json::to_value(&entry.kind).unwrap();
    kind.as_object().unwrap().keys().next().unwrap().clone()
}

/// So many records of so many bytes of the Pad 1 of A.
fn records(count: usize, bytes: usize) -> AuditHeadRequest {
    let record = AuditRecord { pad: Some(named(&name(&a(), 1))), sealed: vec![6; bytes] };
    AuditHeadRequest { records: vec![record; count], ..head(&[]) }
}

#[test]
fn only_middleware_that_may_have_the_keys_records_anything_of_a_run() {
    let names = [name(&a(), 1), name(&d(), 2)];
    let mut kms = stocked();
    assert!(gives(&mut kms, &head(&names)).unwrap());
    assert!(gives(&mut kms, &records(4, 16 * 1024)).unwrap());
    for (request, expected) in [
        (AuditHeadRequest { run: vec![3; 15], ..head(&names) }, "malformed"),
        (AuditHeadRequest { head: vec![], ..head(&names) }, "malformed"),
        (AuditHeadRequest { previous: vec![], ..head(&names) }, "malformed"),
        (records(257, 1), "count"),
        (records(1, 16 * 1024 + 1), "large-record"),
        (records(5, 16 * 1024), "large-record"),
        (head(&[]), "count"),
        (head(&[name(&a(), 5)]), "key-unknown"),
    ] {
        assert_eq!(code(gives(&mut kms, &request)), expected);
    }
    let rows: [(fn(&mut Conditions), &str); 2] = [
        (|conditions| conditions.os_images.clear(), "image-not-granted"),
        (|conditions| conditions.apps.clear(), "app-not-granted"),
    ];
    for (version, (change, expected)) in (2..).zip(rows) {
        kms.grants(version, change);
        assert_eq!(code(gives(&mut kms, &head(&names))), expected);
    }
    kms.revokes(&revocation(&a(), 1)).unwrap();
    assert_eq!(code(gives(&mut kms, &head(&names))), "key-revoked");
    let stranger = Guest { app_id: AppId([1; 20]), ..middleware() };
    let refused = give_audit_head(&kms.state, &stranger, &MEMBER, &head(&names), NOW);
    assert!(matches!(refused, Err(Refused::FileNotListed { .. })));
}

/// The ledger up to the only entry of a kind, and that entry changed.
fn after(wanted: &str, change: &dyn Fn(&mut Kind)) -> Result<(), Fault> {
    let kms = told();
    let place = kms.entries.iter().rposition(|entry| kind_of(entry) == wanted).unwrap();
    let mut state = State::replay(&kms.entries[..place]).unwrap();
    let mut entry = kms.entries[place].clone();
    change(&mut entry.kind);
    let before = state.clone();
    let outcome = state.apply(&entry).map_err(|error| error.what);
    assert!(outcome.is_ok() || state == before, "a refused entry changes nothing");
    outcome
}

/// Conditions that no parent has.
fn laxer() -> Vec<u8> {
    Conditions { danger_privileged: true, ..conditions() }.to_bytes()
}

/// A kind of entry, and how it is changed.
type Row<'a> = (&'a str, &'a dyn Fn(&mut Kind));

macro_rules! changed {
    ($name:ident, |$entry:ident| $change:expr) => {
        &|kind: &mut Kind| {
            let Kind::$name($entry) = kind else { panic!("another kind") };
            $change
        }
    };
}

#[test]
fn a_ledger_with_an_entry_that_could_not_have_been_decided_is_refused() {
    let rows: &[Row] = &[
        ("custodian_enrolled", changed!(CustodianEnrolled, |entry| entry.custodian = strange())),
        ("custodian_enrolled", changed!(CustodianEnrolled, |entry| entry.by = key(4))),
        ("custodian_enrolled", changed!(CustodianEnrolled, |entry| entry.enrolment.0[40] ^= 1)),
        ("pad_key_granted", changed!(PadKeyGranted, |entry| entry.key = 7)),
        ("pad_key_granted", changed!(PadKeyGranted, |entry| entry.by = key(4))),
        ("pad_key_granted", changed!(PadKeyGranted, |entry| entry.grant.0[200] ^= 1)),
        ("pad_key_granted", changed!(PadKeyGranted, |entry| entry.sealed.0.clear())),
        ("pad_key_granted", changed!(PadKeyGranted, |entry| entry.sealed.0 = vec![0; 129])),
        ("pad_key_revoked", changed!(PadKeyRevoked, |entry| entry.key = 1)),
        ("pad_key_revoked", changed!(PadKeyRevoked, |entry| entry.by = key(4))),
        ("pad_key_revoked", changed!(PadKeyRevoked, |entry| entry.revocation.0[30] ^= 1)),
        ("pad_keys_released", changed!(PadKeysReleased, |entry| entry.keys = vec![0, 0])),
        ("pad_keys_released", changed!(PadKeysReleased, |entry| entry.keys = vec![7])),
        ("pad_keys_released", changed!(PadKeysReleased, |entry| entry.keys.clear())),
        ("pad_keys_released", changed!(PadKeysReleased, |entry| entry.engines.clear())),
        ("pad_keys_released", changed!(PadKeysReleased, |entry| entry.engines.push(strange()))),
        (
            "pad_keys_released",
            changed!(PadKeysReleased, |entry| entry.who.os_image_hash = IMAGES[1]),
        ),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.uses.clear())),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.uses[0].key = 7)),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.uses[0].uses = 0)),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.uses[0].account.0.push(0))),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.who.app_id = AppId([1; 20]))),
        ("quotas_spent", changed!(QuotasSpent, |entry| entry.request_id = RequestId([1; 16]))),
        ("audit_head_given", changed!(AuditHeadGiven, |entry| entry.records[0].key = 7)),
        ("audit_head_given", changed!(AuditHeadGiven, |entry| entry.records.clear())),
        ("audit_head_given", changed!(AuditHeadGiven, |entry| entry.run.0.push(0))),
        ("audit_head_given", changed!(AuditHeadGiven, |entry| entry.who.app_id.0[0] ^= 1)),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.key = 1)),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.custodian = strange())),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.key_id = HexBytes(vec![]))),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.pad_id.0.push(0))),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.parents = vec![7])),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.conditions.0.push(0))),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.conditions.0 = laxer())),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.sealed.0.clear())),
        ("pad_key_kept", changed!(PadKeyKept, |entry| entry.who.app_id = AppId([1; 20]))),
    ];
    for (place, (kind, change)) in rows.iter().enumerate() {
        assert_eq!(after(kind, &|_| {}), Ok(()));
        let refused = after(kind, change);
        assert!(matches!(refused, Err(Fault::Rule(_))), "row {place}, {kind}: {refused:?}");
    }
}

#[test]
fn one_call_has_one_entry() {
    let mut kms = told();
    for wanted in ["pad_keys_released", "quotas_spent"] {
        let known = kms.entries.iter().find(|entry| kind_of(entry) == wanted).unwrap().clone();
        let entry = kms.state.next(known.kind, NOW);
        assert!(kms.state.apply(&entry).is_err());
    }
    let spent = QuotaSpent {
        key: 1,
        engine: ENGINE,
        account: HexBytes(vec![7; 16]),
        owner: Sha256Digest([8; 32]),
        uses: 1,
        period_secs: 60,
    };
    assert!(serde_json::to_string(&spent).unwrap().contains(&"07".repeat(16)));
}
