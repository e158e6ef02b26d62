//! The engine `share` decides in the sandbox as its rules do when they are called natively: on the
//! scenario of the hospitals, and on random policies and data sets of a fixed seed.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use pad_rules::{
    Code, DataSet, InputRule, OutputRule, OwnerId, Pad, PlainInput, ProgramDigest, ProgramRule,
    Proposal, Quota, QuotaId, QuotaUse, Refusal, Schema, Share, SharePolicy, Statement,
};
use pad_runner::PolicyEngine;
use pad_runner::engines::{self, Answer, Part};
use zeroize::Zeroizing;

use crate::built::{self, digest, id};

/// The engine, with what a policy names it by.
struct Engine {
    engine: PolicyEngine,
    digest: (u64, u64, u64, u64),
}

/// A data set with the policies of each of its Pads.
struct Case {
    set: DataSet,
    policies: Vec<Vec<SharePolicy>>,
}

impl Engine {
    /// Compiled once for all tests.
    fn get() -> &'static Self {
        static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
            let (engine, expected) = built::engine("share");
            Engine { engine, digest: digest(expected) }
        });
        &ENGINE
    }

    fn run(&self, set: &DataSet) -> engines::Run {
        let plain = |plain: PlainInput| engines::PlainInput {
            digest: digest(plain.digest),
            size: plain.bytes,
        };
        engines::Run {
            engine: self.digest,
            program: digest(set.program.0),
            owner: set.owner.map(|owner| digest(owner.0)),
            plain: set.plain_input.map(plain),
            helpers: set.helpers.clone(),
        }
    }

    fn policy(&self, policy: &SharePolicy) -> engines::Policy {
        let constraints = policy.to_constraints();
        engines::Policy {
            engine: self.digest,
            policy_type: (1, 2),
            input_id: "rows".into(),
            input_constraint: constraints.input,
            program_constraint: constraints.program,
            output_constraint: constraints.output,
        }
    }

    /// A Pad that has a policy of another engine too, which is no business of this one.
    fn pad(&self, pad: &Pad, policies: &[SharePolicy]) -> engines::Pad {
        let other = engines::Policy {
            engine: (0, 0, 0, 0),
            program_constraint: b"another language".to_vec(),
            ..self.policy(&SharePolicy::default())
        };
        let named = |name: &str, value, origin| engines::Statement {
            attribute: engines::Attribute { name: name.into(), value },
            origin,
        };
        let statement = |statement: &Statement| {
            let origin = match statement.is_signed {
                true => engines::Origin::Custodian,
                false => engines::Origin::Program((1, 2, 3, 4)),
            };
            named(&statement.name, engines::Value::Number(statement.value), origin)
        };
        let text = engines::Value::Text("of the year 1995".into());
        let statements = pad.statements.iter().map(statement);
        engines::Pad {
            id: id(pad.id),
            digest: (0, 0, 0, 0),
            custodian: digest(pad.custodian.0),
            policies: policies.iter().map(|own| self.policy(own)).chain([other]).collect(),
            attributes: statements
                .chain([named("origin", text, engines::Origin::Custodian)])
                .collect(),
        }
    }

    fn pads(&self, case: &Case) -> Vec<engines::Pad> {
        let each = case.set.pads.iter().zip(&case.policies);
        each.map(|(pad, policies)| self.pad(pad, policies)).collect()
    }

    /// The answers about all Pads, last one first, which have to be those of the rules.
    fn input(&self, case: &Case) -> Vec<Answer> {
        let pads = self.pads(case);
        let asked: Vec<u32> = (0..pads.len() as u32).rev().collect();
        let found = self.engine.check_input(&self.run(&case.set), &pads, &asked);
        let native = case.set.pads.iter().zip(&case.policies).map(|(pad, policies)| {
            all(policies, |policy| pad_rules::check_input(policy, &pad.id, &case.set))
        });
        let mut native: Vec<Answer> = native.collect();
        native.reverse();
        assert_eq!(found.as_ref(), Ok(&native));
        native.reverse();
        native
    }

    /// The same about an output.
    fn output(
        &self,
        case: &Case,
        custodian: Option<OwnerId>,
        output: pad_rules::Output<'_>,
    ) -> Vec<Answer> {
        let pads = self.pads(case);
        let asked: Vec<u32> = (0..pads.len() as u32).collect();
        let (policies, data) = match output {
            pad_rules::Output::Pad(proposal) => (&proposal.policies[..], &b"a model"[..]),
            pad_rules::Output::Plain(result) => (&[][..], result),
        };
        let policy = |constraints: &pad_rules::Constraints| engines::Policy {
            input_constraint: constraints.input.clone(),
            program_constraint: constraints.program.clone(),
            output_constraint: constraints.output.clone(),
            ..self.policy(&SharePolicy::default())
        };
        let proposed = engines::Output {
            custodian: custodian.map(|owner| digest(owner.0)),
            policies: policies.iter().map(policy).collect(),
            attributes: Vec::new(),
            size: data.len() as u64,
        };
        let run = self.run(&case.set);
        let data = Arc::new(Zeroizing::new(data.to_vec()));
        let found = self.engine.check_output(&run, &pads, &asked, &proposed, data);
        let native = case.policies.iter().map(|policies| {
            let none = |policy: &_| {
                pad_rules::check_output(policy, &case.set, output).map(|()| Vec::new())
            };
            all(policies, none)
        });
        let native: Vec<Answer> = native.collect();
        assert_eq!(found.as_ref(), Ok(&native));
        native
    }

    fn proposal(&self, case: &Case, custodian: OwnerId, policy: &SharePolicy) -> Vec<Answer> {
        let proposal = Proposal { custodian, policies: vec![policy.to_constraints()] };
        self.output(case, Some(custodian), pad_rules::Output::Pad(&proposal))
    }

    fn plain(&self, case: &Case, result: &[u8]) -> Vec<Answer> {
        self.output(case, None, pad_rules::Output::Plain(result))
    }

    /// The same about other policies for the first Pad.
    fn update(&self, case: &Case, owners: &[OwnerId]) -> Answer {
        let update = engines::Update {
            engine: self.digest,
            pad: self.pad(&case.set.pads[0], &case.policies[0]),
            policies: Vec::new(),
            owners: owners.iter().map(|owner| digest(owner.0)).collect(),
        };
        let native = all(&case.policies[0], |policy| {
            pad_rules::check_update(policy, owners).map(|()| Vec::new())
        });
        assert_eq!(self.engine.check_update(&update).as_ref(), Ok(&native));
        native
    }
}

