//! The helper process: one for each container, single-threaded, its parent from start to end.
//!
//! libcontainer forks, which a program with threads must not do; so the agent starts this small
//! program instead and tells it on standard input what to run. It decides nothing: the request says
//! everything, and what it cannot enforce (a seccomp rule of an unknown kind) makes it refuse to
//! start. From then on it stands by itself: the agent may end and come back, the container goes on.
//! When the container ends, its last report is written to a file, told to the agent if one is
//! connected, and the helper ends.
#![deny(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub mod cgroup;
mod console;
mod control;
mod data;
mod devices;
mod end;
mod exec;
mod executor;
mod filter;
mod ids;
mod init;
mod log;
mod mount_points;
mod oom;
mod prepare;
mod root;
mod shares;
mod supervise;
#[allow(unsafe_code)]
mod sys;
mod user;
mod volumes;
pub mod wire;

pub use end::End;
pub use filter::FilterError;
pub use mount_points::MountPointError;
pub use prepare::PrepareError;
pub use root::RootError;
pub use user::UserError;

use console::Console;
use control::Agent;
use exec::Commands;
use executor::Sandboxed;
use log::Log;
use prepare::Prepared;
use protocol::error::chain;
use supervise::Watched;
use wire::{MAX_LINE_BYTES, Report, StartRequest};

/// The whole program, for the arguments after its name: a container's helper without any, or
/// `init`.
pub fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match arguments.next().as_deref() {
        None => helper(),
        Some(wire::INIT_ROLE) => init::main(arguments.collect()),
        Some(_) => ExitCode::FAILURE,
    }
}

/// Reads a request, runs it, reports; never returns before the container has ended.
fn helper() -> ExitCode {
    match read_request().and_then(|request| start(&request)) {
        Ok(running) => running.until_end(),
        Err(error) => {
            // Nobody to tell is no reason to end differently.
            let _ = send(&Report::Ended { end: End::Failed { message: chain(&error) } });
            ExitCode::FAILURE
        }
    }
}

/// The first line of standard input, after which the agent writes nothing.
fn read_request() -> Result<StartRequest, HelperError> {
    let stdin = File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from)?);
    request(stdin)
}

/// The first line of `stream`.
fn request(stream: impl Read) -> Result<StartRequest, HelperError> {
    let mut line = Vec::new();
    BufReader::new(stream).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => serde_json::from_slice(&line).map_err(HelperError::Request),
        _ if line.len() >= MAX_LINE_BYTES => Err(HelperError::RequestTooLong),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Starts the container and tells the agent; what was begun is undone if that fails.
fn start(request: &StartRequest) -> Result<Running, HelperError> {
    rustix::process::setsid().map_err(io::Error::from)?;
    let agent = Agent::listen(&request.directory)?;
    // An agent that is gone does not hear; the container starts all the same.
    let tell = |report: &Report| drop(send(report));
    let started = prepare::prepare(request, &tell)
        .map_err(HelperError::from)
        .and_then(|prepared| run(request, prepared, agent));
    if started.is_err() {
        // The error that is told is the first one.
        let _ = cgroup::remove(&cgroup::directory(&request.id));
    }
    started
}

fn run(request: &StartRequest, prepared: Prepared, agent: Agent) -> Result<Running, HelperError> {
    let log = Log::open(request.log.as_ref())?;
    let executor = Sandboxed::new(&prepared.spec, request.danger_no_filter)?;
    let terminal =
        prepared.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or_default();
    let own_score = oom::score()?;
    let (mut container, streams) = create(request, &executor, terminal)?;
    // libcontainer gives its caller the container's.
    oom::set_score(own_score)?;
    let pid =
        container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())).ok_or(HelperError::NoPid)?;
    let begun = (|| {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pid.as_raw_nonzero()))?;
        mount_points::verify(&mounts, &prepared.spec)?;
        container.start().map_err(HelperError::Start)?;
        Ok(pidfd)
    })();
    let pidfd = begun.inspect_err(|_: &HelperError| drop(container.delete(true)))?;
    // An agent that is gone already finds the container when it attaches.
    let _ = send(&Report::Running { pid: pid.as_raw_nonzero().get() });
    let commands = Commands::new(prepared.spec, executor, &request.id);
    let Streams { outputs, input } = streams;
    let watched = Watched { pidfd, pid, outputs, _input: input, log, commands };
    Ok(Running { request: request.clone(), container, agent, watched })
}

/// Our ends of a container's streams.
struct Streams {
    outputs: Vec<OwnedFd>,
    input: Option<OwnedFd>,
}

