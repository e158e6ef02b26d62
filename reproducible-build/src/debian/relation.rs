//! The `Depends`, `Pre-Depends` and `Provides` fields (deb-control(5)).

use std::cmp::Ordering;

use super::version;

/// One alternative of a dependency, or one thing that a package provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package's name, without an architecture qualifier.
    pub name: String,
    /// Operator and version, if one was given.
    pub version: Option<(Operator, String)>,
}

/// The operators of deb-control(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterEqual,
    /// `>>`
    Later,
}

impl Relation {
    /// Whether a package of this version fulfils the relation.
    #[must_use]
    pub fn accepts(&self, candidate: &str) -> bool {
        let Some((operator, wanted)) = &self.version else {
            return true;
        };
        let order = version::compare(candidate, wanted);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

/// Parses a field: all of the outer list must hold, one of each inner list suffices.
///
/// # Errors
/// The text of the relation that is not well formed.
pub fn parse(field: &str) -> Result<Vec<Vec<Relation>>, String> {
    let split = |text: &str| text.split('|').map(parse_one).collect();
    field.split(',').map(str::trim).filter(|clause| !clause.is_empty()).map(split).collect()
}

fn parse_one(text: &str) -> Result<Relation, String> {
    let bad = || text.trim().to_owned();
    let (head, version) = match text.split_once('(') {
        None => (text, None),
        Some((head, rest)) => {
            let inner = rest.trim_end().strip_suffix(')').ok_or_else(bad)?;
            (head, Some(parse_version(inner).ok_or_else(bad)?))
        }
    };
    let name = head.trim().split(':').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    Ok(Relation { name: name.to_owned(), version })
}

fn parse_version(text: &str) -> Option<(Operator, String)> {
    let text = text.trim();
    let (operator, version) = text.split_at(text.find(|c| !"<=>".contains(c))?);
    let operator = match operator {
        "<<" => Operator::Earlier,
        "<=" => Operator::EarlierEqual,
        "=" => Operator::Equal,
        ">=" => Operator::LaterEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some((operator, version.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_alternatives_versions_and_qualifiers() {
        let all = parse("libc6 (>= 2.39), gcc | clang:any | c-compiler, x (= 1:2)").unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1][1].name, "clang");
        assert!(all[0][0].accepts("2.41-12") && !all[0][0].accepts("2.36"));
        assert!(all[2][0].accepts("1:2") && !all[2][0].accepts("2"));
        for bad in ["a (2)", "a (>= 1", "a b", "| a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
