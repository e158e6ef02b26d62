//! Calls of etcd's JSON gateway, at one member after another.
//!
//! Any member answers for all of them, so one that is away or answers nonsense is passed over. A
//! call is made again until one member answers or time is up: every request that is sent here may
//! be sent twice.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use protocol::error::chain;
use protocol::kms::EtcdEndpoints;
use protocol::strict_json::{self, JsonError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::StatusCode;

use super::messages::Refusal;
use crate::http::{Bounds, Client, HttpError};
use crate::store::error::EtcdError;

/// What one request may take at one member, on a network of one data centre: an election takes 1 to
/// 2 seconds, a disk that is slow to write less than one.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(1),
    whole: Duration::from_secs(4),
    answer_bytes: MAX_ANSWER_BYTES,
};
/// How long a call is made again. A guest waits for up to 60 seconds and then asks anew.
const WITHIN: Duration = Duration::from_secs(10);
/// How long nothing is asked after all members were.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest answer: one record has at most 256 KiB before base64.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Longest text of an error that is passed on.
const MAX_TEXT: usize = 200;

/// Why one member gave no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// no answer within the bounds
    #[error(transparent)]
    Http(#[from] HttpError),
    /// a refusal
    #[error("status {status}: {text}")]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// What the member says of it.
        text: String,
    },
    /// not a message of etcd
    #[error("no message of etcd: {0}")]
    Json(#[from] JsonError),
    /// another message
    #[error("another answer than was asked for: {0}")]
    Answer(&'static str),
}

impl Fault {
    /// Whether the same member may answer the same request later.
    fn passes(&self) -> bool {
        match self {
            Self::Http(error) => !matches!(error, HttpError::TooLong(_)),
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Json(_) | Self::Answer(_) => false,
        }
    }
}

/// The members' gateways.
#[derive(Debug)]
pub(super) struct Gateway {
    client: Client,
    endpoints: Vec<String>,
    /// The member that is asked first: the last one that answered.
    first: Cell<usize>,
}

impl Gateway {
    /// Asks nothing yet.
    pub(super) fn new(endpoints: &EtcdEndpoints) -> Self {
        let endpoints = endpoints.as_slice().to_vec();
        Self { client: Client::new(BOUNDS), endpoints, first: Cell::new(0) }
    }

    /// Makes a call; `take` takes from its answer what was asked for, or says what is wrong.
    pub(super) fn call<A: Serialize, R: DeserializeOwned, T>(
        &self,
        path: &'static str,
        arguments: &A,
        take: impl Fn(R) -> Result<T, &'static str>,
    ) -> Result<T, EtcdError> {
        let body = serde_json::to_vec(arguments).expect("strings, numbers and lists serialise");
        let started = Instant::now();
        loop {
            let (mut faults, mut passes) = (Vec::new(), false);
            for turn in 0..self.endpoints.len() {
                let at = (self.first.get() + turn) % self.endpoints.len();
                let endpoint = &self.endpoints[at];
                match self
                    .ask(endpoint, path, &body)
                    .and_then(|answer| take(answer).map_err(Fault::Answer))
                {
                    Ok(taken) => {
                        self.first.set(at);
                        return Ok(taken);
                    }
                    Err(Fault::Http(HttpError::TooLong(most))) => {
                        return Err(EtcdError::TooLong(most));
                    }
                    Err(fault) => {
                        passes |= fault.passes();
                        faults.push(format!("{endpoint}: {}", chain(&fault)));
                    }
                }
            }
            if !passes || started.elapsed() >= WITHIN {
                return Err(EtcdError::NoAnswer(faults.join("; ")));
            }
            thread::sleep(PAUSE);
        }
    }

    fn ask<R: DeserializeOwned>(
        &self,
        endpoint: &str,
        path: &str,
        body: &[u8],
    ) -> Result<R, Fault> {
        let (status, bytes) = self.client.post(&format!("{endpoint}{path}"), body)?;
        if status != StatusCode::OK {
            let refusal: Option<Refusal> = serde_json::from_slice(&bytes).ok();
            let text = refusal.map(|refusal| refusal.error).unwrap_or_default();
            let text = text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            return Err(Fault::Status { status, text });
        }
        Ok(strict_json::parse(&bytes, MAX_ANSWER_BYTES)?)
    }
}
