//! This program's own file, from which each process of a consumer and each compiler is started, and
//! what such a process is cut off from.
//!
//! A process has user, mount, network, IPC, UTS, cgroup and PID namespaces of its own, in which
//! there is nothing; an id that no user has; and a cgroup. That is for the day on which its filter
//! of system calls has a hole. In a guest all of it is required. On an author's machine the kernel
//! or its administrator may not let an ordinary user have it, so what is missing there is said.

mod cgroup;
mod process;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{getegid, geteuid};

use crate::sys::{self, Isolated, Launch};
use cgroup::{Cgroup, Delegated};
pub use process::Process;

/// The argument after the role of a process that has namespaces of its own.
pub const ISOLATED: &str = "isolated";
/// The first of the ids that no user has: those of containers end below it.
const FIRST_ID: u32 = 0xffff_0000;
/// How many there are. Two processes have the same one only after so many others.
const IDS: u32 = 0xff00;
/// Bytes of memory of the process that shows what is possible.
const PROBE_BYTES: u64 = 256 << 20;

/// What a process is started for: the first argument of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs a consumer program.
    Consumer,
    /// Compiles a consumer program.
    CompileConsumer,
    /// Compiles a policy engine.
    CompileEngine,
    /// Ends at once: shows that a process can be cut off.
    Probe,
}

impl Role {
    /// The argument.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::CompileConsumer => "compile-consumer",
            Self::CompileEngine => "compile-engine",
            Self::Probe => "probe",
        }
    }

    /// The role and whether the process has namespaces of its own.
    pub fn of(arguments: &[impl AsRef<std::ffi::OsStr>]) -> Option<(Self, bool)> {
        let is_isolated = match arguments {
            [_] => false,
            [_, isolated] if isolated.as_ref() == ISOLATED => true,
            _ => return None,
        };
        let all = [Self::Consumer, Self::CompileConsumer, Self::CompileEngine, Self::Probe];
        let role = all.into_iter().find(|role| arguments[0].as_ref() == role.argument())?;
        Some((role, is_isolated))
    }
}

/// Where a run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// In a guest: everything is required.
    Guest,
    /// On an author's machine, for a program that is tried out.
    Local,
}

/// What processes are not cut off from.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// no namespaces of its own
    #[error("namespaces of its own: {0}")]
    Namespaces(io::Error),
    /// the user who started the program
    #[error("a user id of its own: only root can give one")]
    Id,
    /// no cgroup of its own
    #[error("a cgroup of its own: {0}")]
    Cgroup(io::Error),
}

/// What is missing may be missing here, or ends every run.
pub fn decide(setting: Setting, missing: Vec<Missing>) -> Result<Vec<Missing>, RunnerError> {
    match (setting, missing.is_empty()) {
        (Setting::Guest, false) => Err(RunnerError::Missing(missing)),
        _ => Ok(missing),
    }
}

/// Starts processes.
#[derive(Debug)]
pub struct Runner {
    file: File,
    namespaces: Option<Ids>,
    cgroups: Option<Delegated>,
    missing: Vec<Missing>,
    started: AtomicU32,
}

/// Which id a process has outside its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// One that no user has.
    Nameless,
    /// The id of this process.
    Same,
}

impl Runner {
    /// Finds out by starting a process from this file what processes can be cut off from.
    ///
    /// # Errors
    /// In a guest, if anything is missing.
    pub fn open(program: &Path, setting: Setting) -> Result<Self, RunnerError> {
        let file = File::open(program).map_err(RunnerError::Open)?;
        let started = AtomicU32::new(0);
        let mut runner =
            Self { file, namespaces: None, cgroups: None, missing: Vec::new(), started };
        let mut missing = Vec::new();
        match Delegated::take() {
            Ok(cgroups) => runner.cgroups = Some(cgroups),
            Err(error) => missing.push(Missing::Cgroup(error)),
        }
        if let Err(error) = runner.probe(Ids::Nameless) {
            match runner.probe(Ids::Same) {
                Ok(()) => missing.push(Missing::Id),
                Err(_) => missing.push(Missing::Namespaces(error)),
            }
        }
        runner.missing = decide(setting, missing)?;
        Ok(runner)
    }

