//! X.509: the certificate authority of a cluster, the one of each app below it, and what `SignCert`
//! issues.
//!
//! Everything here is a function of its arguments: keys come from derivation, the time is passed
//! in, and serial numbers follow from what is certified, so that the same root gives the same
//! certificates on every member. A request comes from a guest that the channel verified, but what
//! it asks for was chosen by a container: the app's id is the channel's, and names are those of the
//! policy.
//!
//! Rules of a leaf:
//! - Its request is PKCS #10 in at most [`protocol::ra_tls::MAX_REQUEST_BYTES`], signed by its own
//!   key, which is P-256.
//! - Its DNS names are names of the policy and [`protocol::ra_tls::internal_name`], which every
//!   leaf has, so that no client falls back to the common name. A common name that looks like a
//!   host is held to the same list. dstack certifies any name.
//! - It is valid within its authority's validity; for a year where nothing else is asked for.
//! - It is for servers, for clients, or for both, which is also what asking for neither gives. It
//!   is never an authority, and no request gives it dstack's usages `kms:rpc` or `app:ca`.
//! - dstack's extensions with a quote are copied: they are evidence, which its reader judges.

mod authority;
mod leaf;
mod names;
mod request;
mod temporary;

pub use authority::{AppAuthority, RootAuthority};
pub use request::RequestError;
pub use temporary::{TEMPORARY_SECS, TemporaryAuthority};

use x509_cert::der::DateTime;
use x509_cert::time::{Time, Validity};

use crate::refused::Refused;

/// From when until when a certificate is valid, both included, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub from_secs: u64,
    /// The last second.
    pub until_secs: u64,
}

impl Window {
    /// 2025 to 2049: the validity of a cluster's authority, fixed so that its certificate follows
    /// from its key.
    pub const OF_A_ROOT: Self = Self { from_secs: 1_735_689_600, until_secs: 2_524_607_999 };

    /// Whether all of `other` lies within.
    fn contains(&self, other: &Self) -> bool {
        self.from_secs <= other.from_secs && other.until_secs <= self.until_secs
    }

    fn validity(&self) -> Result<Validity, CertificateError> {
        let time = |secs| {
            let since_1970 = std::time::Duration::from_secs(secs);
            let time = DateTime::from_unix_duration(since_1970);
            time.map(Time::from).map_err(|_| CertificateError::Time(secs))
        };
        Ok(Validity::new(time(self.from_secs)?, time(self.until_secs)?))
    }
}

/// Why no certificate could be made; no request is to blame for it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// bytes that are no key
    #[error("certificate: no scalar of P-256 follows from the seed")]
    Scalar,
    /// a time that X.509 cannot express
    #[error("certificate: {0} seconds since 1970 are beyond the year 9999")]
    Time(u64),
    /// a structure could not be encoded
    #[error("certificate: {0}")]
    Der(#[from] x509_cert::der::Error),
    /// the builder refused
    #[error("certificate: {0}")]
    Builder(#[from] x509_cert::builder::Error),
    /// a key could not be encoded
    #[error("certificate: {0}")]
    Spki(#[from] x509_cert::spki::Error),
}

/// Why a certificate is not issued.
#[derive(Debug, thiserror::Error)]
pub enum CertificateRefusal {
    /// the request
    #[error("csr: {0}")]
    Request(#[from] RequestError),
    /// the policy, or a guest that gets nothing
    #[error(transparent)]
    Refused(#[from] Refused),
    /// not valid at any time after now, or backwards
    #[error(
        "validity: not_after is {until_secs}, which is not after {after_secs} (seconds since 1970)"
    )]
    Expired {
        /// What was asked for.
        until_secs: u64,
        /// Now, or the beginning if that is later.
        after_secs: u64,
    },
    /// longer than its issuer
    #[error(
        "validity: {} to {} is not within the authority's, {} to {} (seconds since 1970)",
        asked.from_secs, asked.until_secs, authority.from_secs, authority.until_secs
    )]
    BeyondAuthority {
        /// What was asked for.
        asked: Window,
        /// The authority's.
        authority: Window,
    },
    /// the certificate could not be made
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

#[cfg(test)]
mod tests;
