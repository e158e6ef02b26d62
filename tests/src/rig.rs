//! A virtual machine that mounts a disk as the guest's agent does (`tests/rig`), on the image's own
//! kernel. Between two mounts of a served disk a test is the host, and changes what it likes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use image::newc::{self, Node, Tree};

use crate::guest::{DataDisk, Guest, Host};
use crate::nbd::{Export, Exports, Server};
use crate::served_disk::{Disk, Image};

/// Bytes of a command and of an answer, as in `tests/rig/main.rs`.
const MESSAGE_BYTES: usize = 4096;
/// Serial of the disk with commands.
const CONTROL_SERIAL: &str = "dstyx-rig";
/// How long one command may take: it writes or reads a few MiB, emulated.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long the machine may live: a thousand cases.
const LIFE: Duration = Duration::from_secs(3 * 3600);

/// The machine. It is killed when this is dropped.
#[derive(Debug)]
pub struct Machine {
    guest: Guest,
    _server: Server,
    commands: Sender<String>,
    answers: Receiver<String>,
}

/// A machine whose disk the test serves.
#[derive(Debug)]
pub struct Rig {
    machine: Machine,
    disk: Arc<Mutex<Disk>>,
}

/// What reading all files came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Blocks and lists that are as they were written.
    pub equal: u64,
    /// Those that gave an error.
    pub failed: u64,
    /// Those that were something else.
    pub wrong: u64,
    /// Some of what failed or was wrong.
    pub told: String,
}

impl Machine {
    /// Boots the kernel of `image` with the program `init` and a disk of its own, a file.
    pub fn start(init: &Path, image: &Path, disk_bytes: u64) -> Self {
        Self::with(init, image, Exports::new(), |_| DataDisk::Fresh(disk_bytes))
    }

    fn with(
        init: &Path,
        image: &Path,
        mut exports: Exports,
        data_disk: impl FnOnce(&Server) -> DataDisk,
    ) -> Self {
        let (commands, receiver) = channel();
        let (sender, answers) = channel();
        let control = Control { commands: receiver, answers: sender };
        exports.insert("control", Arc::new(Mutex::new(control)));
        let server = Server::start(exports);
        let directory = tempfile::tempdir().unwrap();
        let initrd = directory.path().join("initrd");
        fs::write(&initrd, archive(init, image)).unwrap();
        let node = serde_json::json!({
            "driver": "raw", "node-name": "control", "file": server.node("control"),
        });
        let device = format!("virtio-blk-pci,drive=control,serial={CONTROL_SERIAL}");
        let host = Host {
            vcpus: 1,
            memory_mib: 512,
            emulator: None,
            initrd: Some(initrd),
            data_disk: data_disk(&server),
            more_arguments: ["-blockdev", &node.to_string(), "-device", &device]
                .map(str::to_owned)
                .to_vec(),
            timeout: LIFE,
            ..Host::default()
        };
        let machine = Self { guest: host.start(image), _server: server, commands, answers };
        // The first command is answered once the machine has booted, and has read its initrd.
        machine.does("remember nothing");
        machine
    }

    /// The answer to a command: what follows `ok`, or the fault.
    pub fn asks(&self, command: &str) -> Result<String, String> {
        self.commands.send(command.to_owned()).unwrap();
        let answer = self.answers.recv_timeout(TIMEOUT);
        let answer = answer
            .unwrap_or_else(|_| panic!("no answer to {command:?}:\n{}", self.guest.console()));
        match answer.strip_prefix("ok ") {
            Some(answer) => Ok(answer.to_owned()),
            None => Err(answer),
        }
    }

    /// The answer to a command that must succeed.
    pub fn does(&self, command: &str) -> String {
        self.asks(command).unwrap_or_else(|fault| {
            panic!("{command:?}: {fault}\n{}", self.guest.console());
        })
    }

    /// What the machine's console shows.
    pub fn console(&self) -> String {
        self.guest.console()
    }
}

impl Rig {
    /// Boots the kernel of `image` with the program `init` and an empty disk.
    pub fn start(init: &Path, image: &Path, disk_bytes: u64) -> Self {
        let disk = Arc::new(Mutex::new(Disk::new(Image::empty(disk_bytes))));
        let served = Arc::clone(&disk) as Arc<Mutex<dyn Export>>;
        let exports = Exports::from([("data", served)]);
        let data_disk = |server: &Server| DataDisk::Served(server.node("data"));
        let machine = Machine::with(init, image, exports, data_disk);
        Self { machine, disk }
    }

    /// The content of the disk. Nothing may be mounted when it is replaced.
    pub fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// The answer to a command: what follows `ok`, or the fault.
    pub fn asks(&self, command: &str) -> Result<String, String> {
        self.machine.asks(command)
    }

    /// The answer to a command that must succeed.
    pub fn does(&self, command: &str) -> String {
        self.machine.does(command)
    }

    /// What the machine's console shows.
    pub fn console(&self) -> String {
        self.machine.console()
    }

    /// Reads all files that should be there.
    pub fn check(&self) -> Outcome {
        let answer = self.does("check");
        let mut parts = answer.splitn(4, ' ');
        let [equal, failed, wrong] =
            std::array::from_fn(|_| parts.next().unwrap().parse().unwrap());
        Outcome { equal, failed, wrong, told: parts.next().unwrap_or_default().to_owned() }
    }
}

/// The disk with commands: its second block is read when there is one, its first has answers.
struct Control {
    commands: Receiver<String>,
    answers: Sender<String>,
}

impl Export for Control {
    fn bytes(&self) -> u64 {
        2 * MESSAGE_BYTES as u64
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) {
        if offset != MESSAGE_BYTES as u64 {
            return;
        }
        // The test has ended.
        let Ok(command) = self.commands.recv() else { return };
        to[..command.len()].copy_from_slice(command.as_bytes());
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        if offset == 0 {
            // The test has ended.
            let _ = self.answers.send(String::from_utf8_lossy(&data[..end]).into_owned());
        }
    }

    fn flush(&mut self) {}
}

/// An initramfs with the program, the libraries that it loads, and the image's empty file systems.
fn archive(init: &Path, image: &Path) -> Vec<u8> {
    let of_image = image::initrd::list(&fs::read(image.join("initrd")).unwrap()).unwrap();
    let mut tree = Tree::new();
    for directory in ["proc", "sys", "mnt"] {
        tree.insert(directory.to_owned(), Node::Directory { mode: 0o755 });
    }
    for (path, node) in of_image {
        if path == "dev" || path.starts_with("dev/") {
            tree.insert(path, node);
        } else if let (true, Node::File { data, .. }) = (path.ends_with(".template"), node) {
            put(&mut tree, &path, data);
        }
    }
    put(&mut tree, "init", fs::read(init).unwrap());
    for library in libraries(init) {
        put(&mut tree, library.to_str().unwrap(), fs::read(&library).unwrap());
    }
    newc::write(&tree, 0).unwrap()
}

/// Puts an executable file into a tree, with the directories above it.
fn put(tree: &mut Tree, path: &str, data: Vec<u8>) {
    let path = path.trim_start_matches('/');
    for (end, _) in path.match_indices('/') {
        tree.insert(path[..end].to_owned(), Node::Directory { mode: 0o755 });
    }
    tree.insert(path.to_owned(), Node::File { mode: 0o755, data });
}

/// The loader and the libraries of a program of this machine; none if it is static.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths =
        text.lines().filter_map(|line| line.split_whitespace().find(|it| it.starts_with('/')));
    paths.map(PathBuf::from).collect()
}
