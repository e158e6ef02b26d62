//! The agent's end of a helper: starts it, follows its reports, passes signals on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, watch};

use super::status::ContainerState as State;
use crate::helper::wire::{Control, MAX_LINE_BYTES, Report, Request};

/// A container starts in tens of milliseconds; an emulated machine is a hundred times slower.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A helper and its container; both end when this is dropped, since the helper's standard input closes.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: watch::Receiver<State>,
    /// `None` once the helper is gone.
    control: Mutex<Option<ChildStdin>>,
    stop_signal: i32,
}

impl Supervisor {
    /// Starts a helper and returns when the container's first process runs.
    pub(super) async fn start(helper: &Path, request: &Request, stop_signal: i32) -> Result<Self, SupervisorError> {
        let spawned = Command::new(helper).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(SupervisorError::Spawn)?;
        let (Some(mut control), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SupervisorError::Spawn(io::Error::other("no pipes")));
        };
        let mut reports = BufReader::new(reports);
        let mut line = serde_json::to_vec(request).map_err(io::Error::from).map_err(SupervisorError::Spawn)?;
        line.push(b'\n');
        control.write_all(&line).await.map_err(SupervisorError::Spawn)?;
        let first = tokio::time::timeout(START_TIMEOUT, next_report(&mut reports)).await;
        let pid = match first.map_err(|_| SupervisorError::TooSlow)? {
            Some(Report::Started { pid }) => pid,
            Some(Report::Failed { message }) => return Err(SupervisorError::NotStarted(message)),
            _ => return Err(SupervisorError::NotStarted("the helper ended without a report".to_owned())),
        };
        let (sender, state) = watch::channel(State::Running { pid });
        let cgroup = Path::new("/sys/fs/cgroup/dstyx").join(&request.id);
        tokio::spawn(follow(child, reports, sender, cgroup));
        Ok(Self { state, control: Mutex::new(Some(control)), stop_signal })
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns when the container has ended.
    pub(super) async fn ended(&self) {
        let mut state = self.state.clone();
        // An error means that the task which knew is gone, and the container with it.
        let _ = state.wait_for(|state| !matches!(state, State::Running { .. })).await;
    }

    /// Asks the container to end, as its image wants to be asked.
    pub(super) async fn stop(&self) {
        self.signal(self.stop_signal).await;
    }

    /// Ends the container.
    pub(super) async fn kill(&self) {
        self.signal(Signal::SIGKILL as i32).await;
    }

    async fn signal(&self, number: i32) {
        let mut control = self.control.lock().await;
        let Some(pipe) = control.as_mut() else { return };
        let line = format!("{}\n", serde_json::json!(Control::Signal(number)));
        if pipe.write_all(line.as_bytes()).await.is_err() {
            // The helper has ended, and its container before it.
            *control = None;
        }
    }
}

/// Waits for the last report; a helper that ends without one leaves a container that is killed by its cgroup.
async fn follow(mut child: Child, mut reports: BufReader<ChildStdout>, state: watch::Sender<State>, cgroup: PathBuf) {
    let last = match next_report(&mut reports).await {
        Some(Report::Exited { code }) => State::Exited { code, oom: false },
        Some(Report::Killed { signal }) => State::Killed { signal, oom: false },
        Some(Report::Failed { message }) => State::Failed { message },
        Some(Report::Started { .. }) | None => {
            if let Err(error) = tokio::fs::write(cgroup.join("cgroup.kill"), "1").await {
                tracing::warn!(cgroup = %cgroup.display(), %error, "killing what a helper left behind failed");
            }
            State::Failed { message: "the helper ended without a report".to_owned() }
        }
    };
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "waiting for a helper failed");
    }
    state.send_replace(last);
}

/// The next line; `None` at the end, or if it is no report.
async fn next_report(reports: &mut BufReader<ChildStdout>) -> Option<Report> {
    let mut line = Vec::new();
    reports.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line).await.ok()?;
    serde_json::from_slice(&line).ok()
}

/// The number of an image's `STOPSIGNAL`: `SIGQUIT`, `QUIT` or `3`; SIGTERM if there is none.
pub(super) fn stop_signal(name: Option<&str>) -> Result<i32, SupervisorError> {
    let Some(name) = name else {
        return Ok(Signal::SIGTERM as i32);
    };
    let known = match name.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if name.starts_with("SIG") => Signal::from_str(name).ok(),
        Err(_) => Signal::from_str(&format!("SIG{name}")).ok(),
    };
    known.map(|signal| signal as i32).ok_or_else(|| SupervisorError::StopSignal(name.to_owned()))
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The helper program cannot be run.
    #[error("helper: {0}")]
    Spawn(io::Error),
    /// The helper says why it did not start the container.
    #[error("container: {0}")]
    NotStarted(String),
    /// Nothing was heard of it.
    #[error("container: not started after {} s", START_TIMEOUT.as_secs())]
    TooSlow,
    /// The image wants to be stopped by a signal that does not exist.
    #[error("the image's stop signal {0:?} is unknown")]
    StopSignal(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_docker_does() {
        for (name, number) in [(None, 15), (Some("SIGQUIT"), 3), (Some("QUIT"), 3), (Some("3"), 3)] {
            assert_eq!(stop_signal(name).expect("known"), number, "{name:?}");
        }
        for bad in ["", "SIGNOPE", "0", "99", "-1"] {
            assert!(stop_signal(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
