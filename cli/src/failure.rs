//! The one error that a person sees: what went wrong, and what to try.

use std::fmt::Display;

/// Exit status of a command that could not do or judge what was asked (usage, file, network).
pub const EXIT: u8 = 3;

/// what went wrong, with a hint
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    /// What to try.
    pub hint: String,
}

/// Result of everything that a person started.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure and what to try.
    pub fn new(what: impl Display, hint: impl Into<String>) -> Self {
        Self { what: what.to_string(), hint: hint.into() }
    }
}

/// Adds a hint to any error.
pub trait Hint<T> {
    /// Turns an error into a [`Failure`] that says what was being done and what to try.
    fn hint(self, doing: impl Display, hint: &str) -> Outcome<T>;
}

impl<T, E: std::error::Error> Hint<T> for Result<T, E> {
    fn hint(self, doing: impl Display, hint: &str) -> Outcome<T> {
        self.map_err(|error| {
            Failure::new(format!("{doing}: {}", protocol::error::chain(&error)), hint)
        })
    }
}
