//! Why a compose file is refused: every cause with its key path and line, and what to do instead.
//!
//! All refusals of a file are gathered, so that a person mends it in one go. Nothing here decides;
//! the sections do, by adding to [`Refusals`].

use std::fmt;

use super::document::DocumentError;
use super::dotenv::DotenvError;
use super::interpolate::InterpolationError;
pub use super::key_path::KeyPath;
use super::missing::MissingVariable;
use super::reference::ReferenceError;

/// Enough to mend a real file in one go, few enough that a hostile one cannot fill a log.
pub const MAX_REFUSALS: usize = 32;

/// one thing in the file that cannot be run as written
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
    /// the compose specification has no such key
    #[error("unknown key")]
    UnknownKey,
    /// the compose specification has it; a guest does not
    #[error("not supported: {reason}")]
    Unsupported {
        /// The reason for the refusal.
        reason: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// the value is of another kind
    #[error("expected {expected}, found {found}")]
    Kind {
        /// The kinds allowed.
        expected: &'static str,
        /// The kind present.
        found: &'static str,
    },
    /// a key that must be there is not
    #[error("the key {0:?} is missing")]
    Missing(&'static str),
    /// there are more of them than can be run
    #[error("{found} {what}, more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// a value does not follow its grammar, or is out of its range
    #[error("{found:?} is no valid {what}: {rule}")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        found: String,
        /// What is allowed, in words.
        rule: &'static str,
    },
    /// the image is not named by digest, or not well
    #[error(transparent)]
    Image(#[from] ReferenceError),
    /// a variable cannot be filled in
    #[error(transparent)]
    Interpolation(#[from] InterpolationError),
    /// variables without a value, each with the line to write
    #[error("{} without a value:\n    {}", count(.0), lines(.0))]
    MissingVariables(Vec<MissingVariable>),
    /// it weakens confinement, and the measured file does not allow that
    #[error("{0}: only with danger_privileged")]
    Danger(String),
    /// a name of something that the file does not define
    #[error("there is no {what} {name:?}")]
    Undefined {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// a service that others need, and that is never started
    #[error("service {0:?} is a program for the sandbox of Pads, which no service can wait for")]
    IsProgram(String),
    /// two keys say different things, or one makes no sense beside the other
    #[error("cannot stand beside {with}: {why}")]
    Conflict {
        /// The other one.
        with: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// something that must be there once is there twice
    #[error("{what} {name:?} is given by {other} already")]
    Taken {
        /// The thing that was named.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where the first one stands.
        other: String,
    },
    /// services wait for each other
    #[error("services wait for each other: {0}")]
    Cycle(String),
    /// a file that the app directory does not have
    #[error("the app directory has no file {0:?}")]
    NoFile(String),
    /// a path that looks like a file, and the app directory has none there
    #[error("the app directory has no file {0:?}")]
    FileLike(String),
    /// a directory that is there and could be mounted read-only or be a data directory
    #[error(
        "{0:?} is a directory of the app directory, and the mount does not say what becomes of it; write one of\n    :ro behind the mount          (it is measured and mounted read-only)\n    x-dstyx: {{data: [./{0}]}}     (at the top level: it begins empty, on the data disk)\n    x-dstyx: {{seed: [./{0}]}}     (at the top level: it begins with these files, on the data disk)"
    )]
    WritableDirectory(String),
    /// a data directory that no service can write to
    #[error("nothing is at {0:?} in the app directory, and no service can write there")]
    NeverWritten(String),
    /// `secrets` would be public
    #[error("secrets travel in the measured file, which everybody can read")]
    PublicSecrets,
    /// one variable from two sources
    #[error(
        "the variable {0} is in allowed_envs, and stands in .env too, which everybody can read"
    )]
    EncryptedAndPublic(String),
    /// what a service is, decided by somebody else than the measured file
    #[error(
        "the variable {0} is of the encrypted environment, which fills in texts for services alone"
    )]
    EncryptedDecides(String),
    /// what is wrong with a value of the encrypted environment, or beside one
    #[error("cannot be used; the reason may hold a value of the encrypted environment")]
    Withheld,
    /// a directory where a file must be
    #[error("{0:?} is a directory of the app directory, not a file")]
    Directory(String),
    /// a file of variables cannot be read
    #[error("{path}: {cause}")]
    Variables {
        /// Which file.
        path: String,
        /// The error that was met.
        cause: DotenvError,
    },
    /// a word list ends inside quotes or after a backslash
    #[error("the command ends inside quotes or after a backslash")]
    OpenQuote,
    /// a NUL byte cannot be passed to a program
    #[error("a NUL character")]
    Nul,
    /// a port number or mapping cannot be read
    #[error("{found:?} is no port: {rule}")]
    Port {
        /// What is written.
        found: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// two publications want the same port of the guest
    #[error("port {port} is published by {other} already")]
    PortTaken {
        /// The guest's port.
        port: u16,
        /// Where the first one stands.
        other: String,
    },
    /// the guest itself answers on this port
    #[error("port {0} belongs to the guest's agent")]
    PortReserved(u16),
    /// the same name is set twice in a list
    #[error("{0:?} is set twice")]
    Twice(String),
}

