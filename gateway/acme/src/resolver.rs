//! Reading records over HTTPS from a resolver that the measured file names (RFC 8484).

use gateway_domain::caa::Caa;
use gateway_domain::dns::{AnswerError, MAX_MESSAGE_BYTES, Question};
use gateway_domain::name::DomainName;
use ureq::http::{Method, Request, StatusCode, header};

use crate::http::{Client, HttpError, Trust};

/// The type of questions and answers.
const DNS_MESSAGE: &str = "application/dns-message";

/// A resolver.
#[derive(Debug, Clone)]
pub struct Resolver {
    url: String,
    client: Client,
}

/// why a resolver's view is not known
#[derive(Debug, thiserror::Error)]
#[error("{url}: {what}")]
pub struct ResolverError {
    url: String,
    what: What,
}

#[derive(Debug, thiserror::Error)]
enum What {
    /// no answer
    #[error(transparent)]
    Http(#[from] HttpError),
    /// an address that is none
    #[error("no address: {0}")]
    Address(#[from] ureq::http::Error),
    /// another status or type
    #[error("status {status} with the type {kind:?}, expected 200 with {DNS_MESSAGE}")]
    Answer { status: StatusCode, kind: String },
    /// an answer that says nothing
    #[error(transparent)]
    Message(#[from] AnswerError),
}

impl Resolver {
    /// The resolver at an https address.
    pub fn new(url: &str, trust: &Trust) -> Self {
        Self { url: url.to_owned(), client: Client::new(trust) }
    }

    /// The CAA records at a name, in ascending order.
    ///
    /// # Errors
    /// If there is no answer that says which there are.
    pub fn caa(&self, name: &DomainName) -> Result<Vec<Caa>, ResolverError> {
        let question = Question::caa(name);
        let answer = self.ask(&question).and_then(|answer| Ok(question.caa_records(&answer)?));
        answer.map_err(|what| ResolverError { url: self.url.clone(), what })
    }

    fn ask(&self, question: &Question) -> Result<Vec<u8>, What> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, DNS_MESSAGE)
            .header(header::ACCEPT, DNS_MESSAGE)
            .body(question.to_bytes())?;
        let answer = self.client.send(request)?;
        let kind = answer.headers.get(header::CONTENT_TYPE);
        let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
        if answer.status != StatusCode::OK || kind.as_deref() != Some(DNS_MESSAGE) {
            let kind = kind.unwrap_or_default();
            return Err(What::Answer { status: answer.status, kind });
        }
        if answer.body.len() > MAX_MESSAGE_BYTES {
            return Err(AnswerError::Long(answer.body.len()).into());
        }
        Ok(answer.body)
    }
}

#[cfg(test)]
mod tests;
