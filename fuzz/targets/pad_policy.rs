//! Policies of the engine `share`: three constraints, the first two behind their length in a byte
//! each. What is accepted is written in exactly this one way, is as strict as itself, and a policy
//! that has each rule twice allows the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pad_rules::{
    Constraints, DataSet, Output, OwnerId, Pad, PlainInput, ProgramDigest, Proposal, SharePolicy,
    Statement, check_input, check_output, check_update,
};

/// Custodian, owner and program of the seeds.
const OWNER: OwnerId = OwnerId([1; 32]);

fuzz_target!(|bytes: &[u8]| {
    let Some((input, rest)) = part(bytes) else { return };
    let Some((program, output)) = part(rest) else { return };
    let constraints =
        Constraints { input: input.into(), program: program.into(), output: output.into() };
    let Ok(policy) = SharePolicy::parse(&constraints) else { return };
    assert_eq!(policy.to_constraints(), constraints);
    assert!(policy.is_at_least_as_strict_as(&policy));
    let mut twice = policy.clone();
    twice.input.extend(policy.input.iter().cloned());
    twice.program.extend(policy.program.iter().cloned());
    twice.output.extend(policy.output.iter().cloned());
    assert!(twice.is_at_least_as_strict_as(&policy) && policy.is_at_least_as_strict_as(&twice));
    let verdicts = [&policy, &twice].map(|policy| verdicts(policy, &constraints));
    assert_eq!(verdicts[0], verdicts[1]);
});

/// A part behind its length, and what follows.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, bytes) = bytes.split_first()?;
    bytes.split_at_checked(length.into())
}

fn verdicts(policy: &SharePolicy, constraints: &Constraints) -> [bool; 4] {
    let statement = Statement { name: "entries".into(), value: 100, is_signed: true };
    let pad = Pad { id: [1; 16], custodian: OWNER, statements: vec![statement] };
    let set = DataSet {
        program: ProgramDigest([1; 32]),
        owner: Some(OWNER),
        plain_input: Some(PlainInput { digest: [0; 32], bytes: 10 }),
        helpers: vec!["onnx".into()],
        pads: vec![pad],
    };
    let proposal = Proposal { custodian: OWNER, policies: vec![constraints.clone()] };
    [
        check_input(policy, &[1; 16], &set).is_ok(),
        check_output(policy, &set, Output::Pad(&proposal)).is_ok(),
        check_output(policy, &set, Output::Plain(b"7")).is_ok(),
        check_update(policy, &[OWNER]).is_ok(),
    ]
}
