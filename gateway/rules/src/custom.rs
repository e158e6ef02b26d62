//! Domains of others: where TXT records say that they lead.
//!
//! The domain name system is the host's, so a record routes and proves nothing: such a connection
//! is passed through, and the app shows its own certificate. A domain has exactly one record with
//! one reading, or its clients are refused with the reason; a resolver that orders its answers
//! otherwise must not lead elsewhere.

use std::num::NonZeroU16;

use crate::names::{Destination, DomainName, Handling, RouteId, parse_port};

/// Before the name, as dstack has it.
const EXACT: &str = "_dstack-app-address.";
/// The same as older versions of dstack have it.
const OLDER: &str = "_tapp-address.";
/// Before the name's parent: for all names directly below it.
const WILDCARD: &str = "_dstack-app-address-wildcard.";
/// Largest text that is repeated in a message.
const MAX_SHOWN: usize = 64;

/// Why a domain leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomError {
    /// no record
    #[error("no TXT record at {EXACT}{0} says where it leads")]
    None(DomainName),
    /// the domain name system does not answer
    #[error("the domain name system says nothing about {0}")]
    Unanswered(String),
    /// several records
    #[error("{place} has {found} TXT records, exactly one is read")]
    Several {
        /// The name that was asked about.
        place: String,
        /// How many.
        found: usize,
    },
    /// one record in several strings
    #[error(
        "the TXT record at {place} is in {found} strings; it has one reading in one string only"
    )]
    Strings {
        /// The name that was asked about.
        place: String,
        /// How many.
        found: usize,
    },
    /// not `<app or instance id>:<port>`
    #[error("the TXT record at {place} is no <app or instance id>:<port>: {}", .text.escape_debug())]
    Text {
        /// The name that was asked about.
        place: String,
        /// Its beginning.
        text: String,
    },
    /// the two names of the record disagree
    #[error("{EXACT}{0} and {OLDER}{0} lead to two hosts")]
    Disagree(DomainName),
}

impl CustomError {
    /// Whether another try may succeed although nobody changes a record.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unanswered(_))
    }
}

/// One TXT record: its strings.
pub type Record = Vec<Vec<u8>>;

/// What the domain name system says about one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its TXT records; empty where it says that there are none.
    Records(Vec<Record>),
    /// Nothing: it failed, or was late.
    Failed,
}

/// The names whose records are asked for about one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordNames {
    name: DomainName,
    /// Of the domain alone.
    pub exact: String,
    /// The same under the older name.
    pub older: String,
    /// Of all domains directly below its parent, if that has two parts at least.
    pub wildcard: Option<String>,
}

impl RecordNames {
    /// Of a domain.
    pub fn of(name: &DomainName) -> Self {
        Self {
            name: name.clone(),
            exact: format!("{EXACT}{name}"),
            older: format!("{OLDER}{name}"),
            wildcard: name.parent().map(|parent| format!("{WILDCARD}{parent}")),
        }
    }

    /// Where the domain leads. `wildcard` counts only where the domain has no record of its own.
    ///
    /// # Errors
    /// If it leads nowhere, or in more than one way.
    pub fn read(
        &self,
        exact: &Answer,
        older: &Answer,
        wildcard: &Answer,
    ) -> Result<Destination, CustomError> {
        let exact = one(&self.exact, exact)?;
        let older = one(&self.older, older)?;
        match (exact, older) {
            (Some(exact), Some(older)) if exact != older => {
                Err(CustomError::Disagree(self.name.clone()))
            }
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => {
                let wildcard = self.wildcard.as_ref().map(|place| one(place, wildcard));
                let found = wildcard.transpose()?.flatten();
                found.ok_or_else(|| CustomError::None(self.name.clone()))
            }
        }
    }
}

/// The one reading of one place's records.
fn one(place: &str, answer: &Answer) -> Result<Option<Destination>, CustomError> {
    let records = match answer {
        Answer::Records(records) => records,
        Answer::Failed => return Err(CustomError::Unanswered(place.to_owned())),
    };
    let place = || place.to_owned();
    match records.as_slice() {
        [] => Ok(None),
        [record] => match record.as_slice() {
            [text] => read(text).map(Some).ok_or_else(|| CustomError::Text {
                place: place(),
                text: String::from_utf8_lossy(&text[..text.len().min(MAX_SHOWN)]).into_owned(),
            }),
            strings => Err(CustomError::Strings { place: place(), found: strings.len() }),
        },
        several => Err(CustomError::Several { place: place(), found: several.len() }),
    }
}

