//! The decisions against a plain model of the rules, which is written apart from them, and what has
//! to hold of any policies and data sets.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec as several};
use proptest::prelude::*;

use crate::check::{InputCheck, check_input, check_output, check_update};
use crate::data_set::{DataSet, Output, Pad, PlainInput, Proposal, Statement};
use crate::policy::{Constraints, SharePolicy};
use crate::rule::{
    InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, Quota, QuotaId, Schema, Share,
};

/// Few of each kind, so that rules and data sets meet.
fn owner() -> impl Strategy<Value = OwnerId> {
    (0_u8..4).prop_map(|number| OwnerId([number; 32]))
}

fn owners() -> impl Strategy<Value = Vec<OwnerId>> {
    btree_set(owner(), 1..4).prop_map(|owners| owners.into_iter().collect())
}

fn program() -> impl Strategy<Value = ProgramDigest> {
    (0_u8..3).prop_map(|number| ProgramDigest([number; 32]))
}

fn share() -> impl Strategy<Value = Share> {
    let attribute = prop_oneof![Just("entries"), Just("rows")].prop_map(str::to_owned);
    let basis_points = prop_oneof![Just(0), Just(2500), Just(5000), 0_u64..=10_000];
    (basis_points, attribute, owners()).prop_map(|(basis_points, attribute, among)| Share {
        basis_points,
        attribute,
        among,
    })
}

fn input_rule() -> impl Strategy<Value = InputRule> {
    prop_oneof![
        share().prop_map(InputRule::MaxShare),
        share().prop_map(InputRule::MinShare),
        (0_u64..20).prop_map(|max_bytes| InputRule::PlainInput { max_bytes }),
    ]
}

fn program_rule() -> impl Strategy<Value = ProgramRule> {
    let programs = btree_set(program(), 1..3).prop_map(|set| set.into_iter().collect());
    let quotas = owners().prop_map(|owners| {
        let quota = |owner| Quota { owner, uses: 3, period_secs: 60 };
        owners.into_iter().map(quota).collect()
    });
    prop_oneof![
        2 => programs.prop_map(ProgramRule::ProgramIn),
        1 => owners().prop_map(ProgramRule::AuthUser),
        1 => quotas.prop_map(|owners| ProgramRule::RateLimit { quota: QuotaId([1; 16]), owners }),
        1 => helpers(1..3).prop_map(ProgramRule::HelperIn),
    ]
}

