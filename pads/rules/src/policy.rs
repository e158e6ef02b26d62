//! A policy of the engine `share`: rules in three parts, and which of two policies is stricter.

use alloc::vec::Vec;

use pad_cbor::{Writer, read_whole};

use crate::rule::{InputRule, OutputRule, ProgramRule, Rule, RuleError};

/// Most rules of one part.
const MAX_RULES: usize = 32;

/// The three constraints of a policy, as a Pad has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// On inputs.
    pub input: Vec<u8>,
    /// On the program.
    pub program: Vec<u8>,
    /// On outputs.
    pub output: Vec<u8>,
}

/// All rules of a policy. A kind of rule that grants something has to be there, and all rules of
/// that kind have to hold; every other rule has to hold if it is there. So a rule more of a kind
/// that is there never allows more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharePolicy {
    /// Which data sets.
    pub input: Vec<InputRule>,
    /// Which programs, and whose.
    pub program: Vec<ProgramRule>,
    /// Which outputs.
    pub output: Vec<OutputRule>,
}

impl SharePolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// If a constraint is not the one encoding of rules of its part.
    pub fn parse(constraints: &Constraints) -> Result<Self, RuleError> {
        Ok(Self {
            input: parse(&constraints.input)?,
            program: parse(&constraints.program)?,
            output: parse(&constraints.output)?,
        })
    }

    /// The constraints that [`Self::parse`] reads.
    pub fn to_constraints(&self) -> Constraints {
        Constraints {
            input: written(&self.input),
            program: written(&self.program),
            output: written(&self.output),
        }
    }

    /// Whether whatever this policy allows is allowed by the other one too.
    pub fn is_at_least_as_strict_as(&self, other: &Self) -> bool {
        is_stricter(&self.input, &other.input)
            && is_stricter(&self.program, &other.program)
            && is_stricter(&self.output, &other.output)
    }
}

fn parse<R: Rule>(bytes: &[u8]) -> Result<Vec<R>, RuleError> {
    read_whole(bytes, |reader| {
        let count = reader.array(R::PART, 0..=MAX_RULES)?;
        (0..count).map(|_| R::read(reader)).collect()
    })
}

fn written<R: Rule>(rules: &[R]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(rules.len());
    rules.iter().for_each(|rule| rule.write(&mut writer));
    writer.finish()
}

/// A rule that only restricts is kept. Rules of a kind that grants are all kept, or none of that
/// kind is there; one of a kind that the other policy has not would grant what it does not.
fn is_stricter<R: Rule>(these: &[R], others: &[R]) -> bool {
    let of_kind = |rules: &[R], kind| rules.iter().any(|rule| rule.grants() == Some(kind));
    let keeps = others.iter().all(|other| {
        these.contains(other) || other.grants().is_some_and(|kind| !of_kind(these, kind))
    });
    let grants_no_more = these.iter().filter_map(Rule::grants).all(|kind| of_kind(others, kind));
    keeps && grants_no_more
}