/// What all policies of a Pad decide: no if there are none.
fn all(
    policies: &[SharePolicy],
    decide: impl Fn(&SharePolicy) -> Result<Vec<QuotaUse>, Refusal>,
) -> Answer {
    if policies.is_empty() {
        return refused(Refusal { code: Code::Policy, rule: None });
    }
    let decisions: Result<Vec<_>, _> = policies.iter().map(decide).collect();
    match decisions {
        Ok(uses) => Answer::Allowed(uses.iter().flatten().map(quota_use).collect()),
        Err(refusal) => refused(refusal),
    }
}

fn quota_use(spent: &QuotaUse) -> engines::QuotaUse {
    engines::QuotaUse {
        account: id(spent.id.0),
        owner: digest(spent.quota.owner.0),
        uses: spent.quota.uses,
        period_secs: spent.quota.period_secs,
    }
}

fn refused(refusal: Refusal) -> Answer {
    let code = refusal.code as u16;
    let part = match code {
        10..20 => Part::Program,
        20..30 => Part::Input,
        _ => Part::Output,
    };
    let rule = refusal.rule.map(|index| engines::Rule { part, index });
    Answer::Refused(engines::Refusal { code, rule })
}

fn codes(answers: &[Answer]) -> Vec<u16> {
    let code = |answer: &Answer| match answer {
        Answer::Allowed(_) => 0,
        Answer::Refused(refusal) => refusal.code,
    };
    answers.iter().map(code).collect()
}

const A: OwnerId = OwnerId([0xa0; 32]);
const B: OwnerId = OwnerId([0xb0; 32]);
const C: OwnerId = OwnerId([0xc0; 32]);
const D: OwnerId = OwnerId([0xd0; 32]);
const E: OwnerId = OwnerId([0xe0; 32]);
const TRAINER: ProgramDigest = ProgramDigest([1; 32]);
const QUERY: ProgramDigest = ProgramDigest([2; 32]);
const FINE_TUNE: ProgramDigest = ProgramDigest([3; 32]);

