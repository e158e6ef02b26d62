//! Records that say which authorities may issue for a name (RFC 8659), bound to one account and one
//! way of validation (RFC 8657).
//!
//! The records of a zone belong to its owner. Of them this gateway adds and removes only those that
//! name its authority and one of its own accounts; every other record stays as it is and is
//! reported.

use std::fmt;

use crate::name::DomainName;

mod value;

pub use value::{IssueValue, ValueError};

/// Most records at one name: zones have a handful, and an answer of more is an attack on readers.
pub const MAX_RECORDS: usize = 64;
/// Longest value: an authority's name and an account's address.
pub const MAX_VALUE_BYTES: usize = 1024;
/// Longest tag (RFC 8659, 4.1, recommends 15).
const MAX_TAG_BYTES: usize = 15;
/// The flag that makes an authority refuse a tag that it does not know (RFC 8659, 4.1).
const CRITICAL: u8 = 128;
/// The one way of validation in our records.
pub const VALIDATION_METHOD: &str = "dns-01";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caa {
    /// All flags, as they were read.
    pub flags: u8,
    /// The property, in lower case.
    pub tag: String,
    /// The value, as it was read.
    pub value: Vec<u8>,
}

/// Why bytes are no record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaaError {
    /// a tag of another form
    #[error("the tag {0:?}: expected 1 to {MAX_TAG_BYTES} letters and digits")]
    Tag(String),
    /// a value beyond its budget
    #[error("a value of {0} bytes, at most {MAX_VALUE_BYTES} are accepted")]
    Long(usize),
    /// more records than a name has
    #[error("{0} records, at most {MAX_RECORDS} are accepted")]
    Many(usize),
}

/// The two properties that permit certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Certificates for hosts, and for wildcards where there is no other property.
    Issue,
    /// Certificates for wildcards.
    IssueWild,
}

/// The authority and the account of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name by which the authority knows itself in such records.
    pub issuer: DomainName,
    /// The account's address.
    pub account_uri: String,
}

/// What has to change at a name; the additions come first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Records that are missing.
    pub add: Vec<Caa>,
    /// Records of this gateway's earlier accounts, or of an earlier form.
    pub remove: Vec<Caa>,
}

/// Somebody else who may get certificates for a name, by a record that is not this gateway's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherPermission {
    /// The property.
    pub property: Property,
    /// The authority.
    pub issuer: DomainName,
    /// The account to which it is bound, if it is bound to one.
    pub account_uri: Option<String>,
}

impl Property {
    /// Its tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::IssueWild => "issuewild",
        }
    }

    fn of(tag: &str) -> Option<Self> {
        [Self::Issue, Self::IssueWild].into_iter().find(|property| property.tag() == tag)
    }
}

impl Caa {
    /// Takes a record as it was read.
    ///
    /// # Errors
    /// If the tag has another form or the value is too long.
    pub fn new(flags: u8, tag: &str, value: &[u8]) -> Result<Self, CaaError> {
        let fits = (1..=MAX_TAG_BYTES).contains(&tag.len());
        if !fits || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(CaaError::Tag(tag.chars().take(MAX_TAG_BYTES).collect()));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(CaaError::Long(value.len()));
        }
        Ok(Self { flags, tag: tag.to_ascii_lowercase(), value: value.to_vec() })
    }

    /// The authority and its parameters, where the record is about issuing.
    pub fn issue(&self) -> Option<(Property, Result<IssueValue, ValueError>)> {
        Property::of(&self.tag).map(|property| (property, IssueValue::parse(&self.value)))
    }

    /// Whether an authority that does not know the tag must refuse.
    pub fn critical(&self) -> bool {
        self.flags & CRITICAL != 0
    }
}

impl fmt::Display for Caa {
    /// As zone files have it; bytes that would need escapes there are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} \"{}\"", self.flags, self.tag, self.value.escape_ascii())
    }
}

impl Binding {
    /// The records that bind a name to an account at this authority.
    pub fn new(issuer: DomainName, account_uri: &str) -> Self {
        Self { issuer, account_uri: account_uri.to_owned() }
    }

    /// Exactly the records that have to be there.
    pub fn records(&self) -> [Caa; 2] {
        let value = format!(
            "{}; accounturi={}; validationmethods={VALIDATION_METHOD}",
            self.issuer, self.account_uri
        );
        [Property::Issue, Property::IssueWild].map(|property| Caa {
            flags: 0,
            tag: property.tag().to_owned(),
            value: value.clone().into_bytes(),
        })
    }

    /// What to add and to remove, given the records that are there. `former` are addresses of
    /// accounts that this gateway had before, each of which has evidence.
    pub fn plan(&self, current: &[Caa], former: &[String]) -> Plan {
        let wanted = self.records();
        let add = wanted.iter().filter(|record| !current.contains(record));
        let ours = |uri: &String| *uri == self.account_uri || former.contains(uri);
        let remove = current.iter().filter(|record| {
            !wanted.contains(record)
                && self.account_of(record).is_some_and(|account| ours(&account))
        });
        Plan { add: add.cloned().collect(), remove: remove.cloned().collect() }
    }

    /// Who else may get certificates by these records. A value that no authority can read permits
    /// nobody (RFC 8659, 4.2).
    pub fn others(&self, records: &[Caa]) -> Vec<OtherPermission> {
        let wanted = self.records();
        let others = records.iter().filter(|record| !wanted.contains(record));
        let permissions = others.filter_map(|record| {
            let (property, value) = record.issue()?;
            let value = value.ok()?;
            let account_uri = value.parameter("accounturi").map(str::to_owned);
            Some(OtherPermission { property, issuer: value.issuer()?.clone(), account_uri })
        });
        permissions.collect()
    }

    /// The account that a record of this authority is bound to.
    fn account_of(&self, record: &Caa) -> Option<String> {
        let (_, value) = record.issue()?;
        let value = value.ok()?;
        (value.issuer() == Some(&self.issuer))
            .then(|| value.parameter("accounturi").map(str::to_owned))
            .flatten()
    }
}

/// A set of records in the order in which two sets are compared; the same record twice counts once.
///
/// # Errors
/// If there are more than a name has.
pub fn sorted(mut records: Vec<Caa>) -> Result<Vec<Caa>, CaaError> {
    if records.len() > MAX_RECORDS {
        return Err(CaaError::Many(records.len()));
    }
    records.sort();
    records.dedup();
    Ok(records)
}

#[cfg(test)]
mod tests;
