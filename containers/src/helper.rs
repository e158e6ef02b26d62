//! The helper process: one for each container, single-threaded, its parent from start to end.
//!
//! libcontainer forks, which a program with threads must not do; so the agent starts this small program
//! instead and tells it on standard input what to run. It decides nothing: the request says everything,
//! and what it cannot enforce (a seccomp rule of an unknown kind) makes it refuse to start. From then on
//! it stands by itself: the agent may end and come back, the container goes on. When the container ends,
//! its last report is written to a file, told to the agent if one is connected, and the helper ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(crate) mod cgroup;
mod control;
mod executor;
mod filter;
mod log;
mod supervise;
pub mod wire;

pub use filter::FilterError;

use crate::error::chain;
use control::Agent;
use executor::Sandboxed;
use log::Log;
use supervise::Watched;
use wire::{MAX_LINE_BYTES, Report, Request};

/// The whole program: reads a request, runs it, reports; never returns before the container has ended.
pub fn main() -> ExitCode {
    match read_request().and_then(|request| start(&request)) {
        Ok(running) => running.until_end(),
        Err(error) => {
            // Nobody to tell is no reason to end differently.
            let _ = send(&Report::Failed { message: chain(&error) });
            ExitCode::FAILURE
        }
    }
}

/// The first line of standard input, read byte by byte so that what follows stays in the pipe.
fn read_request() -> Result<Request, HelperError> {
    let mut line = Vec::new();
    let mut stdin = File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from)?);
    let mut byte = [0];
    loop {
        stdin.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            _ if line.len() >= MAX_LINE_BYTES => return Err(HelperError::RequestTooLong),
            byte => line.push(byte),
        }
    }
    serde_json::from_slice(&line).map_err(HelperError::Request)
}

/// Starts the container and tells the agent; what was begun is undone if that fails.
fn start(request: &Request) -> Result<Running, HelperError> {
    rustix::process::setsid().map_err(io::Error::from)?;
    let log = Log::open(request.log.as_ref())?;
    let (out_reader, out_writer) = pipe()?;
    let (err_reader, err_writer) = pipe()?;
    let (mut container, pid) = create(request, out_writer, err_writer)?;
    let started = (|| {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
        let agent = Agent::listen(&request.bundle)?;
        container.start().map_err(HelperError::Start)?;
        Ok((pidfd, agent))
    })();
    match started {
        Ok((pidfd, agent)) => {
            // An agent that is gone already finds the container when it attaches.
            let _ = send(&Report::Running { pid: pid.as_raw_nonzero().get() });
            let watched = Watched { pidfd, pid, outputs: [out_reader, err_reader], log };
            Ok(Running { request: request.clone(), container, agent, watched })
        }
        Err(error) => {
            let _ = container.delete(true);
            Err(error)
        }
    }
}

/// A container that runs, and all that is needed to see it to its end.
struct Running {
    request: Request,
    container: Container,
    agent: Agent,
    watched: Watched,
}

impl Running {
    fn until_end(mut self) -> ExitCode {
        let ended = supervise::until_end(self.watched, &mut self.agent);
        let oom = cgroup::had_oom_kill(&self.request.id);
        // The cgroup and the state go whatever happened; what is left running in them is killed.
        let deleted = self.container.delete(true).map_err(HelperError::Delete);
        let report = match ended.and_then(|status| deleted.map(|()| status)) {
            Ok(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Report::Exited { code, oom },
                (None, signal) => Report::Killed { signal: signal.unwrap_or_default(), oom },
            },
            Err(error) => Report::Failed { message: chain(&error) },
        };
        let written = write_report(&self.request.bundle, &report);
        self.agent.tell(&report);
        if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The last report appears whole or not at all.
fn write_report(folder: &Path, report: &Report) -> io::Result<()> {
    let partial = folder.join("report.partial");
    std::fs::write(&partial, serde_json::to_vec(report)?)?;
    std::fs::rename(partial, folder.join(wire::REPORT))
}

fn create(request: &Request, stdout: OwnedFd, stderr: OwnedFd) -> Result<(Container, Pid), HelperError> {
    let spec = oci_spec::runtime::Spec::load(request.bundle.join("config.json")).map_err(HelperError::Spec)?;
    let executor = Sandboxed::new(&spec)?;
    let stdin = File::open("/dev/null")?;
    let container = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(request.bundle.join("state"))
        .map_err(HelperError::Create)?
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .validate_id()
        .map_err(HelperError::Create)?
        .as_init(&request.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(HelperError::Create)?;
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())).ok_or(HelperError::NoPid)?;
    Ok((container, pid))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), HelperError> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from)?)
}

/// One line on standard output.
fn send(report: &Report) -> Result<(), HelperError> {
    let mut line = serde_json::to_vec(report).map_err(HelperError::Request)?;
    line.push(b'\n');
    let mut stdout = File::from(rustix::stdio::stdout().as_fd().try_clone_to_owned()?);
    Ok(stdout.write_all(&line)?)
}

/// Why a container did not run, or could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The request is longer than any real one.
    #[error("the request is longer than {MAX_LINE_BYTES} bytes")]
    RequestTooLong,
    /// The request or a report is not the agreed JSON.
    #[error("request: {0}")]
    Request(serde_json::Error),
    /// The bundle's specification cannot be read.
    #[error("runtime specification")]
    Spec(#[source] oci_spec::OciSpecError),
    /// The system call filter cannot be enforced as written.
    #[error("seccomp")]
    Filter(#[from] FilterError),
    /// libcontainer could not create the container.
    #[error("create")]
    Create(#[source] libcontainer::error::LibcontainerError),
    /// libcontainer gave no process.
    #[error("create: no process")]
    NoPid,
    /// libcontainer could not start the process.
    #[error("start")]
    Start(#[source] libcontainer::error::LibcontainerError),
    /// libcontainer could not clean up.
    #[error("delete")]
    Delete(#[source] libcontainer::error::LibcontainerError),
    /// The kernel refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
}
