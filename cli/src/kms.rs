//! This user as an owner of a KMS: the key, what was seen of the KMS, the attested channel to it,
//! and the machine `kms` that `up` starts where no other KMS is named.
//!
//! A KMS is believed only behind an attested channel. A share of its root goes to nothing else, and
//! the key signs only a state that extends the last one that was seen.

pub mod allow;
pub mod ceremony;
pub mod channel;
mod deploy;
pub mod heads;
pub mod image;
mod ledger;
pub mod local;
pub mod memory;
pub mod named;
pub mod policy;
pub mod reached;
pub mod sealing;
