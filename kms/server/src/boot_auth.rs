//! The webhook of a second source: one bounded request a question, and no answer within a few
//! seconds is none.
//!
//! What its word is worth, the library says.

use std::time::Duration;

use kms_rules::boot_auth::{BootInfo, MAX_ANSWER_BYTES, Word};
use kms_rules::guest::Guest;
use protocol::error::chain;
use protocol::kms::WebhookAddress;
use ureq::http::StatusCode;

use crate::http::{Bounds, Client, HttpError};

/// What an answer may take: dstack's own webhooks ask a chain, which takes a second or two.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(2),
    whole: Duration::from_secs(5),
    answer_bytes: MAX_ANSWER_BYTES,
};

/// The webhook.
#[derive(Debug)]
pub struct BootAuth {
    address: WebhookAddress,
    client: Client,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    /// no answer within the bounds
    #[error(transparent)]
    Http(#[from] HttpError),
    /// another status
    #[error("status {0}, expected 200")]
    Status(StatusCode),
    /// another answer
    #[error("no answer in dstack's form: {0}")]
    Json(#[from] protocol::strict_json::JsonError),
}

impl BootAuth {
    /// Asks nothing yet.
    pub fn new(address: &WebhookAddress) -> Self {
        Self { address: address.clone(), client: Client::new(BOUNDS) }
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
        match self.client.post(url, body)? {
            (StatusCode::OK, answer) => Ok(Word::parse(&answer)?),
            (status, _) => Err(NoAnswer::Status(status)),
        }
    }
}
