//! Did the kernel's configuration become what the fragments ask for?
//!
//! Kconfig drops a line silently when a dependency is missing, a name was changed or a prompt is
//! hidden; a hardening option that is asked for and not there is worse than one that nobody asked
//! for. So every line of every fragment is looked up in the final `.config`, and each loss is
//! listed before a minute is built.

use std::collections::BTreeMap;
use std::fmt;

const PREFIX: &str = "CONFIG_";
const NOT_SET: &str = " is not set";

/// One file of requested options.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// For errors.
    pub name: &'a str,
    /// `CONFIG_X=…` and `# CONFIG_X is not set` lines; other comments and empty lines are free.
    pub text: &'a str,
}

/// A requested line that did not survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Which fragment asked, and in which line, counted from 1.
    pub at: (String, usize),
    /// The request.
    pub wanted: String,
    /// What the final configuration says.
    pub found: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at: (fragment, line), wanted, found } = self;
        write!(f, "{fragment}:{line}: {wanted} (is: {found})")
    }
}

/// The fragments as one text, in order, for Kconfig.
#[must_use]
pub fn merged(fragments: &[Fragment<'_>]) -> String {
    fragments.iter().map(|fragment| fragment.text).collect()
}

/// Checks that every requested line is in the final `.config`.
///
/// # Errors
/// If a line is neither a comment nor an option, an option is asked for twice, or some were lost.
pub fn check(fragments: &[Fragment<'_>], config: &str) -> Result<(), KconfigError> {
    let fact = options(config).map(|(_, option)| option);
    let fact: BTreeMap<&str, &str> = fact.collect::<Result<_, _>>().map_err(KconfigError::Final)?;
    let mut asked = BTreeMap::new();
    let mut lost = Vec::new();
    for fragment in fragments {
        for (line, option) in options(fragment.text) {
            let at = (fragment.name.to_owned(), line);
            let (name, wanted) =
                option.map_err(|text| KconfigError::Line { at: at.clone(), text })?;
            if let Some(first) = asked.insert(name, at.clone()) {
                return Err(KconfigError::Twice { name: name.into(), first, second: at });
            }
            let found = fact.get(name).copied().unwrap_or("n");
            if found != wanted {
                let found = if fact.contains_key(name) { found } else { "absent" };
                lost.push(Lost {
                    at,
                    wanted: format!("{PREFIX}{name}={wanted}"),
                    found: found.into(),
                });
            }
        }
    }
    if lost.is_empty() { Ok(()) } else { Err(KconfigError::Lost(lost)) }
}

type OptionLine<'a> = (&'a str, &'a str);

/// Name and value of each option with its line number; `n` for one that is not set; a line that is
/// neither is an error.
fn options(text: &str) -> impl Iterator<Item = (usize, Result<OptionLine<'_>, String>)> {
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let line = line.trim_end();
        let option = match line.strip_prefix('#') {
            None if line.is_empty() => return None,
            None => line.strip_prefix(PREFIX).and_then(|rest| rest.split_once('=')),
            Some(comment) => {
                let name = comment.trim_start().strip_prefix(PREFIX)?.strip_suffix(NOT_SET)?;
                Some((name, "n"))
            }
        };
        Some((number, option.ok_or_else(|| line.to_owned())))
    })
}

/// Why a configuration is not the requested one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KconfigError {
    /// neither an option nor a comment
    #[error("{}:{}: {text:?} is neither an option nor a comment", .at.0, .at.1)]
    Line {
        /// Fragment and line.
        at: (String, usize),
        /// The line.
        text: String,
    },
    /// asked for twice
    #[error("CONFIG_{name} is asked for twice: {}:{} and {}:{}", .first.0, .first.1, .second.0, .second.1)]
    Twice {
        /// Without its prefix.
        name: String,
        /// Fragment and line.
        first: (String, usize),
        /// Fragment and line.
        second: (String, usize),
    },
    /// the kernel's final configuration has a line that is no option
    #[error("the kernel's final configuration has the line {0:?}, which is no option")]
    Final(String),
    /// requested kernel options that Kconfig dropped
    #[error("Kconfig dropped {} requested kernel options:\n{}", .0.len(), list(.0))]
    Lost(Vec<Lost>),
}

impl KconfigError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Line { .. } | Self::Final(_) => {
                "write CONFIG_NAME=value or '# CONFIG_NAME is not set'"
            }
            Self::Twice { .. } => "keep one of the two lines",
            Self::Lost(_) => {
                "the option was renamed or lacks a dependency: look it up in this kernel's Kconfig files"
            }
        }
    }
}

fn list(lost: &[Lost]) -> String {
    lost.iter().map(|lost| format!("  {lost}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "#\n# Automatically generated\n#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S=\"x=y\"\n\nCONFIG_N=64\n";

    fn fragment(text: &str) -> Fragment<'_> {
        Fragment { name: "base", text }
    }

    #[test]
    fn all_that_survived_is_accepted() {
        let text = "# why\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_GONE is not set\nCONFIG_S=\"x=y\"\nCONFIG_N=64\n";
        assert_eq!(check(&[fragment(text)], CONFIG), Ok(()));
    }

    #[test]
    fn every_loss_is_listed_with_its_place() {
        let text = "CONFIG_B=y\n# CONFIG_A is not set\nCONFIG_GONE=y\nCONFIG_N=32\n";
        let Err(KconfigError::Lost(lost)) = check(&[fragment(text)], CONFIG) else {
            panic!("accepted")
        };
        let lines: Vec<_> = lost.iter().map(ToString::to_string).collect();
        let expected = [
            "base:1: CONFIG_B=y (is: n)",
            "base:2: CONFIG_A=n (is: y)",
            "base:3: CONFIG_GONE=y (is: absent)",
            "base:4: CONFIG_N=32 (is: 64)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_typing_error_and_a_second_request_are_refused() {
        let refused = check(&[fragment("CONFIG_A\n")], CONFIG);
        assert_eq!(
            refused,
            Err(KconfigError::Line { at: ("base".into(), 1), text: "CONFIG_A".into() })
        );
        let second = Fragment { name: "dev", text: "\nCONFIG_A=y\n" };
        let refused = check(&[fragment("CONFIG_A=y\n"), second], CONFIG);
        assert!(matches!(refused, Err(KconfigError::Twice { second: (_, 2), .. })));
    }
}
