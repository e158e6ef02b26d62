//! What can be asked, and by which exact spelling.

use hyper::{Method, Request, StatusCode};
use protocol::digest::decode_hex;
use protocol::report_data::NONCE_BYTES;

use super::answer::{Answer, json, refusal};
use crate::boot::Boot;
use crate::evidence::{EvidenceDesk, EvidenceError};
use crate::info;
use crate::reports::Reports;

/// How evidence is asked for.
const EVIDENCE_HINT: &str =
    "ask GET /evidence?nonce=NONCE with 64 lower-case hexadecimal digits that were never used before";
/// What there is.
const ROUTES_HINT: &str = "there are GET /evidence?nonce=NONCE and GET /info";

/// Answers for the guest.
#[derive(Debug)]
pub struct Service {
    boot: Boot,
    desk: EvidenceDesk,
}

impl Service {
    /// For a completed boot.
    pub fn new(boot: &Boot, reports: Reports) -> Self {
        Self { boot: boot.clone(), desk: EvidenceDesk::new(boot.clone(), reports) }
    }

    /// One request's answer; its body, if it has one, is not read.
    pub async fn answer<B>(&self, request: &Request<B>) -> Answer {
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered", ROUTES_HINT);
        }
        match (request.uri().path(), request.uri().query()) {
            ("/evidence", query) => self.evidence(query).await,
            ("/info", None) => self.info().await,
            ("/info", Some(_)) => refusal(StatusCode::BAD_REQUEST, "/info takes no parameters", "ask GET /info"),
            _ => refusal(StatusCode::NOT_FOUND, "nothing is here", ROUTES_HINT),
        }
    }

    async fn evidence(&self, query: Option<&str>) -> Answer {
        let Some(nonce) = query.and_then(|query| query.strip_prefix("nonce=")) else {
            return refusal(StatusCode::BAD_REQUEST, "the one parameter is nonce", EVIDENCE_HINT);
        };
        let nonce: [u8; NONCE_BYTES] = match decode_hex(nonce) {
            Ok(nonce) => nonce,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("nonce: {error}"), EVIDENCE_HINT),
        };
        match self.desk.evidence(nonce).await {
            Ok(evidence) => json(evidence.to_json()),
            Err(error @ EvidenceError::Busy) => {
                refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), "ask again in a second")
            }
            Err(error) => {
                tracing::error!("evidence: {error}");
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &error.to_string(),
                    "ask again; if it stays, the host's quote service does not answer",
                )
            }
        }
    }

    async fn info(&self) -> Answer {
        let boot = self.boot.clone();
        // Registers are read from files that the TDX module answers.
        let made = tokio::task::spawn_blocking(move || info::info(&boot)).await;
        match made {
            Ok(Ok(info)) => json(info.to_json()),
            Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again"),
            Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again"),
        }
    }
}
