//! Foreign text as it may stand on a page: bounded, and with every character visible. Escaping is the template's.

/// Longest text in one place; digests, certificates' names and causes are shorter.
const MAX_CHARS: usize = 600;
/// Longest compose file that is shown; those of real apps have a few KiB.
pub const MAX_FILE_CHARS: usize = 32 * 1024;

/// One line.
pub fn line(text: &str) -> String {
    bounded(text.chars(), MAX_CHARS, |_| false)
}

/// A file of several lines.
pub fn file(text: &str) -> String {
    bounded(text.chars(), MAX_FILE_CHARS, |c| matches!(c, '\n' | '\t'))
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
    let time = i64::try_from(secs).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{secs} s after 1970"))
}

/// A clause as a sentence.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if clause.ends_with(['.', ')', '…']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

fn bounded(mut text: impl Iterator<Item = char>, limit: usize, kept: fn(char) -> bool) -> String {
    let mut shown = String::new();
    for c in text.by_ref().take(limit) {
        if is_hidden(c) && !kept(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    match text.count() {
        0 => shown,
        more => format!("{shown}… ({more} more characters)"),
    }
}

/// Characters that show nothing or change the order of others: with them a text can look like another.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
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
