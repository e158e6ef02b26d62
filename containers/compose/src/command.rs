//! `command` and `entrypoint`: a list of words, or one text that is split into words.
//!
//! The text form is split like a shell would split it, quotes and backslashes included, but no
//! shell runs it: no globs, no variables, no operators (compose specification, `05-services.md`,
//! "command").

use super::document::Value;
use super::field::{Field, Findings};
use super::refusal::Cause;

/// Reads either form; an empty value means that the image's own counts.
pub(super) fn read(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    match &field.node.value {
        _ if field.node.is_null() => None,
        Value::Sequence(_) => Some(field.texts(findings)),
        Value::Scalar { .. } => match split(&field.text(findings)?) {
            Some(arguments) => Some(arguments),
            None => findings.refuse(field, Cause::OpenQuote),
        },
        Value::Mapping(_) => field.wrong_kind("text or a list", findings),
    }
}

/// Splits at spaces outside quotes; `None` if a quote or a backslash is left open.
fn split(text: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => arguments.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    arguments.extend(word);
    Some(arguments)
}

/// Inside double quotes a backslash escapes only `"`, `\`, `$` and `` ` `` (POSIX shell, 2.2.3).
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would() {
        for (text, arguments) in [
            ("", vec![]),
            ("  ", vec![]),
            ("a b\tc", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            ("a'b'\"c\"d", vec!["abcd"]),
            ("'' \"\"", vec!["", ""]),
            (r"a\ b \'c", vec!["a b", "'c"]),
            (r#""a\"b\\c\d""#, vec![r#"a"b\c\d"#]),
            ("sh -c 'echo #1; ls | wc'", vec!["sh", "-c", "echo #1; ls | wc"]),
        ] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert_eq!(split(text), Some(arguments), "{text:?}");
        }
        for open in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(open), None, "{open:?}");
        }
    }
}
