//! Runs commands in a root, in namespaces of their own, without network.
//!
//! Works as root and as an ordinary user: the first thing made is a user
//! namespace in which the caller's id is 0. The running program starts itself
//! again under a hidden first argument ([`ARGUMENT`]), because a process with
//! threads may not enter a user namespace; so a program that builds must call
//! [`run_if_child`] before anything else. The sandbox keeps the host *out of the
//! build*; it is no defence against hostile sources, which end up in the image anyway.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fs_err as fs;
use serde::{Deserialize, Serialize};

mod enter;
mod init;
mod mounts;

/// First argument of the program that became a sandbox.
pub const ARGUMENT: &str = "__sandbox";

/// Exit code of a sandbox that could not be set up; commands that fail give 1.
pub const SETUP_FAILED: u8 = 125;

/// Everything that a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The root, mounted read-only.
    pub root: PathBuf,
    /// Directories bound below `base`.
    pub binds: Vec<Bind>,
    /// An absolute path below one of the root's empty mount points.
    pub base: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Run one after the other; the first that fails ends the sandbox.
    pub steps: Vec<Step>,
    /// User and group id that the commands see.
    pub uid: u32,
    /// File mode creation mask.
    pub umask: u32,
    /// Name of the machine that the commands see.
    pub hostname: String,
}

/// A directory of the host inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// On the host.
    pub from: PathBuf,
    /// Inside, relative to the base.
    pub to: PathBuf,
    /// Whether commands may write there.
    pub writable: bool,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it runs, absolute.
    pub dir: PathBuf,
}

impl Spec {
    /// A command that runs the sandbox; `scratch` must exist until it has ended.
    /// Standard streams are the caller's choice.
    ///
    /// # Errors
    /// If the specification cannot be written to `scratch`.
    pub fn command(&self, scratch: &Path) -> std::io::Result<Command> {
        let path = scratch.join("sandbox.json");
        fs::write(&path, serde_json::to_vec(self)?)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).arg("enter").arg(path);
        Ok(command)
    }
}

/// Becomes the sandbox if the program was started as one. To be called first in
/// `main`, before a thread exists; returns at once in an ordinary start.
#[must_use = "the program must end with this code"]
pub fn run_if_child() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let (stage, path) = (args.next(), args.next());
    Some(run(stage, path).unwrap_or_else(|error| {
        eprintln!("the sandbox cannot be set up: {}", protocol::error::chain(&error));
        ExitCode::from(SETUP_FAILED)
    }))
}

fn run(stage: Option<OsString>, path: Option<OsString>) -> Result<ExitCode, SandboxError> {
    let path = PathBuf::from(path.ok_or(SandboxError::Usage)?);
    match stage.as_ref().and_then(|stage| stage.to_str()) {
        Some("enter") => enter::enter(&path),
        Some("init") => {
            let spec = serde_json::from_slice(&fs::read(&path)?).map_err(std::io::Error::from)?;
            init::run(&spec)
        }
        _ => Err(SandboxError::Usage),
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// this argument is for the program itself
    #[error("this argument is for the program itself")]
    Usage,
    /// {0} was refused
    #[error("{0} was refused")]
    Refused(&'static str, #[source] nix::Error),
    /// {1} cannot be mounted at {0}
    #[error("{1} cannot be mounted at {0}")]
    Mount(PathBuf, String, #[source] nix::Error),
    /// a file of the sandbox cannot be used
    #[error("a file of the sandbox cannot be used")]
    Io(#[from] std::io::Error),
}
