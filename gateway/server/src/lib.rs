//! `gateway`: takes clients' TLS connections, and relays them to guests that proved themselves.
//!
//! The network, the host, the domain name system, clients and guests of strangers are the attacker.
//! Each connection is bounded in time, and what one app uses takes nothing from another one.

#![forbid(unsafe_code)]

mod admin;
pub mod carrier;
pub mod certificates;
mod config;
pub mod dns;
pub mod domains;
pub mod edge;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod guest_terms;
pub mod guests;
mod issuance;
mod local_authority;
pub mod metrics;
mod monitoring;
mod opening;
mod openings;
pub mod own_pages;
mod prefixed;
mod program;
pub mod relay;
mod slots;
mod store;
pub mod tunnels;
mod zones;

pub use program::{StartError, run};
