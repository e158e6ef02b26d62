//! What owners decide.

use protocol::digest::Ed25519Key;
use protocol::kms::{KmsList, Resumption, RootCertificate, payload_type};

use super::super::*;
use crate::fixtures::{
    Kms, MEMBER, NOW, certificate, cluster, guest, list, policy_envelope, policy_file, resumption,
    signed, strange,
};
use crate::policy::{MAX_ENVELOPE_BYTES, PolicyRefusal};
use crate::refused::Refused;

const OTHER: Ed25519Key = Ed25519Key([78; 32]);

#[test]
fn a_kms_serves_once_root_and_list_are_signed_and_the_root_is_there() {
    let mut kms = Kms::default();
    assert_eq!(kms.state.phase(&MEMBER, false), Phase::Unborn);
    kms = Kms::born();
    assert_eq!(kms.state.phase(&MEMBER, true), Phase::Uncertified);
    let root = signed(payload_type::ROOT, &certificate(), &[0, 1]);
    let entry = certify_root(&kms.state, &root, NOW).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.phase(&MEMBER, true), Phase::Uncertified);
    let envelope = signed(payload_type::LIST, &list(1), &[0, 1]);
    let entry = set_list(&kms.state, &envelope, NOW).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.phase(&MEMBER, true), Phase::Serving);
    assert_eq!(kms.state.phase(&MEMBER, false), Phase::Locked);
    assert_eq!(kms.state.phase(&OTHER, true), Phase::Waiting);
    assert_eq!(kms.state.root_envelope(), Some(root.as_str()));
    assert_eq!(kms.state.list_envelope(), Some(envelope.as_str()));
}

#[test]
fn there_is_one_root() {
    let kms = Kms::born();
    let second = bootstrap(&kms.state, &cluster(), certificate().identity, MEMBER, NOW);
    assert_eq!(second, Err(DocumentRefused::Born));
    let mut impossible = cluster();
    impossible.threshold = 4;
    let refused = bootstrap(&State::default(), &impossible, OTHER, MEMBER, NOW);
    assert!(matches!(refused, Err(DocumentRefused::Cluster(_))));
}

#[test]
fn only_the_root_that_is_here_is_certified_and_once() {
    let kms = Kms::born();
    let certify = |state: &State, certificate: &RootCertificate, signers: &[usize]| {
        certify_root(state, &signed(payload_type::ROOT, certificate, signers), NOW)
    };
    let good = certificate();
    let foreign = RootCertificate { identity: OTHER, ..good.clone() };
    assert!(matches!(
        certify(&kms.state, &foreign, &[0, 1]),
        Err(DocumentRefused::OtherRoot { identity: OTHER, .. })
    ));
    let later = RootCertificate { epoch: 2, ..good.clone() };
    assert!(matches!(
        certify(&kms.state, &later, &[0, 1]),
        Err(DocumentRefused::OtherRoot { epoch: 2, .. })
    ));
    let strangers = RootCertificate { key_provider_id: strange(), ..good.clone() };
    assert!(matches!(certify(&kms.state, &strangers, &[0, 1]), Err(DocumentRefused::Document(_))));
    assert!(matches!(certify(&kms.state, &good, &[0]), Err(DocumentRefused::Document(_))));
    assert_eq!(certify(&State::default(), &good, &[0, 1]), Err(DocumentRefused::Unborn));
    let serving = Kms::serving().state;
    assert_eq!(certify(&serving, &good, &[0, 1]), Err(DocumentRefused::Certified));
}

#[test]
fn lists_and_policies_only_rise() {
    let mut kms = Kms::serving();
    let set = |state: &State, list: &KmsList, signers: &[usize]| {
        set_list(state, &signed(payload_type::LIST, list, signers), NOW)
    };
    let again = set(&kms.state, &list(1), &[0, 1]);
    assert_eq!(again, Err(DocumentRefused::ListVersion { found: 1, previous: 1 }));
    assert!(matches!(set(&kms.state, &list(2), &[2]), Err(DocumentRefused::Document(_))));
    let empty = KmsList { images: Vec::new(), ..list(2) };
    assert_eq!(set(&kms.state, &empty, &[0, 1]), Err(DocumentRefused::EmptyList));
    let entry = set(&kms.state, &list(2), &[0, 2]).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.list().unwrap().version, 2);

    let again = set_policy(&kms.state, &policy_envelope(&policy_file(1)), NOW);
    assert!(matches!(again, Err(DocumentRefused::Policy(PolicyRefusal::Version { .. }))));
    kms.set_policy(&policy_file(5));
    assert_eq!(kms.state.policy().unwrap().version(), 5);
}

