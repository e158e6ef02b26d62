//! The account at a certification authority: by which key it is known, and when a new one may be
//! made.

use protocol::digest::ReportData;

use crate::caa::{Caa, Property};
use crate::name::DomainName;
use crate::report_data;

/// Longest address of an authority's resources.
pub const MAX_URL_BYTES: usize = 512;
/// Bytes of a thumbprint: SHA-256 of the key (RFC 7638).
pub const THUMBPRINT_BYTES: usize = 32;

/// An account that an authority knows by a key of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    directory: String,
    uri: String,
    thumbprint: [u8; THUMBPRINT_BYTES],
}

/// What the store has of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Nothing was ever stored.
    Nothing,
    /// An account that can be read.
    Account(Account),
    /// Bytes that cannot be read, and why.
    Corrupt(String),
}

/// What may be done about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountStep {
    /// The stored one serves.
    Use(Account),
    /// A key may be born and an account made.
    Create,
}

/// Why there is no account to order by. An account that were made in such a case would be one that
/// the name's records forbid, and every order would fail until somebody changed them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// bytes that were an account
    #[error(
        "the stored account cannot be read ({why}): put back the store, or remove the account's \
         records of {name} and let an owner order a new account"
    )]
    Corrupt {
        /// The base domain.
        name: DomainName,
        /// What is wrong with it.
        why: String,
    },
    /// records of an account that is not here
    #[error(
        "the records of {name} bind it to the account {uri}, which is not in the store: put the \
         store back, or remove those records"
    )]
    Bound {
        /// The base domain.
        name: DomainName,
        /// The account in the records.
        uri: String,
    },
    /// an account at another authority
    #[error("the stored account is one at {found}, but the configured authority is {expected}")]
    Elsewhere {
        /// The directory of the stored account.
        found: String,
        /// The configured directory.
        expected: String,
    },
}

/// Why a text is no address of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// another form
    #[error("{0:?} is no address: expected https:// and printable ASCII without ; or spaces")]
    Form(String),
    /// longer than its budget
    #[error("an address of {0} bytes, at most {MAX_URL_BYTES} are accepted")]
    Long(usize),
}

impl Account {
    /// An account by what its authority and its key say.
    ///
    /// # Errors
    /// If an address has another form: the account's becomes a parameter of a record.
    pub fn new(
        directory: &str,
        uri: &str,
        thumbprint: [u8; THUMBPRINT_BYTES],
    ) -> Result<Self, UrlError> {
        Ok(Self { directory: url(directory)?, uri: url(uri)?, thumbprint })
    }

    /// The address of the authority's directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The address by which the authority names the account.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The thumbprint of the account's key.
    pub fn thumbprint(&self) -> &[u8; THUMBPRINT_BYTES] {
        &self.thumbprint
    }

    /// What a guest that holds the account's key has its quote made over.
    pub fn report_data(&self) -> ReportData {
        report_data::account(&self.directory, &self.uri, &self.thumbprint)
    }
}

/// Decides whether an account may be used or made. `records` are the CAA records of the base
/// domain, as the provider of its zone has them.
///
/// # Errors
/// If what is there does not fit: nothing is made then.
pub fn step(
    stored: Stored,
    directory: &str,
    issuer: &DomainName,
    name: &DomainName,
    records: &[Caa],
) -> Result<AccountStep, AccountRefusal> {
    match stored {
        Stored::Account(account) if account.directory == directory => Ok(AccountStep::Use(account)),
        Stored::Account(account) => Err(AccountRefusal::Elsewhere {
            found: account.directory,
            expected: directory.to_owned(),
        }),
        Stored::Corrupt(why) => Err(AccountRefusal::Corrupt { name: name.clone(), why }),
        Stored::Nothing => match bound_to(issuer, records) {
            Some(uri) => Err(AccountRefusal::Bound { name: name.clone(), uri }),
            None => Ok(AccountStep::Create),
        },
    }
}

