//! Watching a running container: its output, its end, and what the agent asks meanwhile.
//!
//! One thread, one `poll`. The first process's end is the container's end: the kernel kills
//! whatever else is in its process namespace.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use protocol::log_record::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, pidfd_send_signal, waitpid};

use super::control::Agent;
use super::exec::Commands;
use super::log::Log;
use super::wire::{Control, Report};
use super::{HelperError, set_nonblocking};

/// One read of a container's output.
const CHUNK_BYTES: usize = 16 << 10;

/// Reads before the agent is listened to again, however much a container prints.
const CHUNKS_A_TURN: usize = 16;

/// Reads after the end: a pipe that whoever has no privilege made as large as it gets holds 1 MiB
/// (`pipe(7)`), and somebody else may still write to it for ever.
const CHUNKS_AT_THE_END: usize = 64;

/// Added to a wait, so that it does not end just before what is waited for.
const ROUNDING: Duration = Duration::from_millis(1);

/// What is watched.
pub(super) struct Watched {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: Pid,
    /// Standard output and standard error, or the terminal.
    pub(super) outputs: Vec<OwnedFd>,
    /// Standard input's other end, to which nothing is ever written.
    pub(super) _input: Option<OwnedFd>,
    pub(super) log: Log,
    pub(super) commands: Commands,
}

/// Returns when the container has ended and all its output is written.
pub(super) fn until_end(watched: Watched, agent: &mut Agent) -> Result<WaitStatus, HelperError> {
    let Watched { pidfd, pid, outputs, mut log, mut commands, _input } = watched;
    let hello = Report::Running { pid: pid.as_raw_nonzero().get() };
    let mut outputs: Vec<Option<File>> =
        outputs.into_iter().map(|fd| Some(File::from(fd))).collect();
    for output in outputs.iter().flatten() {
        set_nonblocking(output)?;
    }
    loop {
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(
            agent.descriptors().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)),
        );
        polled.extend(outputs.iter().flatten().map(|file| PollFd::new(file, PollFlags::IN)));
        polled.extend(
            commands.descriptors().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)),
        );
        // A wait that does not fit is longer than anything lasts.
        let wait = commands.wait().and_then(|wait| Timespec::try_from(wait + ROUNDING).ok());
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let ended = !polled[0].revents().is_empty();
        let turns = if ended { CHUNKS_AT_THE_END } else { CHUNKS_A_TURN };
        for (output, stream) in outputs.iter_mut().zip([Stream::Out, Stream::Error]) {
            drain(output, |chunk| log.write(stream, chunk), turns)?;
        }
        if ended {
            log.finish();
            return reap(pid);
        }
        agent.accept(&hello);
        obey(agent, &pidfd, &mut commands)?;
        commands.ended().iter().for_each(|report| agent.tell(report));
    }
}

/// Carries out what was asked.
fn obey(agent: &mut Agent, pidfd: &OwnedFd, commands: &mut Commands) -> Result<(), HelperError> {
    for control in agent.asked() {
        match control {
            Control::Signal(number) => {
                if let Some(named) = Signal::from_named_raw(number) {
                    signal(pidfd, named)?;
                }
            }
            Control::Exec(request) => {
                if let Some(report) = commands.start(&request, pidfd) {
                    agent.tell(&report);
                }
            }
        }
    }
    Ok(())
}

/// Copies what is there, at most `turns` reads of it; at its end the output is closed.
fn drain(
    output: &mut Option<File>,
    mut keep: impl FnMut(&[u8]),
    turns: usize,
) -> Result<(), HelperError> {
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..turns {
        let Some(file) = output else { break };
        match file.read(&mut chunk) {
            Ok(0) => *output = None,
            Ok(count) => keep(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal that nobody has open any more.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => *output = None,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn reap(pid: Pid) -> Result<WaitStatus, HelperError> {
    let waited = waitpid(Some(pid), WaitOptions::empty()).map_err(io::Error::from)?;
    waited.map(|(_, status)| status).ok_or(HelperError::NoPid)
}

/// A container that has just ended needs no signal.
fn signal(pidfd: &OwnedFd, signal: Signal) -> Result<(), HelperError> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}
