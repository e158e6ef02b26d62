//! The check of an exported ledger, by whoever has its lines and nothing else.

use protocol::digest::Sha256Digest;
use protocol::kms::Cluster;
use serde::Serialize;

use crate::ledger::{Entry, Kind, LedgerError};
use crate::policy::SignedPolicy;
use crate::state::State;

/// What a ledger comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whose ledger it is; `None` for an empty one.
    pub key_provider_id: Option<Sha256Digest>,
    /// Entries.
    pub entries: u64,
    /// Hash of the last of them; zero without any.
    pub head: Sha256Digest,
    /// Time of the first entry.
    pub first_secs: u64,
    /// Time of the last entry.
    pub last_secs: u64,
    /// Decisions that gave keys.
    pub released: u64,
    /// Decisions that refused, as far as they were recorded.
    pub refused: u64,
    /// Instances that ever got keys.
    pub instances: usize,
    /// Version of the last policy; 0 without one.
    pub policy_version: u64,
}

/// Verifies the lines of a whole ledger: the chain, the owners' signatures in it, and that each
/// entry could follow those before it. That guests were what the entries say is the KMS's word.
///
/// # Errors
/// At the first line that is wrong.
pub fn verify<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Summary, LedgerError> {
    let mut state = State::default();
    let (mut first_secs, mut released, mut refused) = (None, 0, 0);
    for line in lines {
        let index = state.entries();
        let entry = Entry::parse(line).map_err(|what| LedgerError { index, what })?;
        state.apply(&entry)?;
        first_secs.get_or_insert(entry.time_secs);
        match entry.kind {
            Kind::Released(_) => released += 1,
            Kind::Refused(_) => refused += 1,
            _ => {}
        }
    }
    Ok(Summary {
        key_provider_id: state.cluster().map(Cluster::id),
        entries: state.entries(),
        head: state.head(),
        first_secs: first_secs.unwrap_or_default(),
        last_secs: state.last_secs(),
        released,
        refused,
        instances: state.instances().len(),
        policy_version: state.policy().map_or(0, SignedPolicy::version),
    })
}

#[cfg(test)]
mod tests;
