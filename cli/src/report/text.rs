//! Foreign text as it may stand on a page: bounded, and with every character visible. Escaping is
//! the template's.

use crate::printable;

/// Longest text in one place; digests, certificates' names and causes are shorter.
const MAX_CHARS: usize = 600;
/// Longest compose file that is shown; those of real apps have a few KiB.
pub const MAX_FILE_CHARS: usize = 32 * 1024;

/// One line.
pub fn line(text: &str) -> String {
    bounded(text, MAX_CHARS, printable::line)
}

/// A file of several lines.
pub fn file(text: &str) -> String {
    bounded(text, MAX_FILE_CHARS, printable::text)
}

/// A payload: printable ASCII as it is, anything else as hex.
pub fn payload(bytes: &[u8]) -> String {
    let plain = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    if plain { line(&String::from_utf8_lossy(bytes)) } else { line(&hex::encode(bytes)) }
}

/// RFC 3339 in UTC; a time that has no such text as its number of seconds.
pub fn time(secs: u64) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let time =
        i64::try_from(secs).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{secs} s after 1970"))
}

/// A clause as a sentence.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if clause.ends_with(['.', ')', '…']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

fn bounded(text: &str, limit: usize, shown: fn(&str) -> String) -> String {
    match text.char_indices().nth(limit) {
        None => shown(text),
        Some((end, _)) => {
            let more = text[end..].chars().count();
            format!("{}… ({more} more characters)", shown(&text[..end]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_spelled_out() {
        assert_eq!(line("a\u{202e}b\0\nc"), "a\\u{202e}b\\u{0}\\u{a}c");
        assert_eq!(file("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    #[test]
    fn a_long_text_says_how_much_is_left_out() {
        assert_eq!(line(&"x".repeat(MAX_CHARS)).len(), MAX_CHARS);
        assert!(line(&"x".repeat(MAX_CHARS + 7)).ends_with("… (7 more characters)"));
    }

    #[test]
    fn payloads_are_text_or_hex() {
        assert_eq!(payload(b"{\"name\":\"none\"}"), "{\"name\":\"none\"}");
        assert_eq!(payload(&[0xab, 0]), "ab00");
    }
}
