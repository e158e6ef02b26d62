//! Every byte format that two dstyx programs share, and nothing that does I/O, reads a clock or
//! holds a key.
//!
//! A type whose name starts with `Raw` is what somebody sent; the type without it is what came out
//! of the strict parser. Decoders are bounded by named budgets and refuse trailing bytes, non-zero
//! reserved fields, unknown versions and unknown keys, because all of these bytes come from the
//! attacker.

#![forbid(unsafe_code)]

pub mod app_compose;
pub mod app_status;
pub mod channel;
pub mod cmdline;
pub mod data_disk;
pub mod derivation;
pub mod digest;
pub mod disk_template;
pub mod environment;
pub mod error;
pub mod event_log;
pub mod event_name;
pub mod evidence;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod foreign;
pub mod gateway;
pub mod handover;
pub mod identity;
pub mod image;
pub mod info;
pub mod kms;
pub mod launch;
pub mod log_record;
pub mod mr_config;
pub mod pad_calls;
pub mod prpc;
pub mod quote;
pub mod ra_tls;
pub mod reader;
pub mod report_data;
pub mod rule;
pub mod shape;
pub mod status;
pub mod strict_json;
pub mod tcg_log;
