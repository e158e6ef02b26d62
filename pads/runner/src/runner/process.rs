//! A process that this one started, and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::cgroup::Cgroup;
use crate::sys::Launched;

/// The process, which is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
    ended: Option<ExitStatus>,
    /// Removed after the process is gone.
    _cgroup: Option<Cgroup>,
}

impl Process {
    pub(super) fn new(launched: Launched, cgroup: Option<Cgroup>) -> Self {
        let Launched { pid, pidfd } = launched;
        Self { pid, pidfd, ended: None, _cgroup: cgroup }
    }

    /// Its number, which is its own until it was waited for.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process ends.
    ///
    /// # Errors
    /// If the kernel does not know it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let id = || WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd));
        let status = loop {
            match waitid(id(), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                found => break found?.ok_or(io::ErrorKind::NotFound)?,
            }
        };
        // As `waitpid` encodes it, without the note about a core file.
        let code = status.exit_status().map(|code| code << 8).or(status.terminating_signal());
        let ended = ExitStatus::from_raw(code.ok_or(io::ErrorKind::InvalidData)?);
        self.ended = Some(ended);
        Ok(ended)
    }

    /// Ends the process; how it ended, which it may have done before.
    ///
    /// # Errors
    /// If the kernel does not know it.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.ended.is_none() {
            pidfd_send_signal(&self.pidfd, Signal::KILL)?;
        }
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // it fails only for a process that has been waited for
    }
}
