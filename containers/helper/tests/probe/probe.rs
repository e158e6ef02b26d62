//! What containers run in tests: says what it sees and what it may do. Linked statically by the
//! test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use std::{env, fs, process, thread};

mod attacks;

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

/// System calls with arguments that do nothing where they are allowed, x86_64.
const CALLS: [(&str, i64, [i64; 3]); 15] = [
    ("getppid", 110, [0, 0, 0]),
    ("unshare_nothing", 272, [0, 0, 0]),
    ("unshare_user", 272, [0x1000_0000, 0, 0]),
    ("mount", 165, [0, 0, 0]),
    ("io_uring_setup", 425, [0, 0, 0]),
    ("keyctl", 250, [0, -3, 0]),
    ("clone3", 435, [0, 0, 0]),
    ("socket_vsock", 41, [40, 1, 0]),
    ("socket_vsock_above_32_bits", 41, [(1 << 32) + 40, 1, 0]),
    ("socket_unix", 41, [1, 1, 0]),
    ("personality_asked_above_32_bits", 135, [-1, 0, 0]),
    ("subvolume", 16, [-1, 0x5000_940e, 0]),
    ("subvolume_above_32_bits", 16, [-1, (1 << 32) + 0x5000_940e, 0]),
    ("snapshot", 16, [-1, 0x5000_9417, 0]),
    ("clone_of_a_file", 16, [-1, 0x4004_9409, -1]),
];

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let argument = arguments.get(2).map(String::as_str).unwrap_or_default();
    match arguments.get(1).map(String::as_str) {
        Some("exit") => {
            println!("to standard output");
            eprintln!("to standard error");
            process::exit(argument.parse().expect("code"));
        }
        Some("sleep") => loop {
            thread::sleep(Duration::from_secs(60));
        },
        Some("ready") => {
            thread::sleep(Duration::from_millis(argument.parse().expect("milliseconds")));
            fs::write("/ready", "").expect("file");
            loop {
                thread::sleep(Duration::from_secs(60));
            }
        }
        Some("exists") => process::exit(i32::from(!fs::exists(argument).expect("path"))),
        Some("serve") => serve(argument),
        Some("ask") => ask(argument),
        Some("calls") => calls(),
        Some("report") => report(),
        Some("owns") => owns(argument),
        Some("put") => fs::write(argument, "said").expect("write"),
        Some("get") => arguments[2..].iter().for_each(|path| get(path)),
        Some("confined") => confined(),
        _ if attacks::attack(&arguments) => {}
        other => panic!("unknown command {other:?}"),
    }
}

/// Owner of a directory and of a file that it makes there.
fn owns(directory: &str) {
    let made = format!("{directory}/made");
    fs::write(&made, "").expect("its own directory");
    for path in [directory, &made] {
        let owner = fs::metadata(path).expect("owner");
        println!("{} {}", owner.uid(), owner.gid());
    }
}

/// Answers every connection with what it said, in capitals.
fn serve(port: &str) {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("listen");
    for mut stream in listener.incoming().flatten() {
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("read");
        stream.write_all(said.to_uppercase().as_bytes()).expect("write");
    }
}

