//! What makes a gateway's domain one that anybody can verify: the order in which certificates are
//! got, the records that bind an account, the evidence that is published, and the logs in which
//! certificates are found.
//!
//! Pure: no socket, no file, no clock. It faces certification authorities, resolvers, providers of
//! domain name service and logs of certificates, each of which may lie.

#![forbid(unsafe_code)]

pub mod account;
pub mod ari;
pub mod caa;
pub mod certificate;
pub mod ct;
pub mod dns;
#[cfg(test)]
mod fixtures;
pub mod issuance;
pub mod name;
pub mod published;
pub mod read_back;
mod report_data;
pub mod sct;
