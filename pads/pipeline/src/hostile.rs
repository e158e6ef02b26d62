//! Everything that may not happen between sealed Pads and what leaves.

mod outputs;
mod owners;
mod records;
mod updates;

use std::io::Cursor;

use pad_format::contents::{Name, Origin, Value};
use pad_format::reader::SealedPad;
use pad_format::run::RunId;
use pad_format::sealed::{self, Purpose};
use pad_format::{Contents, CustodianId, DataKey, PadId};
use pad_rules::{OutputRule, ProgramRule, QuotaId, Schema, SharePolicy};
use pad_run::{Judge as _, Misuse};
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use crate::audit::{self, Entry, Event};
use crate::dataset::{CheckedDataset, Dataset, OpenDataset};
use crate::delegator::{Denied, QuotaUse};
use crate::engines::{Answer, RuleRefusal};
use crate::output::{Output, result_subject};
use crate::refusal::{Reason, Refusal};
use crate::session::Session;
use crate::world::*;

type Bytes = Cursor<Vec<u8>>;

fn dataset(prepared: Prepared) -> Dataset<Bytes> {
    let Prepared { submission, mut runs } = prepared;
    let pads = submission.pads.len();
    let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
    (0..pads).for_each(|index| dataset.add(index).unwrap());
    dataset
}

fn checked(
    prepared: Prepared,
    engines: &mut Told,
    delegation: &mut Delegation,
) -> Result<CheckedDataset<Bytes>, Vec<Refusal>> {
    dataset(prepared).check(engines, delegation)
}

fn open(prepared: Prepared, engines: &mut Told, delegation: &mut Delegation) -> OpenDataset<Bytes> {
    let checked = checked(prepared, engines, delegation);
    checked.unwrap_or_else(|refusals| panic!("{refusals:?}")).open().unwrap()
}

/// The reasons why a dataset is refused.
fn refused(prepared: Prepared, delegation: &mut Delegation) -> Vec<Reason> {
    refused_by(prepared, &mut Told::default(), delegation)
}

fn refused_by(prepared: Prepared, told: &mut Told, delegation: &mut Delegation) -> Vec<Reason> {
    let refusals = checked(prepared, told, delegation).err().expect("refused");
    refusals.into_iter().map(|refusal| refusal.reason).collect()
}

fn not_accepted(prepared: Prepared) -> Reason {
    let Prepared { submission, mut runs } = prepared;
    submission.accept(&mut runs).err().expect("not accepted").reason
}

fn hospitals() -> [Stored; 3] {
    [(A, 60, 100), (B, 30, 50), (C, 40, 50)].map(|(owner, percent, entries)| {
        pad(owner, vec![policy(&training(percent))], entries, b"records")
    })
}

/// What the trainer may make: a Pad of D that only the trainer reads, for D.
fn model() -> Vec<pad_format::Policy> {
    vec![policy(&SharePolicy { input: vec![], ..training(1) })]
}

/// A policy that lets A have results of one label, twice a minute.
fn answering() -> SharePolicy {
    let quota = pad_rules::Quota { owner: owner_id(A), uses: 2, period_secs: 60 };
    let labels = Schema::Label(vec!["benign".into(), "malign".into()]);
    SharePolicy {
        input: vec![],
        program: vec![
            listed(TRAINER),
            ProgramRule::RateLimit { quota: QuotaId([7; 16]), owners: vec![quota] },
        ],
        output: vec![OutputRule::PlainResult { schema: labels, max_bytes: 16 }],
    }
}

#[test]
fn two_pads_of_three_break_both_caps_and_the_refusals_name_rule_pad_and_figure() {
    let [a, b, _] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b]);
    let refusals = checked(prepared(&[&a, &b]), &mut Told::default(), &mut delegation).err();
    let texts: Vec<_> = refusals.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2);
    for (text, (pad, figure)) in texts.iter().zip([
        (&a, "MAX_SHARE (input rule 1): 66.7 % of entries (100 of 150), at most 60.0 %"),
        (&b, "MAX_SHARE (input rule 1): 33.3 % of entries (50 of 150), at most 30.0 %"),
    ]) {
        assert!(text.ends_with(figure), "{text}");
        assert!(text.starts_with(&format!("Pad {}", pad.sealed().claimed().pad_id)), "{text}");
        assert!(text.contains(&pad.custodian.shown().to_string()), "{text}");
    }
}

