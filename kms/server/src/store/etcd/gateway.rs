//! Calls of etcd's JSON gateway, at one member after another.
//!
//! Any member answers for all of them, so one that is away or answers nonsense is passed over. A
//! call is made again until one member answers or time is up: every request that is sent here may
//! be sent twice.

use std::cell::Cell;
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use protocol::error::chain;
use protocol::kms::EtcdEndpoints;
use protocol::strict_json::{self, JsonError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::StatusCode;

use super::messages::Refusal;
use crate::store::error::EtcdError;

/// How long a connection to one member may take to come about, on a network of one data centre.
const CONNECT: Duration = Duration::from_secs(1);
/// How long one request may take at one member: an election takes 1 to 2 seconds, a disk that is
/// slow to write less than one.
const REQUEST: Duration = Duration::from_secs(4);
/// How long a call is made again. A guest waits for up to 60 seconds and then asks anew.
const WITHIN: Duration = Duration::from_secs(10);
/// How long nothing is asked after all members were.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest answer: one record has at most 256 KiB before base64.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Largest head of an answer; etcd's have less than one KiB.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Longest text of an error that is passed on.
const MAX_TEXT: usize = 200;

/// Why one member gave no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// the connection
    #[error("{0}")]
    Request(Box<ureq::Error>),
    /// the answer broke off
    #[error("the answer broke off: {0}")]
    Body(#[from] std::io::Error),
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
    /// beyond its budget
    #[error("more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

impl Fault {
    /// Whether the same member may answer the same request later.
    fn passes(&self) -> bool {
        match self {
            Self::Request(_) | Self::Body(_) => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Json(_) | Self::Answer(_) | Self::TooLong => false,
        }
    }
}

/// The members' gateways.
#[derive(Debug)]
pub(super) struct Gateway {
    agent: ureq::Agent,
    endpoints: Vec<String>,
    /// The member that is asked first: the last one that answered.
    first: Cell<usize>,
}

impl Gateway {
    /// Asks nothing yet.
    pub(super) fn new(endpoints: &EtcdEndpoints) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(REQUEST))
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .proxy(None)
            .build()
            .into();
        let endpoints = endpoints.as_slice().to_vec();
        Self { agent, endpoints, first: Cell::new(0) }
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
                    Err(Fault::TooLong) => return Err(EtcdError::TooLong(MAX_ANSWER_BYTES)),
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
        let request = self.agent.post(format!("{endpoint}{path}"));
        let request = request.content_type("application/json");
        let response = request.send(body).map_err(|error| Fault::Request(Box::new(error)))?;
        let status = response.status();
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader();
        body.take(MAX_ANSWER_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(Fault::TooLong);
        }
        if status != StatusCode::OK {
            let refusal: Option<Refusal> = serde_json::from_slice(&bytes).ok();
            let text = refusal.map(|refusal| refusal.error).unwrap_or_default();
            let text = text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            return Err(Fault::Status { status, text });
        }
        Ok(strict_json::parse(&bytes, MAX_ANSWER_BYTES)?)
    }
}
