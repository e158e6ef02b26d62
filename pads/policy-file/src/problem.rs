//! Why a policy file is refused: the line, the key, and what to write instead.

use std::fmt;

/// a policy file is refused
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {problem}", Key(.key))]
pub struct PolicyFileError {
    /// The line, from 1.
    pub line: usize,
    /// The key, as a path from the top of the file; empty for the file as a whole.
    pub key: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// more than the budget
    #[error("the file has {found} bytes, at most {most} are read")]
    TooLarge {
        /// How many it has.
        found: usize,
        /// The budget.
        most: usize,
    },
    /// no TOML
    #[error("not TOML: {0}")]
    Syntax(String),
    /// a key that is not known there
    #[error("the key is not known here; known are {}", .known.join(", "))]
    Unknown {
        /// The keys that are.
        known: Vec<&'static str>,
    },
    /// a key that has to be there
    #[error("the key {0} is missing")]
    Missing(&'static str),
    /// a value of another type
    #[error("{expected} is expected, found {found}")]
    Type {
        /// What it has to be.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// a value that is none of this kind
    #[error("{expected} is expected, found {found:?}")]
    Value {
        /// What it has to be.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// a rule of another part, or of none
    #[error("{found:?} is no rule of this part; known are {}", .known.join(", "))]
    Rule {
        /// What is there.
        found: String,
        /// The rules of the part.
        known: &'static [&'static str],
    },
    /// a name that is defined nowhere
    #[error("{name:?} is not defined in [{table}]")]
    Undefined {
        /// The name.
        name: String,
        /// The table that would define it.
        table: &'static str,
    },
    /// two names of one thing, or one thing twice in a list
    #[error("{0:?} is the same as {1:?}")]
    Twice(String, String),
    /// a file whose digest is not known
    #[error("the file {path}: {reason}")]
    File {
        /// The file as it is named.
        path: String,
        /// What the caller says.
        reason: String,
    },
    /// what the engine would refuse
    #[error("the engine would refuse it: {0}")]
    Refused(String),
}

impl PolicyFileError {
    /// What to try.
    pub fn hint(&self) -> String {
        match &self.problem {
            Problem::TooLarge { .. } => "is this a policy file?".into(),
            Problem::Syntax(_) => "docs/pad-policy.md has an example".into(),
            Problem::Unknown { .. } => {
                "correct the spelling, or take the line out: nothing is skipped".into()
            }
            Problem::Missing(key) => format!("add a line `{key} = …`; see docs/pad-policy.md"),
            Problem::Type { .. } | Problem::Value { .. } => {
                "write the value as docs/pad-policy.md shows it".into()
            }
            Problem::Rule { .. } => {
                "each rule belongs to one of [[input]], [[program]] and [[output]]".into()
            }
            Problem::Undefined { table, name } => format!(
                "add `{name} = \"64 hexadecimal digits\"` to [{table}], or correct the spelling"
            ),
            Problem::Twice(..) => "name each once".into(),
            Problem::File { .. } => {
                "the path counts from the policy file's directory; or write the digits themselves"
                    .into()
            }
            Problem::Refused(_) => "docs/pad-rules.md has the bounds of each rule".into(),
        }
    }
}

struct Key<'a>(&'a String);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", {}", self.0) }
    }
}