#[test]
fn a_junk_pad_that_claims_a_large_share_changes_none() {
    let [a, b, c] = hospitals();
    let anything = SharePolicy { input: vec![], ..training(1) };
    let junk = pad(E, vec![policy(&anything)], 1_000_000, b"junk");
    let mut delegation = Delegation::of(&[&a, &b, &c, &junk]);
    let reasons = refused(prepared(&[&a, &b, &junk]), &mut delegation);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(checked(prepared(&[&a, &b, &c, &junk]), &mut Told::default(), &mut delegation).is_ok());
}

#[test]
fn another_program_is_refused_by_every_pad() {
    let [a, b, c] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b, &c]);
    let other = prepared(&[&a, &b, &c]).of(Sha256Digest([9; 32]));
    let reasons = refused(other, &mut delegation);
    assert_eq!(reasons.len(), 3);
    assert!(reasons.iter().all(|reason| reason.to_string().contains("PROGRAM_IN")), "{reasons:?}");
}

#[test]
fn an_engine_of_one_owner_never_decides_beside_those_of_another() {
    let a = pad(A, vec![policy(&training(100))], 1, b"of A");
    let b = pad(B, vec![policy_of(OTHER, training(100).to_constraints())], 1, b"of B");
    let mut delegation = Delegation::of(&[&a]);
    delegation.push(&b, DELEGATOR, &[SHARE, OTHER]);
    // A did not agree to B's engine, which would read what came of A's Pad in an output.
    let mut both = prepared(&[&a, &b]);
    both.submission.engines = vec![SHARE, OTHER];
    let mut told = Told::default();
    let reasons = refused_by(both, &mut told, &mut delegation);
    assert!(matches!(reasons[..], [Reason::Delegator(Denied::Pad { index: 0, .. })]));
    // Nor does it decide if it is not stated when A's key is asked for.
    let reasons = refused_by(prepared(&[&a, &b]), &mut told, &mut delegation);
    assert_eq!(reasons, [Reason::NotStated(OTHER)]);
    assert_eq!((told.inputs, told.outputs.len()), (0, 0));
}

#[test]
fn every_engine_of_every_pad_is_asked_about_every_output() {
    let both = vec![policy(&training(100)), policy_of(OTHER, training(1).to_constraints())];
    let a = pad(A, both, 1, b"of A");
    let mut delegation = Delegation::default();
    delegation.push(&a, DELEGATOR, &[SHARE, OTHER]);
    let two = || {
        let mut two = prepared(&[&a]);
        two.submission.engines = vec![OTHER, SHARE, OTHER];
        two
    };
    let no = Answer::Refused(RuleRefusal { code: 99, rule: None });
    let mut told = Told { output: Some(no.clone()), ..Told::default() };
    let mut open = open(two(), &mut told, &mut delegation);
    let proposed = open.propose(proposal(D, &model()), data(b"model")).unwrap();
    let refusals = proposed.check(&mut told).err().unwrap();
    assert_eq!(told.outputs, [OTHER, SHARE]);
    assert!(refusals[0].to_string().contains("code 99 of the engine 0707"), "{}", refusals[0]);
    let mut told = Told { input: Some(no), ..Told::default() };
    assert_eq!(refused_by(two(), &mut told, &mut delegation).len(), 1);
}