#[test]
fn a_new_process_gives_nothing_until_owners_signed_its_key_and_this_very_state() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let last = kms.open(&guest(), NOW).unwrap();
    let refused = release(&kms.state, &guest(), &OTHER, NOW);
    assert_eq!(refused, Err(Refused::NotServing("waiting")));

    let good = resumption(&kms.state, OTHER);
    let resume = |document: &Resumption, signers: &[usize]| {
        let envelope = signed(payload_type::RESUMPTION, document, signers);
        super::super::resume(&kms.state, &envelope, &OTHER, NOW)
    };
    assert!(matches!(resume(&good, &[1]), Err(DocumentRefused::Document(_))));
    let other = Resumption { member: Ed25519Key([79; 32]), ..good.clone() };
    assert!(matches!(resume(&other, &[0, 1]), Err(DocumentRefused::OtherMember { .. })));
    let other = Resumption { entries: good.entries - 1, ..good.clone() };
    assert!(matches!(resume(&other, &[0, 1]), Err(DocumentRefused::OtherHead { .. })));
    let other = Resumption { head: strange(), ..good.clone() };
    assert!(matches!(resume(&other, &[0, 1]), Err(DocumentRefused::OtherHead { .. })));
    let other = Resumption { key_provider_id: strange(), ..good.clone() };
    assert_eq!(resume(&other, &[0, 1]), Err(DocumentRefused::OtherCluster(strange())));
    let own = resumption(&kms.state, MEMBER);
    let envelope = signed(payload_type::RESUMPTION, &own, &[0, 1]);
    let already = super::super::resume(&kms.state, &envelope, &MEMBER, NOW);
    assert_eq!(already, Err(DocumentRefused::AlreadyServing));

    let entry = resume(&good, &[0, 1]).unwrap();
    kms.append(entry);
    assert_eq!(kms.state.phase(&OTHER, true), Phase::Serving);
    assert_eq!(kms.state.phase(&MEMBER, true), Phase::Waiting);
    // What may be missing cannot have had these numbers.
    let opened = open_disk(&kms.state, &guest(), &OTHER, NOW).unwrap();
    let Kind::Opened(opened) = opened.kind else { panic!("{opened:?}") };
    assert_eq!(opened.counter, last + COUNTERS_AT_RESUMPTION);
}

#[test]
fn an_envelope_beyond_its_budget_is_not_read() {
    let kms = Kms::serving();
    let large = " ".repeat(MAX_ENVELOPE_BYTES + 1);
    let found = MAX_ENVELOPE_BYTES + 1;
    assert_eq!(set_list(&kms.state, &large, NOW), Err(DocumentRefused::TooLarge(found)));
    let policy = set_policy(&kms.state, &large, NOW);
    assert_eq!(policy, Err(DocumentRefused::TooLarge(found)));
}

#[test]
fn one_owners_resumption_is_looked_at_as_strictly_as_that_of_all() {
    let kms = Kms::serving();
    let owner = crate::fixtures::owners()[1].signer().key();
    let asked = |document: &Resumption, member: &Ed25519Key| {
        let envelope = signed(payload_type::RESUMPTION, document, &[1]);
        review(&kms.state, &owner, Signed::Resumption, &envelope, member, NOW)
    };
    let good = resumption(&kms.state, OTHER);
    asked(&good, &OTHER).unwrap();
    assert!(matches!(asked(&good, &MEMBER), Err(DocumentRefused::OtherMember { .. })));
    let stale = Resumption { entries: 1, ..good };
    assert!(matches!(asked(&stale, &OTHER), Err(DocumentRefused::OtherHead { .. })));
}

#[test]
fn a_resumption_counts_once() {
    let mut kms = Kms::serving();
    let document = resumption(&kms.state, OTHER);
    let envelope = signed(payload_type::RESUMPTION, &document, &[0, 1]);
    let entry = resume(&kms.state, &envelope, &OTHER, NOW).unwrap();
    kms.append(entry);
    let again = resume(&kms.state, &envelope, &OTHER, NOW);
    assert!(matches!(again, Err(DocumentRefused::OtherHead { .. })), "{again:?}");
}
