//! Why a call on `pads.sock` is refused, with what to try.

use hyper::StatusCode;
use pad_format::contents::ContentsError;
use protocol::digest::Sha256Digest;
use protocol::pad_calls::MAX_BYTES;
use protocol::strict_json::JsonError;
use service::Answer;
use service::answer::refusal;

use super::files::FilesError;
use super::runner::RunnerError;

/// A refused call.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// no such path
    #[error("nothing is here")]
    Path,
    /// a body that is too large, or broke off
    #[error("a document has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// a body that is no document of this call
    #[error(transparent)]
    Document(#[from] JsonError),
    /// a file without a stated length, or with another one
    #[error("the body has {found} bytes, expected {expected}")]
    Length {
        /// What came.
        found: u64,
        /// What was announced.
        expected: u64,
    },
    /// a value that is out of its range
    #[error("{field}: found {found}, expected {expected} at most")]
    Range {
        /// The field.
        field: &'static str,
        /// Its length or value.
        found: usize,
        /// The most.
        expected: usize,
    },
    /// a policy that cannot be
    #[error("policies: {0}")]
    Policy(ContentsError),
    /// a file that is not here
    #[error("the service has no file {0}")]
    NoFile(Sha256Digest),
    /// a run that is not here
    #[error("the service has no such run")]
    NoRun,
    /// a program that is a service
    #[error("no program of a service {0:?} is here")]
    Service(String),
    /// files that outputs would be
    #[error("the service may have {room} more files, and {proposals} outputs may leave the run")]
    Room {
        /// Files that there may be yet.
        room: usize,
        /// The run's outputs.
        proposals: u32,
    },
    /// a run at the same time
    #[error("a run of this service goes on")]
    Busy,
    /// a guest whose disk does not outlive it
    #[error("without a KMS nothing of this guest outlives it, a Pad with other policies neither")]
    NothingKept,
    /// files
    #[error(transparent)]
    Files(#[from] FilesError),
    /// pad-runner
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

impl Refused {
    /// The answer.
    pub fn answer(&self) -> Answer {
        // Not louder: a service that is refused again and again would fill the console.
        tracing::debug!("pads: {self}");
        let (status, hint) = self.status_and_hint();
        refusal(status, &self.to_string(), hint)
    }

    fn status_and_hint(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path => (
                StatusCode::NOT_FOUND,
                "there are POST /draw, /run and /update, GET /files and /runs/ID, and PUT, GET and \
                 DELETE /files/SHA256",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "put what is large as a file"),
            Self::Document(_) | Self::Range { .. } | Self::Policy(_) => {
                (StatusCode::BAD_REQUEST, "docs/pads.md has the documents")
            }
            Self::Length { .. } => (StatusCode::BAD_REQUEST, "send the whole file with its length"),
            Self::NoFile(_) => (StatusCode::NOT_FOUND, "put it first: PUT /files/SHA256"),
            Self::NoRun => (StatusCode::NOT_FOUND, "the outcomes of the last runs are kept"),
            Self::Service(_) => (StatusCode::NOT_FOUND, "is it a service with platform wasi/wasm?"),
            Self::Room { .. } => {
                (StatusCode::INSUFFICIENT_STORAGE, "delete files, or state fewer limits.proposals")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "ask again when it has ended"),
            Self::NothingKept => (StatusCode::BAD_REQUEST, "pin a KMS in app-compose.json"),
            Self::Files(FilesError::Count(_) | FilesError::Bytes { .. }) => {
                (StatusCode::INSUFFICIENT_STORAGE, "delete files: DELETE /files/SHA256")
            }
            Self::Files(FilesError::Digest { .. }) => {
                (StatusCode::BAD_REQUEST, "name a file by its SHA-256")
            }
            Self::Files(FilesError::Io(_)) => {
                (StatusCode::INSUFFICIENT_STORAGE, "is the data disk full?")
            }
            Self::Runner(RunnerError::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ask again when other runs have ended")
            }
            Self::Runner(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "draw a run id and submit the run again")
            }
        }
    }
}
