//! Checks by the engine `share` in the sandbox, beside the same rules on the host.

use std::collections::BTreeMap;
use std::hint::black_box;

use pad_format::contents::{Origin, Value};
use pad_pipeline::Engines as _;
use pad_pipeline::engines::{Answer, PadView, RunView};
use pad_rules::{
    Constraints, DataSet, InputCheck, OwnerId, Pad, ProgramDigest, SharePolicy, Statement,
};
use pad_runner::PolicyEngine;
use pad_runner::serve::Loaded;
use protocol::digest::Sha256Digest;

use crate::hospitals::Hospitals;
use crate::programs;
use crate::table::{Times, row, time, timed};

/// Pads of a check, and rounds of it.
const SIZES: [(usize, usize); 4] = [(9, 501), (100, 201), (1000, 51), (10_000, 11)];
const PROGRAM: Sha256Digest = Sha256Digest([0x71; 32]);

/// The engine `share`, ready, by its digest.
pub fn share() -> (Sha256Digest, BTreeMap<Sha256Digest, PolicyEngine>) {
    let (engine, digest) = programs::engine("share");
    let digest = Sha256Digest(digest);
    (digest, BTreeMap::from([(digest, engine)]))
}

/// Prints a row for each size.
pub fn checks() {
    let (engine, ready) = share();
    let mut loaded = Loaded::new(&ready);
    let hospitals = Hospitals::new(engine, PROGRAM);
    let run = RunView { program: PROGRAM, owner: None, plain: None, helpers: &[] };
    for (pads, rounds) in SIZES {
        let views = hospitals.views(pads);
        let asked: Vec<u32> = (0..pads as u32).collect();
        let measured = (0..rounds).map(|_| {
            let (answers, ours) = timed(|| loaded.check_input(&engine, &run, &views, &asked));
            let answers = answers.expect("answers");
            assert!(answers.iter().all(|answer| matches!(answer, Answer::Allowed(_))));
            (ours, timed(|| native(&run, &views)).1)
        });
        let measured: Vec<_> = measured.collect();
        let ours = Times::of(measured.iter().map(|pair| pair.0));
        let theirs = Times::of(measured.iter().map(|pair| pair.1));
        let each = time(ours.median() / pads as u32);
        row(
            &format!("policy check of {pads} Pads by `share`, {each} a Pad"),
            &ours.shown(),
            &format!("the rules on the host: {}", theirs.shown()),
            Some(ours.micros() / theirs.micros()),
            if pads == 9 { "≤ 100 µs" } else { "linear" },
        );
    }
}

/// The same by the rules themselves, from what an engine is shown.
fn native(run: &RunView, pads: &[PadView]) {
    let statements = |pad: &PadView| {
        let stated = pad.contents.attributes.iter().filter_map(|attribute| {
            let Value::Integer(value) = attribute.value else { return None };
            let is_signed = matches!(attribute.origin, Origin::Custodian(_));
            Some(Statement { name: attribute.name.as_str().to_owned(), value, is_signed })
        });
        stated.collect()
    };
    let pad = |pad: &PadView| Pad {
        id: *pad.id.uuid().as_bytes(),
        custodian: OwnerId(pad.custodian.0.0),
        statements: statements(pad),
    };
    let set = DataSet {
        program: ProgramDigest(run.program.0),
        owner: None,
        plain_input: None,
        helpers: Vec::new(),
        pads: pads.iter().map(pad).collect(),
    };
    let policy = |pad: &PadView| {
        let policy = &pad.contents.policies[0];
        let constraints = Constraints {
            input: policy.input_constraint.clone(),
            program: policy.program_constraint.clone(),
            output: policy.output_constraint.clone(),
        };
        SharePolicy::parse(&constraints).expect("rules")
    };
    let policies: Vec<_> = pads.iter().map(policy).collect();
    let mut check = InputCheck::new(&set);
    for (pad, policy) in set.pads.iter().zip(&policies) {
        black_box(check.check(policy, &pad.id).expect("allowed"));
    }
}
