//! PID 1 of a virtual machine that tests attack: it mounts the data disk as the guest's agent does,
//! under keys and numbers of the test's choice, and says what it reads there.
//!
//! It is in no image. What decides about the disk is the agent's own source: the table of the
//! encryption, the options of the mount, how a file system is written, and the calls of the
//! kernel. A second disk carries commands: the machine reads one from its second block and writes
//! the answer to its first.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use protocol::disk_template;
use protocol::kms::OpenDiskResponse;
use zeroize::Zeroizing;

use device::Device;
use files::Files;
use generations::Generations;
use key::Key;
use mapper::Mapper;
use moving::{Keys, move_all};
use volumes::Volumes;

mod files;
mod throughput;

// The agent's own.
#[path = "../../guest-agent/src/disk/device.rs"]
mod device;
#[path = "../../guest-agent/src/disk/filling.rs"]
mod filling;
#[allow(dead_code, reason = "the agent uses the rest")]
#[path = "../../guest-agent/src/disk/generations.rs"]
mod generations;
#[path = "../../guest-agent/src/disk/journal.rs"]
mod journal;
#[allow(dead_code, reason = "the agent uses the rest")]
#[path = "../../guest-agent/src/disk/key.rs"]
mod key;
#[path = "../../guest-agent/src/disk/mapper.rs"]
mod mapper;
#[path = "../../guest-agent/src/disk/moving.rs"]
mod moving;
#[path = "../../guest-agent/src/sys.rs"]
mod sys;
#[path = "../../guest-agent/src/upgrade/volumes.rs"]
mod volumes;
#[path = "../../guest-agent/src/disk/xts.rs"]
mod xts;

/// Serial of the disk with commands.
const CONTROL_SERIAL: &str = "dstyx-rig";
/// Bytes of a command and of an answer.
const MESSAGE_BYTES: usize = 4096;
/// The device mapper's name for the open disk.
const NAME: &str = "rig";
/// Where it is mounted.
const MOUNT_POINT: &str = "/mnt";
/// Bytes of the sectors in which sysfs and the device mapper count.
const SECTOR_BYTES: u64 = 512;

/// A message as a disk that is read past the cache wants it.
#[repr(align(4096))]
struct Message([u8; MESSAGE_BYTES]);

fn main() {
    if let Err(error) = serve() {
        println!("the rig has ended: {error}");
    }
    // The kernel panics when PID 1 ends, and the test reads why.
}

fn serve() -> io::Result<()> {
    for (kind, path) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)?;
    }
    let disks = disks()?;
    let node = |serial| disks.get(serial).ok_or(io::Error::other("a disk is missing"));
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(node(CONTROL_SERIAL)?)?;
    let mut machine = Machine::of(node(protocol::data_disk::DISK_SERIAL)?)?;
    let mut message = Box::new(Message([0; MESSAGE_BYTES]));
    loop {
        control.read_exact_at(&mut message.0, MESSAGE_BYTES as u64)?;
        let end = message.0.iter().position(|byte| *byte == 0).unwrap_or(MESSAGE_BYTES);
        let command = String::from_utf8_lossy(&message.0[..end]).into_owned();
        let answer = match machine.run(&command) {
            Ok(answer) => format!("ok {answer}"),
            Err(fault) => fault,
        };
        let bytes = &answer.as_bytes()[..answer.len().min(MESSAGE_BYTES)];
        message.0.fill(0);
        message.0[..bytes.len()].copy_from_slice(bytes);
        control.write_all_at(&message.0, 0)?;
    }
}

