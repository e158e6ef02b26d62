//! What happened, for a person: on standard error and in the state directory's log.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Largest log: a guest that sends rubbish on purpose must not fill the disk. A boot writes 2 KiB.
const MAX_LOG_BYTES: u64 = 4 << 20;

/// An open log.
#[derive(Debug)]
pub struct Journal {
    file: File,
    room_bytes: u64,
}

impl Journal {
    /// Opens, or starts, the log at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let room_bytes = MAX_LOG_BYTES.saturating_sub(file.metadata()?.len());
        Ok(Self { file, room_bytes })
    }

    /// One line about something in order.
    pub fn note(&mut self, text: &str) {
        self.line(text);
    }

    /// One line with an error and what caused it, and one with what to try.
    pub fn problem(&mut self, error: &dyn Error, hint: &str) {
        self.line(&format!("error: {}", protocol::error::chain(error)));
        self.line(&format!("hint: {hint}"));
    }

    /// A full disk or a closed terminal must not end a guest's life; a full log is silent.
    fn line(&mut self, text: &str) {
        let Some(room_bytes) = self.room_bytes.checked_sub(text.len() as u64 + 1) else { return };
        self.room_bytes = room_bytes;
        let _ = writeln!(io::stderr(), "{text}");
        let _ = writeln!(self.file, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, vec![b'x'; MAX_LOG_BYTES as usize - 3]).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.note("abc");
        journal.note("ab");
        journal.note("");
        assert_eq!(std::fs::metadata(path).unwrap().len(), MAX_LOG_BYTES);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_and_hint_follow_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut journal = Journal::open(&path).unwrap();
        journal.problem(&Outer(io::Error::other("inner")), "try again");
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "error: outer: inner\nhint: try again\n"
        );
    }
}
