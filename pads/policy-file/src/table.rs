//! TOML of which every key is asked for by its reader, with the line and the path of each value.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{PolicyFileError, Problem};

/// Most of a value that an error repeats.
const MAX_SHOWN_CHARS: usize = 80;

/// Where a value stands.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    text: &'a str,
    offset: usize,
    key: String,
}

impl<'a> Place<'a> {
    /// The top of a file.
    pub fn top(text: &'a str) -> Self {
        Self { text, offset: 0, key: String::new() }
    }

    /// The place of something inside.
    fn inner(&self, offset: usize, key: String) -> Self {
        Self { text: self.text, offset, key }
    }

    /// The same place further on.
    pub fn at(&self, offset: usize) -> Self {
        self.inner(offset, self.key.clone())
    }

    /// What is wrong here.
    pub fn refused(&self, problem: Problem) -> PolicyFileError {
        let before = self.text.as_bytes().iter().take(self.offset);
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        PolicyFileError { line, key: self.key.clone(), problem }
    }

    fn key_of(&self, name: &str) -> String {
        let name: String = name.chars().take(MAX_SHOWN_CHARS).collect();
        if self.key.is_empty() { name } else { format!("{}.{name}", self.key) }
    }
}

/// A table. [`Self::end`] refuses keys that nobody asked for.
pub(crate) struct Table<'a> {
    pub place: Place<'a>,
    left: BTreeMap<&'a str, (usize, &'a Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
}

/// A value and its place.
pub(crate) struct Value<'a> {
    pub place: Place<'a>,
    value: &'a DeValue<'a>,
}

impl<'a> Table<'a> {
    pub fn new(place: Place<'a>, table: &'a DeTable<'a>) -> Self {
        let pair = |(key, value): (&'a Spanned<_>, _)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            (name.as_ref(), (key.span().start, value))
        };
        Self { place, left: table.iter().map(pair).collect(), known: Vec::new() }
    }

    /// The value of a key that may be there.
    pub fn optional(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let (offset, value) = self.left.remove(key)?;
        let place = self.place.inner(offset, self.place.key_of(key));
        Some(Value { place, value: value.get_ref() })
    }

    /// The value of a key that has to be there.
    pub fn required(&mut self, key: &'static str) -> Result<Value<'a>, PolicyFileError> {
        self.optional(key).ok_or_else(|| self.place.refused(Problem::Missing(key)))
    }

    /// Everything that is there, whatever its keys are.
    pub fn into_pairs(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.left.into_iter().map(move |(key, (offset, value))| {
            let place = self.place.inner(offset, self.place.key_of(key));
            (key, Value { place, value: value.get_ref() })
        })
    }

    /// Ends the reading.
    pub fn end(self) -> Result<(), PolicyFileError> {
        match self.left.first_key_value() {
            None => Ok(()),
            Some((key, (offset, _))) => {
                let place = self.place.inner(*offset, self.place.key_of(key));
                Err(place.refused(Problem::Unknown { known: self.known }))
            }
        }
    }
}

impl<'a> Value<'a> {
    /// A text.
    pub fn text(&self) -> Result<&'a str, PolicyFileError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text in quotes"))
    }

    /// A text that `parse` takes.
    pub fn parsed<T>(
        &self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, PolicyFileError> {
        let text = self.text()?;
        parse(text).ok_or_else(|| self.wrong(expected, text))
    }

    /// An integer of 64 bits without a sign; one that TOML has no room for is a text of its digits.
    pub fn integer(&self) -> Result<u64, PolicyFileError> {
        const EXPECTED: &str = "a whole number, 0 or above";
        let digits = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::String(text) => text.as_ref(),
            _ => return Err(self.wrong_type(EXPECTED)),
        };
        let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_plain { digits.parse().ok() } else { None };
        number.ok_or_else(|| self.wrong(EXPECTED, digits))
    }

    /// The text of a share: that in quotes, or a number with a point.
    pub fn share_text(&self) -> Result<(&'a str, bool), PolicyFileError> {
        match self.value {
            DeValue::Float(number) => Ok((number.as_str(), false)),
            DeValue::String(text) => Ok((text.as_ref(), true)),
            _ => Err(self.wrong_type("a percentage such as \"60 %\" or 60.0")),
        }
    }

    /// A table.
    pub fn table(&self) -> Result<Table<'a>, PolicyFileError> {
        match self.value {
            DeValue::Table(table) => Ok(Table::new(self.place.clone(), table)),
            _ => Err(self.wrong_type("a table")),
        }
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    /// The items of a list, whose places count from 1.
    pub fn items(&self) -> Result<Vec<Value<'a>>, PolicyFileError> {
        let DeValue::Array(array) = self.value else { return Err(self.wrong_type("a list")) };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let key = format!("{}[{}]", self.place.key, index + 1);
            Value { place: self.place.inner(item.span().start, key), value: item.get_ref() }
        };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// The value is none of what is expected.
    pub fn wrong(&self, expected: &'static str, found: &str) -> PolicyFileError {
        let found = found.chars().take(MAX_SHOWN_CHARS).collect();
        self.place.refused(Problem::Value { expected, found })
    }

    fn wrong_type(&self, expected: &'static str) -> PolicyFileError {
        self.place.refused(Problem::Type { expected, found: self.value.type_str() })
    }
}
