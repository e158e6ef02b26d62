//! The scenario of the hospitals, row by row: A, B and C train a classifier together, which D, all
//! three jointly, owns; they query it and fine-tune it.

use alloc::borrow::ToOwned as _;
use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString as _;

use crate::check::{check_input, check_output, check_update};
use crate::data_set::{DataSet, Output, Pad, PlainInput, Proposal, Statement};
use crate::policy::SharePolicy;
use crate::quota::Spent;
use crate::refusal::{Code, Refusal};
use crate::rule::{
    BASIS_POINTS, InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, Quota, QuotaId,
    Schema, Share,
};

const A: OwnerId = OwnerId([0xa0; 32]);
const B: OwnerId = OwnerId([0xb0; 32]);
const C: OwnerId = OwnerId([0xc0; 32]);
const D: OwnerId = OwnerId([0xd0; 32]);
const E: OwnerId = OwnerId([0xe0; 32]);
const TRAINER: ProgramDigest = ProgramDigest([1; 32]);
const QUERY: ProgramDigest = ProgramDigest([2; 32]);
const FINE_TUNE: ProgramDigest = ProgramDigest([3; 32]);
const QUOTA: QuotaId = QuotaId([7; 16]);
const MODEL: [u8; 16] = [0xdd; 16];

fn pad(custodian: OwnerId, entries: u64) -> Pad {
    let statement = Statement { name: "entries".to_owned(), value: entries, is_signed: true };
    let id = custodian.0[..16].try_into().unwrap();
    Pad { id, custodian, statements: vec![statement] }
}

/// At most so many percent of the entries of A, B and C, for the trainer, to D.
fn training_policy(percent: u64) -> SharePolicy {
    let share = Share {
        basis_points: percent * BASIS_POINTS / 100,
        attribute: "entries".to_owned(),
        among: vec![A, B, C],
    };
    SharePolicy {
        input: vec![InputRule::MaxShare(share)],
        program: vec![ProgramRule::ProgramIn(vec![TRAINER])],
        output: vec![OutputRule::Custodian(D)],
    }
}

fn training(pads: &[Pad]) -> DataSet {
    DataSet {
        program: TRAINER,
        owner: None,
        plain_input: None,
        helpers: vec![],
        pads: pads.to_vec(),
    }
}

fn all_three() -> Vec<Pad> {
    vec![pad(A, 100), pad(B, 50), pad(C, 50)]
}

/// The refusals of the policies of A, B and C, as many of them as have Pads in the data set.
fn verdicts(set: &DataSet) -> Vec<Option<Code>> {
    let policies = [(A, 60), (B, 30), (C, 40)];
    let asked = set.pads.iter().filter_map(|pad| {
        let (_, percent) = policies.iter().find(|(owner, _)| *owner == pad.custodian)?;
        Some(check_input(&training_policy(*percent), &pad.id, set).err().map(|no| no.code))
    });
    asked.collect()
}

/// Who may use the model, for what, and how often.
fn model_policy() -> SharePolicy {
    let quota = |owner, uses| Quota { owner, uses, period_secs: 60 };
    SharePolicy {
        input: vec![InputRule::PlainInput { max_bytes: 4096 }],
        program: vec![
            ProgramRule::ProgramIn(vec![QUERY, FINE_TUNE]),
            ProgramRule::AuthUser(vec![A, B, C]),
            ProgramRule::RateLimit {
                quota: QUOTA,
                owners: vec![quota(A, 10), quota(B, 5), quota(C, 5)],
            },
        ],
        output: vec![
            OutputRule::Custodian(D),
            OutputRule::SamePolicy,
            OutputRule::PlainResult {
                schema: Schema::Label(vec!["benign".to_owned(), "malignant".to_owned()]),
                max_bytes: 16,
            },
            OutputRule::UpdateBy { basis_points: 7500, weights: vec![(A, 100), (B, 50), (C, 50)] },
        ],
    }
}

fn model() -> Pad {
    Pad { id: MODEL, custodian: D, statements: vec![] }
}

fn query(owner: Option<OwnerId>) -> DataSet {
    let plain_input = Some(PlainInput { digest: [9; 32], bytes: 240 });
    DataSet { program: QUERY, owner, plain_input, helpers: vec![], pads: vec![model()] }
}

fn fine_tuning(owner: OwnerId) -> DataSet {
    let pads = vec![model(), pad(A, 20)];
    DataSet { program: FINE_TUNE, owner: Some(owner), plain_input: None, helpers: vec![], pads }
}

fn proposed(policy: &SharePolicy, custodian: OwnerId) -> Proposal {
    Proposal { custodian, policies: vec![policy.to_constraints()] }
}

#[test]
fn with_a_b_and_c_the_shares_are_a_half_and_two_quarters() {
    assert_eq!(verdicts(&training(&all_three())), [None, None, None]);
}

