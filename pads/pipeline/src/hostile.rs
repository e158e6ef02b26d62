//! Everything that may not happen between sealed Pads and what leaves.

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
fn a_joint_model_leaves_for_its_custodian_and_can_be_read_again() {
    let pads = hospitals();
    let pads: Vec<_> = pads.iter().collect();
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let mut read = [0; 7];
    assert_eq!(open.data(2).unwrap().read_at(0, &mut read).unwrap(), 7);
    assert_eq!(&read, b"records");
    assert!(open.data(3).is_none());
    let mut wanted = proposal(D, &model());
    let value = pad_run::Value::Number(1_000_000);
    wanted.contents.attributes = vec![pad_run::Attribute { name: "entries".into(), value }];
    let allowed = open.propose(wanted, data(b"model")).unwrap().check(&mut told).unwrap();
    let packed = allowed.pack(&mut delegation).unwrap().into_output();
    let Output::Pad { id: pad_id, digest, bytes } = packed else { panic!("a Pad") };
    assert_eq!(delegation.steps, [Step::Keys, Step::Audit, Step::Keep]);
    let kept = &delegation.kept[0];
    assert_eq!((kept.pad_id, kept.custodian), (pad_id, id(D)));
    assert_eq!(kept.engines, [SHARE]);
    assert_eq!(kept.parents, pads.iter().map(|pad| pad.digest).collect::<Vec<_>>());
    let sealed = SealedPad::read(Cursor::new(bytes)).unwrap();
    assert_eq!(sealed.digest(), digest);
    let made = sealed.open(&DataKey::from_bytes(Zeroizing::new(kept.key))).unwrap();
    // A program states nothing in the name of a custodian.
    let entries = made.contents().attribute("entries").unwrap();
    assert!(entries.origin == Origin::Program(TRAINER));
    assert!(made.contents().custodian == custodian(D));
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
fn a_run_is_taken_once_and_only_if_it_was_drawn_here() {
    let [a, ..] = hospitals();
    let Prepared { submission, mut runs } = prepared(&[&a]).signed_by(A);
    let (run_id, signed) = (submission.id, submission.signed.clone());
    assert!(submission.accept(&mut runs).is_ok());
    let again = |id, runs| {
        let mut again = prepared(&[&a]);
        again.submission.id = id;
        again.submission.signed = signed.clone();
        not_accepted(Prepared { submission: again.submission, runs })
    };
    assert_eq!(again(run_id, runs), Reason::RunId);
    assert_eq!(again(RunId([3; 16]), Default::default()), Reason::RunId);
    // An id is used up by a run that is refused.
    let Prepared { mut submission, mut runs } = prepared(&[&a]);
    let id = submission.id;
    submission.parties.push((enrolment(A, DELEGATOR), uri()));
    assert!(submission.accept(&mut runs).is_err());
    assert_eq!(again(id, runs), Reason::RunId);
}

#[test]
fn a_run_that_was_signed_for_anything_else_has_no_owner() {
    let [a, b, c] = hospitals();
    let signed_for = |change: fn(&mut Prepared)| {
        let mut run = prepared(&[&a, &b]).with_plain(b"item").signed_by(A);
        change(&mut run);
        not_accepted(run)
    };
    let changes: [fn(&mut Prepared); 6] = [
        |run| run.submission.exporter = [9; 32],
        |run| run.submission.program = Sha256Digest([9; 32]),
        |run| run.submission.pads.swap(0, 1),
        |run| drop(run.submission.pads.pop()),
        |run| run.submission.plain = None,
        |run| run.submission.now += 24 * 60 * 60,
    ];
    for change in changes {
        assert!(matches!(signed_for(change), Reason::Owner(_)));
    }
    let mut exchanged = prepared(&[&a, &b]).signed_by(A);
    exchanged.submission.pads[1] = c.sealed();
    assert!(matches!(not_accepted(exchanged), Reason::Owner(_)));
    // E names A, whose key it has not.
    let mut named = prepared(&[&a, &b]);
    let run = named.run();
    let signatures = sign(E, &run.signed_bytes(&id(A), NOW + 60));
    named.submission.signed = Some(run.signed(custodian(A), NOW + 60, signatures));
    assert!(matches!(not_accepted(named), Reason::Owner(_)));
}

#[test]
fn a_program_adds_the_pads_that_its_owner_signed_in_their_order() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    for order in [&[0, 1][..], &[1, 0, 2], &[0, 2, 1]] {
        let Prepared { submission, mut runs } = prepared(&pads).signed_by(A);
        let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
        order.iter().for_each(|index| dataset.add(*index).unwrap());
        let mut delegation = Delegation::of(&pads);
        let refusals = dataset.check(&mut Told::default(), &mut delegation).err().unwrap();
        let added = order.len();
        assert_eq!(refusals[0].reason, Reason::OtherPads { signed: 3, added });
        assert!(!delegation.steps.contains(&Step::Keys));
    }
    let mut delegation = Delegation::of(&pads);
    assert!(checked(prepared(&pads).signed_by(A), &mut Told::default(), &mut delegation).is_ok());
}

