//! A consumer's process that runs native code, as if its program had found a mistake of ours: after
//! the lockdown it reaches no file, socket, program or process.
//!
//! The test starts itself again with the name of an act. That process locks itself down, acts, and
//! says on its stream whether the act worked; the kernel kills it if it is not allowed.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use pad_runner::consumer::lockdown;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Resource, Signal, getpid, getrlimit, kill_process};

/// Names the act.
const ACT: &str = "PAD_RUNNER_TEST_ACT";
/// The act worked.
const WORKED: u8 = 1;
/// The act was refused by something else than the filter.
const FAILED: u8 = 0;
/// `SIGSYS`: how the filter kills.
const SIGSYS: i32 = 31;
/// Room for the test's own process.
const DATA_BYTES: u64 = 1 << 30;

/// `SIGKILL`: how the limit of time ends a process.
const SIGKILL: i32 = 9;
/// Seconds of the processor that the test's own process has.
const CPU_SECS: u32 = 1;
/// An act that has no end.
const ENDLESS: &str = "never end";

/// What native code might try, and whether it worked.
const ACTS: &[(&str, fn() -> bool)] = &[
    ("open a file", || File::open("/etc/passwd").is_ok()),
    ("write a file", || fs::write("/tmp/pad-runner-test", "x").is_ok()),
    ("list a directory", || fs::read_dir("/").is_ok()),
    ("look at a file", || fs::metadata("/").is_ok()),
    ("remove a file", || fs::remove_file("/tmp/pad-runner-test").is_ok()),
    ("read another process", || fs::read("/proc/1/environ").is_ok()),
    ("read its own memory by a file", || File::open("/proc/self/mem").is_ok()),
    ("connect", || TcpStream::connect("127.0.0.1:1").is_ok()),
    ("listen", || TcpListener::bind("127.0.0.1:0").is_ok()),
    ("send", || UdpSocket::bind("127.0.0.1:0").is_ok()),
    ("connect to a local socket", || UnixStream::connect("/run/dstyx/pads.sock").is_ok()),
    ("listen on a local socket", || UnixListener::bind("/tmp/pad-runner-test.sock").is_ok()),
    ("make a pair of sockets", || UnixStream::pair().is_ok()),
    ("become another program", || {
        let _ = Command::new("/bin/true").exec();
        false
    }),
    ("start a program", || Command::new("/bin/true").status().is_ok()),
    ("start a thread", || thread::Builder::new().spawn(|| ()).is_ok()),
    ("kill its parent", || {
        Pid::from_raw(1).is_some_and(|pid| kill_process(pid, Signal::CONT).is_ok())
    }),
    ("kill itself", || kill_process(getpid(), Signal::USR1).is_ok()),
    ("make a file in memory", || memfd_create("x", MemfdFlags::CLOEXEC).is_ok()),
    ("write to the standard output", || rustix::io::write(rustix::stdio::stdout(), b"x").is_ok()),
    ("write to the standard error", || rustix::io::write(rustix::stdio::stderr(), b"x").is_ok()),
    ("raise a limit", || getrlimit(Resource::Nofile).current == Some(0)),
];
/// What it may: a control, without which nothing above is shown.
const MAY: &[(&str, fn() -> bool)] = &[
    ("do nothing", || true),
    ("take memory", || vec![1_u8; 16 << 20].iter().all(|byte| *byte == 1)),
    ("write to the stream", || rustix::io::write(rustix::stdio::stdin(), b"x").is_ok()),
];

#[test]
fn native_code_reaches_nothing_after_the_lockdown() {
    for (act, _) in ACTS {
        let (heard, status) = again(act);
        assert_eq!((heard, status.signal()), (Vec::new(), Some(SIGSYS)), "{act}: {status}");
    }
}

#[test]
fn what_a_process_may_works_after_the_lockdown() {
    for (act, _) in MAY {
        let (heard, status) = again(act);
        assert_eq!(heard.last(), Some(&WORKED), "{act}: {status}");
    }
}

#[test]
fn the_kernel_ends_what_its_parent_does_not() {
    let (heard, status) = again(ENDLESS);
    assert_eq!((heard, status.signal()), (Vec::new(), Some(SIGKILL)), "{status}");
}

/// This test's program, once more, as the process that acts: what its stream said, and its end.
fn again(act: &str) -> (Vec<u8>, ExitStatus) {
    let this = std::env::current_exe().expect("this program");
    let (mut ours, theirs) = UnixStream::pair().expect("sockets");
    let mut command = Command::new(this);
    command.args(["--exact", "lockdown::the_process_that_acts", "--nocapture"]);
    command.env(ACT, act).stdin(std::os::fd::OwnedFd::from(theirs));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    drop(command);
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).expect("the stream");
    (heard, child.and_then(|mut child| child.wait()).expect("a process"))
}

/// Does nothing unless it was started by [`again`].
#[test]
fn the_process_that_acts() {
    let Ok(name) = std::env::var(ACT) else { return };
    let endless: (&str, fn() -> bool) = (ENDLESS, || {
        loop {
            std::hint::spin_loop();
        }
    });
    let mut known = ACTS.iter().chain(MAY).chain([&endless]);
    let (_, act) = known.find(|(known, _)| *known == name).expect("a known act");
    lockdown::close_and_hide().expect("the first half");
    lockdown::finish(DATA_BYTES, CPU_SECS).expect("the second half");
    let worked = if act() { WORKED } else { FAILED };
    rustix::io::write(rustix::stdio::stdin(), &[worked]).expect("the stream");
    std::process::exit(0);
}

#[test]
fn a_process_with_an_environment_does_not_start() {
    let runner = env!("CARGO_BIN_EXE_pad-runner");
    let run = |environment: &[(&str, &str)]| {
        let mut command = Command::new(runner);
        command.arg("consumer").env_clear().envs(environment.iter().copied());
        let output = command.stdin(Stdio::null()).output().expect("a process");
        (output.status.success(), output.stdout, output.stderr)
    };
    assert_eq!(run(&[("A", "b")]), (false, Vec::new(), Vec::new()));
    assert_eq!(run(&[]), (false, Vec::new(), Vec::new()));
}

#[test]
fn the_program_has_no_other_role() {
    let runner = env!("CARGO_BIN_EXE_pad-runner");
    for arguments in [&[][..], &["engine"], &["consumer", "x"]] {
        let output = Command::new(runner).args(arguments).output().expect("a process");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("hint:"), "{arguments:?}");
    }
}