impl ComposeError {
    /// The same without anything that may hold a value of a variable.
    pub(super) fn without_values(self) -> Self {
        match self {
            Self::Refused(Refusals(list)) => {
                let shown = |refusal: Refusal| Refusal { cause: refusal.cause.shown(), ..refusal };
                Self::Refused(Refusals(list.into_iter().map(shown).collect()))
            }
            // Neither a document's form nor `.env` has one.
            other => other,
        }
    }
}

impl Cause {
    /// The cause, if it holds nothing but names and numbers.
    fn shown(self) -> Self {
        match self {
            Self::MissingVariables(mut missing) => {
                missing.iter_mut().for_each(|variable| variable.message.clear());
                Self::MissingVariables(missing)
            }
            Self::UnknownKey
            | Self::Unsupported { .. }
            | Self::Kind { .. }
            | Self::Missing(_)
            | Self::TooMany { .. }
            | Self::Conflict { .. }
            | Self::PublicSecrets
            | Self::EncryptedAndPublic(_)
            | Self::EncryptedDecides(_)
            | Self::Image(_)
            | Self::OpenQuote
            | Self::Nul
            | Self::PortReserved(_) => self,
            _ => Self::Withheld,
        }
    }
}

fn count(missing: &[MissingVariable]) -> String {
    let plural = if missing.len() == 1 { "" } else { "s" };
    format!("{} variable{plural}", missing.len())
}

fn lines(missing: &[MissingVariable]) -> String {
    missing.iter().map(MissingVariable::to_string).collect::<Vec<_>>().join("\n    ")
}

impl Cause {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Cause::UnknownKey => Some("check the spelling; keys of your own start with x-"),
            Cause::Unsupported { hint, .. } => Some(hint),
            Cause::Image(error) => error.hint(),
            Cause::Interpolation(error) => error.hint(),
            Cause::MissingVariables(_) => Some(
                "write these lines with values into .env beside the compose file, or into the file of --env-file; the shell's environment does not count",
            ),
            Cause::Danger(_) => Some(
                "`dstyx up --danger-privileged` makes an app-compose.json that allows it: it is measured, and verifiers see it",
            ),
            Cause::Undefined { what: "service", .. } => {
                Some("name a service of this file whose profile is active")
            }
            Cause::Undefined { .. } => Some("define it at the top level of the file"),
            Cause::IsProgram(_) => Some("leave it out; a run that comes too early says so"),
            Cause::Cycle(_) => Some("leave one depends_on out"),
            Cause::NoFile(_) => {
                Some("put it beside docker-compose.yml; it becomes part of the measured file")
            }
            Cause::FileLike(_) => Some(
                "put it beside docker-compose.yml; if a data directory is meant, end its path with /",
            ),
            Cause::NeverWritten(_) => {
                Some("put it beside docker-compose.yml, or leave :ro out where it is written")
            }
            Cause::PublicSecrets => Some(
                "let them come from the encrypted environment (environment: NAME, with NAME in allowed_envs); if everybody may know them, write x-dstyx: {danger_public_secrets: true} at the top level",
            ),
            Cause::EncryptedAndPublic(_) => Some("leave it out of .env, or out of allowed_envs"),
            Cause::EncryptedDecides(_) => {
                Some("leave it out of allowed_envs, and put it into .env, which is measured")
            }
            Cause::Directory(_) => Some("name a file in it"),
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
        let refusal = Refusal { path: path.clone(), line, cause };
        // What two sections look at is refused once.
        if self.0.len() < MAX_REFUSALS && !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    /// Adds one that speaks for many, whatever stands here already.
    pub(super) fn add_always(&mut self, path: KeyPath, line: usize, cause: Cause) {
        self.0.push(Refusal { path, line, cause });
    }

    /// The refusals in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter()
    }

    /// Puts them in the order of the file.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|refusal| refusal.line);
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
                // A list of lines goes before its hint.
                Some(hint) if matches!(refusal.cause, Cause::MissingVariables(_)) => {
                    write!(f, "{refusal}\n  {hint}{end}")?
                }
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
    /// the text is no document at all
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// the variables beside it cannot be read
    #[error(".env: {0}")]
    Environment(DotenvError),
    /// the document asks for what cannot be run as written
    #[error("{0}")]
    Refused(Refusals),
    /// other services are to have to do with Pads than the measured file names
    #[error(
        "/run/dstyx/pads.sock is bound by {found:?}, and pad_services of app-compose.json names {expected:?}"
    )]
    PadServices {
        /// Services that bind the socket.
        found: Vec<String>,
        /// Services of the measured file.
        expected: Vec<String>,
    },
}
