//! The attested channel: one TLS 1.3 connection on which both sides prove what they run before the
//! first request, and on which all requests then travel.
//!
//! [`machine`] is pure: frames and verdicts in, frames and questions out. [`tls`] makes connections
//! whose keys are raw public keys, so that no certificate can be mistaken for a proof. [`stream`]
//! joins the two; what it returns, a [`VerifiedChannel`], is the only type that carries requests,
//! and [`calls`] makes them.
//! The peer is the attacker until its evidence was judged for this very connection.
//! `docs/attested-channel.md` is the specification.
#![forbid(unsafe_code)]

pub mod calls;
pub mod machine;
pub mod stream;
pub mod tls;

pub use machine::{Settings, Side};
pub use stream::{Attester, ChannelError, Judge, Party, VerifiedChannel, accept, connect};
pub use tls::TlsKey;
