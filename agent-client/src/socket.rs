//! The guest's agent as a container sees it: calls on `dstack.sock`.
//!
//! The agent is this guest's own, so its word on what was measured is believed as far as it goes:
//! whoever gets the quote judges it. Answers are bounded all the same.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::app_compose;
use protocol::digest::{ComposeHash, ReportData};
use protocol::evidence::Evidence;
use protocol::foreign::{self, ForeignError};
use protocol::prpc::{
    self, AppInfo, Arguments, AttestResponse, Encoding, GetKeyArgs, GetKeyResponse, Message,
    PrpcError, RawQuoteArgs, ReleaseResponse,
};
use protocol::strict_json::{self, JsonError};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Where the compose file mounts the agent's socket.
pub const PATH: &str = "/var/run/dstack.sock";
/// Largest answer: a quote and the whole event log.
const MAX_ANSWER_BYTES: usize = 2 * protocol::foreign::MAX_BYTES;
/// How long one call may take: a quote takes seconds under emulation, and quotes take turns.
const WITHIN: Duration = Duration::from_secs(30);
/// The name that HTTP wants of a server.
const NAME: &str = "dstack.sock";

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// the socket
    #[error("{path}: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// the connection
    #[error("the guest's agent broke the connection")]
    Http(#[from] hyper::Error),
    /// an answer that is too large or broke off
    #[error("the guest's agent: {0}")]
    Body(String),
    /// a refusal
    #[error("the guest's agent answers {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Its text.
        text: String,
    },
    /// another message
    #[error("the guest's agent")]
    Answer(#[from] PrpcError),
    /// evidence in another form
    #[error(transparent)]
    Evidence(#[from] ForeignError),
    /// facts in another form
    #[error("the guest's facts")]
    Facts(#[from] JsonError),
    /// a file that is not the measured one
    #[error("the guest's app-compose.json has the hash {found}, and {measured} was measured")]
    Compose {
        /// Of the file.
        found: ComposeHash,
        /// As measured.
        measured: String,
    },
    /// a key of another length
    #[error("the guest's agent gives a key of {0} bytes, expected 32")]
    Key(usize),
    /// time is up
    #[error("the guest's agent does not answer within {} s", WITHIN.as_secs())]
    Late,
}

/// The agent's socket.
#[derive(Debug, Clone)]
pub struct Socket {
    path: PathBuf,
}

/// What `tcb_info` has of interest here.
#[derive(Deserialize)]
struct TcbInfo {
    app_compose: String,
}

impl Socket {
    /// The socket where a compose file mounts it.
    pub fn of_guest() -> Self {
        Self { path: PATH.into() }
    }

    /// The socket at another place.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// What the agent says of its guest.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub async fn info(&self) -> Result<AppInfo, SocketError> {
        self.call("Info", &prpc::Empty {}).await
    }

    /// The app's key under a path, which is the same in every guest of the app.
    ///
    /// # Errors
    /// If the agent does not answer, or the guest has no keys.
    pub async fn key(&self, path: &str, purpose: &str) -> Result<Zeroizing<[u8; 32]>, SocketError> {
        let (path, purpose) = (path.to_owned(), purpose.to_owned());
        let arguments = GetKeyArgs { path, purpose, ..GetKeyArgs::default() };
        let answer: GetKeyResponse = self.call("GetKey", &arguments).await?;
        let key = Zeroizing::new(answer.key);
        let bytes = key.as_slice().try_into().map_err(|_| SocketError::Key(key.len()))?;
        Ok(Zeroizing::new(bytes))
    }

    /// The exact bytes of the measured app-compose.json.
    ///
    /// # Errors
    /// If the agent does not answer, or the file is not the one that it says was measured.
    pub async fn app_compose(&self) -> Result<Vec<u8>, SocketError> {
        let info = self.info().await?;
        let limit = MAX_ANSWER_BYTES;
        let facts: TcbInfo = strict_json::parse(info.tcb_info.as_bytes(), limit)?;
        let file = facts.app_compose.into_bytes();
        let found = ComposeHash::of(&file);
        match info.compose_hash == found.as_bytes() && file.len() <= app_compose::MAX_BYTES {
            true => Ok(file),
            false => Err(SocketError::Compose { found, measured: hex::encode(&info.compose_hash) }),
        }
    }

    /// A quote over exactly this report data, with log and claims.
    ///
    /// # Errors
    /// If the agent does not answer, or not with evidence.
    pub async fn attest(&self, report_data: &ReportData) -> Result<Evidence, SocketError> {
        let arguments = RawQuoteArgs { report_data: report_data.0.to_vec() };
        let answer: AttestResponse = self.call("Attest", &arguments).await?;
        Ok(foreign::read(&answer.attestation, &[])?.evidence)
    }

    /// What the guest's KMS says of the guest now, and what time it is by the KMS.
    ///
    /// # Errors
    /// If the agent does not answer, or the KMS has said nothing of the guest.
    pub async fn release(&self) -> Result<ReleaseResponse, SocketError> {
        self.call("Release", &prpc::Empty {}).await
    }

    async fn call<A: Message, R: Message>(
        &self,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, SocketError> {
        timeout(WITHIN, self.ask(method, arguments)).await.unwrap_or(Err(SocketError::Late))
    }

    async fn ask<A: Message, R: Message>(
        &self,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, SocketError> {
        let path = || self.path.display().to_string();
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|source| SocketError::Connect { path: path(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("/{method}"))
            .header(HOST, NAME)
            .header(CONTENT_TYPE, Encoding::Protobuf.content_type())
            .body(Full::new(Bytes::from(prpc::encode(arguments, Encoding::Protobuf))))
            .expect("constant paths and headers");
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| SocketError::Body(error.to_string()))?.to_bytes();
        connection.abort();
        if status != StatusCode::OK {
            let error: prpc::ErrorBody = Arguments::Body(Encoding::Protobuf, &body).decode()?;
            return Err(SocketError::Refused { status, text: error.error });
        }
        R::decode(&body[..]).map_err(|error| PrpcError::Arguments(error.to_string()).into())
    }
}

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(test)]
mod tests;
