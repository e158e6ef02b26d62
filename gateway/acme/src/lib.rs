//! How a gateway gets certificates: it talks to a certification authority, to the provider of a
//! zone and to resolvers, and takes each step only as `gateway_domain::issuance` allows.
//!
//! Everything here blocks and is bounded in time and bytes; it runs on a thread of its own, so that
//! an authority that hangs delays a renewal and nothing else. What answers is not trusted with more
//! than its answer.

#![forbid(unsafe_code)]

mod authority;
pub mod dns;
#[cfg(test)]
mod fixtures;
mod http;
mod issuer;
mod leaf_key;
mod resolver;

pub use authority::{AccountKey, AcmeError, Authority, Challenges, Suggested};
pub use http::{HttpError, Trust};
pub use issuer::{Attest, Issuer, IssuerError, NewCertificate, READ_BACK_TIMEOUT};
pub use leaf_key::{KeyError, LeafKey};
pub use resolver::{Resolver, ResolverError};