#[test]
fn an_engine_that_fails_or_answers_for_fewer_pads_allows_nothing() {
    let [a, b, c] = hospitals();
    let three = || prepared(&[&a, &b, &c]);
    let mut delegation = Delegation::of(&[&a, &b, &c]);
    let mut failing = Told { failing: [SHARE].into(), ..Told::default() };
    let reasons = refused_by(three(), &mut failing, &mut delegation);
    assert!(matches!(reasons[..], [Reason::Engine { engine: SHARE, .. }]), "{reasons:?}");
    let mut fewer = Told { missing: 1, ..Told::default() };
    let reasons = refused_by(three(), &mut fewer, &mut delegation);
    assert_eq!(reasons, [Reason::Answers { engine: SHARE, found: 2, expected: 3 }]);
    let mut open = open(three(), &mut Told::default(), &mut delegation);
    for told in [&mut failing, &mut fewer] {
        let proposed = open.propose(proposal(D, &model()), data(b"model")).unwrap();
        assert!(proposed.check(told).is_err());
    }
}

#[test]
fn an_engine_spends_only_what_is_the_owner_s_of_the_run() {
    let a = pad(A, vec![policy_of(OTHER, training(1).to_constraints())], 1, b"of A");
    let mut delegation = Delegation::default();
    delegation.push(&a, DELEGATOR, &[OTHER]);
    let run = |owner: Option<&[u8]>| {
        let mut run = prepared(&[&a]);
        run.submission.engines = vec![OTHER];
        match owner {
            Some(owner) => run.signed_by(owner),
            None => run,
        }
    };
    let quota = QuotaUse { account: [1; 16], owner: id(A), uses: 1, period_secs: 1 };
    let uses = |quotas: &[QuotaUse]| Some(Answer::Allowed(quotas.to_vec()));
    let refused_of = |owner, quotas: &[QuotaUse], delegation: &mut Delegation| {
        let mut told = Told { input: uses(quotas), ..Told::default() };
        refused_by(run(owner), &mut told, delegation)
    };
    let refused = [Reason::Use(OTHER)];
    assert_eq!(refused_of(Some(B), &[quota], &mut delegation), refused);
    assert_eq!(refused_of(None, &[quota], &mut delegation), refused);
    for without_size in [QuotaUse { uses: 0, ..quota }, QuotaUse { period_secs: 0, ..quota }] {
        assert_eq!(refused_of(Some(A), &[without_size], &mut delegation), refused);
    }
    assert_eq!(refused_of(Some(A), &[quota; 513], &mut delegation), refused);
    let mut told = Told { input: uses(&[quota; 512]), output: uses(&[quota]), ..Told::default() };
    let mut open = open(run(Some(A)), &mut told, &mut delegation);
    let model = vec![policy_of(OTHER, training(1).to_constraints())];
    let proposed = open.propose(proposal(D, &model), data(b"model")).unwrap();
    let refusals = proposed.check(&mut told).err().unwrap();
    assert_eq!(refusals[0].reason, Reason::Use(OTHER));
}

#[test]
fn a_delegator_of_the_attacker_s_in_the_metadata_is_asked_for_nothing() {
    let attacker = Sha256Digest([0xbb; 32]);
    let rules = vec![policy(&training(100))];
    let forged = pad_at(A, rules.clone(), 1, b"lax", attacker);
    let mut delegation = Delegation::default();
    delegation.push(&forged, attacker, &[SHARE]);
    let reasons = refused(prepared(&[&forged]), &mut delegation);
    let expected = Reason::OtherDelegator { found: attacker, expected: DELEGATOR };
    assert_eq!(reasons, [expected]);
    assert!(!delegation.steps.contains(&Step::Keys));
    // The same with metadata that name the right one, and a key of the attacker's.
    let forged = pad(A, rules.clone(), 1, b"lax");
    delegation.push(&forged, attacker, &[SHARE]);
    let reasons = refused(prepared(&[&forged]), &mut delegation);
    assert_eq!(reasons, [Reason::OtherSource { found: attacker, expected: DELEGATOR }]);
    // An enrolment that A did not sign is none of A's.
    let mut run = prepared(&[&forged]);
    let enrolment = pad_format::enrolment::Enrolment {
        custodian: custodian(A),
        key_provider_id: attacker,
        version: 2,
        result_key: secret(E).public(),
    };
    let signatures = sign(E, &enrolment.signed_bytes());
    run.submission.parties[0].0 = enrolment.signed(signatures);
    assert!(matches!(not_accepted(run), Reason::Enrolment(_)));
}