/// Asks a server by name, as often as it takes for it to listen.
fn ask(address: &str) {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => eprintln!("{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    stream.write_all(b"hello").expect("write");
    stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    println!("answer={answer}");
}

/// The error number of each call, 0 if it succeeded.
fn calls() {
    for (name, number, [a, b, c]) in CALLS {
        // SAFETY: the arguments are numbers or null pointers; the kernel checks them.
        let result = unsafe { syscall(number, a, b, c) };
        let error = if result < 0 { std::io::Error::last_os_error().raw_os_error() } else { Some(0) };
        println!("call {name}={}", error.expect("a number"));
    }
}

/// Lets two names change places at once.
fn exchange(one: &str, other: &str) -> std::io::Result<()> {
    let [one, other] = [one, other].map(|path| std::ffi::CString::new(path).expect("no NUL"));
    // SAFETY: renameat2 of two NUL-terminated paths that live until it returns.
    let result = unsafe { syscall(316, -100i64, one.as_ptr(), -100i64, other.as_ptr(), 2i64) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The owner of a file, and what is in it.
fn get(path: &str) {
    let owner = fs::metadata(path).expect("file").uid();
    println!("{path}={owner} {}", fs::read_to_string(path).expect("text"));
}

/// Ends well if this process is confined as process 1 is.
fn confined() {
    let of = |process: &str| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("status");
        let kept = ["Uid:", "Gid:", "Groups:", "CapInh", "CapEff:", "CapPrm", "CapBnd:", "CapAmb", "NoNewPrivs:", "Seccomp"];
        let lines = status.lines().filter(|line| kept.iter().any(|kept| line.starts_with(kept)));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            lines.push(format!("{:?}", fs::read_link(format!("/proc/{process}/ns/{kind}"))));
        }
        for file in ["uid_map", "oom_score_adj"] {
            lines.push(fs::read_to_string(format!("/proc/{process}/{file}")).expect("readable"));
        }
        lines.join("\n")
    };
    // The cgroup namespace is that of the container, whatever cgroup the command is in.
    let (own, first) = (of("self"), of("1"));
    assert!(own == first, "{own}\nis not\n{first}");
    assert!(process::id() != 1 && env::var("PATH").is_ok());
}

fn report() {
    println!("arguments={:?}", env::args().skip(2).collect::<Vec<_>>());
    println!("cwd={}", env::current_dir().expect("cwd").display());
    for name in ["PATH", "HOSTNAME", "FROM_IMAGE", "FROM_SERVICE", "HOME"] {
        println!("{name}={}", env::var(name).unwrap_or_default());
    }
    for line in fs::read_to_string("/proc/self/status").expect("status").lines() {
        let wanted = ["Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"];
        if wanted.iter().any(|wanted| line.starts_with(wanted)) {
            println!("{}", line.replace('\t', " ").trim_end());
        }
    }
    let ids = fs::read_to_string("/proc/self/uid_map").expect("ids");
    println!("ids={}", ids.split_whitespace().collect::<Vec<_>>().join(" "));
    for path in ["/", "/bin/probe"] {
        println!("owner {path}={}", fs::metadata(path).expect("file").uid());
    }
    println!("pid={}", process::id());
    println!("hostname={}", fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname").trim());
    println!("hosts={:?}", fs::read_to_string("/etc/hosts").expect("hosts").lines().collect::<Vec<_>>());
    for path in ["/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/timer_list"] {
        println!("masked {path}={:?}", fs::read(path).map(|bytes| bytes.len()).map_err(|error| error.kind()));
    }
    for path in ["/sys/firmware", "/sys/devices/virtual/misc/tdx_guest", "/sys/kernel/security", "/sys/kernel/config"] {
        println!("masked {path}={:?}", fs::read_dir(path).map(Iterator::count).map_err(|error| error.kind()));
    }
    for path in ["/proc/sys/kernel/hostname", "/sys/written", "/etc/hosts", "/proc/sysrq-trigger"] {
        println!("write {path}={:?}", fs::write(path, "x").map_err(|error| error.kind()));
    }
    println!("write /written={:?}", fs::write("/written", "x").map_err(|error| error.kind()));
    let path = c"/dev/made";
    // SAFETY: mknod of a NUL-terminated path; character device 1:1 is /dev/mem.
    let made = unsafe { syscall(133, path.as_ptr(), 0o020_600, 0x101) };
    println!("mknod={made}");
    let mut disks: Vec<String> = fs::read_dir("/dev").expect("dev").flatten().map(|e| e.file_name().into_string().expect("name")).collect();
    disks.sort();
    println!("dev={}", disks.join(" "));
    println!("links={}", fs::read_to_string("/proc/net/route").expect("route").lines().count());
}
