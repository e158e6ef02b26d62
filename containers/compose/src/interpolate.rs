//! Variables in values: `$NAME`, `${NAME}` and its forms with a default, a message or a
//! replacement.
//!
//! Source: compose specification, `12-interpolation.md`; a `$` that begins neither a name nor a
//! brace stays as it is, as in Docker Compose. One thing differs: a variable that is not set and
//! has no default is refused instead of becoming nothing, because nobody would see the warning.

/// `${A:-${B:-${C}}}` is three deep; nobody reads more than a few.
const MAX_DEPTH: usize = 16;
/// All values of a file together once variables are filled in: four times the largest file.
pub(super) const MAX_EXPANDED_BYTES: usize = 1 << 20;
/// Characters of a faulty `${…}` that a message shows: the values of real files have kilobytes.
const MAX_EXCERPT_CHARS: usize = 24;
/// Characters of what a text says of a missing variable: a sentence.
const MAX_MESSAGE_CHARS: usize = 200;

/// A variable that a text needs and nothing sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// What the text says of it (`${NAME:?message}`); empty if nothing.
    pub message: String,
}

impl Unset {
    /// One of which the text says nothing more.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), message: String::new() }
    }
}

impl std::fmt::Display for Unset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.name),
            message => write!(f, "{} ({message})", self.name),
        }
    }
}

/// Why variables cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// a `${` is not followed by a name, an operator of the specification and a closing brace
    #[error("line {line} of the value: {excerpt:?} is no ${{NAME}}, with an operator or without")]
    Syntax {
        /// Line of the value, counted from 1.
        line: usize,
        /// The text from the `${` on, a few characters of it.
        excerpt: String,
    },
    /// variables that are not set, and for which the text gives no default
    #[error("not set: {}", list(.0))]
    Unset(Vec<Unset>),
    /// defaults are nested without end
    #[error("variables are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// the values have become too large
    #[error("more than {MAX_EXPANDED_BYTES} bytes once variables are filled in")]
    TooLong,
}

impl InterpolationError {
    /// What to write instead.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            InterpolationError::Syntax { .. } => Some("a literal $ is written $$"),
            InterpolationError::Unset(_) => {
                Some("set them in .env beside the compose file, or write ${NAME:-value}")
            }
            InterpolationError::TooDeep | InterpolationError::TooLong => None,
        }
    }
}

fn list(unset: &[Unset]) -> String {
    unset.iter().map(Unset::to_string).collect::<Vec<_>>().join(", ")
}

