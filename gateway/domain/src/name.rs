//! Names of hosts as the domain name system and certificates spell them.
//!
//! One spelling: lower case, no final dot, letters, digits, hyphens and underscores. What is not of
//! that form is refused, so that two texts are equal exactly if the names are.

use std::fmt;
use std::str::FromStr;

/// Longest name, as text without a final dot (RFC 1035, 2.3.4).
const MAX_BYTES: usize = 253;
/// Longest label (RFC 1035, 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// Begins the name of a wildcard certificate.
const WILDCARD: &str = "*.";

/// A name of two labels or more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// A name as a certificate has it: one host, or all that are one label below a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertifiedName {
    wildcard: bool,
    name: DomainName,
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// longer than names may be, or empty
    #[error("a name of {0} bytes, expected 1 to {MAX_BYTES}")]
    Length(usize),
    /// a name of one label
    #[error("{0} has one label, expected two or more such as example.org")]
    OneLabel(String),
    /// a label of another form
    #[error(
        "the label {0:?}: expected 1 to {MAX_LABEL_BYTES} letters, digits, hyphens or underscores, \
         none of them a hyphen at an end"
    )]
    Label(String),
}

impl FromStr for DomainName {
    type Err = NameError;

    /// Takes any case; a final dot is part of no name.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(NameError::Length(text.len()));
        }
        if let Some(label) = text.split('.').find(|label| !is_label(label)) {
            return Err(NameError::Label(label.to_owned()));
        }
        match text.contains('.') {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(NameError::OneLabel(text.to_owned())),
        }
    }
}

impl DomainName {
    /// The name one label up, unless that has a single label.
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_once('.')?;
        parent.contains('.').then(|| Self(parent.to_owned()))
    }

    /// The name that `label` makes below this one.
    ///
    /// # Errors
    /// If the label has another form, or the name gets too long.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        format!("{label}.{}", self.0).parse()
    }

    /// Whether this name is `other`, or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let head = self.0.strip_suffix(&other.0);
        head.is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CertifiedName {
    /// Exactly this host.
    pub fn host(name: DomainName) -> Self {
        Self { wildcard: false, name }
    }

    /// Every host one label below `name`.
    pub fn below(name: DomainName) -> Self {
        Self { wildcard: true, name }
    }

    /// Whether a certificate for this name is one for `host`.
    pub fn covers(&self, host: &DomainName) -> bool {
        match self.wildcard {
            true => host.parent().is_some_and(|parent| parent == self.name),
            false => *host == self.name,
        }
    }

    /// The name whose owner an authority asks: that without the asterisk.
    pub fn authorized_by(&self) -> &DomainName {
        &self.name
    }

    /// Whether it stands for many hosts.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }
}

impl FromStr for CertifiedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(WILDCARD) {
            Some(rest) => rest.parse().map(Self::below),
            None => text.parse().map(Self::host),
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CertifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.wildcard { WILDCARD } else { "" };
        write!(f, "{wildcard}{}", self.name)
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_has_one_spelling_and_nothing_that_ends_a_line() {
        assert_eq!(name("A.Example.ORG").as_str(), "a.example.org");
        for bad in ["", "org", "a.example.org.", "a..b", "a b.c", "a\n.b", "a.b\0", "-a.b", "é.b"]
        {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
        assert!([&"a".repeat(64), ".b"].concat().parse::<DomainName>().is_err());
    }

    #[test]
    fn a_wildcard_covers_one_label_and_not_its_own_name() {
        let wildcard: CertifiedName = "*.example.org".parse().unwrap();
        assert!(wildcard.covers(&name("a.example.org")));
        assert!(
            !wildcard.covers(&name("example.org")) && !wildcard.covers(&name("a.b.example.org"))
        );
        assert_eq!(wildcard.to_string(), "*.example.org");
        assert!("a.*.org".parse::<CertifiedName>().is_err());
    }

    #[test]
    fn a_name_that_only_ends_alike_is_not_within() {
        assert!(name("a.example.org").is_within(&name("example.org")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert_eq!(name("example.org").parent(), None);
    }
}