/// A container that runs, and all that is needed to see it to its end.
struct Running {
    request: StartRequest,
    container: Container,
    agent: Agent,
    watched: Watched,
}

impl Running {
    fn until_end(mut self) -> ExitCode {
        let ended = supervise::until_end(self.watched, &mut self.agent);
        let oom = cgroup::had_oom_kill(&self.request.id);
        // The cgroup and the state go whatever happened; what is left running in them is killed.
        let emptied =
            cgroup::remove(&cgroup::directory(&self.request.id)).map_err(HelperError::from);
        let deleted =
            emptied.and_then(|()| self.container.delete(true).map_err(HelperError::Delete));
        let end = match ended.and_then(|status| deleted.map(|()| status)) {
            Ok(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => End::Exited { code, oom },
                (None, signal) => End::Killed { signal: signal.unwrap_or_default(), oom },
            },
            Err(error) => End::Failed { message: chain(&error) },
        };
        let report = Report::Ended { end };
        let written = write_report(&self.request.directory, &report);
        self.agent.tell(&report);
        if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The last report appears whole or not at all.
fn write_report(directory: &Path, report: &Report) -> io::Result<()> {
    let partial = directory.join("report.partial");
    std::fs::write(&partial, serde_json::to_vec(report)?)?;
    std::fs::rename(partial, directory.join(wire::REPORT))
}

/// Makes the container, which waits to be started, and its streams.
fn create(
    request: &StartRequest,
    executor: &Sandboxed,
    terminal: bool,
) -> Result<(Container, Streams), HelperError> {
    let state = request.directory.join("state");
    let builder = ContainerBuilder::new(request.id.clone(), SyscallType::Linux)
        .with_executor(executor.clone())
        .with_root_path(state)
        .map_err(HelperError::Create)?;
    let build = |builder: ContainerBuilder| {
        let init = builder
            .validate_id()?
            .as_init(&request.directory)
            .with_systemd(false)
            .with_detach(true);
        init.build()
    };
    if terminal {
        let console = Console::listen(&request.directory)?;
        let container = build(builder.with_console_socket(Some(console.path())))
            .map_err(HelperError::Create)?;
        return Ok((container, Streams { outputs: vec![console.terminal()?], input: None }));
    }
    let (out_reader, out_writer) = pipe()?;
    let (err_reader, err_writer) = pipe()?;
    let (stdin, input) = match request.stdin_open {
        true => pipe().map(|(reader, writer)| (reader, Some(writer)))?,
        false => (File::open("/dev/null")?.into(), None),
    };
    let builder = builder.with_stdin(stdin).with_stdout(out_writer).with_stderr(err_writer);
    let container = build(builder).map_err(HelperError::Create)?;
    Ok((container, Streams { outputs: vec![out_reader, err_reader], input }))
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

fn set_nonblocking(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags | OFlags::NONBLOCK)?)
}

/// Why a container did not run, or could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// the request is longer than any real one
    #[error("the request is longer than {MAX_LINE_BYTES} bytes")]
    RequestTooLong,
    /// the request or a report is not the agreed JSON
    #[error("request: {0}")]
    Request(serde_json::Error),
    /// the container cannot be made ready
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// something lies over the kernel's files
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// the system call filter cannot be enforced as written
    #[error("seccomp")]
    Filter(#[from] FilterError),
    /// libcontainer could not create the container
    #[error("create")]
    Create(#[source] libcontainer::error::LibcontainerError),
    /// libcontainer gave no process
    #[error("create: no process")]
    NoPid,
    /// libcontainer could not start the process
    #[error("start")]
    Start(#[source] libcontainer::error::LibcontainerError),
    /// libcontainer could not clean up
    #[error("delete")]
    Delete(#[source] libcontainer::error::LibcontainerError),
    /// the kernel refused something
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_within_its_bound() {
        let refused = |text: &[u8]| request(text).expect_err("no request");
        assert!(
            matches!(refused(b"{\"id\":\"a\"}\n{}"), HelperError::Request(_)),
            "a line that is no request"
        );
        for cut in [&b""[..], b"{\"id\":"] {
            let HelperError::Io(error) = refused(cut) else { panic!("{cut:?}") };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let long = [vec![b' '; MAX_LINE_BYTES + 1], b"\n".to_vec()].concat();
        assert!(matches!(refused(&long), HelperError::RequestTooLong));
        assert!(matches!(refused(&long[1..]), HelperError::Request(_)), "as long as may be");
    }
}