#[test]
fn with_a_and_b_alone_both_have_more_than_they_may() {
    let set = training(&all_three()[..2]);
    assert_eq!(verdicts(&set), [Some(Code::MaxShare), Some(Code::MaxShare)]);
    let refused = check_input(&training_policy(60), &set.pads[0].id, &set).unwrap_err();
    assert_eq!(refused.to_string(), "refused by MAX_SHARE (rule 1)");
}

#[test]
fn another_program_is_refused_by_its_digest() {
    let set = DataSet { program: QUERY, ..training(&all_three()) };
    assert_eq!(verdicts(&set), [Some(Code::Program); 3]);
}

#[test]
fn a_native_helper_is_refused_unless_all_rules_about_helpers_list_it() {
    let helpers = vec!["onnx".to_owned()];
    let set = DataSet { helpers, ..training(&all_three()) };
    assert_eq!(verdicts(&set), [Some(Code::Helper); 3]);
    let of = |rules: &[&[&str]]| {
        let mut policy = training_policy(60);
        let listed = rules.iter().map(|names| names.iter().copied().map(str::to_owned).collect());
        policy.program.extend(listed.map(ProgramRule::HelperIn));
        check_input(&policy, &set.pads[0].id, &set).map_err(|refusal| refusal.rule)
    };
    assert_eq!(of(&[&["onnx"]]), Ok(vec![]));
    assert_eq!(of(&[&["aaa", "onnx"], &["onnx"]]), Ok(vec![]));
    assert_eq!(of(&[&["other"]]), Err(Some(1)));
    assert_eq!(of(&[&["onnx"], &["other"]]), Err(Some(2)));
}

#[test]
fn a_trainer_that_proposes_another_custodian_is_refused() {
    let (set, policy) = (training(&all_three()), training_policy(60));
    let refused = check_output(&policy, &set, Output::Pad(&proposed(&model_policy(), A)));
    assert_eq!(refused, Err(Refusal { code: Code::Custodian, rule: Some(0) }));
    let allowed = check_output(&policy, &set, Output::Pad(&proposed(&model_policy(), D)));
    assert_eq!(allowed, Ok(()));
    // No rule lets the trainer answer in plain.
    let owned = DataSet { owner: Some(A), ..set };
    let refused = check_output(&policy, &owned, Output::Plain(b"benign"));
    assert_eq!(refused, Err(Refusal { code: Code::PlainResult, rule: None }));
}

#[test]
fn a_junk_pad_changes_no_share() {
    let mut pads = all_three();
    pads.truncate(2);
    pads.push(pad(E, 1_000_000));
    assert_eq!(verdicts(&training(&pads)), [Some(Code::MaxShare), Some(Code::MaxShare)]);
    // Nor does a statement of a program, or a Pad that is there twice.
    let mut pads = all_three();
    pads[2].statements[0].is_signed = false;
    assert_eq!(verdicts(&training(&pads)), [Some(Code::Unsigned); 3]);
    let mut pads = all_three();
    pads.push(pad(C, 50));
    assert_eq!(verdicts(&training(&pads)), [Some(Code::DataSet); 4]);
    let mut pads = all_three();
    let again = pads[0].statements[0].clone();
    pads[0].statements.push(again);
    assert_eq!(verdicts(&training(&pads)), [Some(Code::Unsigned); 3]);
}

#[test]
fn two_pads_of_one_custodian_are_one_share() {
    let mut pads = all_three();
    pads[0].statements[0].value = 60;
    pads.push(Pad { id: [1; 16], ..pad(A, 100) });
    // A has 160 of 260 entries in two Pads, each of which would be within 60 percent.
    assert_eq!(
        verdicts(&training(&pads)),
        [Some(Code::MaxShare), None, None, Some(Code::MaxShare)]
    );
}

#[test]
fn a_query_by_a_is_answered_in_plain_and_the_eleventh_in_a_minute_is_not() {
    let policy = model_policy();
    let set = query(Some(A));
    let uses = check_input(&policy, &MODEL, &set).unwrap();
    assert_eq!(uses.len(), 1);
    assert_eq!((uses[0].id, uses[0].quota.owner), (QUOTA, A));
    assert_eq!(check_output(&policy, &set, Output::Plain(b"benign")), Ok(()));
    let mut spent = Spent::default();
    let answered = (0..11).filter(|second| spent.spend(&[uses[0].quota], 1000 + second)).count();
    assert_eq!(answered, 10);
    // The item as a Pad of A's, which has to agree too.
    let as_pad = DataSet { plain_input: None, pads: vec![model(), pad(A, 1)], ..query(Some(A)) };
    assert!(check_input(&policy, &MODEL, &as_pad).is_ok());
}

#[test]
fn plain_results_are_labels_and_plain_input_is_small() {
    let policy = model_policy();
    for result in [&b"malignant!"[..], b"", b"benign\n", &[b'x'; 17]] {
        let refused = check_output(&policy, &query(Some(A)), Output::Plain(result));
        assert_eq!(refused, Err(Refusal { code: Code::PlainResult, rule: Some(2) }));
    }
    let plain_input = Some(PlainInput { digest: [9; 32], bytes: 4097 });
    let set = DataSet { plain_input, ..query(Some(A)) };
    let refused = check_input(&policy, &MODEL, &set).unwrap_err();
    assert_eq!(refused, Refusal { code: Code::PlainInput, rule: Some(0) });
    let set = DataSet { plain_input, ..training(&all_three()) };
    assert_eq!(verdicts(&set), [Some(Code::PlainInput); 3]);
}

