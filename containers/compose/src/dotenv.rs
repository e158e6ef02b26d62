//! Files of variables: `.env` beside the compose file, and those that `env_file` names.
//!
//! One `NAME=value` a line, `export` before it if it likes, comments from `#` on; a byte order mark
//! is skipped. A value in single quotes stays as it is, but that `\'` is a quote; in double quotes
//! `\n`, `\t`, `\r`, `\\`, `\"` and `\$` are read and variables filled in; without quotes variables
//! are filled in and the space around it does not count. Quoted values may go over lines. Source:
//! compose specification, "Env_file format".

use super::interpolate::{InterpolationError, Unset, interpolate};

/// More than the largest real services set; far below the kernel's limit on a process's
/// environment.
pub(super) const MAX_VARIABLES: usize = 1024;

/// why a file of variables cannot be read
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct DotenvError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: DotenvFault,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotenvFault {
    /// the bytes are no text
    #[error("not UTF-8")]
    NotUtf8,
    /// a NUL cannot be passed to a program
    #[error("a NUL character")]
    Nul,
    /// the line is no `NAME=value`
    #[error("no NAME=value, with a NAME of letters, digits, dots, dashes and underscores")]
    Name,
    /// a quote is not closed, or something follows it
    #[error("a quoted value that does not end, or goes on after its quotes")]
    Quote,
    /// a variable stands twice
    #[error("the variable {0} is set twice")]
    Twice(String),
    /// a variable in a value cannot be filled in
    #[error(transparent)]
    Interpolation(#[from] InterpolationError),
    /// too many of them
    #[error("more than {MAX_VARIABLES} variables")]
    TooMany,
}

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As above.
    Variables,
    /// `format: raw`: everything after `=` is the value.
    Raw,
}

/// Reads `bytes`. A variable in a value is looked up with `lookup`, then among those above it in
/// the file, then among `earlier`, as Docker Compose does. All that is not set is told at once,
/// with the line of the first.
pub(super) fn parse(
    bytes: &[u8],
    format: Format,
    earlier: &[(String, String)],
    lookup: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, DotenvError> {
    let first = |fault| DotenvError { line: 1, fault };
    let text = std::str::from_utf8(bytes).map_err(|_| first(DotenvFault::NotUtf8))?;
    if text.contains('\0') {
        return Err(first(DotenvFault::Nul));
    }
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest, line: 1, variables: Vec::new(), earlier, lookup };
    let mut unset: Vec<(usize, Unset)> = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        match reader.entry(format) {
            Ok(()) => {}
            Err(DotenvFault::Interpolation(InterpolationError::Unset(more))) => {
                unset.extend(more.into_iter().map(|unset| (line, unset)));
            }
            Err(fault) => return Err(DotenvError { line, fault }),
        }
    }
    let Some((line, _)) = unset.first() else { return Ok(reader.variables) };
    let line = *line;
    let unset = unset.into_iter().map(|(_, unset)| unset).collect();
    Err(DotenvError { line, fault: InterpolationError::Unset(unset).into() })
}

/// Reads entry by entry.
struct Reader<'a, 'l> {
    rest: &'a str,
    line: usize,
    variables: Vec<(String, String)>,
    earlier: &'l [(String, String)],
    lookup: &'l mut dyn FnMut(&str) -> Option<String>,
}

impl<'a> Reader<'a, '_> {
    /// One line, or the lines that a quoted value takes.
    fn entry(&mut self, format: Format) -> Result<(), DotenvFault> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let start = line.trim();
        if start.is_empty() || start.starts_with('#') {
            self.take(line.len() + 1);
            return Ok(());
        }
        let Some((before, value)) = line.split_once('=') else {
            self.take(line.len() + 1);
            let name = name(start)?;
            let value = self
                .get(name)
                .ok_or_else(|| InterpolationError::Unset(vec![Unset::named(name)]))?;
            return self.set(name, value);
        };
        let name = name(before)?;
        if format == Format::Raw {
            self.take(line.len() + 1);
            return self.set(name, value.strip_suffix('\r').unwrap_or(value).to_owned());
        }
        self.take(before.len() + 1);
        let value = match value.trim_start().chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        self.set(name, value)
    }

    /// Up to the end of the line, or to a comment that a space stands before.
    fn unquoted(&mut self) -> Result<String, DotenvFault> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        self.take(line.len() + 1);
        let comment =
            line.match_indices('#').find(|(at, _)| line[..*at].ends_with([' ', '\t']) || *at == 0);
        let value = comment.map_or(line, |(at, _)| &line[..at]);
        self.fill(value.trim())
    }

    /// The text between quotes.
    fn quoted(&mut self, quote: char) -> Result<String, DotenvFault> {
        let start = self.rest.find(quote).ok_or(DotenvFault::Quote)? + 1;
        let inner = &self.rest[start..];
        let mut escaped = false;
        let end = inner.find(|c| {
            let closes = c == quote && !escaped;
            // In single quotes nothing but the quote can be escaped, a backslash neither.
            escaped = c == '\\' && (!escaped || quote == '\'');
            closes
        });
        let end = end.ok_or(DotenvFault::Quote)?;
        let value = &inner[..end];
        self.take(start + end + 1);
        let tail = self.rest.split('\n').next().unwrap_or_default();
        if !matches!(tail.trim().chars().next(), None | Some('#')) {
            return Err(DotenvFault::Quote);
        }
        self.take(tail.len() + 1);
        if quote == '\'' { Ok(value.replace("\\'", "'")) } else { self.fill(&unescape(value)) }
    }

    fn fill(&mut self, value: &str) -> Result<String, DotenvFault> {
        let Reader { variables, earlier, lookup, .. } = self;
        Ok(interpolate(value, &mut |name| {
            lookup(name).or_else(|| find(variables, name)).or_else(|| find(earlier, name))
        })?)
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let known = (self.lookup)(name).or_else(|| find(&self.variables, name));
        known.or_else(|| find(self.earlier, name))
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), DotenvFault> {
        if find(&self.variables, name).is_some() {
            return Err(DotenvFault::Twice(name.to_owned()));
        }
        if self.variables.len() == MAX_VARIABLES {
            return Err(DotenvFault::TooMany);
        }
        self.variables.push((name.to_owned(), value));
        Ok(())
    }

    fn take(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }
}

