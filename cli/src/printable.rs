//! Foreign text made safe to print: every character that a terminal obeys, or that nobody sees, is
//! spelled out.
//!
//! Names, claims and errors repeat what an attacker wrote. Without this a refused evidence could
//! clear the screen and print a verdict of its own. Text that is one line of ours goes through
//! [`line`] where it is put together; everything that is printed goes through [`text`], [`quoted`]
//! or [`json`] in `output`.

/// One line: line breaks are spelled out too.
pub fn line(text: &str) -> String {
    spelled(text, |_| false)
}

/// Several lines: line breaks and tabs stay.
pub fn text(text: &str) -> String {
    spelled(text, is_layout)
}

/// Several lines of which only the first can pass for ours: the others stand behind a bar.
pub fn quoted(several: &str) -> String {
    text(several.trim_end()).replace('\n', "\n     | ")
}

/// What a guest wrote on its console: a terminal's commands are left out, not spelled, as it is
/// full of them.
pub fn console(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c) || is_layout(*c)).collect()
}

/// A JSON document of the same meaning. Whatever is hidden in it stands in a string: JSON itself
/// has no other than line breaks; its writer escapes only the characters below U+0020.
pub fn json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for c in document.chars() {
        if is_hidden(c) && !is_layout(c) {
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn spelled(text: &str, kept: fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !kept(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// Characters that show nothing or change the order of others: with them a text can look like
/// another.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180e}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_spelled_out() {
        assert_eq!(line("a\u{202e}b\0\nc\u{9b}2J"), "a\\u{202e}b\\u{0}\\u{a}c\\u{9b}2J");
        assert_eq!(text("a\nb\tc\r\u{1b}"), "a\nb\tc\\u{d}\\u{1b}");
        assert_eq!(line("plain – ü 漢"), "plain – ü 漢");
    }

    #[test]
    fn a_second_line_stands_behind_a_bar() {
        assert_eq!(quoted("one\nverdict: pass\n"), "one\n     | verdict: pass");
    }

    #[test]
    fn a_console_keeps_its_lines_and_no_commands() {
        assert_eq!(console("\u{1b}[2Ja\r\n\u{9b}b\tc\u{202e}\n"), "[2Ja\nb\tc\n");
    }

    #[test]
    fn json_says_the_same_without_hidden_characters() {
        let name = "\u{1b}\u{9b}\u{202e}\u{7f}\u{e0041}\n\"\\";
        let document = serde_json::to_string_pretty(&[name]).unwrap();
        let escaped = json(&document);
        assert!(escaped.chars().all(|c| !is_hidden(c) || c == '\n'), "{escaped:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [name]);
    }
}
