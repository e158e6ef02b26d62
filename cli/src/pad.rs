//! Files of custodians: their keys, who they are, keys of their Pads; and what a local run takes.

pub mod calls;
pub mod contents;
pub mod custodian;
pub mod data_key;
pub mod keys;
pub mod local;
pub mod policies;
pub mod progress;
pub mod quotas;
pub mod record;
pub mod run_owner;
pub mod runner;
pub mod sealed;
pub mod statements;