fn pad(custodian: OwnerId, entries: u64) -> Pad {
    let entries = Statement { name: "entries".into(), value: entries, is_signed: true };
    Pad { id: [custodian.0[0]; 16], custodian, statements: vec![entries] }
}

/// At most so many percent of the entries of A, B and C, for the trainer, to D.
fn training_policy(percent: u64) -> SharePolicy {
    let share =
        Share { basis_points: percent * 100, attribute: "entries".into(), among: vec![A, B, C] };
    SharePolicy {
        input: vec![InputRule::MaxShare(share)],
        program: vec![ProgramRule::ProgramIn(vec![TRAINER])],
        output: vec![OutputRule::Custodian(D)],
    }
}

/// The Pads of so many of the hospitals.
fn training(hospitals: usize) -> Case {
    let pads = [(pad(A, 100), 60), (pad(B, 50), 30), (pad(C, 50), 40)];
    let pads = &pads[..hospitals];
    Case {
        set: DataSet {
            program: TRAINER,
            owner: None,
            plain_input: None,
            helpers: Vec::new(),
            pads: pads.iter().map(|(pad, _)| pad.clone()).collect(),
        },
        policies: pads.iter().map(|(_, percent)| vec![training_policy(*percent)]).collect(),
    }
}

fn model_policy() -> SharePolicy {
    let quota = |owner, uses| Quota { owner, uses, period_secs: 60 };
    let owners = vec![quota(A, 10), quota(B, 5), quota(C, 5)];
    SharePolicy {
        input: vec![InputRule::PlainInput { max_bytes: 4096 }],
        program: vec![
            ProgramRule::ProgramIn(vec![QUERY, FINE_TUNE]),
            ProgramRule::AuthUser(vec![A, B, C]),
            ProgramRule::RateLimit { quota: QuotaId([7; 16]), owners },
        ],
        output: vec![
            OutputRule::Custodian(D),
            OutputRule::SamePolicy,
            OutputRule::PlainResult {
                schema: Schema::Label(vec!["benign".into(), "malignant".into()]),
                max_bytes: 16,
            },
            OutputRule::UpdateBy { basis_points: 7500, weights: vec![(A, 100), (B, 50), (C, 50)] },
        ],
    }
}

fn of_model(policy: SharePolicy, program: ProgramDigest, owner: Option<OwnerId>) -> Case {
    let plain_input = Some(PlainInput { digest: [9; 32], bytes: 240 });
    let model = Pad { id: [0xdd; 16], custodian: D, statements: vec![] };
    let helpers = Vec::new();
    let set = DataSet { program, owner, plain_input, helpers, pads: vec![model] };
    Case { set, policies: vec![vec![policy]] }
}

fn adding(owners: &[OwnerId]) -> SharePolicy {
    let mut policy = model_policy();
    policy.program.push(ProgramRule::AuthUser(owners.to_vec()));
    policy
}

#[test]
fn the_hospitals_train_together_or_not_at_all() {
    let engine = Engine::get();
    assert_eq!(codes(&engine.input(&training(3))), [0, 0, 0]);
    assert_eq!(codes(&engine.input(&training(2))), [20, 20]);
    let mut other = training(3);
    other.set.program = QUERY;
    assert_eq!(codes(&engine.input(&other)), [10, 10, 10]);
    assert_eq!(codes(&engine.proposal(&training(3), D, &model_policy())), [0, 0, 0]);
    assert_eq!(codes(&engine.proposal(&training(3), A, &model_policy())), [30, 30, 30]);
    assert_eq!(codes(&engine.plain(&training(3), b"benign")), [11, 11, 11]);
    let mut junk = training(2);
    junk.set.pads.push(pad(E, 1_000_000));
    junk.policies.push(Vec::new());
    assert_eq!(codes(&engine.input(&junk)), [20, 20, 1]);
}

