//! A consumer's process that runs native code, as if its program had found a mistake of ours: after
//! the lockdown it reaches no file, socket, program or process.
//!
//! The test starts itself again with the name of an act. That process locks itself down, acts, and
//! says on its stream whether the act worked; the kernel kills it if it is not allowed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pad_runner::lockdown;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Pid, Resource, Signal, getpid, getrlimit, kill_process};

use crate::native::{self, DATA};

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
/// `SIGSEGV`: how the processor refuses its counter.
const SIGSEGV: i32 = 11;
/// An act that looks at the time, for which the C library reads the processor's counter.
const CLOCK: &str = "look at the time";
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
    ("map the data for execution", || {
        received() && native::map(DATA, libc::PROT_READ | libc::PROT_EXEC, SHARED).is_some()
    }),
    ("map the data for writing", || {
        received() && native::map(DATA, libc::PROT_READ | libc::PROT_WRITE, SHARED).is_some()
    }),
    ("map the data for itself", || {
        received() && native::map(DATA, libc::PROT_READ, libc::MAP_PRIVATE).is_some()
    }),
    ("map another file", || native::map(1, libc::PROT_READ, SHARED).is_some()),
    ("make the data executable", || {
        mapped().is_some_and(|start| native::protect(start, libc::PROT_READ | libc::PROT_EXEC))
    }),
    ("read the data as a file", || received() && native::call(libc::SYS_pread64, 0, 0)),
    ("write the data as a file", || received() && native::call(libc::SYS_pwrite64, 0, 0)),
    ("cut the data", || received() && native::call(libc::SYS_ftruncate, 0, 0)),
    ("copy the data's descriptor", || received() && native::call(libc::SYS_dup, 0, 0)),
    ("receive in another way", || native::receive(libc::MSG_PEEK).is_some()),
    ("send a descriptor", || received() && native::send(0, &[DATA])),
];
/// What it may: a control, without which nothing above is shown.
const MAY: &[(&str, fn() -> bool)] = &[
    ("do nothing", || true),
    ("take memory", || vec![1_u8; 16 << 20].iter().all(|byte| *byte == 1)),
    ("write to the stream", || rustix::io::write(rustix::stdio::stdin(), b"x").is_ok()),
    ("receive the data and read it", || mapped().is_some_and(|start| native::first(start) == MARK)),
    ("receive no second file", || received() && native::receive(RECEIVE) == Some(true)),
    ("not make the data writable", || {
        mapped().is_some_and(|start| !native::protect(start, libc::PROT_READ | libc::PROT_WRITE))
    }),
];

/// How the data is mapped.
const SHARED: libc::c_int = libc::MAP_SHARED;
/// How descriptors are received.
const RECEIVE: libc::c_int = libc::MSG_CMSG_CLOEXEC;
/// What the data begins with.
const MARK: u8 = 7;

/// Receives the data as a process does.
fn received() -> bool {
    native::receive(RECEIVE) == Some(false)
}

/// Maps it as a process does.
fn mapped() -> Option<usize> {
    received().then(|| native::map(DATA, libc::PROT_READ, SHARED))?
}

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
fn native_code_has_no_clock_after_the_lockdown() {
    let (heard, status) = again(CLOCK);
    // The kernel is asked where its C library may not read the counter.
    assert!(matches!(status.signal(), Some(SIGSEGV | SIGSYS)) && heard.is_empty(), "{status}");
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
    let data = data();
    let data = data.as_raw_fd();
    assert!(native::send(ours.as_raw_fd(), &[data]) && native::send(ours.as_raw_fd(), &[data; 2]));
    let mut command = Command::new(this);
    command.args(["--exact", "lockdown::the_process_that_acts", "--nocapture"]);
    command.env(ACT, act).stdin(std::os::fd::OwnedFd::from(theirs));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    drop(command);
    let mut heard = Vec::new();
    match ours.read_to_end(&mut heard) {
        // It ended without having read all.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        ended => drop(ended.expect("the stream")),
    }
    (heard, child.and_then(|mut child| child.wait()).expect("a process"))
}

/// A sealed file in memory, as the middleware makes it.
fn data() -> File {
    let data = memfd_create("data", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let mut data = File::from(data.expect("memory"));
    data.write_all(&[MARK; 4096]).expect("memory");
    let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&data, seals).expect("a file that can be sealed");
    data
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
    let clock: (&str, fn() -> bool) = (CLOCK, || Instant::now().elapsed() < Duration::MAX);
    let mut known = ACTS.iter().chain(MAY).chain([&endless, &clock]);
    let (_, act) = known.find(|(known, _)| *known == name).expect("a known act");
    lockdown::close_and_hide(false).expect("the first half");
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
    for arguments in [&[][..], &["engine"], &["consumer", "x"], &["serve", "x"]] {
        let output = Command::new(runner).args(arguments).output().expect("a process");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("hint:"), "{arguments:?}");
    }
}
