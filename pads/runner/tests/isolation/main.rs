//! Native code in a consumer's process, as if the sandbox had a mistake: it reaches no file, no
//! socket, no key and no other run.
//!
//! This program is the runner, its own processes, and the tests: as root, and again as an ordinary
//! user. Two mistakes are planted. In `namespaces` the filter of system calls has a hole, namely
//! all of it. In `planted` the compiler makes code of the attacker's choice.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use pad_runner::{Role, Runner, Setting};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};

mod namespaces;
#[path = "../sandbox/native.rs"]
#[allow(dead_code)]
mod native;
mod planted;
#[path = "../sandbox/programs.rs"]
#[allow(dead_code)]
mod programs;

/// The argument of the tests as an ordinary user.
const AS_USER: &str = "as-user";
/// An ordinary user.
const USER: u32 = 65_534;
/// The process that acts without a filter: a role that a consumer's process does not have.
const ACTS: Role = Role::CompileEngine;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match Role::of(&arguments) {
        Some((ACTS, is_isolated)) => {
            namespaces::act(is_isolated);
            return ExitCode::SUCCESS;
        }
        Some((Role::CompileConsumer, _)) if planted::answers() => return ExitCode::SUCCESS,
        Some((role, is_isolated)) => return pad_runner::run_role(role, is_isolated),
        None => {}
    }
    // As the process is that serves a supervisor.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("this process's own setting");
    let runner = Runner::open(Path::new("/proc/self/exe"), Setting::Local).expect("this program");
    let runner = Arc::new(runner);
    namespaces::test(&runner);
    planted::test(&runner);
    let is_again = arguments.first().is_some_and(|argument| argument == AS_USER);
    if geteuid().is_root() && !is_again {
        test_as_user();
    }
    ExitCode::SUCCESS
}

/// The same as an ordinary user, who may not be able to reach this program by its path.
fn test_as_user() {
    let this = File::open("/proc/self/exe").expect("this program");
    fcntl_setfd(&this, FdFlags::empty()).expect("a descriptor to pass on");
    let mut command = Command::new(format!("/proc/self/fd/{}", this.as_raw_fd()));
    command.arg(AS_USER).uid(USER).gid(USER).current_dir("/");
    assert!(command.status().expect("a process").success());
}
