//! Commands in a running container: health checks, confined as the container's first process is.
//!
//! A copy of the helper goes into a cgroup of its own below the container's, joins the container's
//! namespaces by its pidfd, all at once, and starts another copy there, which gives up what the
//! container's process does not have, applies the same filter and becomes the command. The cgroup
//! is how everything that the command started ends with it. libcontainer's own way into a container
//! leaves out the user namespace, so that a command would be the guest's root.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::Executor;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};

use super::executor::Sandboxed;
use super::wire::{ExecEnd, ExecOutcome, ExecRequest, Report};
use super::{cgroup, oom};
use crate::sys;

/// What is kept of a command's output: what a person needs to see why a check failed.
const KEPT_BYTES: usize = 4096;
/// Reads before something else is looked at, however much a command prints: a pipe holds 64 KiB.
const READS_A_TURN: usize = 16;
/// What shells answer for a program that cannot be run.
const NOT_RUN: i32 = 127;
/// What shells add to the number of a signal.
const SIGNALLED: i32 = 128;

/// The commands of one container.
pub(super) struct Commands {
    /// As the container was started.
    spec: Spec,
    executor: Sandboxed,
    cgroup: PathBuf,
    running: Vec<Running>,
}

/// A command that has not ended.
struct Running {
    number: u64,
    pid: Pid,
    pidfd: OwnedFd,
    output: File,
    kept: Vec<u8>,
    deadline: Instant,
    cgroup: PathBuf,
}

impl Commands {
    pub(super) fn new(spec: Spec, executor: Sandboxed, id: &str) -> Self {
        Self { spec, executor, cgroup: cgroup::directory(id), running: Vec::new() }
    }

    /// What to wait on: ends and output.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &dyn AsFd> {
        self.running
            .iter()
            .flat_map(|command| [&command.pidfd as &dyn AsFd, &command.output as &dyn AsFd])
    }

    /// How long nothing needs to be done if nothing happens.
    pub(super) fn wait(&self) -> Option<Duration> {
        let next = self.running.iter().map(|command| command.deadline).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Starts a command in the container of `first`; a report if it cannot be.
    pub(super) fn start(&mut self, request: &ExecRequest, first: &OwnedFd) -> Option<Report> {
        match self.try_start(request, first) {
            Ok(command) => {
                self.running.push(command);
                None
            }
            Err(error) => {
                let end = ExecEnd::Failed { message: error.to_string() };
                Some(Report::Executed {
                    number: request.number,
                    outcome: ExecOutcome { end, output: String::new() },
                })
            }
        }
    }

    fn try_start(&self, request: &ExecRequest, first: &OwnedFd) -> io::Result<Running> {
        let cgroup = self.cgroup.join(format!("exec-{}", request.number));
        fs::create_dir(&cgroup)?;
        let (output, theirs) = io::pipe()?;
        let output = File::from(OwnedFd::from(output));
        super::set_nonblocking(&output)?;
        let pid = sys::in_child(|| {
            enter(&self.spec, &cgroup, first, theirs.into())
                .and_then(|()| sys::in_child(|| self.become_command(&request.arguments)))
                .and_then(end_of)
                .unwrap_or_else(|error| {
                    say(&error);
                    NOT_RUN
                })
        })?;
        let deadline = Instant::now() + Duration::from_millis(request.timeout_millis);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Running {
            number: request.number,
            pid,
            pidfd,
            output,
            kept: Vec::new(),
            deadline,
            cgroup,
        })
    }

    /// In the container: gives up what its process does not have, and becomes the command.
    fn become_command(&self, arguments: &[String]) -> i32 {
        let error = confine(&self.spec).and_then(|process| self.run(process, arguments)).err();
        say(&error.unwrap_or_else(|| io::Error::other("not run")));
        NOT_RUN
    }

    fn run(&self, process: &Process, arguments: &[String]) -> io::Result<()> {
        let variables =
            process.env().iter().flatten().filter_map(|variable| variable.split_once('='));
        let variables: HashMap<String, String> =
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut process = process.clone();
        process.set_args(Some(arguments.to_owned()));
        let mut spec = self.spec.clone();
        spec.set_process(Some(process));
        self.executor.setup_envs(variables).map_err(io::Error::other)?;
        self.executor.exec(&spec).map_err(io::Error::other)
    }

    /// Reads output, and gives a report for each command that ended or took too long.
    pub(super) fn ended(&mut self) -> Vec<Report> {
        let now = Instant::now();
        let mut reports = Vec::new();
        self.running.retain_mut(|command| {
            let report = command.report(now);
            reports.extend(report.clone());
            report.is_none()
        });
        reports
    }
}

