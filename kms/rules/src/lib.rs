//! What a KMS decides: keys from a root, a root in shares, the owners' policy, the ledger, and
//! whether a guest gets keys.
//!
//! Pure: no socket, no file, no clock. It faces guests of strangers, the KMS's own host, which
//! keeps its disk, and owners of whom fewer than the threshold may be attackers. Every call is
//! decided from the state, which is the fold of the ledger's entries, from facts of evidence that
//! passed, and from a time that is passed in; the entry that a decision gives is stored before its
//! answer leaves. Every absent rule refuses.

#![forbid(unsafe_code)]

pub mod audit;
pub mod boot_auth;
pub mod certificates;
pub mod collection;
pub mod consensus;
pub mod derivation;
#[cfg(test)]
mod fixtures;
pub mod guest;
pub mod heads;
pub mod ledger;
pub mod measurements;
pub mod nts;
pub mod policy;
pub mod refused;
pub mod shares;
pub mod state;
pub mod time;

pub use audit::Summary;
pub use derivation::Root;
pub use guest::{Guest, GuestError};
pub use ledger::{Entry, Kind, LedgerError};
pub use policy::{PolicyFile, PolicyRefusal, SignedPolicy};
pub use refused::Refused;
pub use state::{DocumentRefused, Phase, State};