#[test]
fn more_pads_than_a_run_has_are_not_accepted() {
    let [a, ..] = hospitals();
    let mut run = prepared(&[&a]);
    run.submission.pads = (0..10_001).map(|_| a.sealed()).collect();
    assert_eq!(not_accepted(run), Reason::Pads { found: 10_001, most: 10_000 });
}

#[test]
fn handles_are_of_this_run_and_used_once() {
    let [a, ..] = hospitals();
    let Prepared { submission, mut runs } = prepared(&[&a]);
    let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
    dataset.add(0).unwrap();
    for forged in [0, 1, usize::MAX] {
        assert_eq!(dataset.add(forged).err().unwrap().reason, Reason::Handle);
    }
}

#[test]
fn a_session_gives_no_data_before_the_yes_and_none_after_a_no() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let Prepared { submission, mut runs } = prepared(&pads);
    let accepted = submission.accept(&mut runs).unwrap();
    let mut session = Session::new(accepted, &mut told, &mut delegation);
    let mut run = pad_run::Run::new(3, 9).unwrap();
    // Handles of another run, with which this session is asked too early.
    let mut other = pad_run::Run::new(3, 9).unwrap();
    (0..3).for_each(|index| other.add(index).unwrap());
    struct Yes;
    impl pad_run::Judge for Yes {
        fn dataset(&mut self, _: &[pad_run::Pad]) -> pad_run::Answer {
            pad_run::Answer::Allowed
        }
        fn output(
            &mut self,
            _: &[pad_run::Pad],
            _: pad_run::Proposal,
            _: Zeroizing<Vec<u8>>,
        ) -> pad_run::Answer {
            pad_run::Answer::Allowed
        }
    }
    other.check(&mut Yes).unwrap();
    let handles = other.open().unwrap();
    assert!(session.data(handles[0]).is_err());
    assert_eq!(session.contents(handles[0]), pad_run::Contents::default());
    assert_eq!(session.output(&handles, plain(), data(b"")), pad_run::Answer::Refused);
    // A and B alone are refused, and after that nothing works any more.
    run.add(0).unwrap();
    run.add(1).unwrap();
    assert_eq!(run.check(&mut session), Ok(pad_run::Answer::Refused));
    assert!(matches!(run.add(2), Err(Misuse::Order { .. })));
    assert!(session.data(handles[0]).is_err());
    assert_eq!(session.dataset(&handles), pad_run::Answer::Refused);
    assert_eq!(session.output(&handles, plain(), data(b"")), pad_run::Answer::Refused);
    let outcome = session.finish();
    assert!(outcome.outputs.is_empty());
    assert!(outcome.refusals.len() >= 4, "{:?}", outcome.refusals);
}

#[test]
fn a_session_in_order_reads_and_gives_its_output_away() {
    let [a, b, c] = hospitals();
    let pads = [&c, &a, &b];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let Prepared { submission, mut runs } = prepared(&pads);
    let accepted = submission.accept(&mut runs).unwrap();
    let mut session = Session::new(accepted, &mut told, &mut delegation);
    let mut run = pad_run::Run::new(3, 9).unwrap();
    [1, 0, 2].into_iter().for_each(|index| run.add(index).unwrap());
    assert_eq!(run.check(&mut session), Ok(pad_run::Answer::Allowed));
    let handles = run.open().unwrap();
    assert_eq!(session.data(handles[0]).unwrap().data_bytes(), 7);
    let shown = session.contents(handles[0]);
    assert_eq!(shown.attributes[0].value, pad_run::Value::Number(100));
    assert_eq!(shown.policies[0].engine, SHARE.0);
    let allowed = run.propose(proposal(D, &model()), &mut session);
    assert_eq!(allowed, Ok(Some(pad_run::Answer::Allowed)));
    let wrong = run.propose(proposal(A, &model()), &mut session);
    assert_eq!(wrong, Ok(Some(pad_run::Answer::Refused)));
    let outcome = session.finish();
    assert_eq!((outcome.outputs.len(), outcome.refusals.len()), (1, 3));
    assert!(outcome.refusals[0].to_string().contains("CUSTODIAN"), "{}", outcome.refusals[0]);
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
fn an_output_is_for_a_custodian_by_the_whole_of_its_id() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let mut colliding = proposal(D, &model());
    colliding.custodian.as_mut().unwrap()[31] ^= 1;
    let like = CustodianId(Sha256Digest(colliding.custodian.unwrap()));
    assert_eq!(like.shown(), id(D).shown());
    let refusal = open.propose(colliding, data(b"model")).err().unwrap();
    assert_eq!(refusal.reason, Reason::NotEnrolled(like));
}

