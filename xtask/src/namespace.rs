//! Programs of tests as root of a user namespace, for ordinary users: the hidden door by which
//! cargo starts them.
//!
//! The namespace has one id, the user's, which is 0 in it. That is enough for networks, mounts and
//! files of root's; what takes other ids or the machine's own root says so in its tests and is
//! counted.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// First argument of this program that is such a door.
pub const ARGUMENT: &str = "__as-root";
/// By which cargo learns of the door.
pub const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
/// By which cargo tells whose test it starts.
pub const PACKAGE: &str = "CARGO_PKG_NAME";
/// Packages whose tests need a network namespace or root's files; all others see the user.
const PACKAGES: [&str; 3] = ["container-helper", "container-images", "containers"];

/// Becomes the program that the arguments name, if this process was started for that; as root of a
/// namespace where the kernel allows one.
pub fn run_if_runner() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let Some(program) = arguments.next() else {
        eprintln!("{ARGUMENT} wants a program");
        return Some(ExitCode::FAILURE);
    };
    let package = std::env::var(PACKAGE).unwrap_or_default();
    if PACKAGES.contains(&package.as_str())
        && !geteuid().is_root()
        && let Err(error) = enter()
    {
        eprintln!("no user namespace: {error}; the tests that need one will say so");
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("{}: {error}", program.display());
    Some(ExitCode::FAILURE)
}

/// Makes a user namespace in which the caller is root. The process must not have threads yet.
fn enter() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), content)?;
    }
    Ok(())
}
