//! The webhook of a second source: one bounded request a question, and no answer within a few
//! seconds is none.
//!
//! What its word is worth, the library says.

use std::io::Read as _;
use std::time::Duration;

use kms_rules::boot_auth::{BootInfo, MAX_ANSWER_BYTES, Word};
use kms_rules::guest::Guest;
use pccs::Roots;
use protocol::error::chain;
use protocol::kms::WebhookAddress;
use ureq::http::StatusCode;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take in all: dstack's own webhooks ask a chain, which takes a second or
/// two.
const WITHIN: Duration = Duration::from_secs(5);
/// Largest head of an answer.
const MAX_HEADER_BYTES: usize = 8 << 10;

/// The webhook.
#[derive(Debug)]
pub struct BootAuth {
    address: WebhookAddress,
    agent: ureq::Agent,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    /// the connection
    #[error("{0}")]
    Request(Box<ureq::Error>),
    /// another status
    #[error("status {0}, expected 200")]
    Status(StatusCode),
    /// the answer broke off
    #[error("the answer broke off: {0}")]
    Body(#[from] std::io::Error),
    /// another answer
    #[error("no answer in dstack's form: {0}")]
    Json(#[from] protocol::strict_json::JsonError),
}

impl BootAuth {
    /// Asks nothing yet.
    pub fn new(address: &WebhookAddress) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(Roots::CompiledIn.tls_config())
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(WITHIN))
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .proxy(None)
            .build()
            .into();
        Self { address: address.clone(), agent }
    }

    /// Its word about an app's guest; blocks.
    pub fn app(&self, guest: &Guest) -> Word {
        self.word("app", guest)
    }

    /// Its word about another process of the KMS; blocks.
    pub fn kms(&self, process: &Guest) -> Word {
        self.word("kms", process)
    }

    fn word(&self, call: &str, guest: &Guest) -> Word {
        self.ask(&self.address.of(call), &BootInfo::of(guest).to_json()).unwrap_or_else(|error| {
            let why = chain(&error);
            tracing::warn!("{}: {why}", self.address);
            Word::silent(&why)
        })
    }

    fn ask(&self, url: &str, body: &[u8]) -> Result<Word, NoAnswer> {
        let request = self.agent.post(url).content_type("application/json");
        let response = request.send(body).map_err(|error| NoAnswer::Request(Box::new(error)))?;
        if response.status() != StatusCode::OK {
            return Err(NoAnswer::Status(response.status()));
        }
        let mut answer = Vec::new();
        let most = MAX_ANSWER_BYTES as u64 + 1;
        response.into_body().into_reader().take(most).read_to_end(&mut answer)?;
        Ok(Word::parse(&answer)?)
    }
}
