//! The evidence that a gateway publishes about its account and its certificates' keys: an
//! append-only file of lines, each of which names the one before it.
//!
//! The gateway writes it and anybody reads it. A reader trusts no line: what counts is the quote in
//! it. That a gateway forgets a line shows to readers who kept the head, and makes a certificate of
//! that line one without evidence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::digest::{ReportData, Sha256Digest};
use protocol::evidence::{self, Evidence, RawEvidence};
use protocol::strict_json;
use serde::{Deserialize, Serialize};

use crate::account::{Account, THUMBPRINT_BYTES, UrlError};
use crate::name::{CertifiedName, NameError};
use crate::report_data;

/// The only version.
pub const VERSION: u32 = 1;
/// Largest line: a quote and a log of events in hex, collateral in JSON, each at a few times what
/// they have.
pub const MAX_LINE_BYTES: usize = 512 << 10;
/// Most lines that are read: a certificate a month on ten gateways for ten years, twice.
pub const MAX_LINES: usize = 4096;
/// Most names of a certificate.
pub const MAX_NAMES: usize = 100;
/// Longest key: RSA of 8,192 bits.
const MAX_SPKI_BYTES: usize = 1200;

/// What evidence is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An account's key.
    Account(Account),
    /// A certificate's key.
    Leaf(Leaf),
}

/// The key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    account_uri: String,
    names: Vec<CertifiedName>,
    spki: Vec<u8>,
}

/// One line, read; nothing verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written, by the gateway's word, in seconds since 1970.
    pub made_secs: u64,
    /// What it is about.
    pub subject: Subject,
    /// The quote, with what a reader needs to judge it.
    pub evidence: Evidence,
    /// Collateral of that time (dcap-qvl's QuoteCollateralV3 JSON).
    pub collateral: String,
}

/// Where a file of lines ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of lines.
    pub lines: u64,
    /// SHA-256 of the last one without its line end; zero without any.
    pub last: Sha256Digest,
}

/// why lines were refused
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PublishedError {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: LineError,
}

