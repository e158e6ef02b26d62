//! A policy of the engine `share` as a person writes it: a small TOML file. `docs/pad-policy.md`
//! describes it.
//!
//! Pure: what the files are that it names is the caller's answer. A file is read
//! strictly, with an error that names line and key, because a rule that is misspelt and skipped
//! would be a rule that nobody keeps. The text of a policy that came with a Pad is written so that
//! it gives exactly that policy again, and commands no terminal, whatever the Pad's maker put in
//! it.

#![forbid(unsafe_code)]

mod explain;
mod names;
mod problem;
mod read;
mod rules;
mod table;
mod units;
mod write;

#[cfg(test)]
mod tests;

pub use explain::explain;
pub use names::Names;
pub use problem::{PolicyFileError, Problem};
pub use read::{Compiled, Files, MAX_FILE_BYTES, SHARE_TYPE, compile};
pub use write::{rules, to_toml};
