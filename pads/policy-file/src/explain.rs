//! A policy in sentences: what it asks for, what may come of it, and what it does not allow.

use pad_format::Policy;
use pad_rules::{
    InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, RuleError, Schema, Share,
    SharePolicy,
};

use crate::names::Names;
use crate::units::{limit_text, share_text};
use crate::write::rules;

/// Digits of a digest that has no name.
const SHOWN_DIGITS: usize = 16;

/// Says in sentences what a policy allows.
///
/// # Errors
/// If its constraints are not those of the engine `share`.
pub fn explain(policy: &Policy, names: &Names) -> Result<String, RuleError> {
    let rules = rules(policy)?;
    let mut text = format!(
        "Policy of the input {}, decided by the engine {}.\n\nThe Pad is read only if all of this \
         holds:\n",
        policy.input_id.as_str(),
        short(&policy.engine.0)
    );
    let input = rules.input.iter().enumerate().map(|(index, rule)| {
        let (name, sentence) = input(rule, names);
        item("input", index, name, &sentence)
    });
    let program = rules.program.iter().enumerate().map(|(index, rule)| {
        let (name, sentence) = program(rule, names);
        item("program", index, name, &sentence)
    });
    text.extend(input.chain(program));
    text += "\nWhat may come of it:\n";
    text.extend(rules.output.iter().enumerate().map(|(index, rule)| {
        let (name, sentence) = output(rule, names);
        item("output", index, name, &sentence)
    }));
    let refused = refused(&rules);
    if !refused.is_empty() {
        text += "\nNo rule allows, so it is refused:\n";
        text.extend(refused.iter().map(|what| format!("  - {what}\n")));
    }
    Ok(text)
}

fn item(part: &str, index: usize, name: &str, sentence: &str) -> String {
    format!("  - {sentence} ({part} rule {}, {name})\n", index + 1)
}

fn input(rule: &InputRule, names: &Names) -> (&'static str, String) {
    let share = |share: &Share, bound: &str| {
        format!(
            "its custodian has at {bound} {} of \"{}\" in the data set, where Pads of {} count",
            share_text(share.basis_points),
            share.attribute,
            owners(&share.among, names)
        )
    };
    match rule {
        InputRule::MaxShare(rule) => ("MAX_SHARE", share(rule, "most")),
        InputRule::MinShare(rule) => ("MIN_SHARE", share(rule, "least")),
        InputRule::PlainInput { max_bytes } => (
            "PLAIN_INPUT",
            format!("the owner's plain input, if any, has at most {max_bytes} bytes"),
        ),
    }
}

fn program(rule: &ProgramRule, names: &Names) -> (&'static str, String) {
    match rule {
        ProgramRule::ProgramIn(programs) => {
            let name = |program: &ProgramDigest| {
                names.program(program).map_or_else(|| short(&program.0), str::to_owned)
            };
            let programs: Vec<_> = programs.iter().map(name).collect();
            ("PROGRAM_IN", format!("the program is {}", joined(&programs, "or")))
        }
        ProgramRule::AuthUser(list) => {
            let owners: Vec<_> = list.iter().map(|one| owner(one, names)).collect();
            ("AUTH_USER", format!("the run is signed by {}", joined(&owners, "or")))
        }
        ProgramRule::RateLimit { quota, owners } => {
            let limit = |quota: &pad_rules::Quota| {
                let limit = limit_text(quota.uses, quota.period_secs);
                format!("{} {limit}", owner(&quota.owner, names))
            };
            let limits: Vec<_> = owners.iter().map(limit).collect();
            let account = short(&quota.0);
            let sentence = format!(
                "the run is signed by an owner with uses left of the quota {account}: {}",
                limits.join(", ")
            );
            ("RATE_LIMIT", sentence)
        }
        ProgramRule::HelperIn(helpers) => (
            "HELPER_IN",
            format!("the program uses no native helper but {}", joined(helpers, "and")),
        ),
    }
}

fn output(rule: &OutputRule, names: &Names) -> (&'static str, String) {
    match rule {
        OutputRule::Custodian(custodian) => {
            ("CUSTODIAN", format!("Pads of the custodian {}", owner(custodian, names)))
        }
        OutputRule::SamePolicy => (
            "SAME_POLICY",
            "each such Pad has a policy of this engine that is at least as strict as this".into(),
        ),
        OutputRule::PlainResult { schema, max_bytes } => {
            let form = match schema {
                Schema::Any => "any bytes".to_owned(),
                Schema::Number => "a decimal number".to_owned(),
                Schema::Label(labels) => {
                    let labels: Vec<_> =
                        labels.iter().map(|label| format!("\"{label}\"")).collect();
                    format!("one of {}", labels.join(", "))
                }
            };
            let sentence = format!(
                "a plain result for whoever signed the run: {form}, at most {max_bytes} bytes"
            );
            ("PLAIN_RESULT", sentence)
        }
        OutputRule::UpdateBy { basis_points, weights } => {
            let weight = |(one, weight): &(OwnerId, u64)| format!("{} {weight}", owner(one, names));
            let weights: Vec<_> = weights.iter().map(weight).collect();
            let sentence = format!(
                "the same data under other policies, if owners of at least {} sign, by weights: {}",
                share_text(*basis_points),
                weights.join(", ")
            );
            ("UPDATE_BY", sentence)
        }
    }
}

/// What no rule grants.
fn refused(rules: &SharePolicy) -> Vec<&'static str> {
    let has_output = |is_one: fn(&OutputRule) -> bool| rules.output.iter().any(is_one);
    let granted = [
        (
            rules.program.iter().any(|rule| matches!(rule, ProgramRule::ProgramIn(_))),
            "any program: nothing reads the Pad at all (PROGRAM_IN)",
        ),
        (
            rules.program.iter().any(|rule| matches!(rule, ProgramRule::HelperIn(_))),
            "a program that uses a native helper (HELPER_IN)",
        ),
        (
            rules.input.iter().any(|rule| matches!(rule, InputRule::PlainInput { .. })),
            "plain input beside Pads (PLAIN_INPUT)",
        ),
        (has_output(|rule| matches!(rule, OutputRule::Custodian(_))), "new Pads (CUSTODIAN)"),
        (
            has_output(|rule| matches!(rule, OutputRule::PlainResult { .. })),
            "plain results (PLAIN_RESULT)",
        ),
        (
            has_output(|rule| matches!(rule, OutputRule::UpdateBy { .. })),
            "other policies for the same data (UPDATE_BY)",
        ),
    ];
    granted.into_iter().filter(|(is_granted, _)| !is_granted).map(|(_, what)| what).collect()
}

fn owner(id: &OwnerId, names: &Names) -> String {
    names.custodian(id).map_or_else(|| short(&id.0), str::to_owned)
}

fn owners(list: &[OwnerId], names: &Names) -> String {
    let owners: Vec<_> = list.iter().map(|one| owner(one, names)).collect();
    joined(&owners, "and")
}

fn joined(items: &[String], word: &str) -> String {
    match items {
        [items @ .., last] if !items.is_empty() => format!("{} {word} {last}", items.join(", ")),
        items => items.join(", "),
    }
}

fn short(digest: &[u8]) -> String {
    hex::encode(digest).chars().take(SHOWN_DIGITS).collect()
}