#[test]
fn a_model_is_asked_by_its_owners_for_labels() {
    let engine = Engine::get();
    let query = of_model(model_policy(), QUERY, Some(A));
    let [Answer::Allowed(uses)] = &engine.input(&query)[..] else { panic!("refused") };
    assert_eq!(uses.len(), 1);
    assert_eq!((uses[0].owner, uses[0].uses, uses[0].period_secs), (digest(A.0), 10, 60));
    assert_eq!(codes(&engine.plain(&query, b"benign")), [0]);
    for wrong in [&b"benign\n"[..], b"", &[b'x'; 3 << 20]] {
        assert_eq!(codes(&engine.plain(&query, wrong)), [32]);
    }
    for owner in [Some(E), None] {
        assert_eq!(codes(&engine.input(&of_model(model_policy(), QUERY, owner))), [11]);
    }
    assert_eq!(codes(&engine.input(&of_model(model_policy(), TRAINER, Some(A)))), [10]);
}

#[test]
fn a_model_is_tuned_under_policies_that_are_as_strict() {
    let engine = Engine::get();
    let mut tuning = of_model(model_policy(), FINE_TUNE, Some(A));
    tuning.set.plain_input = None;
    let mut private = training_policy(100);
    private.program = vec![ProgramRule::ProgramIn(vec![FINE_TUNE])];
    tuning.set.pads.push(pad(A, 20));
    tuning.policies.push(vec![private]);
    assert_eq!(codes(&engine.input(&tuning)), [0, 0]);
    for owners in [&[A][..], &[A, E]] {
        let policy = adding(owners);
        assert_eq!(codes(&engine.proposal(&tuning, D, &policy)), [0, 0]);
        for (owner, code) in [(A, 0), (B, 11), (E, 11)] {
            let asked = of_model(policy.clone(), QUERY, Some(owner));
            assert_eq!(codes(&engine.input(&asked)), [code]);
        }
    }
    for dropped in [1, 2] {
        let mut policy = model_policy();
        policy.program.remove(dropped);
        assert_eq!(codes(&engine.proposal(&tuning, D, &policy)), [31, 0]);
    }
    let model = of_model(model_policy(), QUERY, None);
    for (owners, code) in [(&[A, B][..], 0), (&[B, C], 40), (&[A, A], 40), (&[], 40)] {
        assert_eq!(codes(&[engine.update(&model, owners)]), [code]);
    }
}

#[test]
fn a_policy_that_is_none_refuses() {
    let engine = Engine::get();
    let case = training(3);
    let mut pads = engine.pads(&case);
    pads[1].policies[0].output_constraint.push(0);
    pads[2].policies[0].engine = (1, 1, 1, 1);
    let found = engine.engine.check_input(&engine.run(&case.set), &pads, &[0, 1, 2, 3]);
    assert_eq!(found.map(|answers| codes(&answers)), Ok(vec![0, 1, 1, 2]));
}

