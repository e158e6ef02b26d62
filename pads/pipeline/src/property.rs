//! No output leaves that the policy of some input refuses, whatever is proposed under whatever
//! policies.

use std::cell::Cell;

use pad_format::Policy;
use pad_rules::{
    DataSet, InputRule, OutputRule, PlainInput, ProgramRule, QuotaId, Schema, SharePolicy,
    Statement,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::dataset::Dataset;
use crate::output::Output;
use crate::world::*;

/// A rule that is there in so many of ten policies.
fn sometimes<R: Clone + std::fmt::Debug>(tenths: u32, rule: R) -> impl Strategy<Value = Vec<R>> {
    let there = prop::option::weighted(f64::from(tenths) / 10.0, Just(rule));
    there.prop_map(|rule| rule.into_iter().collect())
}

/// Most policies agree on much: otherwise hardly an output leaves.
fn policies() -> impl Strategy<Value = SharePolicy> {
    let input = [
        sometimes(2, InputRule::PlainInput { max_bytes: 4 }).boxed(),
        sometimes(1, training(70).input[0].clone()).boxed(),
    ];
    let quota = pad_rules::Quota { owner: owner_id(A), uses: 1, period_secs: 60 };
    let program = [
        Just(vec![listed(TRAINER)]).boxed(),
        sometimes(2, ProgramRule::AuthUser(vec![owner_id(A)])).boxed(),
        sometimes(2, ProgramRule::RateLimit { quota: QuotaId([1; 16]), owners: vec![quota] })
            .boxed(),
    ];
    let output = [
        sometimes(8, OutputRule::Custodian(owner_id(D))).boxed(),
        sometimes(1, OutputRule::Custodian(owner_id(A))).boxed(),
        sometimes(3, OutputRule::SamePolicy).boxed(),
        sometimes(6, OutputRule::PlainResult { schema: Schema::Number, max_bytes: 3 }).boxed(),
    ];
    (input, program, output).prop_map(|(input, program, output)| SharePolicy {
        input: input.concat(),
        program: program.concat(),
        output: output.concat(),
    })
}

#[derive(Debug, Clone)]
struct Case {
    inputs: Vec<(&'static [u8], SharePolicy)>,
    owner: Option<&'static [u8]>,
    plain: Option<usize>,
    /// Of the new Pad; a plain result if `None`.
    custodian: Option<&'static [u8]>,
    /// Which inputs' policies the output has, and one of its own.
    kept: Vec<usize>,
    own: SharePolicy,
    data: &'static [u8],
}

fn cases() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec((prop::sample::select(vec![A, B, D]), policies()), 1..4),
        prop::option::weighted(0.8, prop::sample::select(vec![A, A, A, B])),
        prop::option::weighted(0.2, 0..6_usize),
        prop::option::weighted(0.6, prop::sample::select(vec![D, D, D, A])),
        prop::collection::vec(0..3_usize, 0..3),
        policies(),
        prop::sample::select(vec![&b"12"[..], b"1234", b"text", b""]),
    )
        .prop_map(|(inputs, owner, plain, custodian, kept, own, data)| Case {
            inputs,
            owner,
            plain,
            custodian,
            kept,
            own,
            data,
        })
}

#[test]
fn no_output_leaves_that_some_input_s_policy_refuses() {
    let left = Cell::new(0);
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let found = TestRunner::new(config).run(&cases(), |case| {
        left.set(left.get() + usize::from(leaves(&case)?));
        Ok(())
    });
    found.unwrap();
    assert!(left.get() > 10, "only {} outputs left", left.get());
}

/// Whether the output leaves; fails if it does and must not.
fn leaves(case: &Case) -> Result<bool, TestCaseError> {
    let made = case.inputs.iter();
    let pads: Vec<_> =
        made.map(|(owner, rules)| pad(owner, vec![policy(rules)], 10, b"data")).collect();
    let pads: Vec<_> = pads.iter().collect();
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let Prepared { submission, mut runs } = submitted(case, &pads);
    let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
    (0..pads.len()).for_each(|index| dataset.add(index).unwrap());
    let Ok(checked) = dataset.check(&mut told, &mut delegation) else { return Ok(false) };
    let mut open = checked.open().unwrap();
    let kept = case.kept.iter().filter_map(|index| case.inputs.get(*index));
    let mut kept: Vec<_> = kept.map(|(_, rules)| policy(rules)).collect();
    kept.push(policy(&case.own));
    let wanted = case.custodian.map_or_else(plain, |custodian| proposal(custodian, &kept));
    let proposed = open.propose(wanted, data(case.data)).ok();
    let allowed = proposed.and_then(|proposed| proposed.check(&mut told).ok());
    let Some(left) = allowed.and_then(|allowed| allowed.pack(&mut delegation).ok()) else {
        return Ok(false);
    };
    all_allow(case, &pads, &kept)?;
    let is_pad = matches!(left.into_output(), Output::Pad { .. });
    prop_assert_eq!(is_pad, case.custodian.is_some());
    let limits = |rule: &ProgramRule| matches!(rule, ProgramRule::RateLimit { .. });
    let is_limited = case.inputs.iter().any(|(_, rules)| rules.program.iter().any(limits));
    prop_assert_eq!(delegation.steps.contains(&Step::Spend), is_limited);
    Ok(true)
}

fn submitted(case: &Case, pads: &[&Stored]) -> Prepared {
    let mut run = prepared(pads);
    if let Some(bytes) = case.plain {
        run = run.with_plain(&vec![0; bytes]);
    }
    match case.owner {
        Some(owner) => run.signed_by(owner),
        None => run,
    }
}

/// The plain model: the policy of each input, by itself.
fn all_allow(case: &Case, pads: &[&Stored], kept: &[Policy]) -> Result<(), TestCaseError> {
    let in_set = pads.iter().zip(&case.inputs).map(|(stored, (owner, _))| pad_rules::Pad {
        id: *stored.sealed().claimed().pad_id.uuid().as_bytes(),
        custodian: owner_id(owner),
        statements: vec![Statement { name: "entries".into(), value: 10, is_signed: true }],
    });
    let set = DataSet {
        program: pad_rules::ProgramDigest(TRAINER.0),
        owner: case.owner.map(owner_id),
        plain_input: case.plain.map(|bytes| PlainInput { digest: [0; 32], bytes: bytes as u64 }),
        helpers: Vec::new(),
        pads: in_set.collect(),
    };
    let new = pad_rules::Proposal {
        custodian: case.custodian.map_or(owner_id(E), owner_id),
        policies: kept.iter().map(constraints).collect(),
    };
    for ((_, rules), in_set) in case.inputs.iter().zip(&set.pads) {
        prop_assert!(pad_rules::check_input(rules, &in_set.id, &set).is_ok());
        let output = match case.custodian {
            Some(_) => pad_rules::Output::Pad(&new),
            None => pad_rules::Output::Plain(case.data),
        };
        prop_assert_eq!(pad_rules::check_output(rules, &set, output), Ok(()));
    }
    Ok(())
}
