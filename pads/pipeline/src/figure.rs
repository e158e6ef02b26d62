//! Figures of refusals: an engine gives none, because it would tell about Pads of others what it
//! likes. They explain a refusal of the engine `share`, and decide nothing.

use std::fmt;

use pad_format::contents::{Origin, Value};
use pad_rules::{
    Constraints, DataSet, InputRule, OutputRule, OwnerId, ProgramDigest, SharePolicy, Statement,
};

use crate::engines::{OutputView, PadView, Part, RuleRefusal, RunView};

/// What a rule allows and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Figure {
    /// A share of a dataset.
    Share {
        /// The attribute that is counted.
        attribute: String,
        /// The custodian's part.
        own: u128,
        /// The parts of all that count.
        all: u128,
        /// Whether the share is the most that is allowed, or the least.
        is_most: bool,
        /// The allowed share, in parts of 10,000.
        basis_points: u64,
    },
    /// A size.
    Bytes {
        /// The size.
        found: u64,
        /// The largest.
        most: u64,
    },
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { attribute, own, all, is_most, basis_points } => {
                let bound = if *is_most { "most" } else { "least" };
                let (found, allowed) = (Percent::of(*own, *all), Percent(*basis_points / 10));
                write!(f, "{found} of {attribute} ({own} of {all}), at {bound} {allowed}")
            }
            Self::Bytes { found, most } => write!(f, "{found} bytes, at most {most}"),
        }
    }
}

/// Tenths of a percent.
struct Percent(u64);

impl Percent {
    /// Rounded; of nothing there is no share.
    fn of(part: u128, all: u128) -> Self {
        let tenths = (part * 1000 + all / 2).checked_div(all);
        Self(tenths.and_then(|tenths| u64::try_from(tenths).ok()).unwrap_or(0))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}

/// The figure of a refusal by a rule of the Pad, if the rule is one that has a figure.
pub(crate) fn of(
    refusal: &RuleRefusal,
    pad: &PadView,
    run: &RunView,
    pads: &[PadView],
    output: Option<&OutputView>,
) -> Option<Figure> {
    let (part, index) = refusal.rule?;
    let policies = pad.contents.policies.iter().filter_map(|policy| {
        SharePolicy::parse(&Constraints {
            input: policy.input_constraint.clone(),
            program: policy.program_constraint.clone(),
            output: policy.output_constraint.clone(),
        })
        .ok()
    });
    let mut figures = policies.filter_map(|policy| match part {
        Part::Input => of_input(policy.input.get(usize::from(index))?, pad, run, pads),
        Part::Output => of_output(policy.output.get(usize::from(index))?, output?),
        Part::Program => None,
    });
    figures.next()
}

fn of_input(rule: &InputRule, pad: &PadView, run: &RunView, pads: &[PadView]) -> Option<Figure> {
    let (share, is_most) = match rule {
        InputRule::MaxShare(share) => (share, true),
        InputRule::MinShare(share) => (share, false),
        InputRule::PlainInput { max_bytes } => {
            return Some(Figure::Bytes { found: run.plain?.bytes, most: *max_bytes });
        }
    };
    let set = data_set(run, pads);
    let (own, all) = pad_rules::counted(share, pad.id.uuid().as_bytes(), &set)?;
    let (attribute, basis_points) = (share.attribute.clone(), share.basis_points);
    Some(Figure::Share { attribute, own, all, is_most, basis_points })
}

fn of_output(rule: &OutputRule, output: &OutputView) -> Option<Figure> {
    match rule {
        OutputRule::PlainResult { max_bytes, .. } => {
            Some(Figure::Bytes { found: output.data.len() as u64, most: *max_bytes })
        }
        _ => None,
    }
}

/// What the rules of `share` see of a dataset.
pub(crate) fn data_set(run: &RunView, pads: &[PadView]) -> DataSet {
    DataSet {
        program: ProgramDigest(run.program.0),
        owner: run.owner.map(|owner| OwnerId(owner.0.0)),
        plain_input: run
            .plain
            .map(|plain| pad_rules::PlainInput { digest: plain.digest.0, bytes: plain.bytes }),
        helpers: run.helpers.iter().map(|helper| (*helper).to_owned()).collect(),
        pads: pads.iter().map(of_pad).collect(),
    }
}

fn of_pad(pad: &PadView) -> pad_rules::Pad {
    let numbers = pad.contents.attributes.iter().filter_map(|attribute| match attribute.value {
        Value::Integer(value) => Some(Statement {
            name: attribute.name.as_str().to_owned(),
            value,
            is_signed: matches!(attribute.origin, Origin::Custodian(_)),
        }),
        Value::Text(_) | Value::Bytes(_) => None,
    });
    pad_rules::Pad {
        id: *pad.id.uuid().as_bytes(),
        custodian: OwnerId(pad.custodian.0.0),
        statements: numbers.collect(),
    }
}