/// Nodes of disks that have a serial, by it.
fn disks() -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if let Ok(serial) = fs::read_to_string(entry.path().join("serial")) {
            found.insert(serial.trim().to_owned(), Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(found)
}

/// The disk, and what should be on it.
struct Machine {
    node: String,
    sectors: u64,
    device: Option<PathBuf>,
    files: Files,
    remembered: BTreeMap<String, Files>,
}

impl Machine {
    fn of(node: &Path) -> io::Result<Self> {
        let name = node.file_name().unwrap_or_default();
        let sectors = fs::read_to_string(Path::new("/sys/block").join(name).join("size"))?;
        Ok(Self {
            node: node.display().to_string(),
            sectors: sectors.trim().parse().map_err(io::Error::other)?,
            device: None,
            files: Files::default(),
            remembered: BTreeMap::new(),
        })
    }

    /// The answer to one command, or the fault, which begins with the kernel's word for it.
    fn run(&mut self, command: &str) -> Result<String, String> {
        let arguments: Vec<&str> = command.split(' ').collect();
        match arguments[..] {
            ["open", key] => self.open(key),
            ["close"] => {
                Mapper::open().and_then(|mapper| mapper.remove_if_there(NAME)).map_err(wrong)
            }
            ["move", from, to] => self.move_disk(from, to),
            ["fill", kind] => self.fill(kind),
            ["mount", counter, anchor] => self.mount(counter, anchor),
            ["mount-as", kind, options] => self.mount_as(kind, options),
            ["grow", kind] => self.grow(kind),
            ["unmount"] => umount2(MOUNT_POINT, MntFlags::empty()).map_err(errno),
            ["put", path, bytes, tag] => {
                let bytes = bytes.parse().map_err(wrong)?;
                self.files.put(Path::new(MOUNT_POINT), path, tag, bytes).map_err(fault)
            }
            ["remove", path] => self.files.remove(Path::new(MOUNT_POINT), path).map_err(fault),
            ["overlook", path] => {
                self.files.overlook(path);
                Ok(())
            }
            ["commit"] => {
                let mount_point = File::open(MOUNT_POINT).map_err(fault)?;
                return sys::commit_btrfs(&mount_point).map(|it| it.to_string()).map_err(fault);
            }
            ["volumes", act] => volumes_act(act),
            ["forget-caches"] => fs::write("/proc/sys/vm/drop_caches", "3").map_err(fault),
            ["remember", name] => {
                self.remembered.insert(name.to_owned(), self.files.clone());
                Ok(())
            }
            ["recall", name] => {
                self.files = self.remembered.get(name).ok_or("EINVAL: no such state")?.clone();
                Ok(())
            }
            ["time", workload, place] => {
                let target = match place {
                    "disk" => PathBuf::from(&self.node),
                    path => Path::new(MOUNT_POINT).join(path),
                };
                return throughput::time(workload, &target).map_err(fault);
            }
            ["check"] => return Ok(self.files.check(Path::new(MOUNT_POINT)).to_string()),
            _ => Err(format!("EINVAL: {command:?} is no command")),
        }
        .map(|()| String::new())
    }

    /// Encrypts the disk, with the agent's table.
    fn open(&mut self, key: &str) -> Result<(), String> {
        let mapper = Mapper::open().map_err(wrong)?;
        let key = Key::released(&key_of(key)?);
        let device = mapper.encrypt(NAME, &self.node, self.sectors, &key);
        self.device = Some(device.map_err(wrong)?);
        Ok(())
    }

    /// Moves the disk, which is not open, from one key to another.
    fn move_disk(&self, from: &str, to: &str) -> Result<(), String> {
        let (from, to) = (key_of(from)?, key_of(to)?);
        let blocks = self.sectors * SECTOR_BYTES / disk_template::BLOCK_BYTES as u64;
        let device = Device::open(&self.node, blocks).map_err(fault)?;
        let go_on = |_| ControlFlow::Continue(());
        move_all(&device, &Keys { from: &from, to: &to }, go_on).map_err(wrong)
    }

    /// Writes the image's empty file system.
    fn fill(&self, kind: &str) -> Result<(), String> {
        let template = fs::read(format!("/usr/share/dstyx/{kind}.template")).map_err(fault)?;
        let template = disk_template::decode(&template).map_err(wrong)?;
        filling::fill(self.device()?, self.sectors * SECTOR_BYTES, &template).map_err(fault)
    }

    /// Mounts as the agent does, under the numbers that a KMS would give.
    fn mount(&self, counter: &str, anchor: &str) -> Result<(), String> {
        let anchor = (anchor != "-").then(|| anchor.parse()).transpose().map_err(wrong)?;
        let open_counter = counter.parse().map_err(wrong)?;
        let generations = Generations::of(&OpenDiskResponse { open_counter, anchor });
        self.mount_as("btrfs", &generations.map_err(wrong)?.options())?;
        self.grow("btrfs")
    }

    fn mount_as(&self, kind: &str, options: &str) -> Result<(), String> {
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
        mount(Some(self.device()?), MOUNT_POINT, Some(kind), flags, Some(options)).map_err(errno)
    }

    /// Grows the mounted file system over the whole disk.
    fn grow(&self, kind: &str) -> Result<(), String> {
        let mount_point = File::open(MOUNT_POINT).map_err(fault)?;
        let blocks = self.sectors * SECTOR_BYTES / disk_template::BLOCK_BYTES as u64;
        match kind {
            "ext4" => sys::grow_ext4(&mount_point, blocks).map_err(fault),
            _ => sys::grow_btrfs(&mount_point).map_err(fault),
        }
    }

    fn device(&self) -> Result<&Path, String> {
        self.device.as_deref().ok_or_else(|| "EINVAL: the disk is not open".to_owned())
    }
}

fn key_of(digits: &str) -> Result<Zeroizing<[u8; 64]>, String> {
    let mut key = Zeroizing::new([0; 64]);
    hex::decode_to_slice(digits, &mut key[..]).map_err(wrong)?;
    Ok(key)
}

/// What the agent does with the volumes of a version.
fn volumes_act(act: &str) -> Result<(), String> {
    let volumes = Volumes::ensure(Path::new(MOUNT_POINT)).map_err(fault)?;
    match act {
        "ensure" => Ok(()),
        "keep" => volumes.keep().map_err(fault),
        "put-back" => volumes.put_back().map_err(fault),
        "forget" => volumes.forget().map_err(fault),
        _ => Err(format!("EINVAL: {act:?} is no act")),
    }
}

fn errno(errno: Errno) -> String {
    format!("{errno:?}")
}

fn fault(error: io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}: {error}", Errno::from_raw(number)),
        None => wrong(error),
    }
}

/// A fault of the test, not of the disk.
fn wrong(error: impl Debug) -> String {
    format!("EINVAL: {error:?}")
}
