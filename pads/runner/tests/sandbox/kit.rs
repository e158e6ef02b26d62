//! The author's kit: its examples in C and Rust, made by the builder and `pads/component`.

use std::sync::Arc;

use pad_runner::engines::{self, Answer, Output, Pad, Policy, Refusal, Run};
use zeroize::Zeroizing;

use crate::built::{self, Permissive};

#[test]
fn the_example_in_c_counts_rows() {
    // The second Pad is larger than a window.
    let large = b"12,0\n".repeat(300_000);
    let mut owners = Permissive::of(&[b"1,0\n2,1\n", &large, b""]);
    owners.run("rows", b"").expect("it ends well");
    let (proposal, result) = owners.output();
    assert_eq!(proposal.custodian, None);
    assert_eq!(String::from_utf8_lossy(result), "300002");
}

#[test]
fn the_example_in_rust_gives_a_mean() {
    let mut owners = Permissive::of(&[b"1\n2\n", b"-0.5\n", b"7.25\n"]);
    owners.run("mean", b"").expect("it ends well");
    assert_eq!(String::from_utf8_lossy(&owners.output().1), "2.438");
    let mut owners = Permissive::of(&[b"1\n", b"two\n"]);
    let ended = owners.run("mean", b"").map_err(|error| error.to_string());
    assert_eq!(ended, Err("the program trapped".to_owned()));
    assert!(owners.outputs.is_empty());
}

const PROGRAM: [u8; 32] = [1; 32];
const CUSTODIAN: [u8; 32] = [2; 32];

/// A policy of the engine `listed` for these programs.
fn policy(engine: [u8; 32], programs: &[[u8; 32]]) -> Policy {
    Policy {
        engine: built::digest(engine),
        policy_type: (0, 0),
        input_id: "rows".into(),
        input_constraint: Vec::new(),
        program_constraint: programs.concat(),
        output_constraint: Vec::new(),
    }
}

fn pad(policies: Vec<Policy>) -> Pad {
    Pad {
        id: (0, 1),
        digest: (0, 0, 0, 1),
        custodian: built::digest(CUSTODIAN),
        policies,
        attributes: Vec::new(),
    }
}

fn run(engine: [u8; 32]) -> Run {
    let program = built::digest(PROGRAM);
    Run { engine: built::digest(engine), program, owner: None, plain: None, helpers: Vec::new() }
}

fn no(code: u16) -> Answer {
    Answer::Refused(Refusal { code, rule: None })
}

#[test]
fn the_engine_in_c_allows_programs_on_its_list() {
    let (engine, digest) = built::engine("listed");
    let of = |programs: &[[u8; 32]]| pad(vec![policy([9; 32], &[]), policy(digest, programs)]);
    let pads = [
        of(&[PROGRAM]),
        of(&[[8; 32], PROGRAM]),
        of(&[[8; 32]]),
        of(&[]),
        pad(vec![policy([9; 32], &[PROGRAM])]),
    ];
    let answers = engine.check_input(&run(digest), &pads, &[4, 0, 1, 2, 3]);
    let yes = Answer::Allowed(Vec::new());
    assert_eq!(answers, Ok(vec![no(1), yes.clone(), yes, no(2), no(2)]));
    let mut cut = of(&[PROGRAM]);
    cut.policies[1].program_constraint.pop();
    assert_eq!(engine.check_input(&run(digest), &[cut], &[0]), Ok(vec![no(2)]));
    assert_eq!(engine.check_input(&run(digest), &pads, &[]), Ok(Vec::new()));
}

#[test]
fn the_engine_in_c_lets_out_pads_that_keep_its_policy() {
    let (engine, digest) = built::engine("listed");
    let kept = policy(digest, &[PROGRAM]);
    let pads = [pad(vec![kept.clone()])];
    let output = |custodian: Option<[u8; 32]>, policies: &[Policy]| {
        let output = Output {
            custodian: custodian.map(built::digest),
            policies: policies.to_vec(),
            attributes: Vec::new(),
            size: 3,
        };
        engine.check_output(
            &run(digest),
            &pads,
            &[0],
            &output,
            Arc::new(Zeroizing::new(b"abc".to_vec())),
        )
    };
    let other = policy(digest, &[PROGRAM, [8; 32]]);
    let yes = Ok(vec![Answer::Allowed(Vec::new())]);
    assert_eq!(output(Some(CUSTODIAN), &[other.clone(), kept.clone()]), yes);
    assert_eq!(output(Some(CUSTODIAN), &[other]), Ok(vec![no(3)]));
    assert_eq!(output(Some(CUSTODIAN), &[]), Ok(vec![no(3)]));
    assert_eq!(output(Some([3; 32]), std::slice::from_ref(&kept)), Ok(vec![no(3)]));
    assert_eq!(output(None, &[]), Ok(vec![no(3)]));
    let [pad] = pads;
    let update = engines::Update {
        engine: built::digest(digest),
        pad,
        policies: vec![kept],
        owners: vec![built::digest(CUSTODIAN)],
    };
    assert_eq!(engine.check_update(&update), Ok(no(4)));
}