/// Why one line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// not the JSON of a line
    #[error(transparent)]
    Json(#[from] strict_json::JsonError),
    /// another version
    #[error("version {0}, expected {VERSION}")]
    Version(u32),
    /// a line that is not behind the one before it
    #[error("it is line {sequence} behind {previous}, expected line {expected} behind {last}")]
    Chain {
        /// The number in it.
        sequence: u64,
        /// The line before it, by its own word.
        previous: Sha256Digest,
        /// The number that it should have.
        expected: u64,
        /// The line before it.
        last: Sha256Digest,
    },
    /// evidence that cannot be read
    #[error(transparent)]
    Evidence(#[from] evidence::EvidenceError),
    /// an address of another form
    #[error(transparent)]
    Url(#[from] UrlError),
    /// a name of another form
    #[error(transparent)]
    Name(#[from] NameError),
    /// a key, or names, of another form
    #[error("{0}")]
    Leaf(&'static str),
    /// digits of another form
    #[error("thumbprint: {0}")]
    Thumbprint(#[from] protocol::digest::HexError),
    /// more lines than are read
    #[error("more than {MAX_LINES} lines")]
    Many,
    /// a head that a reader kept and that is not among the lines
    #[error("an earlier reader saw another line here: lines were changed or taken away")]
    Rewritten,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    version: u32,
    sequence: u64,
    previous: Sha256Digest,
    made_secs: u64,
    subject: RawSubject,
    evidence: RawEvidence,
    collateral: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawSubject {
    Account { directory: String, uri: String, thumbprint: String },
    Leaf { account_uri: String, names: Vec<String>, spki: String },
}

impl Leaf {
    /// The key of a certificate for these names, ordered by that account.
    ///
    /// # Errors
    /// If there are no names or too many, if they are not in ascending order, or the key is no key.
    pub fn new(
        account_uri: String,
        names: Vec<CertifiedName>,
        spki: Vec<u8>,
    ) -> Result<Self, LineError> {
        if !(1..=MAX_NAMES).contains(&names.len()) || !names.is_sorted_by(|a, b| a < b) {
            return Err(LineError::Leaf("expected 1 to 100 different names in ascending order"));
        }
        if !(1..=MAX_SPKI_BYTES).contains(&spki.len()) {
            return Err(LineError::Leaf("expected a key of 1 to 1,200 bytes"));
        }
        Ok(Self { account_uri, names, spki })
    }

    /// The address of the account that orders the certificate.
    pub fn account_uri(&self) -> &str {
        &self.account_uri
    }

    /// The names of the certificate.
    pub fn names(&self) -> &[CertifiedName] {
        &self.names
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl Subject {
    /// What its quote must have been made over.
    pub fn report_data(&self) -> ReportData {
        match self {
            Self::Account(account) => account.report_data(),
            Self::Leaf(leaf) => report_data::leaf(&leaf.account_uri, &leaf.spki, &leaf.names),
        }
    }

    fn to_raw(&self) -> RawSubject {
        match self {
            Self::Account(account) => RawSubject::Account {
                directory: account.directory().to_owned(),
                uri: account.uri().to_owned(),
                thumbprint: hex::encode(account.thumbprint()),
            },
            Self::Leaf(leaf) => RawSubject::Leaf {
                account_uri: leaf.account_uri.clone(),
                names: leaf.names.iter().map(ToString::to_string).collect(),
                spki: STANDARD.encode(&leaf.spki),
            },
        }
    }

    fn of(raw: RawSubject) -> Result<Self, LineError> {
        match raw {
            RawSubject::Account { directory, uri, thumbprint } => {
                let thumbprint = protocol::digest::decode_hex::<THUMBPRINT_BYTES>(&thumbprint)?;
                Ok(Self::Account(Account::new(&directory, &uri, thumbprint)?))
            }
            RawSubject::Leaf { account_uri, names, spki } => {
                let parsed = names.iter().map(|name| name.parse());
                let parsed = parsed.collect::<Result<Vec<CertifiedName>, _>>()?;
                // One spelling, so that two readers see the same name.
                if parsed.iter().map(ToString::to_string).ne(names) {
                    return Err(LineError::Leaf("a name that is not in lower case"));
                }
                let spki =
                    STANDARD.decode(&spki).map_err(|_| LineError::Leaf("spki: no base64"))?;
                Ok(Self::Leaf(Leaf::new(account_uri, parsed, spki)?))
            }
        }
    }
}

impl Head {
    /// That of a file without lines.
    pub const EMPTY: Self = Self { lines: 0, last: Sha256Digest([0; 32]) };

    /// The line of an entry behind this one, without its end, and the head that it gives.
    pub fn append(&self, entry: &Entry) -> (String, Self) {
        let raw = RawEntry {
            version: VERSION,
            sequence: self.lines + 1,
            previous: self.last,
            made_secs: entry.made_secs,
            subject: entry.subject.to_raw(),
            evidence: serde_json::from_slice(&entry.evidence.to_json())
                .expect("an envelope is read as it was written"),
            collateral: entry.collateral.clone(),
        };
        let line = serde_json::to_string(&raw).expect("strings and numbers serialise");
        let last = Sha256Digest::of(line.as_bytes());
        (line, Self { lines: self.lines + 1, last })
    }

    /// The entry of a line behind this head, and the head that it gives.
    ///
    /// # Errors
    /// If it is of another form, or not the next one.
    pub fn read(&self, line: &str) -> Result<(Entry, Self), LineError> {
        let raw: RawEntry = strict_json::parse(line.as_bytes(), MAX_LINE_BYTES)?;
        if raw.version != VERSION {
            return Err(LineError::Version(raw.version));
        }
        let expected = self.lines + 1;
        if raw.sequence != expected || raw.previous != self.last {
            let (sequence, previous, last) = (raw.sequence, raw.previous, self.last);
            return Err(LineError::Chain { sequence, previous, expected, last });
        }
        let envelope = serde_json::to_vec(&raw.evidence).expect("strings and numbers serialise");
        let entry = Entry {
            made_secs: raw.made_secs,
            subject: Subject::of(raw.subject)?,
            evidence: evidence::parse(&envelope)?,
            collateral: raw.collateral,
        };
        Ok((entry, Self { lines: expected, last: Sha256Digest::of(line.as_bytes()) }))
    }
}

/// Reads a whole file. `kept` is the head that the reader saw before, if it saw one.
///
/// # Errors
/// At the first line that is wrong, or that is not the one that the reader saw.
pub fn read(text: &str, kept: Option<Head>) -> Result<(Vec<Entry>, Head), PublishedError> {
    let (mut head, mut entries) = (Head::EMPTY, Vec::new());
    let mut seen = kept.is_none_or(|kept| kept == head);
    for line in text.lines() {
        let at = |what| PublishedError { line: head.lines + 1, what };
        if entries.len() == MAX_LINES {
            return Err(at(LineError::Many));
        }
        let (entry, next) = head.read(line).map_err(at)?;
        entries.push(entry);
        head = next;
        seen |= kept == Some(head);
        if !seen && kept.is_some_and(|kept| kept.lines == head.lines) {
            return Err(PublishedError { line: head.lines, what: LineError::Rewritten });
        }
    }
    match seen {
        true => Ok((entries, head)),
        false => Err(PublishedError { line: head.lines, what: LineError::Rewritten }),
    }
}

#[cfg(test)]
mod tests;
