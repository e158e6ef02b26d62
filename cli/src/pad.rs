//! Files of custodians: their keys, who they are, and keys of their Pads.

pub mod contents;
pub mod custodian;
pub mod data_key;
pub mod keys;
pub mod policies;
pub mod progress;
pub mod sealed;
pub mod statements;
