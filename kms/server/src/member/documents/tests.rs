//! Owners who sign each by itself, on a channel of its own.

use kms_rules::state::Signed;
use protocol::kms::{
    KmsImage, PendingRequest, PendingResponse, Request, Share, SignedDocument, StatusResponse,
    payload_type,
};
use serde::Serialize;

use crate::member::fixtures::{APP, FILE, IMAGE, Place, call};
use crate::member::{Member, MemberError};

const PAIR: KmsImage = KmsImage { os_image_hash: IMAGE, compose_hash: FILE };

fn sent(signed: Signed, document: SignedDocument) -> Request {
    match signed {
        Signed::Root => Request::CertifyRoot(document),
        Signed::List => Request::SetList(document),
        Signed::Policy => Request::SetPolicy(document),
        Signed::Resumption => Request::Resume(document),
    }
}

/// One owner hands over a document that it alone signed.
fn sign(
    (place, member): (&Place, &Member),
    owner: usize,
    signed: Signed,
    document: &impl Serialize,
) -> Result<StatusResponse, MemberError> {
    let document = place.signed_by(&[owner], signed.payload_type(), document);
    call(member, &place.owner(owner), sent(signed, document))
}

/// Two of three owners, one after the other, each with its own key and share.
fn serving(place: &Place, member: &Member) -> Vec<Share> {
    let _: StatusResponse = call(member, &place.owner(0), Request::Bootstrap).unwrap();
    let mut shares = Vec::new();
    for owner in [2, 0] {
        shares.push(call(member, &place.owner(owner), Request::TakeShare).unwrap());
        let status = place.status(member);
        sign((place, member), owner, Signed::Root, &place.root(&status)).unwrap();
        sign((place, member), owner, Signed::List, &place.list_file(1, PAIR)).unwrap();
    }
    shares
}

#[test]
fn each_owner_signs_alone_and_the_last_one_that_is_needed_decides() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 3, 2);
    let member = place.start();
    let both = (&place, &member);
    let born: StatusResponse = call(&member, &place.owner(0), Request::Bootstrap).unwrap();
    let early = sign(both, 2, Signed::Root, &place.root(&born)).unwrap();
    assert!(!early.certified && early.waits_for_others(payload_type::ROOT, &place.key(2)));
    assert!(!early.waits_for_others(payload_type::ROOT, &place.key(0)));

    let refused = sign(both, 0, Signed::Root, &place.root(&born)).unwrap_err();
    assert!(refused.to_string().contains("took 0 shares"), "{refused}");
    for owner in [0, 2] {
        let _: Share = call(&member, &place.owner(owner), Request::TakeShare).unwrap();
    }
    assert_eq!(place.status(&member).holders, [place.key(0), place.key(2)].map(|k| k.to_string()));
    assert!(sign(both, 0, Signed::Root, &place.root(&born)).unwrap().certified);

    let list = place.list_file(1, PAIR);
    assert_eq!(sign(both, 1, Signed::List, &list).unwrap().state, "uncertified");
    let served = sign(both, 2, Signed::List, &list).unwrap();
    assert_eq!((served.state.as_str(), served.pending.len()), ("serving", 0));

    let policy = place.policy_file(1, APP, PAIR);
    let one = sign(both, 1, Signed::Policy, &policy).unwrap();
    assert_eq!((one.policy_version, one.pending.len()), (0, 1));
    let asked = PendingRequest { payload_type: payload_type::POLICY.to_owned() };
    let waits: PendingResponse = call(&member, &place.owner(0), Request::Pending(asked)).unwrap();
    assert!(waits.envelopes[0].contains(payload_type::POLICY) && waits.envelopes.len() == 1);
    let again = sign(both, 1, Signed::Policy, &policy).unwrap();
    assert_eq!(again.policy_version, 0, "one owner is not two");
    assert_eq!(sign(both, 0, Signed::Policy, &policy).unwrap().policy_version, 1);
}

#[test]
fn after_a_restart_each_owner_gives_its_share_and_signs_alone() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 3, 2);
    let member = place.start();
    let shares = serving(&place, &member);
    drop(member);
    let member = place.start();
    for (owner, share) in [2, 0].into_iter().zip(shares) {
        assert_eq!(place.status(&member).state, "locked");
        let given: StatusResponse =
            call(&member, &place.owner(owner), Request::GiveShare(share)).unwrap();
        assert!(given.state == "waiting" || given.holders == [place.key(owner).to_string()]);
    }
    let status = place.status(&member);
    let resumption = place.resumption_file(&status);
    let stale = place.resumption_file(&StatusResponse { entries: 1, ..status.clone() });
    let refused = sign((&place, &member), 1, Signed::Resumption, &stale).unwrap_err();
    assert!(refused.to_string().contains("entries with the head"), "{refused}");
    let one = sign((&place, &member), 1, Signed::Resumption, &resumption).unwrap();
    assert_eq!(one.state, "waiting");
    let two = sign((&place, &member), 0, Signed::Resumption, &resumption).unwrap();
    assert_eq!(two.state, "serving");
}

#[test]
fn what_an_owner_did_not_sign_or_can_never_count_is_not_kept() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 3, 2);
    let member = place.start();
    serving(&place, &member);
    let anothers = place.signed_by(&[1], payload_type::LIST, &place.list_file(2, PAIR));
    let rows = [
        (anothers.clone(), "none of the 1 signatures"),
        (place.signed_by(&[0], payload_type::LIST, &place.list_file(1, PAIR)), "version 1"),
        (place.signed_by(&[0], payload_type::POLICY, &place.list_file(2, PAIR)), "type"),
    ];
    for (document, expected) in rows {
        let refused = call::<StatusResponse>(&member, &place.owner(0), Request::SetList(document));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(place.status(&member).pending.is_empty());
    // What another owner signed may be handed over together with one's own signature.
    let together = place.signed_by(&[0, 1], payload_type::LIST, &place.list_file(2, PAIR));
    let status: StatusResponse =
        call(&member, &place.owner(2), Request::SetList(together)).unwrap();
    assert_eq!(status.list_version, 2);
    assert!(!anothers.envelope.is_empty());
}