impl Running {
    fn report(&mut self, now: Instant) -> Option<Report> {
        self.read();
        let ended = waitpid(Some(self.pid), WaitOptions::NOHANG);
        let end = match ended {
            Ok(Some((_, status))) => ExecEnd::Exited { code: code(status) },
            Ok(None) if now < self.deadline => return None,
            Ok(None) => ExecEnd::TimedOut,
            Err(error) => ExecEnd::Failed { message: error.to_string() },
        };
        // What the command left running ends with it.
        let removed = cgroup::remove(&self.cgroup);
        if end == ExecEnd::TimedOut {
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
        self.read();
        let end = match removed {
            Ok(()) => end,
            Err(error) => ExecEnd::Failed { message: error.to_string() },
        };
        let output = String::from_utf8_lossy(&self.kept).into_owned();
        Some(Report::Executed { number: self.number, outcome: ExecOutcome { end, output } })
    }

    /// Keeps the beginning of what there is to read now.
    fn read(&mut self) {
        let mut chunk = [0; KEPT_BYTES];
        for _ in 0..READS_A_TURN {
            let Ok(count @ 1..) = self.output.read(&mut chunk) else { break };
            let room = KEPT_BYTES - self.kept.len();
            self.kept.extend_from_slice(&chunk[..count.min(room)]);
        }
    }
}

/// Joins the container of the process `first`, whose new children are in it then.
fn enter(spec: &Spec, cgroup: &Path, first: &OwnedFd, output: OwnedFd) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    let score = spec.process().as_ref().and_then(|process| process.oom_score_adj());
    oom::set_score(score.unwrap_or_default())?;
    let nothing = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&output)?;
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own = namespaces.into_iter().flatten().map(|namespace| flag(namespace.typ()));
    Ok(setns(first, own.fold(CloneFlags::empty(), CloneFlags::union))?)
}

fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        // No container has one.
        LinuxNamespaceType::Time => CloneFlags::empty(),
    }
}

/// Takes on user, directory, capabilities and no_new_privs of the container's own process.
fn confine(spec: &Spec) -> io::Result<&Process> {
    let process = spec.process().as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    let calls = SyscallType::Linux.create_syscall();
    setsid()?;
    std::env::set_current_dir(process.cwd())?;
    // A directory that is outside the container has no path in it.
    std::env::current_dir()?;
    let user = process.user();
    let groups: Vec<Gid> =
        user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups)?;
    rustix::thread::set_keep_capabilities(true)?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    for limit in process.rlimits().iter().flatten() {
        calls.set_rlimit(limit).map_err(io::Error::other)?;
    }
    calls.close_range(0).map_err(io::Error::other)?;
    reset_effective(calls.as_ref()).map_err(io::Error::other)?;
    if let Some(capabilities) = process.capabilities() {
        drop_privileges(capabilities, calls.as_ref()).map_err(io::Error::other)?;
    }
    if process.no_new_privileges() == Some(true) {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(process)
}

/// Waits for the command and gives its code.
fn end_of(command: Pid) -> io::Result<i32> {
    let waited = waitpid(Some(command), WaitOptions::empty())?;
    waited.map(|(_, status)| code(status)).ok_or_else(|| io::Error::other("no such process"))
}

fn code(status: WaitStatus) -> i32 {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| SIGNALLED + signal))
        .unwrap_or(NOT_RUN)
}

fn say(error: &io::Error) {
    let _ = writeln!(io::stderr(), "{error}");
}