/// Fills in the variables of `text`; `lookup` is asked for each that decides something.
pub(super) fn interpolate(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, InterpolationError> {
    let mut reader = Reader { whole: text, rest: text, unset: Vec::new(), lookup };
    let out = reader.text(0, true)?;
    debug_assert!(reader.rest.is_empty());
    if reader.unset.is_empty() { Ok(out) } else { Err(InterpolationError::Unset(reader.unset)) }
}

/// The variable that `text` begins with.
pub(super) fn leading(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let mut nothing = |_: &str| None;
    let rest = rest.strip_prefix('{').unwrap_or(rest);
    Reader { whole: text, rest, unset: Vec::new(), lookup: &mut nothing }.name()
}

/// Reads one text from left to right.
struct Reader<'a, 'l> {
    whole: &'a str,
    rest: &'a str,
    /// What was asked for and is not set, so that all of it is told at once.
    unset: Vec<Unset>,
    lookup: &'l mut dyn FnMut(&str) -> Option<String>,
}

impl<'a> Reader<'a, '_> {
    /// Everything up to the end, or inside braces up to the brace that closes; with `live` unset
    /// nothing is looked up.
    fn text(&mut self, depth: usize, live: bool) -> Result<String, InterpolationError> {
        if depth > MAX_DEPTH {
            return Err(InterpolationError::TooDeep);
        }
        let mut out = String::new();
        loop {
            let ends: &[char] = if depth > 0 { &['$', '}'] } else { &['$'] };
            let at = self.rest.find(ends).unwrap_or(self.rest.len());
            let (before, rest) = self.rest.split_at(at);
            out.push_str(before);
            self.rest = rest;
            if let Some(rest) = self.rest.strip_prefix("$$") {
                out.push('$');
                self.rest = rest;
            } else if self.rest.starts_with("${") {
                out.push_str(&self.braced(depth, live)?);
            } else if let Some(rest) = self.rest.strip_prefix('$') {
                self.rest = rest;
                match self.name() {
                    Some(name) => out.push_str(&self.plain(name, live)),
                    None => out.push('$'),
                }
            } else {
                return Ok(out);
            }
            if out.len() > MAX_EXPANDED_BYTES {
                return Err(InterpolationError::TooLong);
            }
        }
    }

    /// `${…}` as a whole.
    fn braced(&mut self, depth: usize, live: bool) -> Result<String, InterpolationError> {
        let start = self.rest;
        self.rest = start.strip_prefix("${").unwrap_or(start);
        let name = self.name().ok_or_else(|| self.syntax(start))?;
        let operator =
            ["}", ":-", "-", ":?", "?", ":+", "+"].into_iter().find(|o| self.rest.starts_with(o));
        let operator = operator.ok_or_else(|| self.syntax(start))?;
        self.rest = &self.rest[operator.len()..];
        if operator == "}" {
            return Ok(self.plain(name, live));
        }
        let value = if live { (self.lookup)(name) } else { None };
        let value = value.filter(|value| !operator.starts_with(':') || !value.is_empty());
        let other_counts = live && (value.is_none() != operator.ends_with('+'));
        let other = self.text(depth + 1, other_counts)?;
        self.rest = self.rest.strip_prefix('}').ok_or_else(|| self.syntax(start))?;
        Ok(match (operator.trim_start_matches(':'), value) {
            ("?", None) if live => {
                self.missing(name, other);
                String::new()
            }
            ("+", None) => String::new(),
            ("+", Some(_)) => other,
            (_, value) => value.unwrap_or(other),
        })
    }

    fn plain(&mut self, name: &str, live: bool) -> String {
        if !live {
            return String::new();
        }
        (self.lookup)(name).unwrap_or_else(|| {
            self.missing(name, String::new());
            String::new()
        })
    }

    fn missing(&mut self, name: &str, message: String) {
        if !self.unset.iter().any(|known| known.name == name) {
            let message = message.chars().take(MAX_MESSAGE_CHARS).collect();
            self.unset.push(Unset { name: name.to_owned(), message });
        }
    }

    /// A letter or underscore, then letters, digits and underscores.
    fn name(&mut self) -> Option<&'a str> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    /// The fault that begins at `start`, a rest of the text.
    fn syntax(&self, start: &str) -> InterpolationError {
        let before = &self.whole[..self.whole.len() - start.len()];
        InterpolationError::Syntax {
            line: before.matches('\n').count() + 1,
            excerpt: start.chars().take(MAX_EXCERPT_CHARS).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, InterpolationError> {
        interpolate(text, &mut |name| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("$A".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn every_operator_is_read() {
        for (text, expected) in [
            ("", ""),
            ("plain }", "plain }"),
            ("$A-${A}b", "a-ab"),
            ("$$A $${A}", "$A ${A}"),
            ("$DOLLAR", "$A"),
            ("${A:-x}${A-x}${EMPTY:-x}${EMPTY-x}${NO:-x}${NO-x}", "aaxxx"),
            ("${A:+x}${A+x}|${EMPTY:+x}|${EMPTY+x}|${NO:+x}|${NO+x}", "xx||x||"),
            ("${A:?m}${A?m}${EMPTY?m}", "aa"),
            ("${NO:-${NO:-${A}}}", "a"),
            ("${NO:-{\"k\": 1}", "{\"k\": 1"),
            ("${NO:-a b:-c}", "a b:-c"),
            ("${NO:-$$}", "$"),
            ("${A:-${NO}}${A:-${NO:?m}}${NO:+${NO}}", "aa"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_dollar_that_begins_no_name_stays() {
        for text in
            ["$", "a$", "$1", "$ A", "^/(a|b)?$", "[ $(stat -c %s /f) -gt 0 ]", "$'x'", "é$é"]
        {
            assert_eq!(filled(text).as_deref(), Ok(text));
        }
        assert_eq!(filled("$1$A$$1${NO:-^x$}").as_deref(), Ok("$1a$1^x$"));
    }

    #[test]
    fn all_that_is_not_set_is_said() {
        for (text, expected) in [
            ("${NO:?say $A}", &[("NO", "say a")][..]),
            ("${EMPTY:?}", &[("EMPTY", "")]),
            ("${NO?m}", &[("NO", "m")]),
            ("$NO", &[("NO", "")]),
            ("${NO:-${NO2}}", &[("NO2", "")]),
            ("$NO/${NO2?m}${A}$NO", &[("NO", ""), ("NO2", "m")]),
        ] {
            let unset = |(name, message): &(&str, &str)| Unset {
                name: (*name).to_owned(),
                message: (*message).to_owned(),
            };
            let expected = expected.iter().map(unset).collect();
            assert_eq!(filled(text), Err(InterpolationError::Unset(expected)), "{text}");
        }
    }

    #[test]
    fn a_fault_is_shown_with_its_place() {
        for text in ["${", "${}", "${A", "${A!b}", "${A:b}", "${A:-b", "${1A}", "${A:-${A}"] {
            let expected = InterpolationError::Syntax { line: 1, excerpt: text.into() };
            assert_eq!(filled(text), Err(expected), "{text}");
        }
        let long = format!("$1\n$A\n  x ${{A!{}", "y".repeat(9_000));
        let excerpt = format!("${{A!{}", "y".repeat(MAX_EXCERPT_CHARS - 4));
        assert_eq!(filled(&long), Err(InterpolationError::Syntax { line: 3, excerpt }));
        let deep = format!("{}{}", "${NO:-".repeat(40), "}".repeat(40));
        assert_eq!(filled(&deep), Err(InterpolationError::TooDeep));
    }
}
