//! A process that runs native code in its namespaces, without its filter of system calls.
//!
//! It takes the first half of the lockdown and not the second, which would end it at once, acts,
//! and says what worked.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use pad_runner::Runner;
use pad_runner::lockdown;
use pad_runner::runner::{Missing, Process, sealed};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, geteuid, getuid, kill_process};

use crate::ACTS as ROLE;
use crate::native;

/// The name of a local socket that is no file.
const NAME: &[u8] = b"pad-runner-test-isolation";
/// Bytes of memory of a process.
const MEMORY_BYTES: u64 = 256 << 20;
/// The first of the ids that no user has.
const FIRST_ID: u32 = 0xffff_0000;

/// The first descriptor that a process did not begin with, and more than one has.
const FIRST_FILE: RawFd = 3;
const MOST_FILES: RawFd = 4096;

/// What a process is told: a port that somebody listens on, and processes that are there. One with
/// no port takes memory first.
#[derive(Clone, Copy)]
struct There {
    port: u16,
    others: [i32; 2],
}

/// What native code might try, and whether it worked. Each works here, in the tests' own process.
const ACTS: &[(&str, fn(There) -> bool)] = &[
    ("open a file", |_| File::open("/etc/passwd").is_ok()),
    ("find anything", |_| fs::read_dir("/").is_ok_and(|all| all.count() > 0)),
    ("find anything above", |_| fs::read_dir("/..").is_ok_and(|all| all.count() > 0)),
    ("look at a process", |_| fs::metadata("/proc/self").is_ok()),
    ("open a device", |_| File::open("/dev/null").is_ok()),
    ("connect", |there| TcpStream::connect(("127.0.0.1", there.port)).is_ok()),
    ("connect to a local socket", |_| {
        let address = SocketAddr::from_abstract_name(NAME);
        address.and_then(|address| UnixStream::connect_addr(&address)).is_ok()
    }),
    ("find its parent", |there| is_there(there.others[0])),
    ("find another process", |there| is_there(there.others[1])),
    ("name its parent by a descriptor", |there| {
        native::of_number(libc::SYS_pidfd_open, there.others[0])
    }),
    ("use what it inherited", |_| (FIRST_FILE..MOST_FILES).any(native::is_open)),
];
/// What nobody may there, root or not.
const NEVER: &[(&str, fn(There) -> bool)] = &[
    ("write a file", |_| fs::write("/x", "x").is_ok()),
    ("make a directory", |_| fs::create_dir("/x").is_ok()),
    ("leave its root", |_| rustix::process::chroot("/").is_ok()),
    ("end another process", |there| {
        Pid::from_raw(there.others[1]).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }),
    ("trace its parent", |there| native::traced(there.others[0])),
    ("trace another process", |there| native::traced(there.others[1])),
    ("read its parent's memory", |there| {
        native::memory_of(libc::SYS_process_vm_readv, there.others[0])
    }),
    ("read another's memory", |there| {
        native::memory_of(libc::SYS_process_vm_readv, there.others[1])
    }),
    ("write another's memory", |there| {
        native::memory_of(libc::SYS_process_vm_writev, there.others[1])
    }),
    ("mount", |_| native::mounted(c"tmpfs")),
    ("mount the kernel's view of processes", |_| native::mounted(c"proc")),
    ("move to another network", |_| native::of_number(libc::SYS_unshare, libc::CLONE_NEWNET)),
    ("load a filter into the kernel", |_| native::loaded()),
];

