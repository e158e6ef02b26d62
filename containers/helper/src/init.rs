//! The helper program in another role: process 1 of a container whose service asks for `init`.
//!
//! It starts the service's program, passes every signal on to it, takes note of the end of whatever
//! is left to process 1, and ends as the program ends. It runs in the container, confined as the
//! program is.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// What shells answer for a program that cannot be run.
const NOT_RUN: i32 = 127;
/// What shells add to the number of a signal.
const SIGNALLED: i32 = 128;

/// The whole role, for the program and arguments `argv`.
pub(super) fn main(argv: Vec<String>) -> ExitCode {
    // Blocked before there is a child, so that none is missed.
    let all = SigSet::all();
    let started = all
        .thread_block()
        .map_err(std::io::Error::from)
        .and_then(|()| sys::in_child(|| run(&argv)));
    match started {
        Ok(child) => until_end(&all, Pid::from_raw(child.as_raw_nonzero().get())),
        Err(error) => {
            say(&format!("init: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// In the child: becomes the program.
fn run(argv: &[String]) -> i32 {
    let Some((program, arguments)) = argv.split_first() else { return NOT_RUN };
    let error = match SigSet::all().thread_unblock() {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error.into(),
    };
    say(&format!("{program}: {error}"));
    NOT_RUN
}

fn until_end(all: &SigSet, child: Pid) -> ExitCode {
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
                }
            }
            // It may have ended meanwhile.
            Ok(signal) => drop(kill(child, signal)),
            // A real-time signal, which has no name.
            Err(_) => {}
        }
    }
}

/// Takes note of everything that has ended; the code if `child` was among it.
fn reap(child: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(SIGNALLED + signal as i32)
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