#[test]
fn what_no_pad_can_be_is_not_proposed_to_engines() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let attribute =
        |name: &str| pad_run::Attribute { name: name.into(), value: pad_run::Value::Number(1) };
    let changes: [fn(&mut pad_run::Contents); 4] = [
        |contents| contents.policies.clear(),
        |contents| contents.policies[0].policy_type = [0; 16],
        |contents| contents.policies[0].input_id = "No Name".into(),
        |contents| contents.attributes.swap(0, 1),
    ];
    for change in changes {
        let mut wrong = proposal(D, &model());
        wrong.contents.attributes = vec![attribute("a"), attribute("b")];
        change(&mut wrong.contents);
        let refusal = open.propose(wrong, data(b"model")).err().unwrap();
        assert!(matches!(refusal.reason, Reason::Output(_)), "{refusal}");
    }
    let strange = vec![policy_of(OTHER, training(1).to_constraints())];
    let refusal = open.propose(proposal(D, &strange), data(b"model")).err().unwrap();
    assert_eq!(refusal.reason, Reason::NotStated(OTHER));
    assert!(told.outputs.is_empty());
}

#[test]
fn a_plain_result_is_sealed_for_the_proved_owner_and_counted_before() {
    let a = pad(A, vec![policy(&answering())], 1, b"model");
    let mut delegation = Delegation::of(&[&a]);
    let mut told = Told::default();
    for _ in 0..2 {
        let run = prepared(&[&a]).signed_by(A);
        let about = result_subject(&run.submission.id.0, &id(A));
        delegation.steps.clear();
        let mut open = open(run, &mut told, &mut delegation);
        for label in [&b"malign"[..], b"benign"] {
            let allowed = open.propose(plain(), data(label)).unwrap().check(&mut told).unwrap();
            let packed = allowed.pack(&mut delegation).unwrap().into_output();
            let Output::Plain(sealed) = packed else { panic!("plain") };
            let plain = sealed::open(&secret(A), Purpose::Result, &about, &sealed).unwrap();
            assert_eq!(*plain, label);
        }
        // Two outputs are one use.
        assert_eq!(delegation.steps, [Step::Keys, Step::Spend, Step::Audit, Step::Audit]);
    }
    assert_eq!(delegation.uses.len(), 2);
    let mut open = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
    for expected in ["RATE_LIMIT: 2 uses in 60 seconds", "refused before"] {
        let allowed = open.propose(plain(), data(b"malign")).unwrap().check(&mut told).unwrap();
        let refusal = allowed.pack(&mut delegation).err().unwrap();
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
    assert_eq!(delegation.uses.len(), 3);
}

#[test]
fn a_plain_result_is_for_an_owner_and_bare() {
    let a = pad(A, vec![policy(&training(100))], 1, b"records");
    let mut delegation = Delegation::of(&[&a]);
    let mut told = Told::default();
    let mut nobody = open(prepared(&[&a]), &mut told, &mut delegation);
    let refusal = nobody.propose(plain(), data(b"1")).err().unwrap();
    assert_eq!(refusal.reason, Reason::PlainForNobody);
    let mut owned = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
    let mut dressed = plain();
    dressed.contents = proposal(D, &model()).contents;
    let refusal = owned.propose(dressed, data(b"1")).err().unwrap();
    assert_eq!(refusal.reason, Reason::PlainContents);
    let refusals = owned.propose(plain(), data(b"1")).unwrap().check(&mut told).err().unwrap();
    assert!(refusals[0].to_string().contains("PLAIN_RESULT"), "{}", refusals[0]);
}

#[test]
fn nothing_leaves_if_a_delegator_does_not_do_its_part() {
    let a =
        pad(A, vec![policy(&SharePolicy { output: training(1).output, ..answering() })], 1, b"");
    for broken in [Step::Spend, Step::Audit, Step::Keep] {
        let (mut told, mut delegation) = (Told::default(), Delegation::of(&[&a]));
        let mut open = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
        delegation.broken = Some(broken);
        let proposed = open.propose(proposal(D, &model()), data(b"model")).unwrap();
        let refusal = proposed.check(&mut told).unwrap().pack(&mut delegation).err().unwrap();
        assert!(matches!(refusal.reason, Reason::Delegator(_)), "{refusal}");
        assert!(delegation.kept.is_empty());
        let steps = [Step::Keys, Step::Spend, Step::Audit, Step::Keep];
        let reached = steps.iter().position(|step| *step == broken).unwrap();
        assert_eq!(delegation.steps, steps[..=reached]);
    }
}

#[test]
fn each_custodian_reads_of_a_refusal_what_is_its_own() {
    let [a, b, _] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b]);
    let run = prepared(&[&a, &b]);
    let run_id = run.submission.id;
    refused(run, &mut delegation);
    let entry = &delegation.entries[0];
    let of = |members: &[u8]| {
        let record = entry.records.iter().find(|record| record.custodian == id(members)).unwrap();
        assert_eq!(record.key_provider_id, DELEGATOR);
        Entry::open(&secret(members), run_id, 0, &record.bytes).unwrap()
    };
    let (of_a, of_b) = (of(A), of(B));
    assert_eq!((&of_a.pads[..], of_a.all_pads), (&[a.digest][..], 2));
    assert_eq!((of_a.program, of_a.owner, of_a.time), (TRAINER, None, NOW));
    let [Event::DatasetRefused(reasons)] = &of_a.events[..] else { panic!("{of_a:?}") };
    assert!(reasons[0].contains("66.7 %"), "{reasons:?}");
    assert_eq!(reasons[1], format!("refused for a Pad of {}", id(B).shown()));
    let [Event::DatasetRefused(reasons)] = &of_b.events[..] else { panic!("{of_b:?}") };
    assert!(reasons[1].contains("33.3 %") && !reasons[0].contains('%'), "{reasons:?}");
    let record = &entry.records[0].bytes;
    let reader = if entry.records[0].custodian == id(A) { B } else { A };
    assert!(Entry::open(&secret(reader), run_id, 0, record).is_err());
    assert!(Entry::open(&secret(A), run_id, 1, record).is_err());
}

