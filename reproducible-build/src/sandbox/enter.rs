//! First stage: leaves the host's namespaces and starts the second stage in the new ones.

use std::path::Path;
use std::process::{Command, ExitCode};

use fs_err as fs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};

use super::{ARGUMENT, SETUP_FAILED, SandboxError};

pub(super) fn enter(spec: &Path) -> Result<ExitCode, SandboxError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET;
    unshare(namespaces).map_err(|e| SandboxError::Refused("a user namespace", e))?;
    map_ids(0, uid, gid)?;
    die_with_parent()?;
    // The process that was unshared stays in the old pid namespace; its child is
    // process 1 of the new one.
    let status = Command::new("/proc/self/exe").arg(ARGUMENT).arg("init").arg(spec).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(SETUP_FAILED)))
}

/// Makes the caller's ids appear as `inside` in its new user namespace.
pub(super) fn map_ids(inside: u32, uid: u32, gid: u32) -> Result<(), SandboxError> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{inside} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{inside} {gid} 1"))?;
    Ok(())
}

/// A builder that is killed takes its sandbox with it.
pub(super) fn die_with_parent() -> Result<(), SandboxError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| SandboxError::Refused("a death signal", e))
}
