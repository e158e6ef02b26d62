//! Why something could not be had from registries: of all of them, and of each.

use std::fmt;
use std::time::Duration;

use compose::digest::ContentDigest;
use protocol::error::chain;

use super::{MAX_MIRRORS, MAX_REDIRECTS};
use crate::auth::AuthError;
use crate::busy::{is_busy, retry_after};

/// Why registries cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// a mirror's address is none
    #[error("mirror {0:?} is no address: http(s)://host[:port] and nothing else")]
    Mirror(String),
    /// a registry's name makes no address
    #[error("registry {0:?} is no host name")]
    Registry(String),
    /// too many mirrors
    #[error("{0} mirrors, at most {MAX_MIRRORS}")]
    TooManyMirrors(usize),
    /// the certificate roots cannot be read
    #[error("certificate roots {path}: {message}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// the TLS library refused its configuration
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// the HTTP library refused its configuration
    #[error("HTTP client: {0}")]
    Client(reqwest::Error),
}

/// Why one source did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// other bytes than those pinned
    #[error("wrong bytes: expected {expected}, found {found}")]
    WrongDigest {
        /// What the compose file or a verified manifest pins.
        expected: ContentDigest,
        /// What was sent.
        found: ContentDigest,
    },
    /// it says beforehand that its answer has another length
    #[error("{stated} bytes are announced, expected {expected}")]
    WrongLength {
        /// What is still missing.
        expected: u64,
        /// What it says.
        stated: u64,
    },
    /// the stream went on past the end
    #[error("more than {0} bytes were sent")]
    TooLong(u64),
    /// the stream ended early
    #[error("{found} bytes of {expected} were sent")]
    Truncated {
        /// What the manifest says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// compressed once more than asked for
    #[error("content encoding {0:?} was not asked for")]
    Encoded(String),
    /// another part than the one asked for
    #[error("asked for the bytes from {offset} on, found {found:?}")]
    WrongRange {
        /// Where to go on.
        offset: u64,
        /// Its `Content-Range`.
        found: String,
    },
    /// the answer is no document
    #[error("HTTP status {0}")]
    Status(u16),
    /// the source is overloaded and may have stated for how long
    #[error("HTTP status {status}")]
    Busy {
        /// 429, or 5xx.
        status: u16,
        /// Its `Retry-After`, within bounds.
        after: Option<Duration>,
    },
    /// something else than a manifest or an index
    #[error("media type {0:?} is no manifest and no index")]
    MediaType(String),
    /// a redirect to nowhere, or to plain HTTP
    #[error("redirect to {0:?}, which is no https address")]
    Redirect(String),
    /// redirects without end
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    /// the connection failed or broke
    #[error("{}", chain(.0))]
    Http(reqwest::Error),
    /// the stream is too slow to be useful
    #[error("not done after {0} s")]
    TooSlow(u64),
    /// the registry gives no access
    #[error("access: {0}")]
    Auth(#[from] AuthError),
    /// another fetch ended by panic while it held the tokens
    #[error("interrupted")]
    Interrupted,
    /// the store cannot be written; no other source helps
    #[error("store: {0}")]
    Store(std::io::Error),
}

impl From<reqwest::Error> for SourceError {
    /// Without the address: one that a registry redirects to may hold a signature.
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl SourceError {
    /// Whether asking the same source again at once, `received` bytes later, may help.
    pub(super) fn is_short(&self, received: u64) -> bool {
        match self {
            SourceError::Busy { .. } | SourceError::Truncated { .. } => true,
            // A source that is not there, or says nothing at all, is left for the next one.
            SourceError::Http(error) => {
                !error.is_connect() && (!error.is_timeout() || received > 0)
            }
            _ => false,
        }
    }

    /// Whether asking later may help: names that are not resolved, connections that fail or break,
    /// an overloaded source.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            SourceError::Busy { .. }
            | SourceError::Truncated { .. }
            | SourceError::TooSlow(_)
            | SourceError::Http(_) => true,
            SourceError::Auth(error) => error.is_passing(),
            _ => false,
        }
    }

    /// How long the source asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            SourceError::Busy { after, .. } => *after,
            _ => None,
        }
    }

    /// The error of an HTTP status, with the value of `Retry-After` if there is one.
    pub(super) fn of_status(status: u16, header: Option<&str>) -> Self {
        match is_busy(status) {
            true => Self::Busy { status, after: header.and_then(retry_after) },
            false => Self::Status(status),
        }
    }
}

/// One source and why it was of no use.
#[derive(Debug)]
pub struct Attempt {
    /// Its address.
    pub source: String,
    /// What went wrong.
    pub cause: SourceError,
}

/// All sources of one blob and why none was of use.
#[derive(Debug)]
pub struct Attempts(Vec<Attempt>);

impl From<Vec<Attempt>> for Attempts {
    fn from(attempts: Vec<Attempt>) -> Self {
        Self(attempts)
    }
}

impl Attempts {
    /// The source that was asked last.
    pub(crate) fn last(&self) -> Option<&Attempt> {
        self.0.last()
    }

    /// In the order asked.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.0.iter()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no mirror was named and no registry may be asked");
        }
        for (index, attempt) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{} {}", attempt.source, attempt.cause)?;
        }
        Ok(())
    }
}

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// no source gave the bytes
    #[error("{digest} of {image}: {attempts}")]
    AllSources {
        /// What was wanted.
        digest: ContentDigest,
        /// Of which image.
        image: String,
        /// Who was asked.
        attempts: Attempts,
    },
    /// the store cannot be written
    #[error("store: {0}")]
    Store(std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_source_is_left_alone_as_long_as_it_asks_within_bounds() {
        let after = |text| SourceError::of_status(429, Some(text)).retry_after();
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("99999999999"), Some(Duration::from_secs(600)));
        for no_delay in
            ["", "-1", "1.5", "Sun, 06 Nov 1994 08:49:37 GMT", "99999999999999999999999"]
        {
            assert_eq!(after(no_delay), None, "{no_delay}");
        }
        assert!(SourceError::of_status(503, None).is_passing());
        for lasting in [400, 401, 403, 404, 410, 418, 501, 505] {
            let error = SourceError::of_status(lasting, Some("1"));
            assert!(!error.is_passing() && error.retry_after().is_none(), "{lasting}");
        }
    }
}
