//! `gateway`: takes clients' TLS connections, and relays them to guests that proved themselves.
//!
//! The network, the host, the domain name system, clients and guests of strangers are the attacker.
//! Each connection is bounded in time, and what one app uses takes nothing from another one.

#![forbid(unsafe_code)]

pub mod carrier;
pub mod certificates;
pub mod dns;
pub mod edge;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod guests;
pub mod metrics;
mod opening;
mod openings;
mod own_pages;
mod prefixed;
pub mod relay;
mod slots;
pub mod tunnels;
