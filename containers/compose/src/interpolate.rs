//! Variables in values: `$NAME`, `${NAME}` and its forms with a default, a message or a
//! replacement.
//!
//! Source: compose specification, `12-interpolation.md`. It differs in one thing: a variable that
//! is not set and has no default is refused instead of becoming nothing, because nobody would see
//! the warning.

use super::document::{Entry, Node, Value};
use super::field::Findings;
use super::refusal::{Cause, KeyPath};

/// `${A:-${B:-${C}}}` is three deep; nobody reads more than a few.
const MAX_DEPTH: usize = 16;
/// All values of a file together once variables are filled in: four times the largest file.
pub(super) const MAX_EXPANDED_BYTES: usize = 1 << 20;

/// Why variables cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// A `$` begins no variable.
    #[error("{0:?}: a $ begins no variable")]
    Syntax(String),
    /// The variable is not set, and the text gives no default.
    #[error("the variable {0} is not set")]
    Unset(String),
    /// The variable is not set or empty, and the text asks for it.
    #[error("the variable {name} is needed: {message}")]
    Required {
        /// Which.
        name: String,
        /// What the file says.
        message: String,
    },
    /// Defaults are nested without end.
    #[error("variables are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The values have become too large.
    #[error("more than {MAX_EXPANDED_BYTES} bytes once variables are filled in")]
    TooLong,
}

impl InterpolationError {
    /// What to write instead.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            InterpolationError::Syntax(_) => Some("a literal $ is written $$"),
            InterpolationError::Unset(_) => {
                Some("set it in .env beside the compose file, or write ${NAME:-value}")
            }
            InterpolationError::Required { .. } => Some("set it in .env beside the compose file"),
            InterpolationError::TooDeep | InterpolationError::TooLong => None,
        }
    }
}

/// Fills in the variables of `text`; `lookup` is asked for each that decides something.
pub(super) fn interpolate(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, InterpolationError> {
    let mut reader = Reader { whole: text, rest: text, lookup };
    let out = reader.text(0, true)?;
    debug_assert!(reader.rest.is_empty());
    Ok(out)
}

/// Fills in all values of a document; keys and what lies under `x-` keys stay as they are.
pub(super) fn document(root: &mut Node, findings: &mut Findings<'_>) {
    let mut left = MAX_EXPANDED_BYTES;
    node(root, &KeyPath::root(), root.line, &mut left, findings);
}

fn node(
    value: &mut Node,
    path: &KeyPath,
    line: usize,
    left: &mut usize,
    findings: &mut Findings<'_>,
) {
    match &mut value.value {
        Value::Scalar { text, plain } if text.contains('$') => {
            // What a variable gives is text, never YAML's null.
            *plain = false;
            let filled =
                interpolate(text, &mut |name| findings.variable(name)).and_then(|filled| {
                    *left = left.checked_sub(filled.len()).ok_or(InterpolationError::TooLong)?;
                    Ok(filled)
                });
            match filled {
                Ok(filled) => *text = filled,
                Err(error) => findings.unreadable(path, line, Cause::Interpolation(error)),
            }
        }
        Value::Scalar { .. } => {}
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let line = item.line;
                node(item, &path.item(index), line, left, findings);
            }
        }
        Value::Mapping(entries) => {
            let used = |entry: &&mut Entry| !entry.key.starts_with("x-");
            for entry in entries.iter_mut().filter(used) {
                node(&mut entry.node, &path.key(&entry.key), entry.line, left, findings);
            }
        }
    }
}

/// Reads one text from left to right.
struct Reader<'a, 'l> {
    whole: &'a str,
    rest: &'a str,
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
            } else if let Some(rest) = self.rest.strip_prefix("${") {
                self.rest = rest;
                out.push_str(&self.braced(depth, live)?);
            } else if let Some(rest) = self.rest.strip_prefix('$') {
                self.rest = rest;
                let name = self.name()?;
                out.push_str(&self.plain(name, live)?);
            } else {
                return Ok(out);
            }
            if out.len() > MAX_EXPANDED_BYTES {
                return Err(InterpolationError::TooLong);
            }
        }
    }

    /// What follows `${`, the closing brace included.
    fn braced(&mut self, depth: usize, live: bool) -> Result<String, InterpolationError> {
        let name = self.name()?;
        let operator =
            ["}", ":-", "-", ":?", "?", ":+", "+"].into_iter().find(|o| self.rest.starts_with(o));
        let operator = operator.ok_or_else(|| self.syntax())?;
        self.rest = &self.rest[operator.len()..];
        if operator == "}" {
            return self.plain(name, live);
        }
        let value = if live { (self.lookup)(name) } else { None };
        let value = value.filter(|value| !operator.starts_with(':') || !value.is_empty());
        let other_counts = live && (value.is_none() != operator.ends_with('+'));
        let other = self.text(depth + 1, other_counts)?;
        self.rest = self.rest.strip_prefix('}').ok_or_else(|| self.syntax())?;
        match (operator.trim_start_matches(':'), value) {
            ("?", None) if live => {
                Err(InterpolationError::Required { name: name.to_owned(), message: other })
            }
            ("+", None) => Ok(String::new()),
            ("+", Some(_)) => Ok(other),
            (_, value) => Ok(value.unwrap_or(other)),
        }
    }

    fn plain(&mut self, name: &str, live: bool) -> Result<String, InterpolationError> {
        if !live {
            return Ok(String::new());
        }
        (self.lookup)(name).ok_or_else(|| InterpolationError::Unset(name.to_owned()))
    }

    /// A letter or underscore, then letters, digits and underscores.
    fn name(&mut self) -> Result<&'a str, InterpolationError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.syntax());
        }
        self.rest = rest;
        Ok(name)
    }

    fn syntax(&self) -> InterpolationError {
        InterpolationError::Syntax(self.whole.to_owned())
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
    fn what_cannot_be_filled_in_is_said() {
        let required = |name: &str, message: &str| InterpolationError::Required {
            name: name.into(),
            message: message.into(),
        };
        for (text, expected) in [
            ("${NO:?say $A}", required("NO", "say a")),
            ("${EMPTY:?}", required("EMPTY", "")),
            ("${NO?m}", required("NO", "m")),
            ("$NO", InterpolationError::Unset("NO".into())),
            ("${NO:-${NO2}}", InterpolationError::Unset("NO2".into())),
        ] {
            assert_eq!(filled(text), Err(expected), "{text}");
        }
        for text in [
            "$",
            "a$",
            "$1",
            "$ A",
            "${",
            "${}",
            "${A",
            "${A!b}",
            "${A:b}",
            "${A:-b",
            "${1A}",
            "${A:-${B}",
        ] {
            assert_eq!(filled(text), Err(InterpolationError::Syntax(text.into())), "{text}");
        }
        let deep = format!("{}{}", "${NO:-".repeat(40), "}".repeat(40));
        assert_eq!(filled(&deep), Err(InterpolationError::TooDeep));
    }
}