#[test]
fn e_is_refused_and_so_is_a_without_a_proof() {
    let policy = model_policy();
    let refused = |set: &DataSet| check_input(&policy, &MODEL, set).unwrap_err();
    let owner = Refusal { code: Code::Owner, rule: Some(1) };
    assert_eq!(refused(&query(Some(E))), owner);
    // E that names A without A's key is an owner who is not proved: `run.rs` of `pad-format`.
    assert_eq!(refused(&query(None)), owner);
    let unknown = DataSet { program: TRAINER, ..query(Some(A)) };
    assert_eq!(refused(&unknown), Refusal { code: Code::Program, rule: Some(0) });
}

/// The model's policy with one rule of its program more.
fn adding(rule: ProgramRule) -> SharePolicy {
    let mut policy = model_policy();
    policy.program.push(rule);
    policy
}

/// Whether a policy lets this owner query.
fn answers(policy: &SharePolicy, owner: OwnerId) -> bool {
    check_input(policy, &MODEL, &query(Some(owner))).is_ok()
}

fn proposal_is_allowed(policy: &SharePolicy) -> Result<(), Refusal> {
    check_output(&model_policy(), &fine_tuning(A), Output::Pad(&proposed(policy, D)))
}

#[test]
fn a_model_that_a_fine_tuned_answers_a_only() {
    let policy = adding(ProgramRule::AuthUser(vec![A]));
    assert!(check_input(&model_policy(), &MODEL, &fine_tuning(A)).is_ok());
    assert_eq!(proposal_is_allowed(&policy), Ok(()));
    assert!(answers(&policy, A));
    assert!(!answers(&policy, B) && !answers(&policy, E));
    // A's own Pad has a policy that is checked as well: it is not for this program.
    let set = fine_tuning(A);
    let refused = check_input(&training_policy(100), &set.pads[1].id, &set).unwrap_err();
    assert_eq!(refused.code, Code::Program);
}

#[test]
fn adding_a_rule_for_e_lets_e_nowhere() {
    let policy = adding(ProgramRule::AuthUser(vec![A, E]));
    assert_eq!(proposal_is_allowed(&policy), Ok(()));
    assert!(answers(&policy, A) && !answers(&policy, B) && !answers(&policy, E));
}

#[test]
fn dropping_a_rule_is_refused() {
    let refused = Err(Refusal { code: Code::SamePolicy, rule: Some(1) });
    for index in [1, 2] {
        let mut policy = model_policy();
        policy.program.remove(index);
        assert_eq!(proposal_is_allowed(&policy), refused);
    }
    let mut loosened = model_policy();
    let ProgramRule::RateLimit { owners, .. } = &mut loosened.program[2] else { panic!() };
    owners[0].uses = 11;
    assert_eq!(proposal_is_allowed(&loosened), refused);
    let mut without_same = model_policy();
    without_same.output.remove(1);
    assert_eq!(proposal_is_allowed(&without_same), refused);
    let none = Proposal { custodian: D, policies: vec![] };
    assert_eq!(check_output(&model_policy(), &fine_tuning(A), Output::Pad(&none)), refused);
    let mut garbage = proposed(&model_policy(), D);
    garbage.policies[0].program.push(0);
    assert_eq!(check_output(&model_policy(), &fine_tuning(A), Output::Pad(&garbage)), refused);
}

#[test]
fn a_grant_that_was_not_there_cannot_be_added() {
    let mut silent = model_policy();
    silent.output.remove(2);
    let refused =
        check_output(&silent, &fine_tuning(A), Output::Pad(&proposed(&model_policy(), D)));
    assert_eq!(refused, Err(Refusal { code: Code::SamePolicy, rule: Some(1) }));
    // Giving a grant up is stricter.
    assert_eq!(proposal_is_allowed(&silent), Ok(()));
}

#[test]
fn owners_of_three_quarters_agree_on_another_policy_and_fewer_do_not() {
    let policy = model_policy();
    assert_eq!(check_update(&policy, &[A, B]), Ok(()));
    assert_eq!(check_update(&policy, &[C, A]), Ok(()));
    let refused = Err(Refusal { code: Code::Update, rule: Some(3) });
    assert_eq!(check_update(&policy, &[B, C]), refused);
    assert_eq!(check_update(&policy, &[A, A, A]), refused);
    assert_eq!(check_update(&policy, &[A, E]), refused);
    assert_eq!(check_update(&policy, &[]), refused);
    let none = check_update(&training_policy(60), &[A, B, C]);
    assert_eq!(none, Err(Refusal { code: Code::Update, rule: None }));
}