/// A linear congruential generator: the same cases in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn owner(&mut self) -> OwnerId {
        OwnerId([self.below(4) as u8; 32])
    }

    /// Ascending, and at least one.
    fn owners(&mut self) -> Vec<OwnerId> {
        let mut owners: Vec<_> = (0..1 + self.below(3)).map(|_| self.owner()).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    fn name(&mut self) -> String {
        if self.chance(80) { "entries".into() } else { "rows".into() }
    }

    fn share(&mut self) -> Share {
        let basis_points = self.below(5) * 2500;
        Share { basis_points, attribute: self.name(), among: self.owners() }
    }

    fn input_rule(&mut self) -> InputRule {
        match self.below(3) {
            0 => InputRule::MaxShare(self.share()),
            1 => InputRule::MinShare(self.share()),
            _ => InputRule::PlainInput { max_bytes: self.below(20) },
        }
    }

    fn program_rule(&mut self) -> ProgramRule {
        let quota = |owner| Quota { owner, uses: 3, period_secs: 60 };
        match self.below(5) {
            4 => ProgramRule::HelperIn(vec!["onnx".into()]),
            0 => ProgramRule::AuthUser(self.owners()),
            1 => ProgramRule::RateLimit {
                quota: QuotaId([self.below(2) as u8; 16]),
                owners: self.owners().into_iter().map(quota).collect(),
            },
            _ => {
                let mut programs = vec![ProgramDigest([self.below(2) as u8; 32])];
                programs.extend(self.chance(60).then_some(ProgramDigest([2; 32])));
                ProgramRule::ProgramIn(programs)
            }
        }
    }

    fn output_rule(&mut self) -> OutputRule {
        match self.below(4) {
            0 => OutputRule::Custodian(self.owner()),
            1 => OutputRule::SamePolicy,
            2 => OutputRule::PlainResult {
                schema: match self.below(3) {
                    0 => Schema::Any,
                    1 => Schema::Number,
                    _ => Schema::Label(vec!["no".into(), "yes".into()]),
                },
                max_bytes: self.below(5),
            },
            _ => OutputRule::UpdateBy {
                basis_points: 1 + self.below(10_000),
                weights: self.owners().into_iter().zip([1, 2, 1]).collect(),
            },
        }
    }

    fn policy(&mut self) -> SharePolicy {
        SharePolicy {
            input: (0..self.below(3)).map(|_| self.input_rule()).collect(),
            program: (0..1 + self.below(3)).map(|_| self.program_rule()).collect(),
            output: (0..self.below(4)).map(|_| self.output_rule()).collect(),
        }
    }

    fn pad(&mut self, number: u64) -> Pad {
        let mut statements = Vec::new();
        for name in ["entries", "rows"] {
            if self.chance(85) {
                let value = if self.chance(5) { u64::MAX } else { self.below(5) };
                let is_signed = self.chance(90);
                statements.push(Statement { name: name.into(), value, is_signed });
            }
        }
        let id = if self.chance(3) { 0 } else { number };
        Pad { id: [id as u8; 16], custodian: self.owner(), statements }
    }

    fn case(&mut self) -> Case {
        let pads: Vec<_> = (0..1 + self.below(5)).map(|number| self.pad(number)).collect();
        let policies = pads.iter().map(|_| {
            let count = if self.chance(10) { 2 * self.below(2) } else { 1 };
            (0..count).map(|_| self.policy()).collect()
        });
        let policies = policies.collect();
        let plain = self.chance(30).then(|| self.below(20));
        let set = DataSet {
            program: ProgramDigest([self.below(3) as u8; 32]),
            owner: self.chance(80).then(|| self.owner()),
            plain_input: plain.map(|bytes| PlainInput { digest: [0; 32], bytes }),
            helpers: if self.chance(30) { vec!["onnx".into()] } else { Vec::new() },
            pads,
        };
        Case { set, policies }
    }

    /// A policy of the case, or almost it.
    fn derived(&mut self, case: &Case) -> SharePolicy {
        let of = &case.policies[self.below(case.policies.len() as u64) as usize];
        let mut policy = of.first().cloned().unwrap_or_default();
        match self.below(4) {
            0 => policy.program.push(self.program_rule()),
            1 => drop(policy.output.pop()),
            2 => drop(policy.input.pop()),
            _ => {}
        }
        policy
    }
}

#[test]
fn random_data_sets_are_decided_about_as_natively() {
    let engine = Engine::get();
    let mut random = Random(1);
    let (mut yes, mut no) = ([0; 3], [0; 3]);
    let mut count = |call: usize, answers: &[Answer]| {
        let allowed = codes(answers).iter().filter(|code| **code == 0).count();
        yes[call] += allowed;
        no[call] += answers.len() - allowed;
    };
    for _ in 0..1000 {
        let case = random.case();
        count(0, &engine.input(&case));
        let policy = random.derived(&case);
        let custodian = random.owner();
        count(1, &engine.proposal(&case, custodian, &policy));
        for result in [&b"7"[..], b"yes", b"-1.50", b"007"] {
            count(1, &engine.plain(&case, result));
        }
        let signers = random.owners();
        count(2, &[engine.update(&case, &signers)]);
    }
    println!("allowed {yes:?}, refused {no:?}: inputs, outputs, updates");
    assert!(yes.iter().chain(&no).all(|count| *count >= 50), "{yes:?} {no:?}");
}

#[test]
fn a_check_of_nine_pads_is_measured() {
    let engine = Engine::get();
    let mut case = training(3);
    for number in 0..6 {
        let of = number % 3;
        let mut more = case.set.pads[of].clone();
        more.id = [number as u8; 16];
        case.set.pads.push(more);
        let policies = case.policies[of].clone();
        case.policies.push(policies);
    }
    let (run, pads) = (engine.run(&case.set), engine.pads(&case));
    let asked: Vec<u32> = (0..9).collect();
    assert_eq!(codes(&engine.input(&case)), [0; 9]);
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            engine.engine.check_input(&run, &pads, &asked).expect("answers");
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("a check of 9 Pads: median {:?} of 200, an unoptimised host", times[100]);
}
