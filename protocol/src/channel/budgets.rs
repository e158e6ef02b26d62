//! How much a side reads of a peer that has proved nothing yet.

use crate::{app_compose, event_log, quote};

/// Largest list of events, as JSON: the channel's evidence has the guest's own events only.
pub const MAX_LOG_BYTES: usize = event_log::MAX_GUEST_LOG_BYTES;
/// Largest claims, as JSON.
pub const MAX_CLAIMS_BYTES: usize = 4096;
/// Largest statement beside the evidence: a KMS's has documents of its owners, its image's list and
/// the collateral of its platform.
pub const MAX_STATEMENT_BYTES: usize = 256 * 1024;
/// Largest payload of a proof: five fields, each after its length.
pub const MAX_PROOF_BYTES: usize = quote::MAX_BYTES
    + MAX_LOG_BYTES
    + MAX_CLAIMS_BYTES
    + app_compose::MAX_BYTES
    + MAX_STATEMENT_BYTES
    + 5 * 4;
