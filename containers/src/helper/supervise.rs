//! Watching a running container: its output, its end, and what the agent asks meanwhile.
//!
//! One thread, one `poll`. The first process's end is the container's end: the kernel kills whatever else
//! is in its process namespace.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, pidfd_send_signal, waitpid};

use super::HelperError;
use super::control::Agent;
use super::log::Log;
use super::wire::{Control, ExecEnd, ExecOutcome, Report};

/// One read of a container's output.
const CHUNK_BYTES: usize = 16 << 10;

/// Reads before the agent is listened to again, however much a container prints.
const CHUNKS_A_TURN: usize = 16;

/// What is watched.
pub(super) struct Watched {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: Pid,
    /// Standard output and standard error.
    pub(super) outputs: [OwnedFd; 2],
    pub(super) log: Log,
}

/// Returns when the container has ended and all its output is written.
pub(super) fn until_end(watched: Watched, agent: &mut Agent) -> Result<WaitStatus, HelperError> {
    let Watched { pidfd, pid, outputs, mut log } = watched;
    let hello = Report::Running { pid: pid.as_raw_nonzero().get() };
    let mut outputs: Vec<Option<File>> = outputs.map(|fd| Some(File::from(fd))).into();
    for output in outputs.iter().flatten() {
        set_nonblocking(output)?;
    }
    loop {
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(agent.descriptors().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        polled.extend(outputs.iter().flatten().map(|file| PollFd::new(file, PollFlags::IN)));
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let ended = !polled[0].revents().is_empty();
        for output in &mut outputs {
            drain(output, &mut log, if ended { usize::MAX } else { CHUNKS_A_TURN })?;
        }
        if ended {
            return reap(pid);
        }
        agent.accept(&hello);
        obey(agent, &pidfd)?;
    }
}

/// Carries out what was asked.
fn obey(agent: &mut Agent, pidfd: &OwnedFd) -> Result<(), HelperError> {
    for control in agent.asked() {
        match control {
            Control::Signal(number) => {
                if let Some(named) = Signal::from_named_raw(number) {
                    signal(pidfd, named)?;
                }
            }
            Control::Exec(request) => {
                let end = ExecEnd::Failed { message: "commands are not run yet".to_owned() };
                let outcome = ExecOutcome { end, output: String::new() };
                agent.tell(&Report::Executed { number: request.number, outcome });
            }
        }
    }
    Ok(())
}

/// Copies what is there, at most `turns` reads of it; at its end the output is closed.
fn drain(output: &mut Option<File>, log: &mut Log, turns: usize) -> Result<(), HelperError> {
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..turns {
        let Some(file) = output else { break };
        match file.read(&mut chunk) {
            Ok(0) => *output = None,
            Ok(count) => log.write(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
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

fn set_nonblocking(file: &File) -> Result<(), HelperError> {
    let flags = fcntl_getfl(file).map_err(io::Error::from)?;
    Ok(fcntl_setfl(file, flags | OFlags::NONBLOCK).map_err(io::Error::from)?)
}
