//! Watching a running container: its output, its end, and what the agent asks meanwhile.
//!
//! One thread, one `poll`. The first process's end is the container's end: the kernel kills whatever else
//! is in its process namespace.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};

use super::HelperError;
use super::log::Log;
use super::wire::{Control, MAX_LINE_BYTES, Report};

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
pub(super) fn until_end(watched: Watched) -> Result<Report, HelperError> {
    let Watched { pidfd, pid, outputs, mut log } = watched;
    let mut outputs: Vec<Option<File>> = outputs.map(|fd| Some(File::from(fd))).into();
    for output in outputs.iter().flatten() {
        set_nonblocking(output)?;
    }
    let mut control = ControlPipe::open()?;
    loop {
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(control.file.as_ref().map(|file| PollFd::new(file, PollFlags::IN)));
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
        control.obey(&pidfd)?;
    }
}

/// Copies what is there, at most `turns` reads of it; at its end the output is closed.
fn drain(output: &mut Option<File>, log: &mut Log, turns: usize) -> Result<(), HelperError> {
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..turns {
        let Some(file) = output else { break };
        match file.read(&mut chunk) {
            Ok(0) => *output = None,
            Ok(count) => log.write(&chunk[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn reap(pid: Pid) -> Result<Report, HelperError> {
    let waited = waitpid(Some(pid), WaitOptions::empty()).map_err(io::Error::from)?;
    let status = waited.map(|(_, status)| status).ok_or(HelperError::NoPid)?;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ok(Report::Exited { code }),
        (None, Some(signal)) => Ok(Report::Killed { signal }),
        (None, None) => Err(HelperError::NoPid),
    }
}

/// The agent's end of standard input.
struct ControlPipe {
    /// `None` once the agent closed it.
    file: Option<File>,
    line: Vec<u8>,
}

impl ControlPipe {
    fn open() -> Result<Self, HelperError> {
        let file = File::from(rustix::stdio::stdin().as_fd().try_clone_to_owned()?);
        set_nonblocking(&file)?;
        Ok(Self { file: Some(file), line: Vec::new() })
    }

    /// Carries out what was asked; kills the container when nobody can ask any more.
    fn obey(&mut self, pidfd: &OwnedFd) -> Result<(), HelperError> {
        let mut chunk = [0; 512];
        while let Some(file) = &mut self.file {
            match file.read(&mut chunk) {
                Ok(0) => {
                    self.file = None;
                    signal(pidfd, Signal::KILL)?;
                }
                Ok(count) => self.take(&chunk[..count], pidfd)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], pidfd: &OwnedFd) -> Result<(), HelperError> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > MAX_LINE_BYTES {
                    return Err(HelperError::RequestTooLong);
                }
                continue;
            }
            let Control::Signal(number) = serde_json::from_slice(&self.line).map_err(HelperError::Request)?;
            self.line.clear();
            if let Some(named) = Signal::from_named_raw(number) {
                signal(pidfd, named)?;
            }
        }
        Ok(())
    }
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