/// The account that alone may have certificates of the authority by one of the two properties.
fn bound_to(issuer: &DomainName, records: &[Caa]) -> Option<String> {
    [Property::Issue, Property::IssueWild].into_iter().find_map(|property| {
        let of_issuer = records.iter().filter_map(|record| {
            let (found, value) = record.issue()?;
            let value = value.ok()?;
            (found == property && value.issuer() == Some(issuer))
                .then(|| value.parameter("accounturi").map(str::to_owned))
        });
        let accounts: Vec<_> = of_issuer.collect();
        // A record without an account permits a new one.
        let first = accounts.first().cloned().flatten();
        first.filter(|_| accounts.iter().all(Option::is_some))
    })
}

fn url(text: &str) -> Result<String, UrlError> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlError::Long(text.len()));
    }
    let allowed = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b';';
    let rest = text.strip_prefix("https://").filter(|rest| !rest.is_empty());
    match rest.is_some() && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(UrlError::Form(text.chars().take(MAX_URL_BYTES).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caa::Binding;

    const DIRECTORY: &str = "https://authority.example/dir";

    fn account(uri: &str) -> Account {
        Account::new(DIRECTORY, uri, [1; 32]).unwrap()
    }

    fn decided(stored: Stored, records: &[Caa]) -> Result<AccountStep, AccountRefusal> {
        let issuer = "authority.example".parse().unwrap();
        step(stored, DIRECTORY, &issuer, &"example.org".parse().unwrap(), records)
    }

    fn records() -> [Caa; 2] {
        let issuer = "authority.example".parse().unwrap();
        Binding::new(issuer, "https://authority.example/acct/1").records()
    }

    #[test]
    fn a_corrupt_account_makes_no_new_one() {
        let corrupt = Stored::Corrupt("no JSON".to_owned());
        assert!(matches!(decided(corrupt.clone(), &[]), Err(AccountRefusal::Corrupt { .. })));
        assert!(matches!(decided(corrupt, &records()), Err(AccountRefusal::Corrupt { .. })));
    }

    #[test]
    fn a_lost_account_makes_no_new_one_that_the_records_forbid() {
        assert!(matches!(decided(Stored::Nothing, &records()), Err(AccountRefusal::Bound { .. })));
        assert_eq!(decided(Stored::Nothing, &[]), Ok(AccountStep::Create));
        // Beside a record that any account of the authority may use, a new one is permitted.
        let open = Caa::new(0, "issue", b"authority.example").unwrap();
        let wild = Caa::new(0, "issuewild", b"authority.example").unwrap();
        let both = [records().to_vec(), vec![open, wild]].concat();
        assert_eq!(decided(Stored::Nothing, &both), Ok(AccountStep::Create));
        let other = Caa::new(0, "issue", b"other.example; accounturi=https://x/1").unwrap();
        assert_eq!(decided(Stored::Nothing, &[other]), Ok(AccountStep::Create));
    }

    #[test]
    fn the_stored_account_is_used_at_its_own_authority_only() {
        let here = account("https://authority.example/acct/1");
        let used = decided(Stored::Account(here.clone()), &records());
        assert_eq!(used, Ok(AccountStep::Use(here.clone())));
        let elsewhere = Account { directory: "https://b.example/".to_owned(), ..here };
        let refused = decided(Stored::Account(elsewhere), &[]);
        assert!(matches!(refused, Err(AccountRefusal::Elsewhere { .. })));
    }

    #[test]
    fn an_address_that_would_change_a_record_is_refused() {
        for bad in ["http://a/1", "https://", "https://a/1; b=2", "https://a/1\n", "https://a/ 1"] {
            assert!(Account::new(DIRECTORY, bad, [0; 32]).is_err(), "{bad:?}");
        }
        let long = format!("https://{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(Account::new(DIRECTORY, &long, [0; 32]), Err(UrlError::Long(long.len())));
    }
}
