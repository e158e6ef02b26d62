//! Looks for plain text outside the sandbox: in files of a run, and where programs leave some.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the data of Pads is made of, and nothing else: 48 bytes.
pub const MARK: &str = "a mark in plain text that is in no other files;\n";
/// Where programs leave files that nobody named: core files of processes without a directory of
/// their own, temporary files, files in memory.
const HABITS: [&str; 5] = ["/", "/tmp", "/var/tmp", "/dev/shm", "/run"];
/// Files that are larger are no program's of these tests.
const MOST_BYTES: u64 = 1 << 30;
/// Names the directory in which a process of this program leaves a core file.
const DUMPS: &str = "PAD_RUNNER_TEST_DUMPS";

/// Files with the mark, below a directory, or new in a directory of habit.
pub fn found_in(tree: &Path, since: SystemTime) -> Vec<PathBuf> {
    let mut files = Vec::new();
    below(tree, &mut files);
    assert!(!files.is_empty(), "nothing was searched");
    for directory in HABITS {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()).filter(|path| is_new(path, since)));
    }
    files.retain(|file| has_mark(file));
    files
}

fn below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("one").path();
        match path.is_dir() {
            true => below(&path, files),
            false => files.push(path),
        }
    }
}

fn is_new(path: &Path, since: SystemTime) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| {
        let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        about.is_file() && changed >= since && about.len() < MOST_BYTES
    })
}

/// Whether a file has the mark, or the text of its bytes.
fn has_mark(path: &Path) -> bool {
    let mut bytes = Vec::new();
    // One that is gone, or another user's, is nobody's of these tests.
    let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    has(MARK.as_bytes()) || has(hex::encode(MARK).as_bytes())
}

/// The control: without it the searches of other tests show nothing.
#[test]
fn what_is_left_in_plain_is_found() {
    let (tree, begun) = (tempfile::tempdir().expect("a directory"), SystemTime::now());
    let write = |name: &str, bytes: &[u8]| {
        let path = tree.path().join(name);
        let mut file = File::create(&path).expect("a file");
        file.write_all(bytes).expect("room");
        path
    };
    write("sealed", &[7; 100_000]);
    assert_eq!(found_in(tree.path(), begun), Vec::<PathBuf>::new());
    fs::create_dir(tree.path().join("cache")).expect("a directory");
    let spool = [&[7; 70_001][..], MARK.as_bytes(), &[7; 3]].concat();
    for (name, bytes) in
        [("cache/spool", spool), ("log", format!("error: {}\n", hex::encode(MARK)).into_bytes())]
    {
        let path = write(name, &bytes);
        assert_eq!(found_in(tree.path(), begun), std::slice::from_ref(&path));
        fs::remove_file(path).expect("a file");
    }
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("the kernel's");
    if pattern.starts_with(['|', '/']) || getrlimit(Resource::Core).maximum == Some(0) {
        println!("core files go to {pattern:?}, where none is looked for");
        return;
    }
    dump(tree.path());
    assert_eq!(found_in(tree.path(), begun).len(), 1, "the core file");
}

/// Lets a process of this program that has the mark in its memory end with a core file there.
fn dump(directory: &Path) {
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new(this);
    command.args(["--exact", "leaks::the_process_that_dumps"]).env(DUMPS, directory);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).status();
    assert!(!status.expect("a process").success());
}

/// Does nothing unless it was started by [`dump`].
#[test]
fn the_process_that_dumps() {
    let Some(directory) = std::env::var_os(DUMPS) else { return };
    std::env::set_current_dir(directory).expect("a directory");
    let most = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).expect("one's own limit");
    let memory = MARK.repeat(3);
    std::hint::black_box(&memory);
    std::process::abort();
}
