//! A compiler that makes code of the attacker's choice, as a mistake of Cranelift's would.
//!
//! A whole run goes on as in a guest: the program's process locks itself down, its dataset is
//! opened, and then the processor runs what an attacker wrote instead of what the program says.
//! Meanwhile another run waits with its data open, and ends well afterwards.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use pad_run::frames::{self, Ending, Request};
use pad_run::{Answer, Contents, Judge, Pad, Proposal};
use pad_runner::consumer::Compiler;
use pad_runner::consumer::middleware::{ConsumerLimits, Job, Middleware, RunError, run};
use pad_runner::{Artefact, Cache, CacheKey, CompileLimits, Runner};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use self::Argument::{Here, Number};
use crate::programs::{self, Hospital, SECRET, consumer_limits};

/// Ends a component that carries what is to be taken for its code.
const MARK: &[u8; 8] = b"planted\n";
/// Bytes of a limit on the compiler's stream.
const LIMITS_BYTES: usize = 12;
/// Stores of the program, each of a number that its code has in it.
const STORES: u64 = 60;
const FIRST_STORED: u64 = 0x5ec0_de00_5ec0_de00;
/// The bytes before such a number: an instruction without its operand.
const OPERATION_BYTES: usize = 2;
/// Longer than all acts take on an emulated machine.
const WAITING: Duration = Duration::from_secs(3600);
/// `SIGSYS`: how the filter kills.
const SIGSYS: i32 = 31;
/// `SIGTRAP`: how the code ends if the kernel refused what it asked for.
const SIGTRAP: i32 = 5;
/// The largest number of a system call that is tried, beyond all that there are.
const MOST_CALLS: u64 = 480;
/// Of these, one in so many is tried where there is little time.
const SAMPLED: u64 = 9;

/// `uretprobe` and `uprobe`, about which the kernel asks no filter: they fail where no probe is.
const PROBES: [u64; 2] = [335, 336];

/// An argument of a system call.
#[derive(Clone, Copy)]
enum Argument {
    Number(u64),
    /// The address of the act's bytes.
    Here,
}

/// What the attacker's code does: one system call, with bytes that it has beside it.
#[derive(Clone)]
struct Act {
    name: String,
    call: u64,
    arguments: Vec<Argument>,
    bytes: Vec<u8>,
}

fn act(name: &str, call: libc::c_long, arguments: &[Argument], bytes: &[u8]) -> Act {
    let (arguments, bytes) = (arguments.to_vec(), bytes.to_vec());
    Act { name: name.to_owned(), call: call as u64, arguments, bytes }
}

/// What is killed, with arguments that would work elsewhere: files and sockets.
fn acts() -> Vec<Act> {
    let (zero, one) = (Number(0), Number(1));
    let file = Number(libc::AT_FDCWD as u64);
    // A socket's address: the loopback interface, and port 22.
    let address = [2, 0, 0, 22, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        act("open", libc::SYS_open, &[Here, zero], b"/etc/passwd\0"),
        act("open at", libc::SYS_openat, &[file, Here, zero], b"/etc/passwd\0"),
        act("open so", libc::SYS_openat2, &[file, Here, Here, Number(24)], &[0; 24]),
        act("create", libc::SYS_creat, &[Here, one], b"/tmp/pad-runner-test\0"),
        act("look", libc::SYS_stat, &[Here, Here], b"/\0"),
        act("its own memory", libc::SYS_open, &[Here, zero], b"/proc/self/mem\0"),
        act("others' environment", libc::SYS_open, &[Here, zero], b"/proc/1/environ\0"),
        act("a socket", libc::SYS_socket, &[Number(2), one, zero], &[]),
        act("a local socket", libc::SYS_socket, &[one, one, zero], &[]),
        act("a pair of sockets", libc::SYS_socketpair, &[one, one, zero, Here], &[0; 8]),
        act("connect its stream", libc::SYS_connect, &[zero, Here, Number(16)], &address),
        act("send a message", libc::SYS_sendmsg, &[zero, Here, zero], &[0; 56]),
        act("send somewhere", libc::SYS_sendto, &[zero, Here, one, zero, Here], &address),
    ]
}

