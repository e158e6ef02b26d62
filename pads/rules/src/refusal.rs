//! Why an engine says no: which rule, where it stands, and nothing of anybody's Pads.

use core::fmt;

/// The rule that refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// The policy is not one that the engine reads.
    Policy = 1,
    /// A Pad is in the data set twice, or the policy's Pad is not in it.
    DataSet = 2,
    /// The program is on no list, or not on all of them.
    Program = 10,
    /// The program's owner is not proved, or may not run it.
    Owner = 11,
    /// The owner has no share of the quota.
    Quota = 12,
    /// The program uses a native helper that is on no list, or not on all of them.
    Helper = 13,
    /// The Pad's custodian has more of the data set than it may.
    MaxShare = 20,
    /// The Pad's custodian has less of the data set than it must.
    MinShare = 21,
    /// A number that the share is computed from is missing or not signed.
    Unsigned = 22,
    /// Plain input is not allowed, or larger than allowed.
    PlainInput = 23,
    /// The output is not for the custodian that the policy names.
    Custodian = 30,
    /// The output's policy is not at least as strict.
    SamePolicy = 31,
    /// A plain result is not allowed, too large, or of another form.
    PlainResult = 32,
    /// Owners of too small a share agree on other policies, or none may be agreed on.
    Update = 40,
}

impl Code {
    const ALL: [Self; 14] = [
        Self::Policy,
        Self::DataSet,
        Self::Program,
        Self::Owner,
        Self::Quota,
        Self::Helper,
        Self::MaxShare,
        Self::MinShare,
        Self::Unsigned,
        Self::PlainInput,
        Self::Custodian,
        Self::SamePolicy,
        Self::PlainResult,
        Self::Update,
    ];

    /// The code with this number.
    pub fn of_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u16 == number)
    }

    /// The rule's name in a policy file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "POLICY",
            Self::DataSet => "DATASET",
            Self::Program => "PROGRAM_IN",
            Self::Owner => "AUTH_USER",
            Self::Quota => "RATE_LIMIT",
            Self::Helper => "HELPER_IN",
            Self::MaxShare => "MAX_SHARE",
            Self::MinShare => "MIN_SHARE",
            Self::Unsigned => "AMONG",
            Self::PlainInput => "PLAIN_INPUT",
            Self::Custodian => "CUSTODIAN",
            Self::SamePolicy => "SAME_POLICY",
            Self::PlainResult => "PLAIN_RESULT",
            Self::Update => "UPDATE_BY",
        }
    }
}

/// refused by a rule
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("refused by {code}{}", Rule(.rule))]
pub struct Refusal {
    /// The rule's kind.
    pub code: Code,
    /// Its place in its part of the policy, from 0; `None` where a rule is missing.
    pub rule: Option<u16>,
}

impl Refusal {
    pub(crate) fn missing(code: Code) -> Self {
        Self { code, rule: None }
    }

    pub(crate) fn at(code: Code, index: usize) -> Self {
        Self { code, rule: u16::try_from(index).ok() }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

struct Rule<'a>(&'a Option<u16>);

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, " (rule {})", u32::from(*index) + 1),
            None => f.write_str(" (no rule allows it)"),
        }
    }
}
