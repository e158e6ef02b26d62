//! The ledger as its owner follows it: entries behind a head that was seen.

use kms_rules::ledger::{Entry, Fault};
use protocol::digest::Sha256Digest;

use super::memory::Head;

/// Why lines do not follow a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// a line that is no entry
    #[error("entry {index}")]
    Entry {
        /// Its place.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: Fault,
    },
    /// a line of another place
    #[error("entry {found} stands where {expected} is expected")]
    Index {
        /// As it says.
        found: u64,
        /// Its place.
        expected: u64,
    },
    /// a line that follows another one
    #[error("entry {index} follows {found}, and the entry before it is {expected}")]
    Previous {
        /// Its place.
        index: u64,
        /// As it says.
        found: Sha256Digest,
        /// The hash of the entry before.
        expected: Sha256Digest,
    },
}

/// The head that `lines` lead to from `head`.
///
/// # Errors
/// If a line is no entry, or does not follow the one before it.
pub fn extend(mut head: Head, lines: &[String]) -> Result<Head, ChainError> {
    for line in lines {
        let index = head.entries;
        let entry = Entry::parse(line).map_err(|source| ChainError::Entry { index, source })?;
        if entry.index != index {
            return Err(ChainError::Index { found: entry.index, expected: index });
        }
        if entry.previous != head.hash {
            let (found, expected) = (entry.previous, head.hash);
            return Err(ChainError::Previous { index, found, expected });
        }
        head = Head { entries: index + 1, hash: entry.hash() };
    }
    Ok(head)
}