/// The same of other processes, of the kernel and of itself.
fn more_acts(parent: u64) -> Vec<Act> {
    let (parent, zero, one) = (Number(parent), Number(0), Number(1));
    let (page, none) = (Number(4096), Number(u64::MAX));
    let kill = Number(libc::SIGKILL as u64);
    vec![
        act("trace", libc::SYS_ptrace, &[Number(0x4206), parent, zero, zero], &[]),
        act("read a key", libc::SYS_process_vm_readv, &[parent, Here, one, Here, one], &[0; 16]),
        act(
            "write another",
            libc::SYS_process_vm_writev,
            &[parent, Here, one, Here, one],
            &[0; 16],
        ),
        act("kill", libc::SYS_kill, &[parent, kill], &[]),
        act("kill all", libc::SYS_kill, &[none, kill], &[]),
        act("kill a thread", libc::SYS_tgkill, &[parent, parent, kill], &[]),
        act("a process's descriptor", libc::SYS_pidfd_open, &[parent, zero], &[]),
        act("take a descriptor", libc::SYS_pidfd_getfd, &[Number(3), zero, zero], &[]),
        act("a ring", libc::SYS_io_uring_setup, &[one, Here], &[0; 120]),
        act("a filter for the kernel", libc::SYS_bpf, &[Number(5), Here, Number(128)], &[0; 128]),
        act("faults of its memory", libc::SYS_userfaultfd, &[one], &[]),
        act("mount", libc::SYS_mount, &[Here, Here, Here, zero, zero], b"tmpfs\0"),
        act("another root", libc::SYS_chroot, &[Here], b"/\0"),
        act("other namespaces", libc::SYS_unshare, &[Number(libc::CLONE_NEWUSER as u64)], &[]),
        act("another's namespaces", libc::SYS_setns, &[zero, zero], &[]),
        act("a process", libc::SYS_fork, &[], &[]),
        act("a thread", libc::SYS_clone, &[Number(libc::CLONE_VM as u64), zero], &[]),
        act("a process so", libc::SYS_clone3, &[Here, Number(64)], &[0; 64]),
        act("a program", libc::SYS_execve, &[Here, zero, zero], b"/bin/true\0"),
        act("a program of a file", libc::SYS_execveat, &[one, Here, zero, zero, page], b"\0"),
        act("a file in memory", libc::SYS_memfd_create, &[Here, zero], b"x\0"),
        act("counters", libc::SYS_perf_event_open, &[Here, zero, none, none, zero], &[0; 64]),
        act("keys of the kernel", libc::SYS_keyctl, &[zero, none, one], &[]),
        act("a descriptor", libc::SYS_dup, &[zero], &[]),
        act("its stream's settings", libc::SYS_ioctl, &[zero, zero, zero], &[]),
        act("dumps of itself", libc::SYS_prctl, &[Number(4), one], &[]),
        act("a limit", libc::SYS_prlimit64, &[zero, zero, Here, zero], &[0xff; 16]),
        act("another filter", libc::SYS_seccomp, &[one, zero, Here], &[0; 16]),
        act("capabilities", libc::SYS_capset, &[Here, Here], &[0; 24]),
        act("another user", libc::SYS_setuid, &[zero], &[]),
        act("memory of all", libc::SYS_shmget, &[zero, page, Number(0o1666)], &[]),
        act("a pipe", libc::SYS_pipe2, &[Here, zero], &[0; 8]),
        act("the time", libc::SYS_clock_gettime, &[zero, Here], &[0; 16]),
        act("sleep", libc::SYS_nanosleep, &[Here, zero], &[0; 16]),
    ]
}