    /// What processes are not cut off from, which a local run says.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    fn probe(&mut self, ids: Ids) -> io::Result<()> {
        self.namespaces = Some(ids);
        let (_ours, theirs) = UnixStream::pair()?;
        let tried = self.start(Role::Probe, theirs, &sealed(&[])?, PROBE_BYTES);
        let tried = tried.and_then(|mut process| match process.wait()?.code() {
            Some(0) => Ok(()),
            _ => Err(io::Error::other("a process in namespaces of its own did not start")),
        });
        if tried.is_err() {
            self.namespaces = None;
        }
        tried
    }

    /// A process with a stream as its standard input and a file as its standard output.
    ///
    /// # Errors
    /// If the kernel does not let it be, or not in namespaces and a cgroup of its own.
    pub fn start(
        &self,
        role: Role,
        stream: UnixStream,
        file: &File,
        memory_bytes: u64,
    ) -> io::Result<Process> {
        let cgroup = self.cgroups.as_ref().map(|all| all.one(memory_bytes)).transpose()?;
        let null = File::options().write(true).open("/dev/null")?;
        let (go, start) = io::pipe()?;
        let program = beyond(&self.file)?;
        let standard = [beyond(stream)?, beyond(file)?, beyond(null)?];
        let go = beyond(go)?;
        let number = self.started.fetch_add(1, Ordering::Relaxed) % IDS;
        let id = FIRST_ID + number;
        let isolated = self.namespaces.map(|ids| ids.isolated(id)).transpose()?;
        let launched = sys::launch(&Launch {
            program: program.as_fd(),
            argument: role.argument(),
            isolated: isolated.as_ref(),
            standard: [standard[0].as_fd(), standard[1].as_fd(), standard[2].as_fd()],
            go: go.as_fd(),
            cgroup: cgroup.as_ref().map(Cgroup::as_fd),
        })?;
        let process = Process::new(launched, cgroup);
        if self.namespaces == Some(Ids::Nameless) {
            map_ids(process.pid(), id)?;
            end_first(process.pid())?;
        }
        let mut start = start;
        start.write_all(&[1])?;
        Ok(process)
    }
}

/// A copy of a descriptor beyond the standard ones, which the new process replaces.
fn beyond(file: impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(file, 3)?)
}

impl Ids {
    fn isolated(self, id: u32) -> io::Result<Isolated> {
        let maps = match self {
            Self::Nameless => None,
            Self::Same => {
                let (user, group) = (geteuid().as_raw(), getegid().as_raw());
                Some([CString::new(map(id, user))?, CString::new(map(id, group))?])
            }
        };
        Ok(Isolated { argument: CString::new(ISOLATED)?, id, maps })
    }
}

/// An id in a namespace that has no other, and what it is outside.
fn map(inside: u32, outside: u32) -> String {
    format!("{inside} {outside} 1")
}

/// Makes a process have the same id outside, which root alone can do.
fn map_ids(pid: u32, id: u32) -> io::Result<()> {
    let directory = Path::new("/proc").join(pid.to_string());
    fs::write(directory.join("uid_map"), map(id, id))?;
    fs::write(directory.join("gid_map"), map(id, id))
}

/// Makes a process the first to end when the machine has no memory left: its run can be repeated.
fn end_first(pid: u32) -> io::Result<()> {
    fs::write(Path::new("/proc").join(pid.to_string()).join("oom_score_adj"), "1000")
}

/// A file in memory that nobody can change.
pub fn sealed(bytes: &[u8]) -> io::Result<File> {
    let file = memfd_create("given", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, all)?;
    Ok(file)
}

/// Why no process is started.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// the program's file
    #[error("open the program of processes: {0}")]
    Open(io::Error),
    /// something that a guest requires
    #[error("programs cannot be cut off from: {}", list(.0))]
    Missing(Vec<Missing>),
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_requires_all_and_an_authors_machine_says_what_is_missing() {
        let missing = || {
            [Missing::Namespaces(io::ErrorKind::PermissionDenied.into()), Missing::Id]
                .into_iter()
                .chain([Missing::Cgroup(io::ErrorKind::NotFound.into())])
        };
        for one in missing() {
            let text = one.to_string();
            let refused = decide(Setting::Guest, vec![one]).expect_err("required").to_string();
            assert!(refused.ends_with(&text), "{refused}");
        }
        let local = decide(Setting::Local, missing().collect()).expect("an author's machine");
        assert_eq!(local.len(), 3);
        assert!(decide(Setting::Guest, Vec::new()).expect("all is there").is_empty());
    }

    #[test]
    fn a_role_is_one_argument_and_perhaps_a_second() {
        assert_eq!(Role::of(&["consumer"]), Some((Role::Consumer, false)));
        assert_eq!(Role::of(&["compile-engine", "isolated"]), Some((Role::CompileEngine, true)));
        for wrong in [&[][..], &["engine"], &["consumer", "x"], &["consumer", "isolated", "x"]] {
            assert_eq!(Role::of(wrong), None, "{wrong:?}");
        }
    }
}
