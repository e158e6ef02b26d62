//! Why an image is not in the store: in full for its deployer, and as a code and a digest for those
//! who may know no more.

use std::time::Duration;

use compose::digest::ContentDigest;
use serde::{Deserialize, Serialize};

use super::artifact::ArtifactError;
use super::manifest::ManifestError;
use super::registry::{FetchError, SourceError};
use super::unpack::UnpackError;

/// Why an image is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// a blob could not be had
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// index, manifest or configuration are no image that runs here
    #[error("{digest}: {cause}")]
    Document {
        /// Which one.
        digest: ContentDigest,
        /// The error that was met.
        cause: ManifestError,
    },
    /// a document or the component of a program is none that the sandbox of Pads takes
    #[error("{digest}: {cause}")]
    Program {
        /// Which one.
        digest: ContentDigest,
        /// The error that was met.
        cause: ArtifactError,
    },
    /// a layer cannot be unpacked
    #[error("layer {digest}: {cause}")]
    Layer {
        /// Its digest.
        digest: ContentDigest,
        /// The error that was met.
        cause: UnpackError,
    },
    /// the store cannot be read or written
    #[error("store: {0}")]
    Store(std::io::Error),
    /// another layer of the image failed first
    #[error("cancelled")]
    Cancelled,
    /// a task of the pull ended without a result
    #[error("task: {0}")]
    Task(String),
}

/// What kept an image from being had, without a word of a stranger's in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullReason {
    /// The registry was not reached, or is overloaded.
    Unreachable,
    /// The registry does not have the blob.
    NotFound,
    /// The registry gives no access.
    Access,
    /// The registry sends something else than the blob.
    Bytes,
    /// A document describes no image or program that runs here.
    Document,
    /// A layer cannot be unpacked.
    Layer,
    /// The store cannot be written.
    Store,
    /// A fault of the program.
    Internal,
}

impl PullError {
    /// The kind of the error.
    pub fn reason(&self) -> PullReason {
        match self {
            Self::Fetch(FetchError::AllSources { attempts, .. }) => match attempts.last() {
                Some(attempt) => reason_of(&attempt.cause),
                None => PullReason::NotFound,
            },
            Self::Fetch(FetchError::Store(_)) | Self::Store(_) => PullReason::Store,
            Self::Document { .. } | Self::Program { .. } => PullReason::Document,
            Self::Layer { .. } => PullReason::Layer,
            Self::Cancelled | Self::Task(_) => PullReason::Internal,
        }
    }

    /// The blob that it is about.
    pub fn blob(&self) -> Option<ContentDigest> {
        match self {
            Self::Fetch(FetchError::AllSources { digest, .. })
            | Self::Document { digest, .. }
            | Self::Program { digest, .. }
            | Self::Layer { digest, .. } => Some(*digest),
            _ => None,
        }
    }

    /// Whether the same pull, later, may end well. The last source decides, which is the registry
    /// itself where one may be asked: mirrors are hints, also in what they do not have.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Fetch(FetchError::AllSources { attempts, .. }) => {
                attempts.last().is_some_and(|attempt| attempt.cause.is_passing())
            }
            _ => false,
        }
    }

    /// How long the last source asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(FetchError::AllSources { attempts, .. }) => {
                attempts.last().and_then(|attempt| attempt.cause.retry_after())
            }
            _ => None,
        }
    }
}

fn reason_of(cause: &SourceError) -> PullReason {
    match cause {
        cause if cause.is_passing() => PullReason::Unreachable,
        SourceError::Auth(_) | SourceError::Status(401 | 403) => PullReason::Access,
        SourceError::Status(_) => PullReason::NotFound,
        SourceError::Store(_) => PullReason::Store,
        SourceError::Interrupted => PullReason::Internal,
        _ => PullReason::Bytes,
    }
}