/// The same of its descriptors and its memory.
fn acts_of_memory() -> Vec<Act> {
    let (zero, one) = (Number(0), Number(1));
    let writable = Number((libc::PROT_READ | libc::PROT_WRITE) as u64);
    let executable = Number((libc::PROT_READ | libc::PROT_EXEC) as u64);
    let (page, none) = (Number(4096), Number(u64::MAX));
    let anonymous = libc::MAP_ANONYMOUS as u64;
    let private = libc::MAP_PRIVATE as u64 | anonymous;
    let map = |protection, flags| [zero, page, protection, Number(flags), none, zero];
    vec![
        act("write to its program", libc::SYS_write, &[one, Here, one], b"x"),
        act("read its program", libc::SYS_read, &[one, Here, one], b"x"),
        act("code", libc::SYS_mmap, &map(executable, private), &[]),
        act("memory as code", libc::SYS_mprotect, &[zero, page, executable], &[]),
        act("memory that no limit counts", libc::SYS_mmap, &map(writable, 1 | anonymous), &[]),
        act("a stack that grows", libc::SYS_mmap, &map(writable, 0x100 | private), &[]),
        act("a large page", libc::SYS_mmap, &map(writable, 0x40000 | private), &[]),
        // The number with the bit of another way to call the kernel.
        act("another way", libc::SYS_getrandom | 0x4000_0000, &[zero, zero, zero], &[]),
    ]
}

