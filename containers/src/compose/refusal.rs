//! Why a compose file is refused: every cause with its key path and line, and what to do instead.
//!
//! All refusals of a file are gathered, so that a person mends it in one go. Nothing here decides; the
//! sections do, by adding to [`Refusals`].

use std::fmt;

use super::document::DocumentError;
use super::reference::ReferenceError;

/// Enough to mend a real file in one go, few enough that a hostile one cannot fill a log.
pub const MAX_REFUSALS: usize = 32;

/// Where in the file a key stands, such as `services.web.ports[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPath(String);

impl KeyPath {
    /// The file itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The key `name` below this path; a name that is no plain word is quoted.
    pub fn key(&self, name: &str) -> Self {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let name = if plain { name.to_owned() } else { format!("{name:?}") };
        if self.0.is_empty() {
            return Self(name);
        }
        Self(format!("{}.{name}", self.0))
    }

    /// Item `index` (from 0) of the list at this path.
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the file" } else { &self.0 })
    }
}

/// One thing in the file that cannot be run as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} (line {line}): {cause}")]
pub struct Refusal {
    /// The key.
    pub path: KeyPath,
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub cause: Cause,
}

impl Refusal {
    /// What to write instead, where there is an alternative.
    pub fn hint(&self) -> Option<&'static str> {
        self.cause.hint()
    }
}

/// What can be wrong with one key or value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The compose specification has no such key.
    #[error("unknown key")]
    UnknownKey,
    /// The compose specification has it; this version does not run it.
    #[error("not supported yet")]
    NotYet {
        /// What to do meanwhile.
        hint: Option<&'static str>,
    },
    /// It has no place in a confidential guest.
    #[error("not supported: {reason}")]
    Never {
        /// Why.
        reason: &'static str,
        /// What to do instead.
        hint: Option<&'static str>,
    },
    /// The value is of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// The kinds allowed.
        expected: &'static str,
        /// The kind present.
        found: &'static str,
    },
    /// A key that must be there is not.
    #[error("the key {0:?} is missing")]
    Missing(&'static str),
    /// There are more of them than can be run.
    #[error("{found} {what}, more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// A name does not follow its grammar.
    #[error("{found:?} is no valid {what}: {rule}")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        found: String,
        /// The grammar in words.
        rule: &'static str,
    },
    /// The image is not named by digest, or not well.
    #[error("{0}")]
    Image(#[from] ReferenceError),
    /// A variable would have to be filled in.
    #[error("{0:?}: variables are not supported yet")]
    Variable(String),
    /// An environment variable without a value would take the host's.
    #[error("the variable {0:?} has no value")]
    NoValue(String),
    /// A word list ends inside quotes or after a backslash.
    #[error("the command ends inside quotes or after a backslash")]
    OpenQuote,
    /// A NUL byte cannot be passed to a program.
    #[error("a NUL character")]
    Nul,
    /// A port number or mapping cannot be read.
    #[error("{found:?} is no port: {rule}")]
    Port {
        /// What is written.
        found: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Two publications want the same port of the guest.
    #[error("port {port} is published by {other} already")]
    PortTaken {
        /// The guest's port.
        port: u16,
        /// Where the first one stands.
        other: String,
    },
    /// The guest itself answers on this port.
    #[error("port {0} belongs to the guest's agent")]
    PortReserved(u16),
    /// The same variable is set twice in a list.
    #[error("the variable {0:?} is set twice")]
    VariableTwice(String),
}

impl Cause {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Cause::UnknownKey => Some("check the spelling; keys of your own start with x-"),
            Cause::NotYet { hint } | Cause::Never { hint, .. } => *hint,
            Cause::Image(error) => error.hint(),
            Cause::Variable(_) => Some("write the value itself; a literal $ is written $$"),
            Cause::NoValue(_) => Some("write NAME=value; nothing is taken from the environment of the host"),
            Cause::PortReserved(_) | Cause::PortTaken { .. } => Some("publish another port"),
            _ => None,
        }
    }
}

/// All that is wrong with a file; never empty when it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// Adds one, up to [`MAX_REFUSALS`].
    pub(super) fn add(&mut self, path: &KeyPath, line: usize, cause: Cause) {
        if self.0.len() < MAX_REFUSALS {
            self.0.push(Refusal { path: path.clone(), line, cause });
        }
    }

    /// The refusals in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Refusals {
    /// One line for each refusal, with its hint in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            let end = if index + 1 < self.0.len() { "\n" } else { "" };
            match refusal.hint() {
                Some(hint) => write!(f, "{refusal} ({hint}){end}")?,
                None => write!(f, "{refusal}{end}")?,
            }
        }
        Ok(())
    }
}

/// Why no app comes out of a compose file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The text is no document at all.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// The document asks for what cannot be run as written.
    #[error("{0}")]
    Refused(Refusals),
}
