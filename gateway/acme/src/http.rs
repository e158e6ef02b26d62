//! Requests over HTTPS: each bounded in its time, its head and its body, asked directly, led
//! nowhere else, and never unpacked.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::http::{HeaderMap, Request, Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request and its answer may take in all: authorities answer within a second or two.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest head of an answer.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Largest body: a chain of certificates, or a hundred records.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// Whose certificates a server may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Mozilla's list as it was when this program was built: containers have no store.
    CompiledIn,
    /// These roots and no others.
    Only(Vec<CertificateDer<'static>>),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// the connection
    #[error("{0}")]
    Request(Box<ureq::Error>),
    /// the answer broke off
    #[error("the answer broke off: {0}")]
    Body(#[from] std::io::Error),
    /// beyond its budget
    #[error("an answer of more than {MAX_BODY_BYTES} bytes")]
    TooLong,
    /// a body that would have to be unpacked
    #[error("an answer that is encoded as {0}, which was not asked for")]
    Encoded(String),
}

/// Makes requests.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(trust: &Trust) -> Self {
        Self::with_timeout(trust, WHOLE_TIMEOUT)
    }

    fn with_timeout(trust: &Trust, whole: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(tls_config(trust))
            .https_only(true)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(whole))
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .proxy(None)
            .build()
            .into();
        Self { agent }
    }

    /// Status, head and body of the answer, whatever the status is.
    ///
    /// # Errors
    /// If no whole answer comes within the bounds.
    pub fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, HttpError> {
        // An empty body is none: a GET that has one is refused.
        let response = match request.body().is_empty() {
            true => self.agent.run(request.map(|_| ())),
            false => self.agent.run(request),
        };
        let (parts, body) =
            response.map_err(|error| HttpError::Request(Box::new(error)))?.into_parts();
        if let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING) {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            if encoding != "identity" {
                return Err(HttpError::Encoded(encoding.into_owned()));
            }
        }
        let mut bytes = Vec::new();
        body.into_reader().take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() {
            0..=MAX_BODY_BYTES => {
                Ok(Answer { status: parts.status, headers: parts.headers, body: bytes })
            }
            _ => Err(HttpError::TooLong),
        }
    }
}

impl Answer {
    /// As others' types have it.
    pub fn into_response(self) -> Response<Vec<u8>> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn tls_config(trust: &Trust) -> TlsConfig {
    let roots = match trust {
        Trust::CompiledIn => RootCerts::WebPki,
        Trust::Only(roots) => {
            let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
            roots.collect::<Vec<_>>().into()
        }
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build()
}

#[cfg(test)]
mod tests;
