//! The agent as a child: started with nothing but its program, its status reports read from a pipe,
//! restarted when it ends.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::status::Report;

use crate::memory::AgentMemory;
use crate::sockets::Sockets;

/// The agent's program.
const PROGRAM: &str = "/bin/guest-agent";
/// Its whole environment: where runtimes look for programs.
const PATH: (&str, &str) = ("PATH", "/bin");
/// Open files that a process may have, and how far it may raise that: what service managers grant,
/// where the kernel's own limit (4096) is too low for servers.
const FILES: (u64, u64) = (1024, 524_288);
/// How willingly the kernel ends the agent and the containers' helpers when memory ends: later than
/// all else, but before the machine stands still. Helpers give containers a score of their own.
const OOM_SCORE: &str = "-999";
/// First wait before a restart; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// An agent that lived this long is not one that keeps ending.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Ends in a row after which the guest gives up, about 40 seconds of trying.
const MAX_ENDS: u32 = 10;

/// Sets the limits that the agent and all containers inherit, and the score that survives, which
/// the agent and all helpers inherit. The kernel never ends PID 1 itself.
pub fn set_limits() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, FILES.0, FILES.1)?;
    fs::write("/proc/self/oom_score_adj", OOM_SCORE)
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    pid: Pid,
    reports: Option<ChildStdout>,
    since: Instant,
}

impl Agent {
    /// Starts it with the sockets that it answers on and the memory of the agents before it.
    pub fn start(now: Instant, sockets: &Sockets, memory: &AgentMemory) -> io::Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env(PATH.0, PATH.1).current_dir("/").process_group(0);
        let mut child = command.stdin(sockets.for_agent(memory)?).stdout(Stdio::piped()).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { pid: Pid::from_raw(pid), reports: child.stdout.take(), since: now })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Where its reports arrive, until it closes its end.
    pub fn reports(&self) -> Option<BorrowedFd<'_>> {
        self.reports.as_ref().map(AsFd::as_fd)
    }

    /// One report, to be called when the pipe is readable; nothing when it was closed or the bytes
    /// are no report.
    pub fn read_report(&mut self) -> Option<Report> {
        let mut bytes = [0; Report::BYTES];
        if self.reports.as_mut()?.read_exact(&mut bytes).is_err() {
            // The agent ends, or has: its SIGCHLD says more.
            self.reports = None;
            return None;
        }
        Report::from_bytes(bytes)
    }

    /// Asks it to stop the app and end.
    pub fn stop(&self) {
        // It may have ended a moment ago.
        let _ = kill(self.pid, Signal::SIGTERM);
    }

    /// How long it has been running.
    pub fn lived(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// How often the agent has ended, and so how long to wait for the next start.
#[derive(Debug, Default)]
pub struct Restarts {
    ends: u32,
}

impl Restarts {
    /// Counts an end; gives the wait before the next start, or nothing when it is time to give up.
    pub fn after(&mut self, lived: Duration) -> Option<Duration> {
        self.ends = if lived >= HEALTHY_AFTER { 1 } else { self.ends + 1 };
        (self.ends < MAX_ENDS).then(|| (FIRST_WAIT * (1 << (self.ends - 1))).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut restarts = Restarts::default();
        let waits: Vec<_> = std::iter::from_fn(|| restarts.after(Duration::ZERO))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_long_life_is_forgiven() {
        let mut restarts = Restarts::default();
        restarts.after(Duration::ZERO);
        restarts.after(Duration::ZERO);
        assert_eq!(restarts.after(HEALTHY_AFTER), Some(FIRST_WAIT));
    }
}