fn is_there(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The process that acts.
pub fn act(is_isolated: bool) {
    lockdown::begin(is_isolated).expect("the first half");
    let (mut said, stream) = ([0; 10], rustix::stdio::stdin());
    assert_eq!(rustix::io::read(stream, &mut said).expect("the stream"), said.len());
    let number = |at: usize| i32::from_le_bytes(said[at..at + 4].try_into().expect("four"));
    let port = u16::from_le_bytes([said[0], said[1]]);
    let there = There { port, others: [number(2), number(6)] };
    if there.port == 0 {
        native::take_memory(2 * MEMORY_BYTES as usize);
    }
    let mut worked: Vec<u8> = ACTS.iter().chain(NEVER).map(|(_, act)| act(there).into()).collect();
    worked.extend(getuid().as_raw().to_le_bytes());
    rustix::io::write(stream, &worked).expect("the stream");
    let _ = rustix::io::read(stream, &mut said); // until the other side is gone
}

/// A process of this program, and the stream to it.
fn start(runner: &Runner) -> (Process, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let nothing = sealed(&[]).expect("memory");
    let process = runner.start(ROLE, theirs, &nothing, MEMORY_BYTES);
    (process.expect("a process"), ours)
}

fn tell(stream: &mut UnixStream, there: There) {
    stream.write_all(&there.port.to_le_bytes()).expect("the stream");
    for other in there.others {
        stream.write_all(&other.to_le_bytes()).expect("the stream");
    }
}

/// What works in such a process, and what the kernel says of it.
pub fn test(runner: &Runner) {
    let is_root = geteuid().is_root();
    for missing in runner.missing() {
        println!("as {}: not cut off from {missing}", if is_root { "root" } else { "a user" });
        match missing {
            // The machine that runs the tests may have no cgroup to give.
            Missing::Cgroup(_) => {}
            Missing::Id => assert!(!is_root, "root can give ids"),
            Missing::Namespaces(error) => panic!("no namespaces: {error}"),
        }
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = SocketAddr::from_abstract_name(NAME).expect("a name");
    let _local = UnixListener::bind_addr(&address).expect("a name that is free");
    // What a careless part of the middleware might leave for whoever is started.
    let inherited = File::open("/proc/self/exe").expect("this program");
    fcntl_setfd(&inherited, FdFlags::empty()).expect("a descriptor to pass on");
    let (other, _stream) = start(runner);
    let (process, mut stream) = start(runner);
    let there = There {
        port: tcp.local_addr().expect("a port").port(),
        others: [std::process::id() as i32, other.pid() as i32],
    };
    tell(&mut stream, there);
    let mut worked = vec![9; ACTS.len() + NEVER.len()];
    stream.read_exact(&mut worked).expect("the stream");
    for ((name, act), worked) in ACTS.iter().zip(&worked) {
        assert!(act(there), "{name}: does not work here either");
        assert_eq!(*worked, 0, "{name}");
    }
    for ((name, _), worked) in NEVER.iter().zip(&worked[ACTS.len()..]) {
        assert_eq!(*worked, 0, "{name}");
    }
    let mut inside = [0; 4];
    stream.read_exact(&mut inside).expect("the stream");
    assert!(u32::from_le_bytes(inside) >= FIRST_ID);
    outside(&process, &other, is_root);
    if !runner.missing().iter().any(|missing| matches!(missing, Missing::Cgroup(_))) {
        cgroup(&process);
        takes_memory(runner, &other);
    }
    if is_root && runner.missing().is_empty() {
        println!("nothing is missing that a guest requires");
    }
    assert!(inherited.as_raw_fd() >= FIRST_FILE);
    println!("as {}: {} acts reach nothing", if is_root { "root" } else { "a user" }, worked.len());
}

/// What the kernel says about a process.
fn outside(process: &Process, other: &Process, is_root: bool) {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("a process");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert_eq!(field("NSpid").last().map(String::as_str), Some("1"));
    let users: Vec<u32> = field("Uid").iter().map(|id| id.parse().expect("an id")).collect();
    match is_root {
        true => {
            assert!(users.iter().all(|id| *id >= FIRST_ID), "{users:?}");
            assert!(field("Groups").is_empty());
            let first = fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid()));
            assert_eq!(first.expect("a score"), "1000\n");
            let status = fs::read_to_string(format!("/proc/{}/status", other.pid()));
            assert!(!status.expect("a process").contains(&users[0].to_string()));
        }
        false => assert!(users.iter().all(|id| *id == geteuid().as_raw()), "{users:?}"),
    }
    if is_root {
        for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}"));
            let (own, its) = (of("self").expect("ours"), of(&process.pid().to_string()));
            assert_ne!(own, its.expect("its"), "{namespace}");
        }
    }
}

/// The bounds of the cgroup of a process.
fn cgroup(process: &Process) {
    let own = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).expect("a process");
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("version 2");
    let read = |file: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path).join(file));
    assert_eq!(read("memory.max").expect("a limit"), format!("{MEMORY_BYTES}\n"));
    assert_eq!(read("pids.max").expect("a limit"), "1\n");
    assert_eq!(read("cgroup.procs").expect("a cgroup"), format!("{}\n", process.pid()));
    println!("its cgroup is {path}");
}

/// Memory that no other limit counts ends at that of the cgroup, and with it the process alone.
fn takes_memory(runner: &Runner, other: &Process) {
    let (mut process, mut stream) = start(runner);
    tell(&mut stream, There { port: 0, others: [0; 2] });
    assert_eq!(process.wait().expect("its end").signal(), Some(Signal::KILL.as_raw()));
    let status = fs::read_to_string(format!("/proc/{}/status", other.pid()));
    assert!(status.expect("a process").contains("(sleeping)"));
    println!("a process that took more than {MEMORY_BYTES} bytes of memory was ended");
}