/// What is allowed, which shows that the attacker's code runs and says how it ends.
fn controls() -> Vec<(Act, Option<i32>)> {
    let (zero, none) = (Number(0), Number(u64::MAX));
    let writable = Number((libc::PROT_READ | libc::PROT_WRITE) as u64);
    let private = Number((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64);
    let map = |bytes| [zero, Number(bytes), writable, private, none, zero];
    vec![
        (act("yield", libc::SYS_sched_yield, &[], &[]), None),
        (act("a little memory", libc::SYS_mmap, &map(1 << 20), &[]), None),
        (act("more memory than it has", libc::SYS_mmap, &map(1 << 40), &[]), Some(SIGTRAP)),
        (act("memory that is not there", libc::SYS_getrandom, &[zero, none], &[]), Some(SIGTRAP)),
        (act("end", libc::SYS_exit_group, &[zero], &[]), None),
    ]
}

impl Act {
    /// Its code: the call, then a well-ordered end if it worked, or a trap.
    fn code(&self) -> Vec<u8> {
        /// How each argument's register is loaded with a number, and with an address nearby.
        const LOADS: [([u8; 2], [u8; 3]); 6] = [
            ([0x48, 0xbf], [0x48, 0x8d, 0x3d]),
            ([0x48, 0xbe], [0x48, 0x8d, 0x35]),
            ([0x48, 0xba], [0x48, 0x8d, 0x15]),
            ([0x49, 0xba], [0x4c, 0x8d, 0x15]),
            ([0x49, 0xb8], [0x4c, 0x8d, 0x05]),
            ([0x49, 0xb9], [0x4c, 0x8d, 0x0d]),
        ];
        const LOAD_BYTES: usize = 10;
        const LEA_BYTES: usize = 7;
        /// Call; to the trap if the result is negative; `exit_group(0)`; the trap.
        const END: &[u8] = &[
            0x0f, 0x05, 0x48, 0x85, 0xc0, 0x78, 0x09, 0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05,
            0xcc,
        ];
        let here = LOAD_BYTES * (1 + self.arguments.len()) + END.len();
        let mut code = [&[0x48, 0xb8][..], &self.call.to_le_bytes()].concat();
        for (argument, (number, address)) in self.arguments.iter().zip(LOADS) {
            let next = code.len() + LEA_BYTES;
            match argument {
                Number(value) => code.extend([&number[..], &value.to_le_bytes()].concat()),
                Here => {
                    code.extend(address);
                    code.extend(((here - next) as u32).to_le_bytes());
                    code.extend([0x90; LOAD_BYTES - LEA_BYTES]);
                }
            }
        }
        code.extend(END);
        code.extend(&self.bytes);
        code
    }
}

/// In the compiler's process: gives what the component carries for its code, if it carries any.
pub fn answers() -> bool {
    let component = rustix::stdio::stdout().try_clone_to_owned().map(File::from);
    let Some(code) = component.and_then(|component| carried(&component)).expect("a component")
    else {
        return false;
    };
    let said = || -> io::Result<()> {
        let mut stream =
            UnixStream::from(rustix::stdio::stdin().try_clone_to_owned().expect("a stream"));
        stream.read_exact(&mut [0; LIMITS_BYTES])?;
        stream.write_all(&[1])?;
        stream.write_all(&(code.len() as u64).to_le_bytes())?;
        stream.write_all(&code)
    };
    said().expect("the stream");
    true
}

fn carried(component: &File) -> io::Result<Option<Vec<u8>>> {
    let mut end = [0; 4 + MARK.len()];
    let Some(at) = component.metadata()?.len().checked_sub(end.len() as u64) else {
        return Ok(None);
    };
    component.read_exact_at(&mut end, at)?;
    let (length, mark) = end.split_first_chunk().expect("longer than a number");
    if mark != MARK {
        return Ok(None);
    }
    let mut code = vec![0; u32::from_le_bytes(*length) as usize];
    let at = at - code.len() as u64;
    component.read_exact_at(&mut code, at)?;
    Ok(Some(code))
}

/// A component with code that its compiler is to give for it, in a section without meaning.
fn carrying(component: &[u8], code: &[u8]) -> Vec<u8> {
    let name = b"x";
    let payload = [code, &(code.len() as u32).to_le_bytes(), MARK].concat();
    let mut size = 1 + name.len() + payload.len();
    let mut section = vec![0];
    while size >= 0x80 {
        section.push(size as u8 | 0x80);
        size >>= 7;
    }
    section.extend([size as u8, name.len() as u8]);
    [component, &section, name, &payload].concat()
}

/// The program, its code, and the part of that which is replaced.
struct Planted {
    compiler: Compiler,
    component: Vec<u8>,
    code: Vec<u8>,
    room: std::ops::Range<usize>,
}

impl Planted {
    fn new(runner: &Arc<Runner>) -> Self {
        let stores: String = (0..STORES)
            .map(|store| {
                let number = FIRST_STORED + store;
                format!("(i64.store (i32.const {}) (i64.const {number}))", 8 * store)
            })
            .collect();
        let text = format!(r#"(func (export "run") (param i32 i32) (call $opened) {stores})"#);
        let component = programs::consumer(&text);
        let compiler = Compiler::new(CompileLimits::CONSUMER, Arc::clone(runner)).expect("one");
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path(), CacheKey::new(Zeroizing::new([1; 32])));
        compiler.compile(&component, Some(&cache)).expect("a right component");
        let mut files = fs::read_dir(directory.path()).expect("the cache");
        let file = files.next().expect("one file").expect("a name").path();
        let code = fs::read(file).expect("the file").split_off(32);
        let place = |number: u64| {
            let bytes = number.to_le_bytes();
            let found = code.windows(bytes.len()).position(|window| window == bytes);
            found.expect("a number of the program") - OPERATION_BYTES
        };
        let room = place(FIRST_STORED)..place(FIRST_STORED + STORES - 1);
        Self { compiler, component, code, room }
    }

    /// The program with this act in place of its own code.
    fn program(&self, code: &[u8]) -> Artefact {
        assert!(code.len() <= self.room.len(), "{} bytes of code", code.len());
        let mut planted = self.code.clone();
        planted[self.room.start..][..code.len()].copy_from_slice(code);
        let carrying = carrying(&self.component, &planted);
        self.compiler.compile(&carrying, None).expect("a right component").0
    }
}

/// A run that waits in its check until it is told to go on.
struct Waiting {
    hospital: Hospital,
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl Judge for Waiting {
    fn dataset(&mut self, pads: &[Pad]) -> Answer {
        self.hospital.dataset(pads)
    }

    fn output(&mut self, pads: &[Pad], proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        self.begun.send(()).expect("somebody waits");
        self.go_on.recv().expect("somebody says so");
        self.hospital.output(pads, proposal, data)
    }
}

impl Middleware for Waiting {
    fn size(&mut self, pad: Pad) -> io::Result<u64> {
        self.hospital.size(pad)
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()> {
        self.hospital.data(pad, to)
    }

    fn contents(&self, pad: Pad) -> Contents {
        self.hospital.contents(pad)
    }
}

/// Every act, beside a run whose data is open.
pub fn test(runner: &Arc<Runner>) {
    let planted = Planted::new(runner);
    let other = programs::consumer(
        r#"(func (export "run") (param i32 i32)
             (call $opened)
             (call $read (i32.const 0) (i64.const 0) (i32.const 6) (i32.const 0))
             (if (i32.eqz (call $output (i32.load (i32.const 0)) (i32.const 6)))
               (then (unreachable))))"#,
    );
    let (other, _) = planted.compiler.compile(&other, None).expect("a right component");
    let ((begun, begins), (go, go_on)) = (channel(), channel());
    thread::scope(|scope| {
        // A failed act drops it, so that the other run does not wait any longer.
        let go = go;
        let waiting = scope.spawn(|| {
            let mut waiting = Waiting { hospital: Hospital::default(), begun, go_on };
            let limits = ConsumerLimits { wall: WAITING, ..consumer_limits() };
            let job = Job { program: &other, pads: 1, plain: b"", limits };
            let ended = run(runner, &job, &mut waiting);
            (ended.map_err(|error| error.to_string()), waiting.hospital.allowed)
        });
        begins.recv().expect("the other run is open");
        let tried = all(&planted, runner);
        go.send(()).expect("the other run waits");
        let (ended, left) = waiting.join().expect("no panic");
        assert_eq!((ended, left), (Ok(()), vec![SECRET.into()]));
        let user = if geteuid().is_root() { "root" } else { "a user" };
        println!("as {user}: code of the attacker's was ended at each of {tried} acts");
    });
}

fn all(planted: &Planted, runner: &Arc<Runner>) -> usize {
    let ends = |name: &str, code: &[u8]| {
        let program = planted.program(code);
        let job = Job { program: &program, pads: 1, plain: b"", limits: consumer_limits() };
        let mut hospital = Hospital::default();
        let ended = run(runner, &job, &mut hospital);
        assert_eq!((&hospital.opened[..], hospital.allowed.len()), (&[0][..], 0), "{name}");
        ended
    };
    let died = |act: &Act| match ends(&act.name, &act.code()) {
        Err(RunError::Died(signal)) => signal,
        ended => panic!("{}: {ended:?}", act.name),
    };
    for (control, expected) in controls() {
        assert_eq!(died(&control), expected, "{}", control.name);
    }
    // It can say on its stream what the process says: here, that the program ended well.
    let said = frames::encode(&Request::Ended(Ending::Returned)).to_vec();
    let length = Number(said.len() as u64);
    let speaks = act("speak", libc::SYS_write, &[Number(0), Here, length], &said);
    ends(&speaks.name, &speaks.code()).expect("an end by its own frame");
    let parent = u64::from(std::process::id());
    let mut acts = [acts(), more_acts(parent), acts_of_memory()].concat();
    acts.extend(calls());
    for act in &acts {
        assert_eq!(died(act), Some(SIGSYS), "{}", act.name);
    }
    // The kernel's door for programs of 32 bits, `getpid` there: closed, or not there at all.
    let old = ends("the old door", &[0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xcc]);
    assert!(matches!(old, Err(RunError::Died(Some(signal))) if signal != SIGTRAP), "{old:?}");
    acts.len() + 1
}

/// System calls by their numbers, but those that the filter lets through: a sample, or all.
fn calls() -> impl Iterator<Item = Act> {
    let allowed = [
        libc::SYS_brk,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_madvise,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_read,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_write,
    ];
    let step = if std::env::var_os("DSTYX_LONG").is_some() { 1 } else { SAMPLED };
    let numbers = (0..MOST_CALLS).filter(move |number| number % step == 0);
    let numbers = numbers.filter(|number| !PROBES.contains(number));
    let others = numbers.filter(move |number| !allowed.contains(&(*number as libc::c_long)));
    others.map(|number| act(&format!("call {number}"), number as libc::c_long, &[], &[]))
}