fn find(variables: &[(String, String)], name: &str) -> Option<String> {
    variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// The name before `=`, without `export`.
fn name(text: &str) -> Result<&str, DotenvFault> {
    let text = text.trim();
    let name = text.strip_prefix("export ").map_or(text, str::trim_start);
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(word) { Err(DotenvFault::Name) } else { Ok(name) }
}

/// Reads the escapes of double quotes; `\$` becomes `$$`, which interpolation reads as `$`.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('\\' | '"')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
        parse(text.as_bytes(), Format::Variables, &[], &mut |name| {
            (name == "OUTER").then(|| "out".to_owned())
        })
    }

    #[test]
    fn values_are_read_as_their_quotes_say() {
        let text = "# comment\n\nA=1\nexport B = two words  # comment\nC='$A \\n # x'\nD=\"$A\\n\\$A \\\"q\\\"\" # c\n\
                    E=a#b\nF=\nG=\"two\nlines\"\nH=${OUTER}-${A:-x}\r\nOUTER\nI=#none\nJ=a=b";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A \\n # x"),
            ("D", "1\n$A \"q\""),
            ("E", "a#b"),
            ("F", ""),
            ("G", "two\nlines"),
            ("H", "out-1"),
            ("OUTER", "out"),
            ("I", ""),
            ("J", "a=b"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn raw_values_stay_as_they_are() {
        let raw = parse(b"A='$X' # y\n", Format::Raw, &[], &mut |_| None);
        assert_eq!(raw, Ok(vec![("A".to_owned(), "'$X' # y".to_owned())]));
    }

    fn unset(names: &[&str]) -> DotenvFault {
        InterpolationError::Unset(names.iter().map(|name| Unset::named(name)).collect()).into()
    }

    #[test]
    fn a_single_quote_is_escaped_in_single_quotes() {
        for (text, expected) in [
            (r"A='Let\'s go!'", "Let's go!"),
            (r"A='a#\'#b\''#comment", "a#'#b'"),
            (r"A='\'' # x", "'"),
            (r"A='\n \d'", r"\n \d"),
        ] {
            assert_eq!(read(text), Ok(vec![("A".to_owned(), expected.to_owned())]), "{text}");
        }
    }

    #[test]
    fn variables_are_looked_up_in_order() {
        let earlier = [("E".to_owned(), "earlier".to_owned()), ("A".to_owned(), "no".to_owned())];
        let text = "\u{feff}A=own\nOUTER=own\nX=$E/$A/$OUTER\n".as_bytes();
        let variables = parse(text, Format::Variables, &earlier, &mut |name| {
            (name == "OUTER").then(|| "out".to_owned())
        });
        let variables = variables.expect("variables");
        assert_eq!(
            variables[0],
            ("A".to_owned(), "own".to_owned()),
            "a byte order mark is skipped"
        );
        assert_eq!(variables[2], ("X".to_owned(), "earlier/own/out".to_owned()));
    }

    #[test]
    fn mistakes_have_lines() {
        for (text, line, fault) in [
            ("A=1\n=2", 2, DotenvFault::Name),
            ("A B=1", 1, DotenvFault::Name),
            ("A: 1", 1, DotenvFault::Name),
            ("\nA=\"1", 2, DotenvFault::Quote),
            ("A='1' 2", 1, DotenvFault::Quote),
            ("A=1\nA=2", 2, DotenvFault::Twice("A".into())),
            ("NO", 1, unset(&["NO"])),
            ("G=\"a\nb\"\nA=$NO\nB=1\nNO2\n", 3, unset(&["NO", "NO2"])),
            ("A='C:\\dir\\'", 1, DotenvFault::Quote),
            ("A=\0", 1, DotenvFault::Nul),
        ] {
            assert_eq!(read(text), Err(DotenvError { line, fault }), "{text:?}");
        }
        assert!(parse(b"\xff", Format::Variables, &[], &mut |_| None).is_err());
    }
}
