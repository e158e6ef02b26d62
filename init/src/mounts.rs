//! Every file system of the guest, in the order of a table; nothing comes from a disk.
//!
//! The root stays the initramfs, bound over itself: `pivot_root`, which container runtimes need,
//! refuses the kernel's own first mount but not a mount on top of it, and nothing has to be copied.
//! It is read-only from then on; what changes lies on tmpfs.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use crate::network::RESOLV_CONF;

/// a file system that could not be mounted, or a root that could not be switched
#[derive(Debug, thiserror::Error)]
#[error("{action} {target}: {source}")]
pub struct MountError {
    action: &'static str,
    target: String,
    source: io::Error,
}

struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const NO_SUID: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
const WITH_PROGRAMS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// What it takes to look for a TDX device and to write down that there is none.
const FIRST: [Mount; 3] = [
    Mount { kind: "proc", target: "/proc", flags: PLAIN, options: "" },
    Mount { kind: "sysfs", target: "/sys", flags: PLAIN, options: "" },
    Mount { kind: "devtmpfs", target: "/dev", flags: NO_SUID, options: "mode=0755" },
];

/// The rest. `/var` stays empty and read-only until the agent has opened the data disk.
const REST: [Mount; 6] = [
    Mount { kind: "configfs", target: "/sys/kernel/config", flags: PLAIN, options: "" },
    Mount { kind: "cgroup2", target: "/sys/fs/cgroup", flags: PLAIN, options: "nsdelegate" },
    Mount {
        kind: "devpts",
        target: "/dev/pts",
        flags: NO_SUID,
        options: "mode=0620,gid=5,ptmxmode=0666",
    },
    Mount { kind: "tmpfs", target: "/dev/shm", flags: PLAIN, options: "mode=1777" },
    Mount { kind: "tmpfs", target: "/run", flags: WITH_PROGRAMS, options: "mode=0755" },
    Mount { kind: "tmpfs", target: "/tmp", flags: WITH_PROGRAMS, options: "mode=1777" },
];

/// Kernel settings, for the whole guest.
const SETTINGS: [(&str, &str); 9] = [
    // A program traces its own children only.
    ("/proc/sys/kernel/yama/ptrace_scope", "1"),
    // Kernel addresses are nobody's business, not even root's.
    ("/proc/sys/kernel/kptr_restrict", "2"),
    // Links, pipes and files that somebody else laid into a directory for everybody are not
    // followed or opened for writing.
    ("/proc/sys/fs/protected_symlinks", "1"),
    ("/proc/sys/fs/protected_hardlinks", "1"),
    ("/proc/sys/fs/protected_fifos", "2"),
    ("/proc/sys/fs/protected_regular", "2"),
    // Constants of BPF programs, socket filters of containers among them, are blinded.
    ("/proc/sys/net/core/bpf_jit_harden", "2"),
    // Mappings of one process: search engines and databases refuse the kernel's 65,530.
    // Elasticsearch wants 262,144; distributions set this.
    ("/proc/sys/vm/max_map_count", "1048576"),
    // As many processes as memory allows (`threads-max`), not 32,768 of all containers together.
    ("/proc/sys/kernel/pid_max", "4194304"),
];

/// Makes the root one that can be pivoted away from, and mounts proc, sys and dev on it.
pub fn first() -> Result<(), MountError> {
    bind_root_over_itself()?;
    FIRST.iter().try_for_each(mount_one)
}

/// Mounts the rest, then makes the root one that cannot be written to.
pub fn rest() -> Result<(), MountError> {
    REST.iter().try_for_each(mount_one)?;
    let run =
        Path::new(protocol::handover::PATH).parent().expect("the handover lies in a directory");
    // Passed through by root of a container on the way to its own directory; what lies here is the
    // guest's alone.
    let made = fs::DirBuilder::new().mode(0o711).create(run);
    made.map_err(|source| failed("make", &run.display().to_string(), source))?;
    link_resolv_conf()?;
    harden()?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | WITH_PROGRAMS;
    mount(None::<&str>, "/", None::<&str>, read_only, None::<&str>)
        .map_err(|errno| failed("make read-only", "/", errno.into()))
}

fn mount_one(entry: &Mount) -> Result<(), MountError> {
    make_directory(entry.target)?;
    mount(Some(entry.kind), entry.target, Some(entry.kind), entry.flags, Some(entry.options))
        .map_err(|errno| failed("mount", entry.target, errno.into()))
}

/// `/etc/resolv.conf` is written at run time, so on the read-only root it is a link.
fn link_resolv_conf() -> Result<(), MountError> {
    const LINK: &str = "/etc/resolv.conf";
    match fs::symlink_metadata(LINK) {
        Ok(_) => Ok(()),
        Err(_) => symlink(RESOLV_CONF, LINK).map_err(|source| failed("link", LINK, source)),
    }
}

/// Sets what the kernel has no build option for.
fn harden() -> Result<(), MountError> {
    SETTINGS.iter().try_for_each(|(path, value)| {
        fs::write(path, value).map_err(|source| failed("set", path, source))
    })
}

/// Binds `/` on itself by way of a directory that exists, and enters that mount.
fn bind_root_over_itself() -> Result<(), MountError> {
    const BY_WAY_OF: &str = FIRST[0].target;
    make_directory(BY_WAY_OF)?;
    let step =
        |action, result: nix::Result<()>| result.map_err(|errno| failed(action, "/", errno.into()));
    step("bind", mount(Some("/"), BY_WAY_OF, None::<&str>, MsFlags::MS_BIND, None::<&str>))?;
    step("enter", chdir(BY_WAY_OF))?;
    step("move", mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>))?;
    step("change root to", chroot("."))?;
    step("enter", chdir("/"))
}

fn make_directory(path: &str) -> Result<(), MountError> {
    match Path::new(path).is_dir() {
        true => Ok(()),
        false => fs::create_dir(path).map_err(|source| failed("make", path, source)),
    }
}

fn failed(action: &'static str, target: &str, source: io::Error) -> MountError {
    MountError { action, target: target.to_owned(), source }
}
