//! What an app and its containers are doing, as anybody who may ask sees it.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use compose::PublishedPort;
use compose::digest::ContentDigest;
use container_helper::End;
use container_images::{PullError, PullReason};
use serde::{Deserialize, Serialize};

/// How far an app is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppState {
    /// Images are still being fetched; services whose images are there may run already.
    Pulling(PullStatus),
    /// Every image is here; some service has not come as far as the compose file asks.
    Starting,
    /// Every service is as the compose file asks: it runs, is healthy, or has done its work.
    Running,
    /// It cannot be what the compose file asks; what of it runs goes on.
    Failed(Failure),
    /// It is being stopped.
    Stopping,
    /// Nothing of it runs any more.
    Stopped,
}

/// How far the images are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullStatus {
    /// Different images of the app.
    pub images: usize,
    /// How many of them are verified and unpacked.
    pub done: usize,
    /// Bytes fetched so far, as they come compressed.
    pub fetched_bytes: u64,
    /// Why an image is not here yet and asked for again later, for people.
    pub delayed: Option<String>,
}

/// Why an app is not what its compose file asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is about.
    pub kind: FailureKind,
    /// For people: which service, and why.
    pub message: String,
}

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// An image that is not pinned.
    Unpinned,
    /// Anything else in the compose file.
    Compose,
    /// An image that cannot be had with its digest.
    Image {
        /// What kept it.
        reason: PullReason,
        /// The index, manifest, configuration or layer.
        blob: Option<ContentDigest>,
    },
    /// A container or network that cannot be made, a service that ended or is not healthy.
    Container,
    /// The guest itself.
    Internal,
}

/// Why an image cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFault {
    /// What kept it.
    pub reason: PullReason,
    /// The blob that it is about.
    pub blob: Option<ContentDigest>,
    /// For people: which sources were asked and what each answered, or which file is refused.
    pub message: String,
}

impl From<&PullError> for ImageFault {
    fn from(error: &PullError) -> Self {
        Self { reason: error.reason(), blob: error.blob(), message: error.to_string() }
    }
}

/// One container as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Its service.
    pub service: String,
    /// `SERVICE-N`, N from 1.
    pub id: String,
    /// The image that the compose file names.
    pub image: String,
    /// What it is doing.
    pub state: ContainerState,
    /// What its last checks said; `None` without a health check.
    pub health: Option<HealthState>,
    /// How often it was started again after it had ended.
    pub restarts: u32,
    /// When it last started, by the guest's clock.
    pub started: Option<SystemTime>,
    /// Its addresses, in the order of its networks.
    pub addresses: Vec<IpAddr>,
    /// What of it is reachable from outside the guest.
    pub ports: Vec<PublishedPort>,
    /// The labels of its service.
    pub labels: Vec<(String, String)>,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It waits for its image, or for the services that it depends on.
    Waiting,
    /// It is being started.
    Starting,
    /// It runs.
    Running {
        /// Its first process, in the guest's own numbering.
        pid: i32,
    },
    /// It was asked to end.
    Stopping,
    /// It ended and starts again after a wait.
    Restarting,
    /// It ended.
    Ended(End),
}

impl ContainerState {
    /// Whether it has ended and stays so.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Starting => f.write_str("starting"),
            Self::Running { .. } => f.write_str("running"),
            Self::Stopping => f.write_str("stopping"),
            Self::Restarting => f.write_str("restarting"),
            Self::Ended(end) => end.fmt(f),
        }
    }
}

/// A service that is a program for the sandbox of Pads, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Its service, by which runs name it.
    pub service: String,
    /// The artifact that the compose file names.
    pub image: String,
    /// Whether it is here.
    pub state: ProgramState,
    /// The labels of its service.
    pub labels: Vec<(String, String)>,
}

/// Whether a program is here; no state starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramState {
    /// Its artifact is being fetched.
    Awaited,
    /// Its artifact cannot be had now, and is asked for again.
    Delayed {
        /// The fault that was found.
        fault: ImageFault,
        /// Whether it counts as failed meanwhile.
        failing: bool,
    },
    /// Runs can name it.
    Here(Component),
    /// Its artifact cannot be had.
    Refused(ImageFault),
}

impl ProgramState {
    /// Whether it may come yet.
    pub fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited | Self::Delayed { .. })
    }

    /// Why it counts as failed, if it does.
    pub fn fault(&self) -> Option<&ImageFault> {
        match self {
            Self::Refused(fault) | Self::Delayed { fault, failing: true } => Some(fault),
            _ => None,
        }
    }
}

impl fmt::Display for ProgramState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Awaited | Self::Delayed { .. } => f.write_str("waiting"),
            Self::Here(component) => write!(f, "program {}", component.sha256),
            Self::Refused(fault) => write!(f, "failed: image: {}", fault.message),
        }
    }
}

/// The component of a program: a file in the store that nobody writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its SHA-256, which was compared with the file's bytes when this agent began.
    pub sha256: ContentDigest,
    path: PathBuf,
}

impl Component {
    pub(super) fn new(sha256: ContentDigest, path: PathBuf) -> Self {
        Self { sha256, path }
    }

    /// Opens it for reading.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

/// What a container's health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Not healthy yet, and not long or often enough to be unhealthy.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks failed in a row as the service allows.
    Unhealthy,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}
