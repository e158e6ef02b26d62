//! The check of a gateway's name by whoever uses it: every key that was ever certified for it must
//! have evidence of the gateway's guest.
//!
//! Pure: what was read of the gateway, of resolvers, of an aggregator and of logs goes in with a
//! time, rows come out. It faces a gateway's host, a zone's owner and certification authorities,
//! any of which may have had a certificate made for a key of their own; and sources that hide one.

#![forbid(unsafe_code)]

pub mod aggregator;
pub mod attested;
pub mod findings;
#[cfg(test)]
mod fixtures;
pub mod kept;
pub mod log_list;
pub mod shown;
