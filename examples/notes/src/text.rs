//! The text of a note: what a stranger may have stored and shown to others.

/// Longest note in bytes of UTF-8: a page of text.
pub const MAX_BYTES: usize = 4096;

/// Characters that change the direction of the text around them, by which a note could make others
/// read what is not there.
const DIRECTIONS: [char; 9] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];

/// A note's text: not blank, at most [`MAX_BYTES`], without control characters but tabs and line
/// feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Reads what a form sent; its line ends (CR LF) become line feeds, and space around the text
    /// is removed.
    pub fn parse(sent: &str) -> Result<Self, TextError> {
        let text = sent.replace("\r\n", "\n");
        let text = text.trim();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(TextError::TooLong(text.len()));
        }
        let refused =
            |c: &char| (c.is_control() && *c != '\n' && *c != '\t') || DIRECTIONS.contains(c);
        match text.chars().find(refused) {
            Some(found) => Err(TextError::Character(u32::from(found))),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// the note is empty
    #[error("the note is empty")]
    Empty,
    /// the note has {0} bytes, at most 4096 are kept
    #[error("the note has {0} bytes, at most {MAX_BYTES} are kept")]
    TooLong(usize),
    /// the note has the control character U+{0:04X}
    #[error("the note has the control character U+{0:04X}")]
    Character(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_line_feeds_and_space_around_is_removed() {
        assert_eq!(Text::parse(" a\r\n\tb \r\n").unwrap().as_str(), "a\n\tb");
    }

    #[test]
    fn a_note_of_4096_bytes_is_kept_and_a_longer_one_is_not() {
        assert!(Text::parse(&"x".repeat(MAX_BYTES)).is_ok());
        let lines = format!("a{}b", "\r\n".repeat(MAX_BYTES - 2));
        assert_eq!(Text::parse(&lines).unwrap().as_str().len(), MAX_BYTES);
        assert_eq!(Text::parse(&"x".repeat(MAX_BYTES + 1)), Err(TextError::TooLong(4097)));
        assert_eq!(Text::parse(&"ä".repeat(2049)), Err(TextError::TooLong(4098)));
    }

    #[test]
    fn blank_texts_and_control_characters_are_refused() {
        for blank in ["", " ", "\r\n\t"] {
            assert_eq!(Text::parse(blank), Err(TextError::Empty), "{blank:?}");
        }
        for (text, found) in [
            ("a\0b", 0),
            ("a\rb", 0x0d),
            ("a\x1b[31mb", 0x1b),
            ("a\u{85}b", 0x85),
            ("a\u{202e}b", 0x202e),
        ] {
            assert_eq!(Text::parse(text), Err(TextError::Character(found)), "{text:?}");
        }
    }
}
