//! The ledger: every decision as a line of JSON, each with the hash of the line before it.
//!
//! The lines can be exported and read by anybody; nothing in them is secret. What the chain shows:
//! that nothing before a line was changed, added or left out since that line was seen. It does not
//! show that nothing came after it, which is why owners' tools keep the last head.

mod kinds;
mod pads;
mod who;

use protocol::digest::Sha256Digest;
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};

pub use kinds::{
    Anchored, Bootstrap, Call, Document, EnvironmentAccepted, EpochOffered, Kind, Led,
    MAX_REASON_BYTES, MemberAdmitted, MemberRemoved, Opened, Refusal, Released, Resumed,
    RootCertified, RootGiven,
};
pub use pads::{
    AuditHeadGiven, CustodianEnrolled, HexBytes, PadKeyGranted, PadKeyKept, PadKeyReplaced,
    PadKeyRevoked, PadKeysReleased, QuotaSpent, QuotasSpent, RecordSealed,
};
pub use who::Who;

use crate::policy::MAX_ENVELOPE_BYTES;

/// Largest line: that of a policy, whose envelope's quotes are escaped.
pub const MAX_LINE_BYTES: usize = 2 * MAX_ENVELOPE_BYTES;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u64,
    /// SHA-256 of the line before it; zero for the first.
    pub previous: Sha256Digest,
    /// When it was decided, in seconds since 1970; never before the entry before it.
    pub time_secs: u64,
    /// What was decided.
    pub kind: Kind,
}

impl Entry {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// If it is no entry, too long, or not spelled as [`Self::to_line`] spells it.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let entry: Self = strict_json::parse(line.as_bytes(), MAX_LINE_BYTES)?;
        if entry.to_line() != line {
            return Err(Fault::Spelling);
        }
        Ok(entry)
    }

    /// The line, without its end; the one spelling of the entry.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists serialise")
    }

    /// SHA-256 of the line.
    pub fn hash(&self) -> Sha256Digest {
        Sha256Digest::of(self.to_line().as_bytes())
    }
}

/// Why a line is no entry, or cannot follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// not the JSON of an entry
    #[error("no entry: {0}")]
    Json(#[from] JsonError),
    /// the same entry in another spelling
    #[error("an entry in another spelling than the ledger's")]
    Spelling,
    /// another place
    #[error("it says that it is entry {found}")]
    Index {
        /// As it says.
        found: u64,
    },
    /// another predecessor
    #[error("it follows a line with the hash {found}, but the line before it has {expected}")]
    Previous {
        /// As it says.
        found: Sha256Digest,
        /// That of the line before.
        expected: Sha256Digest,
    },
    /// a time before that of the entry before it
    #[error("it is of {found}, before the entry before it ({previous})")]
    Time {
        /// As it says.
        found: u64,
        /// Of the entry before.
        previous: u64,
    },
    /// a decision that the rules do not allow here
    #[error("{0}")]
    Rule(String),
}

/// the first entry at which a ledger is none
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of the ledger: {what}")]
pub struct LedgerError {
    /// Its place, from 0.
    pub index: u64,
    /// What is wrong with it.
    #[source]
    pub what: Fault,
}