/// Names of helpers, ascending.
fn helpers(count: core::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    btree_set(prop_oneof![Just("onnx"), Just("other")], count)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn schema() -> impl Strategy<Value = Schema> {
    prop_oneof![
        Just(Schema::Any),
        Just(Schema::Number),
        Just(Schema::Label(vec!["no".to_owned(), "yes".to_owned()])),
    ]
}

fn output_rule() -> impl Strategy<Value = OutputRule> {
    let weights = owners().prop_map(|owners| owners.into_iter().zip([1, 2, 1]).collect());
    prop_oneof![
        owner().prop_map(OutputRule::Custodian),
        Just(OutputRule::SamePolicy),
        (schema(), 0_u64..5)
            .prop_map(|(schema, max_bytes)| OutputRule::PlainResult { schema, max_bytes }),
        (1_u64..=10_000, weights)
            .prop_map(|(basis_points, weights)| OutputRule::UpdateBy { basis_points, weights }),
    ]
}

fn policy() -> impl Strategy<Value = SharePolicy> {
    (several(input_rule(), 0..3), several(program_rule(), 0..4), several(output_rule(), 0..4))
        .prop_map(|(input, program, output)| SharePolicy { input, program, output })
}

fn statement() -> impl Strategy<Value = Statement> {
    let name = prop_oneof![4 => Just("entries"), 1 => Just("rows")].prop_map(str::to_owned);
    let value = prop_oneof![8 => 0_u64..5, 1 => Just(u64::MAX)];
    (name, value, prop::bool::weighted(0.9)).prop_map(|(name, value, is_signed)| Statement {
        name,
        value,
        is_signed,
    })
}

fn pads() -> impl Strategy<Value = Vec<Pad>> {
    let pad = (0_u8..8, owner(), several(statement(), 0..3));
    several(pad, 1..6).prop_map(|pads| {
        let pad = |(id, custodian, statements)| Pad { id: [id; 16], custodian, statements };
        pads.into_iter().map(pad).collect()
    })
}

fn data_set() -> impl Strategy<Value = DataSet> {
    let plain_input = proptest::option::of(0_u64..20)
        .prop_map(|bytes| bytes.map(|bytes| PlainInput { digest: [0; 32], bytes }));
    // Most programs use none.
    let helpers = prop_oneof![2 => Just(Vec::new()), 1 => helpers(1..3)];
    (program(), proptest::option::of(owner()), plain_input, helpers, pads()).prop_map(
        |(program, owner, plain_input, helpers, pads)| DataSet {
            program,
            owner,
            plain_input,
            helpers,
            pads,
        },
    )
}

/// Whether one rule about inputs holds, by its definition.
fn model_input(rule: &InputRule, this: &Pad, set: &DataSet) -> bool {
    let (share, is_most) = match rule {
        InputRule::MaxShare(share) => (share, true),
        InputRule::MinShare(share) => (share, false),
        InputRule::PlainInput { max_bytes } => {
            return set.plain_input.is_none_or(|input| input.bytes <= *max_bytes);
        }
    };
    let mut entries: BTreeMap<OwnerId, u128> = BTreeMap::new();
    for pad in &set.pads {
        if !share.among.contains(&pad.custodian) {
            continue;
        }
        let named: Vec<_> =
            pad.statements.iter().filter(|found| found.name == share.attribute).collect();
        let [Statement { value, is_signed: true, .. }] = named[..] else { return false };
        *entries.entry(pad.custodian).or_default() += u128::from(*value);
    }
    let all: u128 = entries.values().sum();
    let Some(own) = entries.get(&this.custodian) else { return false };
    if all == 0 {
        return false;
    }
    // Rounded to the side that refuses.
    let (down, has_rest) = (own * 10_000 / all, own * 10_000 % all != 0);
    if is_most {
        down + u128::from(has_rest) <= share.basis_points.into()
    } else {
        down >= share.basis_points.into()
    }
}

fn model_program(rule: &ProgramRule, set: &DataSet) -> bool {
    match rule {
        ProgramRule::ProgramIn(programs) => programs.contains(&set.program),
        ProgramRule::AuthUser(owners) => set.owner.is_some_and(|owner| owners.contains(&owner)),
        ProgramRule::RateLimit { owners, .. } => {
            owners.iter().any(|quota| Some(quota.owner) == set.owner)
        }
        ProgramRule::HelperIn(helpers) => set.helpers.iter().all(|used| helpers.contains(used)),
    }
}

/// Whether a policy lets a data set be read, by the definition of its rules.
fn model_allows(policy: &SharePolicy, this: &[u8; 16], set: &DataSet) -> bool {
    let ids: BTreeSet<_> = set.pads.iter().map(|pad| pad.id).collect();
    let Some(this) = set.pads.iter().find(|pad| pad.id == *this) else { return false };
    let has = |is_one: fn(&InputRule) -> bool| policy.input.iter().any(is_one);
    ids.len() == set.pads.len()
        && policy.input.iter().all(|rule| model_input(rule, this, set))
        && policy.program.iter().all(|rule| model_program(rule, set))
        && policy.program.iter().any(|rule| matches!(rule, ProgramRule::ProgramIn(_)))
        && (set.helpers.is_empty()
            || policy.program.iter().any(|rule| matches!(rule, ProgramRule::HelperIn(_))))
        && (set.plain_input.is_none() || has(|rule| matches!(rule, InputRule::PlainInput { .. })))
}

/// Plain results of the forms that rules of this file name.
fn model_plain(policy: &SharePolicy, set: &DataSet, result: &[u8]) -> bool {
    let text = core::str::from_utf8(result);
    let fits = |rule: &OutputRule| match rule {
        OutputRule::PlainResult { schema, max_bytes } => {
            let form = match schema {
                Schema::Any => true,
                Schema::Label(_) => matches!(text, Ok("no" | "yes")),
                Schema::Number => text.is_ok_and(|text| {
                    text.parse::<i64>().is_ok_and(|number| std::format!("{number}") == text)
                }),
            };
            Some(form && result.len() as u64 <= *max_bytes)
        }
        _ => None,
    };
    let verdicts: Vec<bool> = policy.output.iter().filter_map(fits).collect();
    set.owner.is_some() && !verdicts.is_empty() && verdicts.into_iter().all(|fits| fits)
}

const RESULTS: [&[u8]; 7] = [b"", b"7", b"yes", b"no", b"maybe", b"-12", b"007"];

/// What a policy allows of a data set and its outputs, as bits.
fn allowed(policy: &SharePolicy, set: &DataSet, proposals: &[Proposal]) -> Vec<bool> {
    let input = set.pads.iter().map(|pad| check_input(policy, &pad.id, set).is_ok());
    let pads = proposals.iter().map(|one| check_output(policy, set, Output::Pad(one)).is_ok());
    let plain = RESULTS.iter().map(|one| check_output(policy, set, Output::Plain(one)).is_ok());
    let signers = (0..16_u8).map(|bits| {
        let signs = |number: &u8| bits >> number & 1 == 1;
        (0..4).filter(signs).map(|number| OwnerId([number; 32])).collect::<Vec<_>>()
    });
    let updates = signers.map(|signers| check_update(policy, &signers).is_ok());
    input.chain(pads).chain(plain).chain(updates).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn inputs_are_allowed_as_the_model_allows_them(
        policy in policy(),
        other in several(input_rule(), 0..3),
        set in data_set(),
    ) {
        // One check of all Pads, whose policies alternate.
        let other = SharePolicy { input: other, ..policy.clone() };
        let mut check = InputCheck::new(&set);
        for (index, pad) in set.pads.iter().enumerate() {
            let policy = if index % 2 == 0 { &policy } else { &other };
            let found = check.check(policy, &pad.id);
            prop_assert_eq!(&check_input(policy, &pad.id, &set), &found);
            prop_assert_eq!(found.is_ok(), model_allows(policy, &pad.id, &set), "{:?}", found);
        }
        prop_assert!(check_input(&policy, &[0xff; 16], &set).is_err());
    }

    #[test]
    fn plain_results_are_allowed_as_the_model_allows_them(policy in policy(), set in data_set()) {
        for result in RESULTS {
            let found = check_output(&policy, &set, Output::Plain(result));
            prop_assert_eq!(found.is_ok(), model_plain(&policy, &set, result), "{:?}", found);
        }
    }

    #[test]
    fn a_stricter_policy_allows_nothing_that_the_other_one_refuses(
        policy in policy(),
        more in policy(),
        drops in several(any::<bool>(), 12),
        set in data_set(),
        custodian in owner(),
    ) {
        // Mostly what the policy has, with other rules added and some dropped.
        let mut other = policy.clone();
        other.input.extend(more.input.iter().take(1).cloned());
        other.program.extend(more.program.iter().take(1).cloned());
        other.output.extend(more.output.iter().take(1).cloned());
        let mut drops = drops.into_iter();
        let mut keeps = || !drops.next().unwrap_or(false);
        other.input.retain(|_| keeps());
        other.program.retain(|_| keeps());
        other.output.retain(|_| keeps());
        let proposals: Vec<_> = [&policy, &other, &more]
            .map(|policy| Proposal { custodian, policies: vec![policy.to_constraints()] })
            .into_iter()
            .collect();
        if other.is_at_least_as_strict_as(&policy) {
            let wider = allowed(&policy, &set, &proposals[..0]);
            let narrower = allowed(&other, &set, &proposals[..0]);
            prop_assert!(narrower.iter().zip(&wider).all(|(narrow, wide)| !narrow || *wide));
        }
        // SAME_POLICY lets such a Pad out and no other.
        let mut keeping = policy.clone();
        keeping.output = vec![OutputRule::Custodian(custodian), OutputRule::SamePolicy];
        let mut proposed = other.clone();
        proposed.output = keeping.output.clone();
        let proposal = Proposal { custodian, policies: vec![proposed.to_constraints()] };
        let found = check_output(&keeping, &set, Output::Pad(&proposal));
        prop_assert_eq!(found.is_ok(), proposed.is_at_least_as_strict_as(&keeping));
    }

    #[test]
    fn pads_of_strangers_change_no_verdict(policy in policy(), set in data_set(), number in 0_u64..) {
        let mut more = set.clone();
        let statement = Statement { name: "entries".to_owned(), value: number, is_signed: true };
        let stranger = OwnerId([0xee; 32]);
        more.pads.push(Pad { id: [0xee; 16], custodian: stranger, statements: vec![statement] });
        for pad in &set.pads {
            let verdicts = [&set, &more].map(|set| check_input(&policy, &pad.id, set).is_ok());
            prop_assert_eq!(verdicts[0], verdicts[1]);
        }
    }

    #[test]
    fn a_policy_has_one_encoding(policy in policy(), bytes: Vec<u8>, at: usize, flip: u8) {
        let constraints = policy.to_constraints();
        prop_assert_eq!(SharePolicy::parse(&constraints), Ok(policy.clone()));
        let mut changed = constraints.clone();
        let length = changed.program.len();
        changed.program[at % length] ^= flip;
        for constraints in [changed, Constraints { input: bytes, ..constraints }] {
            if let Ok(read) = SharePolicy::parse(&constraints) {
                prop_assert_eq!(read.to_constraints(), constraints);
            }
        }
    }
}

#[test]
fn rules_are_read_in_their_own_part_alone() {
    let policy = SharePolicy {
        input: vec![InputRule::PlainInput { max_bytes: 1 }],
        program: vec![ProgramRule::AuthUser(vec![OwnerId([1; 32]), OwnerId([2; 32])])],
        output: vec![OutputRule::SamePolicy],
    };
    let Constraints { input, program, output } = policy.to_constraints();
    for (input, program, output) in [
        (program.clone(), input.clone(), output.clone()),
        (output.clone(), program.clone(), input.clone()),
        (input.clone(), output.clone(), program.clone()),
        (vec![], program.clone(), output.clone()),
        (input.clone(), [&program[..], &[0]].concat(), output.clone()),
        (input.clone(), program[..program.len() - 1].to_vec(), output.clone()),
    ] {
        assert!(SharePolicy::parse(&Constraints { input, program, output }).is_err());
    }
    // Owners out of order: the same rule would have two encodings.
    let mut swapped = policy;
    swapped.program = vec![ProgramRule::AuthUser(vec![OwnerId([2; 32]), OwnerId([1; 32])])];
    assert!(SharePolicy::parse(&swapped.to_constraints()).is_err());
}
