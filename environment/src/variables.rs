//! Variables of an environment: their JSON, and its bounds.

use std::collections::BTreeSet;
use std::fmt;

use protocol::environment::{MAX_CONTENT_BYTES, MAX_NAME_BYTES, MAX_VARIABLES, is_name};
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Names and values, no name twice; values are cleared when they are dropped and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<Variable>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    key: String,
    value: Zeroizing<String>,
}

/// Why something is no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariablesError {
    /// beyond the budget
    #[error("{0} bytes of JSON, at most {MAX_CONTENT_BYTES} are accepted")]
    TooLarge(usize),
    /// JSON of another form; a parser's own message would quote a value
    #[error("not the expected JSON: {expected}, without a NUL and without other keys")]
    Json {
        /// The form.
        expected: &'static str,
    },
    /// more than are accepted
    #[error("{0} variables, at most {MAX_VARIABLES} are accepted")]
    TooMany(usize),
    /// a name that is none
    #[error(
        "the name of variable {0} is not a letter or underscore with letters, digits and \
         underscores behind it, at most {MAX_NAME_BYTES}"
    )]
    Name(usize),
    /// one name in two meanings
    #[error("the variable {0} is there twice")]
    Twice(String),
    /// a value that no process can have
    #[error("the value of the variable {0} has a NUL in it")]
    Nul(String),
}

impl Variables {
    /// Takes over names and values.
    ///
    /// # Errors
    /// If they are too many or too large, a name is none or there twice, or a value has a NUL.
    pub fn of(
        variables: impl IntoIterator<Item = (String, Zeroizing<String>)>,
    ) -> Result<Self, VariablesError> {
        let variable = |(key, value)| Variable { key, value };
        let variables = Self::checked(variables.into_iter().map(variable).collect())?;
        variables.to_json()?;
        Ok(variables)
    }

    /// Reads `[{"key": …, "value": …}, …]`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, VariablesError> {
        let expected = r#"[{"key": "NAME", "value": "TEXT"}, …]"#;
        let list = strict_json::parse(json, MAX_CONTENT_BYTES);
        Self::checked(list.map_err(|error| without_text(&error, expected))?)
    }

    /// Reads dstack's `{"env": [{"key": …, "value": …}, …]}`.
    pub(crate) fn parse_dstack(json: &[u8]) -> Result<Self, VariablesError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Content {
            env: Vec<Variable>,
        }
        let expected = r#"{"env": [{"key": "NAME", "value": "TEXT"}, …]}"#;
        let content: Result<Content, _> = strict_json::parse(json, MAX_CONTENT_BYTES);
        Self::checked(content.map_err(|error| without_text(&error, expected))?.env)
    }

    /// The JSON that [`Self::parse`] reads.
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, VariablesError> {
        // Room for the longest, so that no value is left behind where the vector grew.
        let mut json = Zeroizing::new(Vec::with_capacity(MAX_CONTENT_BYTES));
        serde_json::to_writer(&mut *json, &self.0).expect("texts serialise");
        match json.len() {
            0..=MAX_CONTENT_BYTES => Ok(json),
            found => Err(VariablesError::TooLarge(found)),
        }
    }

    /// Names and values, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|Variable { key, value }| (key.as_str(), value.as_str()))
    }

    fn checked(list: Vec<Variable>) -> Result<Self, VariablesError> {
        if list.len() > MAX_VARIABLES {
            return Err(VariablesError::TooMany(list.len()));
        }
        let mut names = BTreeSet::new();
        for (index, Variable { key, value }) in list.iter().enumerate() {
            if !is_name(key) {
                return Err(VariablesError::Name(index + 1));
            }
            if !names.insert(key) {
                return Err(VariablesError::Twice(key.clone()));
            }
            if value.contains('\0') {
                return Err(VariablesError::Nul(key.clone()));
            }
        }
        Ok(Self(list))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|variable| &variable.key)).finish()
    }
}

fn without_text(error: &JsonError, expected: &'static str) -> VariablesError {
    match error {
        JsonError::TooLarge { found, .. } => VariablesError::TooLarge(*found),
        JsonError::Nul { .. } | JsonError::Malformed(_) => VariablesError::Json { expected },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(variables: &Variables) -> Vec<(&str, &str)> {
        variables.iter().collect()
    }

    #[test]
    fn a_backslash_at_the_end_of_a_value_does_not_swallow_the_next_variable() {
        let given = [("A", "\\"), ("B", "two\nlines \"quoted\" $C ü"), ("C", "")];
        let owned = given.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())));
        let variables = Variables::of(owned).unwrap();
        assert_eq!(pairs(&Variables::parse(&variables.to_json().unwrap()).unwrap()), given);
        let dstack = br#"{"env": [{"key": "A", "value": "\\"}, {"key": "B", "value": "b"}]}"#;
        let read = Variables::parse_dstack(dstack).unwrap();
        assert_eq!(pairs(&read), [("A", "\\"), ("B", "b")]);
        assert_eq!(pairs(&Variables::parse(b"[]").unwrap()), []);
    }

    #[test]
    fn what_is_not_exactly_a_list_of_variables_is_refused_without_a_word_of_it() {
        for json in [
            "",
            "{}",
            "A=secret",
            r#"[{"key": "A", "value": 5431}]"#,
            r#"[{"key": "A"}]"#,
            r#"[{"key": "A", "value": "secret", "more": 1}]"#,
            r#"[{"key": "A", "value": "secret", "value": "secret"}]"#,
            r#"[{"key": "A", "value": "secret\u0000"}]"#,
            r#"[{"key": "A", "value": "secret"}] "#,
            r#"{"env": []}"#,
        ] {
            let whole = json.trim_end() != json;
            let refused = Variables::parse(json.as_bytes());
            assert_eq!(refused.is_err(), !whole, "{json}");
            let Err(refused) = refused else { continue };
            assert!(matches!(refused, VariablesError::Json { .. }), "{json}: {refused}");
            let text = refused.to_string();
            assert!(!text.contains("secret") && !text.contains("5431"), "{text}");
        }
        assert!(Variables::parse_dstack(b"[]").is_err());
        assert!(Variables::parse_dstack(br#"{"env": [], "more": 1}"#).is_err());
    }

    #[test]
    fn names_that_are_none_or_there_twice_and_too_much_are_refused() {
        let of = |names: &[&str], value: &str| {
            let value = Zeroizing::new(value.to_owned());
            Variables::of(names.iter().map(|name| ((*name).to_owned(), value.clone())))
        };
        assert_eq!(of(&["A", "B", "A"], ""), Err(VariablesError::Twice("A".into())));
        assert_eq!(of(&["A", "B-C"], ""), Err(VariablesError::Name(2)));
        assert_eq!(of(&["A"], "a\0"), Err(VariablesError::Nul("A".into())));
        let large = "x".repeat(MAX_CONTENT_BYTES);
        assert!(matches!(of(&["A"], &large), Err(VariablesError::TooLarge(_))));
        assert!(matches!(Variables::parse(large.as_bytes()), Err(VariablesError::Json { .. })));
        let names: Vec<String> = (0..=MAX_VARIABLES).map(|index| format!("A{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(of(&names, ""), Err(VariablesError::TooMany(MAX_VARIABLES + 1)));
        assert_eq!(of(&names[1..], "").unwrap().iter().count(), MAX_VARIABLES);
    }

    #[test]
    fn debug_output_shows_names_alone() {
        let variables = Variables::of([("A".to_owned(), Zeroizing::new("secret".to_owned()))]);
        assert_eq!(format!("{:?}", variables.unwrap()), r#"{"A"}"#);
    }
}
