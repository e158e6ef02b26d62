//! Second stage: process 1 of the sandbox. Mounts, gives up its powers, runs the steps.

use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::sethostname;

use super::enter::{die_with_parent, map_ids};
use super::{SandboxError, Spec, Step, mounts};

pub(super) fn run(spec: &Spec) -> Result<ExitCode, SandboxError> {
    die_with_parent()?;
    mounts::enter_root(spec)?;
    sethostname(&spec.hostname).map_err(|e| SandboxError::Refused("a host name", e))?;
    // A user namespace inside the first: the commands see the wished ids and have
    // no power over the mounts.
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|e| SandboxError::Refused("a second user namespace", e))?;
    map_ids(spec.uid, 0, 0)?;
    umask(Mode::from_bits_truncate(spec.umask));
    for step in &spec.steps {
        if !run_step(step, spec)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_step(step: &Step, spec: &Spec) -> Result<bool, SandboxError> {
    let [program, arguments @ ..] = &step.argv[..] else {
        return Err(SandboxError::Usage);
    };
    eprintln!("+ {}", step.argv.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(&step.dir)
        .env_clear()
        .envs(&spec.env)
        .status();
    match status {
        Ok(status) if status.success() => Ok(true),
        Ok(status) => {
            eprintln!("{program} ended with {status}");
            Ok(false)
        }
        Err(error) => {
            eprintln!("{program} cannot be started: {error}");
            Ok(false)
        }
    }
}
