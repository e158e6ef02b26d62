//! What a gateway decides about a connection: whom its name means, and where it goes.
//!
//! Pure: no socket, no file, no clock. It faces clients that nobody knows, the domain name system,
//! which is the host's, and guests of strangers. Nothing here proves who a guest is: that is the
//! attested channel's part, and what a name leads to is looked up among guests that proved
//! themselves.

#![forbid(unsafe_code)]

pub mod admin;
pub mod budgets;
pub mod cache;
pub mod choice;
pub mod custom;
pub mod guests;
pub mod hello;
pub mod limits;
pub mod names;
pub mod proxy_protocol;
