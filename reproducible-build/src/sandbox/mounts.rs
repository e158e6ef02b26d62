//! The sandbox's file systems: the root read-only, and what lies on top of it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

use super::{Bind, SandboxError, Spec};

/// Devices that programs expect; none of them tells anything about the host.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// Makes the root and everything on it, and moves into it.
pub(super) fn enter_root(spec: &Spec) -> Result<(), SandboxError> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|e| SandboxError::Mount("/".into(), "a private copy".into(), e))?;
    bind(&spec.root, &spec.root, false)?;
    let inside = |path: &Path| spec.root.join(path.strip_prefix("/").unwrap_or(path));
    new_fs("proc", &inside(Path::new("proc")), "")?;
    new_fs("tmpfs", &inside(Path::new("tmp")), "mode=1777")?;
    devices(&inside(Path::new("dev")))?;
    base(&inside(&mount_point(&spec.base)), &inside(&spec.base), &spec.binds)?;
    pivot(&spec.root)
}

/// The first part of an absolute path.
fn mount_point(base: &Path) -> PathBuf {
    base.components().take(2).collect()
}

fn base(mount_point: &Path, base: &Path, binds: &[Bind]) -> Result<(), SandboxError> {
    new_fs("tmpfs", mount_point, "mode=755")?;
    for one in binds {
        let to = base.join(&one.to);
        fs::create_dir_all(&to)?;
        bind(&one.from, &to, one.writable)?;
    }
    Ok(())
}

fn devices(dev: &Path) -> Result<(), SandboxError> {
    new_fs("tmpfs", dev, "mode=755")?;
    for name in DEVICES {
        let node = dev.join(name);
        fs::write(&node, "")?;
        bind(&Path::new("/dev").join(name), &node, true)?;
    }
    for (link, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, dev.join(link))?;
    }
    fs::create_dir(dev.join("shm"))?;
    new_fs("tmpfs", &dev.join("shm"), "mode=1777")
}

fn new_fs(kind: &str, at: &Path, options: &str) -> Result<(), SandboxError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), at, Some(kind), flags, Some(options))
        .map_err(|e| SandboxError::Mount(at.into(), kind.into(), e))
}

fn bind(from: &Path, to: &Path, writable: bool) -> Result<(), SandboxError> {
    let fail = |e| SandboxError::Mount(to.into(), from.display().to_string(), e);
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).map_err(fail)?;
    if !writable {
        let locked = locked_flags(to).map_err(fail)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | locked;
        mount(none, to, none, flags, none).map_err(fail)?;
    }
    Ok(())
}

/// Flags of the host's mount that a user namespace may not drop.
fn locked_flags(path: &Path) -> nix::Result<MsFlags> {
    let have = statvfs(path)?.flags();
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = pairs.into_iter().filter(|(flag, _)| have.contains(*flag));
    Ok(kept.map(|(_, flag)| flag).collect())
}

/// Makes `root` the root and lets go of the host's.
fn pivot(root: &Path) -> Result<(), SandboxError> {
    let fail = |e| SandboxError::Refused("the change of the root", e);
    chdir(root).map_err(fail)?;
    pivot_root(".", ".").map_err(fail)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(fail)?;
    chdir("/").map_err(fail)
}
