//! The encrypted environment of an app, sealed by its sender and opened in its guest.
//!
//! The formats are [`protocol::environment`]'s and dstack's. What is opened comes through the host:
//! it is authenticated before a byte of it is read, bounded, and read strictly. No error, and no
//! `Debug` output, has a value in it, nor the text of a parser, which would quote one. Who may seal
//! an environment for an app is not decided here: HPKE says nothing of the sender.

#![forbid(unsafe_code)]

mod dstack;
mod sealed;
mod variables;

pub use dstack::open_dstack;
pub use sealed::{open, seal};
pub use variables::{Variables, VariablesError};

/// Why an environment is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// no envelope
    #[error(transparent)]
    Envelope(#[from] protocol::environment::EnvelopeError),
    /// no envelope of dstack's
    #[error("dstack's envelope has {found} bytes, expected {least} to {most}",
        least = dstack::LEAST_BYTES, most = protocol::environment::MAX_BYTES)]
    Length {
        /// Bytes present.
        found: usize,
    },
    /// another app's
    #[error("the environment is for the app {found}, and this is {expected}")]
    App {
        /// As the envelope says.
        found: protocol::digest::AppId,
        /// The guest's.
        expected: protocol::digest::AppId,
    },
    /// another file's
    #[error("the environment is for the measured file {found}, and this is {expected}")]
    File {
        /// As the envelope says.
        found: protocol::digest::ComposeHash,
        /// The guest's.
        expected: protocol::digest::ComposeHash,
    },
    /// another key, or bytes that were changed
    #[error("the environment does not open: it is for another key, or was changed")]
    Sealed,
    /// content that is no environment
    #[error("the environment: {0}")]
    Content(#[from] VariablesError),
}

/// Why an environment is not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// content that no guest reads
    #[error("the environment: {0}")]
    Content(#[from] VariablesError),
    /// a public key that is none
    #[error("the app's key is no X25519 public key")]
    PublicKey,
}
