//! Why a service gave no collateral: whose fault it was and what was asked.

use attestation::CollateralError;

/// Why a service gave no collateral.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// not an address to ask
    #[error("{0:?} is no address of a collateral service")]
    Address(String),
    /// nobody answered, or not in time
    #[error("{url} cannot be asked")]
    Request {
        /// What was asked.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// the answer broke off, or did not end in time
    #[error("{url} did not answer to the end")]
    Body {
        /// What was asked.
        url: String,
        /// Why not.
        source: std::io::Error,
    },
    /// an answer that is none
    #[error("{url} answers with status {status}, expected 200")]
    Status {
        /// What was asked.
        url: String,
        /// The status; redirections are not followed.
        status: u16,
    },
    /// more than collateral ever has
    #[error("{url} sends more than {most} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// Bytes that are read.
        most: u64,
    },
    /// an answer in another form
    #[error("{url}: {what}")]
    Form {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// parts that make no collateral
    #[error(transparent)]
    Collateral(#[from] CollateralError),
}
