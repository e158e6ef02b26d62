//! What happened, for a person: on standard error and in the state folder's log.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// An open log.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens, or starts, the log at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file })
    }

    /// One line about something in order.
    pub fn note(&mut self, text: &str) {
        self.line(text);
    }

    /// One line with an error and what caused it, and one with what to try.
    pub fn problem(&mut self, error: &dyn Error, hint: Option<&str>) {
        let mut text = format!("error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(&format!(": {cause_text}"));
            }
            source = cause.source();
        }
        self.line(&text);
        if let Some(hint) = hint {
            self.line(&format!("hint: {hint}"));
        }
    }

    /// A full disk or a closed terminal must not end a guest's life.
    fn line(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
        let _ = writeln!(self.file, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_and_hint_follow_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut journal = Journal::open(&path).unwrap();
        journal.problem(&Outer(io::Error::other("inner")), Some("try again"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "error: outer: inner\nhint: try again\n");
    }
}
