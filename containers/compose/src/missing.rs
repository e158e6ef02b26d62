//! The variables that a compose file needs and nothing sets, gathered so that a person writes them
//! in one go.

use std::fmt;

use super::interpolate::Unset;
use super::key_path::KeyPath;

/// More than the largest real files need; a hostile one cannot fill a log.
const MAX_MISSING: usize = 128;

/// A variable without a value, and where it is asked for first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingVariable {
    /// Its name.
    pub name: String,
    /// Such as `line 5`, or `app.env, line 1`.
    pub at: String,
    /// What the file says of it (`${NAME:?message}`), or what its default lacks; empty if nothing.
    pub message: String,
    /// Whether a bind begins with it, so that its value is a relative path such as `./data`.
    pub relative_path: bool,
}

impl fmt::Display for MissingVariable {
    /// A line of `.env` that lacks nothing but the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.relative_path { "./data" } else { "" };
        write!(f, "{}={value}  # {}", self.name, self.at)?;
        // A line break would end the comment.
        let message: Vec<&str> = self.message.split_whitespace().collect();
        if message.is_empty() { Ok(()) } else { write!(f, ": {}", message.join(" ")) }
    }
}

/// Those found so far.
#[derive(Debug, Default)]
pub(super) struct Missing {
    first: Option<(KeyPath, usize)>,
    variables: Vec<MissingVariable>,
}

impl Missing {
    /// Adds those that are new.
    pub fn add(&mut self, path: &KeyPath, line: usize, at: &str, unset: Vec<Unset>) {
        self.add_leading(path, line, at, unset, None);
    }

    /// The same; `leading` begins a bind.
    pub fn add_leading(
        &mut self,
        path: &KeyPath,
        line: usize,
        at: &str,
        unset: Vec<Unset>,
        leading: Option<&str>,
    ) {
        if self.first.as_ref().is_none_or(|(_, first)| line < *first) {
            self.first = Some((path.clone(), line));
        }
        for Unset { name, message } in unset {
            let relative_path = leading == Some(&name);
            let full = self.variables.len() == MAX_MISSING;
            match self.variables.iter_mut().find(|variable| variable.name == name) {
                Some(known) => known.relative_path |= relative_path,
                None if full => {}
                None => self.variables.push(MissingVariable {
                    name,
                    at: at.to_owned(),
                    message,
                    relative_path,
                }),
            }
        }
    }

    /// The first place that lacks one, and all of them; `None` if none is missing.
    pub fn into_parts(self) -> Option<(KeyPath, usize, Vec<MissingVariable>)> {
        let (path, line) = self.first?;
        Some((path, line, self.variables))
    }
}