#[test]
fn entries_are_chained_and_have_one_encoding() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let run = prepared(&pads);
    let run_id = run.submission.id;
    let mut open = open(run, &mut told, &mut delegation);
    for name in [D, A] {
        let proposed = open.propose(proposal(name, &model()), data(b"model")).unwrap();
        let _ = proposed.check(&mut told).map(|allowed| allowed.pack(&mut delegation).unwrap());
    }
    open.finish(&mut delegation).unwrap();
    let [first, second] = &delegation.entries[..] else { panic!("two entries") };
    assert_eq!((first.sequence, second.sequence, second.previous), (0, 1, first.head));
    assert_eq!(first.records.len(), 3);
    for entry in [first, second] {
        let mut records = entry.records.clone();
        assert_eq!(audit::head(&entry.previous, entry.sequence, &records), entry.head);
        records[0].bytes[0] ^= 1;
        assert_ne!(audit::head(&entry.previous, entry.sequence, &records), entry.head);
        assert_ne!(audit::head(&entry.previous, entry.sequence, &records[1..]), entry.head);
        assert_ne!(audit::head(&entry.previous, 9, &entry.records), entry.head);
    }
    let of_a = first.records.iter().find(|record| record.custodian == id(A)).unwrap();
    let read = Entry::open(&secret(A), run_id, 0, &of_a.bytes).unwrap();
    assert!(matches!(read.events[..], [Event::DatasetAllowed, Event::PadAllowed { .. }]));
    let bytes = read.to_bytes();
    assert_eq!(Entry::parse(&bytes), Ok(read));
    for at in 0..bytes.len() {
        assert!(Entry::parse(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(read) = Entry::parse(&changed) {
            assert_eq!(read.to_bytes(), changed, "{at}");
        }
    }
}

#[test]
fn an_entry_has_every_event_again() {
    let entry = Entry {
        run: RunId([1; 16]),
        sequence: u64::MAX,
        time: 2,
        program: TRAINER,
        owner: Some(id(A)),
        engines: vec![SHARE, OTHER],
        pads: vec![],
        all_pads: 3,
        events: vec![
            Event::DatasetAllowed,
            Event::DatasetRefused(vec![]),
            Event::PadAllowed {
                id: PadId::generate().unwrap(),
                digest: hospitals()[0].digest,
                custodian: id(D),
            },
            Event::PlainAllowed { sealed: OTHER },
            Event::OutputRefused(vec!["é".into(), String::new()]),
        ],
    };
    assert_eq!(Entry::parse(&entry.to_bytes()), Ok(entry));
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
