//! Keys of Pads, call by call: over a restart, and who may call.

use protocol::kms::{
    AuditRequest, AuditResponse, FetchKeysRequest, FetchKeysResponse, payload_type,
};
use protocol::prpc::Empty;

use super::*;
use crate::judge::Rules as _;
use crate::member::fixtures::pads::{PadOwner, data_key};
use crate::member::fixtures::{APP, FILE, IMAGE};

fn pad_owner(place: &Place) -> PadOwner {
    PadOwner { seed: [0x61; 32], key_provider_id: place.config.cluster.id() }
}

fn custodian(owner: &PadOwner) -> Caller {
    Caller::Custodian(owner.key())
}

fn fetch(member: &Member, request: FetchKeysRequest) -> Result<FetchKeysResponse, MemberError> {
    let middleware = Guest { ready: true, ..guest(1) };
    let caller = Caller::Middleware(Box::new(middleware));
    call(member, &caller, Request::FetchKeys(request))
}

/// A member whose policy names the custodian, which pushed the key of the Pad 1.
fn delegating(place: &Place) -> (Member, Vec<Share>, PadOwner) {
    let (member, shares) = place.serving();
    let owner = pad_owner(place);
    assert!(member.custodians().is_empty(), "nobody opens a channel");
    let pair = protocol::kms::KmsImage { os_image_hash: IMAGE, compose_hash: FILE };
    let mut policy = place.policy_file(2, APP, pair);
    policy.pad_custodians = vec![owner.key()];
    let policy = place.signed(payload_type::POLICY, &policy);
    let _: StatusResponse = call(&member, &place.owner(0), Request::SetPolicy(policy)).unwrap();
    assert_eq!(&member.custodians()[..], [owner.key()]);
    let as_custodian = custodian(&owner);
    let _: Empty = call(&member, &as_custodian, Request::Enrol(owner.enrolment())).unwrap();
    let push = Request::PushKey(owner.push(1, IMAGE, (APP, FILE)));
    let _: Empty = call(&member, &as_custodian, push).unwrap();
    (member, shares, owner)
}

#[test]
fn after_a_restart_keys_of_pads_are_given_again_once_owners_let_the_kms_go_on() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, shares, owner) = delegating(&place);
    let before = fetch(&member, owner.fetch(&[1], 1)).unwrap().keys;
    assert_eq!(before, [data_key(1).as_bytes().to_vec()]);
    drop(member);
    let stored = std::fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().path());
    for file in stored.filter(|path| path.is_file()) {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(32).any(|window| window == data_key(1).as_bytes()));
    }

    let member = place.start();
    assert_eq!(fetch(&member, owner.fetch(&[1], 2)).unwrap_err().status(), UNAVAILABLE_STATUS);
    let give = Request::GiveShare(shares[0].clone());
    let _: StatusResponse = call(&member, &place.owner(0), give).unwrap();
    assert_eq!(fetch(&member, owner.fetch(&[1], 2)).unwrap_err().status(), UNAVAILABLE_STATUS);
    let resumption = place.resumption(&place.status(&member));
    let _: StatusResponse = call(&member, &place.owner(0), Request::Resume(resumption)).unwrap();
    assert_eq!(fetch(&member, owner.fetch(&[1], 2)).unwrap().keys, before);
    assert_eq!(&member.custodians()[..], [owner.key()]);
}

#[test]
fn a_refusal_has_its_code_and_stands_in_the_ledger() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _, owner) = delegating(&place);
    let mut request = owner.fetch(&[1], 1);
    request.engines.push(vec![7; 32]);
    let refused = fetch(&member, request).unwrap_err();
    assert!(refused.to_string().starts_with("engine-not-granted: "), "{refused}");
    assert_eq!(refused.status().as_u16(), 403);
    let from = LedgerRequest { from: 0 };
    let ledger: LedgerResponse = call(&member, &place.owner(0), Request::Ledger(from)).unwrap();
    let last = ledger.entries.last().unwrap();
    assert!(last.contains("FetchKeys") && last.contains("engine-not-granted"), "{last}");
    audit::verify(ledger.entries.iter().map(String::as_str)).unwrap();
}

#[test]
fn a_custodian_reads_its_own_entries_in_parts() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _, owner) = delegating(&place);
    let id = owner.custodian().id().0.0.to_vec();
    let ask = |from| {
        let request = AuditRequest { custodian: id.clone(), from };
        call::<AuditResponse>(&member, &custodian(&owner), Request::Audit(request)).unwrap()
    };
    let all = ask(0);
    assert_eq!((all.entries.len(), all.next), (2, all.total));
    assert_eq!(ask(all.total - 1).entries, all.entries[1..]);
    assert!(ask(all.total).entries.is_empty() && ask(u64::MAX).entries.is_empty());
    let request = AuditRequest { custodian: id, from: 0 };
    let stranger = Caller::Custodian(Ed25519Key([9; 32]));
    let refused = call::<AuditResponse>(&member, &stranger, Request::Audit(request)).unwrap_err();
    assert!(refused.to_string().starts_with("not-a-member: "), "{refused}");
}