#[test]
fn custodians_without_one_enrolment_take_no_part() {
    let [a, b, c] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b, &c]);
    let mut run = prepared(&[&a, &b, &c]);
    run.submission.parties.remove(1);
    assert_eq!(refused(run, &mut delegation), [Reason::NotEnrolled(id(B))]);
    assert!(!delegation.steps.contains(&Step::Keys));
    let mut run = prepared(&[&a, &b, &c]);
    run.submission.parties.push((enrolment(A, Sha256Digest([1; 32])), uri()));
    assert_eq!(not_accepted(run), Reason::EnrolledTwice(id(A)));
}

#[test]
fn keys_that_are_fewer_wrong_or_not_given_open_nothing() {
    let [a, b, c] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b, &c]);
    delegation.missing_keys = 1;
    let reasons = refused(prepared(&[&a, &b, &c]), &mut delegation);
    assert_eq!(reasons, [Reason::Keys { found: 2, expected: 3 }]);
    let mut delegation = Delegation::of(&[&a, &b]);
    let reasons = refused(prepared(&[&a, &b, &c]), &mut delegation);
    assert!(matches!(reasons[..], [Reason::Delegator(Denied::Pad { index: 2, .. })]));
    let mut wrong = a.clone();
    wrong.key[0] ^= 1;
    let mut delegation = Delegation::of(&[&wrong]);
    let reasons = refused(prepared(&[&wrong]), &mut delegation);
    assert!(matches!(&reasons[..], [Reason::Sealed(_)]), "{reasons:?}");
}

#[test]
fn a_pad_is_in_a_dataset_once_under_one_policy() {
    let [a, ..] = hospitals();
    let mut delegation = Delegation::of(&[&a]);
    assert_eq!(refused(prepared(&[&a, &a]), &mut delegation), [Reason::Twice]);
    // Packed again with other policies, it keeps its id.
    let sealed = a.sealed();
    let pad_id = sealed.claimed().pad_id;
    let opened = sealed.open(&DataKey::from_bytes(Zeroizing::new(a.key))).unwrap();
    let policies = vec![policy(&training(100))];
    let contents = Contents { policy_version: 2, policies, ..opened.contents().clone() };
    let again = packed(&contents, pad_id, b"records", DELEGATOR);
    delegation.push(&again, DELEGATOR, &[SHARE]);
    assert_eq!(refused(prepared(&[&a, &again]), &mut delegation), [Reason::Twice]);
}

#[test]
fn data_that_were_cut_are_noticed_before_any_are_read() {
    let mut a = pad(A, vec![policy(&training(100))], 1, &[7; 600]);
    a.bytes.truncate(a.bytes.len() - 80);
    let mut delegation = Delegation::of(&[&a]);
    let checked = checked(prepared(&[&a]), &mut Told::default(), &mut delegation).unwrap();
    let refusal = checked.open().err().unwrap();
    assert!(matches!(refusal.reason, Reason::Sealed(_)), "{refusal}");
}

#[test]
fn a_number_that_a_program_stated_counts_for_no_share() {
    let [a, b, _] = hospitals();
    let contents = |owner: &[u8], entries| Contents {
        policy_version: 1,
        custodian: custodian(owner),
        policies: vec![policy(&training(100))],
        attributes: vec![pad_format::Attribute {
            name: Name::new("entries").unwrap(),
            value: Value::Integer(entries),
            origin: Origin::Program(TRAINER),
        }],
    };
    let stated = packed(&contents(C, 50), PadId::generate().unwrap(), b"made", DELEGATOR);
    let mut delegation = Delegation::of(&[&a, &b, &stated]);
    let reasons = refused(prepared(&[&a, &b, &stated]), &mut delegation);
    assert!(reasons.iter().all(|reason| reason.to_string().contains("AMONG")), "{reasons:?}");
}