/// Reads `<app or instance id>:<port>`.
pub fn read(text: &[u8]) -> Option<Destination> {
    let (id, port) = std::str::from_utf8(text).ok()?.split_once(':')?;
    let port: NonZeroU16 = parse_port(port)?;
    Some(Destination { id: RouteId::parse(id)?, port, handling: Handling::Passthrough })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "89abcdef0123456789abcdef0123456701234567";

    fn asked() -> RecordNames {
        RecordNames::of(&DomainName::parse("www.shop.example").unwrap())
    }

    fn records(texts: &[&str]) -> Answer {
        Answer::Records(texts.iter().map(|text| vec![text.as_bytes().to_vec()]).collect())
    }

    fn none() -> Answer {
        records(&[])
    }

    fn leads(exact: Answer, older: Answer, wildcard: Answer) -> Result<String, CustomError> {
        Ok(asked().read(&exact, &older, &wildcard)?.to_string())
    }

    #[test]
    fn the_names_are_those_of_dstack() {
        let asked = asked();
        assert_eq!(asked.exact, "_dstack-app-address.www.shop.example");
        assert_eq!(asked.older, "_tapp-address.www.shop.example");
        let wildcard = "_dstack-app-address-wildcard.shop.example";
        assert_eq!(asked.wildcard.as_deref(), Some(wildcard));
        // A record at a public suffix would be everybody's.
        assert_eq!(RecordNames::of(&DomainName::parse("shop.example").unwrap()).wildcard, None);
    }

    #[test]
    fn one_record_leads_to_one_place_and_is_passed_through() {
        let record = || records(&[&format!("{ID}:443")]);
        let expected = format!("{ID}-443s");
        assert_eq!(leads(record(), none(), none()), Ok(expected.clone()));
        assert_eq!(leads(none(), record(), none()), Ok(expected.clone()));
        assert_eq!(leads(record(), record(), none()), Ok(expected.clone()));
        assert_eq!(leads(none(), none(), record()), Ok(expected.clone()));
        let upper = records(&[&format!("{}:443", ID.to_uppercase())]);
        assert_eq!(leads(upper, none(), none()), Ok(expected.clone()));
        // The domain's own record counts before that of all.
        let wildcard = records(&[&format!("{OTHER}:443")]);
        assert_eq!(leads(record(), none(), wildcard), Ok(expected));
    }

    #[test]
    fn two_records_or_one_in_two_strings_are_refused() {
        let (good, other) = (format!("{ID}:443"), format!("{OTHER}:443"));
        let two = records(&[&good, &other]);
        assert!(matches!(leads(two, none(), none()), Err(CustomError::Several { found: 2, .. })));
        let twice = records(&[&good, &good]);
        assert!(matches!(leads(twice, none(), none()), Err(CustomError::Several { .. })));
        let (first, second) = good.split_at(30);
        let cut = vec![first.as_bytes().to_vec(), second.as_bytes().to_vec()];
        let cut = Answer::Records(vec![cut]);
        let error = leads(cut, none(), none()).unwrap_err();
        assert!(matches!(error, CustomError::Strings { found: 2, .. }), "{error}");
        let whole = vec![good.as_bytes().to_vec(), b"more".to_vec()];
        let whole = Answer::Records(vec![whole]);
        assert!(matches!(leads(whole, none(), none()), Err(CustomError::Strings { .. })));
        let empty = Answer::Records(vec![vec![]]);
        assert!(matches!(leads(empty, none(), none()), Err(CustomError::Strings { found: 0, .. })));
        let disagree = leads(records(&[&good]), records(&[&other]), none());
        assert!(matches!(disagree, Err(CustomError::Disagree(_))));
    }

    #[test]
    fn an_answer_that_failed_hides_no_record() {
        let record = || records(&[&format!("{ID}:443")]);
        for (exact, older) in [(Answer::Failed, none()), (none(), Answer::Failed)] {
            let error = leads(exact, older, record()).unwrap_err();
            assert!(matches!(error, CustomError::Unanswered(_)) && error.passes());
        }
        assert!(matches!(leads(none(), none(), Answer::Failed), Err(CustomError::Unanswered(_))));
        let error = leads(none(), none(), none()).unwrap_err();
        assert!(matches!(error, CustomError::None(_)) && !error.passes());
    }

    #[test]
    fn a_text_that_is_no_address_is_refused_and_shown_in_one_line() {
        for text in [
            "",
            ID,
            &format!("{ID}:"),
            &format!("{ID}:0"),
            &format!("{ID}:+443"),
            &format!("{ID}:0443"),
            &format!("{ID}:65536"),
            &format!(" {ID}:443"),
            &format!("{ID}:443 "),
            &format!("{ID}:443\n"),
            &format!("{ID}:443:444"),
            &format!("{}:443", &ID[1..]),
            "any:443",
        ] {
            let error = leads(records(&[text]), none(), none()).unwrap_err();
            assert!(matches!(error, CustomError::Text { .. }), "{text:?}");
            assert!(!error.to_string().contains('\n'));
        }
        let binary = Answer::Records(vec![vec![vec![0xff; 300]]]);
        let error = leads(binary, none(), none()).unwrap_err();
        assert!(error.to_string().len() < 400);
    }
}
