//! What the middleware tells an engine, as `pads/rules` reads it, and the answers back.

use pad_guest::engine::types::{Digest, Policy, Uuid, Value};
use pad_guest::engine::view::{self, Answer, Origin, Part, Run};
use pad_rules::{
    Code, Constraints, DataSet, OwnerId, Pad, PlainInput, ProgramDigest, QuotaUse, Refusal,
    Statement,
};

/// The data set, without what no rule looks at.
pub fn data_set(run: &Run, pads: &[view::Pad]) -> DataSet {
    DataSet {
        program: ProgramDigest(digest(run.program)),
        owner: run.owner.map(owner),
        plain_input: run
            .plain
            .map(|plain| PlainInput { digest: digest(plain.digest), bytes: plain.size }),
        helpers: run.helpers.clone(),
        pads: pads.iter().map(pad).collect(),
    }
}

/// An owner or a custodian.
pub fn owner(id: Digest) -> OwnerId {
    OwnerId(digest(id))
}

/// The constraints of a policy.
pub fn constraints(policy: &Policy) -> Constraints {
    Constraints {
        input: policy.input_constraint.clone(),
        program: policy.program_constraint.clone(),
        output: policy.output_constraint.clone(),
    }
}

/// The answer that stands for a decision.
pub fn answer(decision: Result<Vec<QuotaUse>, Refusal>) -> Answer {
    match decision {
        Ok(uses) => Answer::Allowed(uses.iter().map(quota_use).collect()),
        Err(refusal) => Answer::Refused(view::Refusal {
            code: refusal.code as u16,
            rule: refusal
                .rule
                .and_then(|index| part(refusal.code).map(|part| view::Rule { part, index })),
        }),
    }
}

fn pad(pad: &view::Pad) -> Pad {
    let statement = |found: &view::Statement| match found.attribute.value {
        Value::Number(value) => Some(Statement {
            name: found.attribute.name.clone(),
            value,
            is_signed: matches!(found.origin, Origin::Custodian),
        }),
        Value::Text(_) | Value::Bytes(_) => None,
    };
    Pad {
        id: id(pad.id),
        custodian: owner(pad.custodian),
        statements: pad.attributes.iter().filter_map(statement).collect(),
    }
}

fn quota_use(spent: &QuotaUse) -> view::QuotaUse {
    let OwnerId(owner) = spent.quota.owner;
    view::QuotaUse {
        account: (word(&spent.id.0, 0), word(&spent.id.0, 1)),
        owner: (word(&owner, 0), word(&owner, 1), word(&owner, 2), word(&owner, 3)),
        uses: spent.quota.uses,
        period_secs: spent.quota.period_secs,
    }
}

/// The part of a policy whose rules have this code; those of no rule have none.
fn part(code: Code) -> Option<Part> {
    match code {
        Code::Policy | Code::DataSet => None,
        Code::Program | Code::Owner | Code::Quota | Code::Helper => Some(Part::Program),
        Code::MaxShare | Code::MinShare | Code::Unsigned | Code::PlainInput => Some(Part::Input),
        Code::Custodian | Code::SamePolicy | Code::PlainResult | Code::Update => Some(Part::Output),
    }
}

/// The bytes of words that are big-endian.
fn digest((a, b, c, d): Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip([a, b, c, d]) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn id((high, low): Uuid) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The big-endian word at this place.
fn word(bytes: &[u8], index: usize) -> u64 {
    bytes[index * 8..][..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
