//! Other people's container tools, from one group of tests.lock: the peers of benchmarks, and the
//! registry that guests pull from.
//!
//! Most are started as all tools of tests are, by the loader of their root. `crun` and `runc` start
//! themselves anew from `/proc/self/exe`, which would then be that loader, so they run where their
//! root is the file system: [`inside`].

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, geteuid, pivot_root};

use crate::lab;

/// The group of tests.lock.
const GROUP: &str = "containers";
/// What tools expect of a running system; temporary files keep their paths too.
const HOSTS: [&str; 3] = ["dev", "proc", "sys"];
/// Where state is kept while something runs.
const STATE: &str = "run";

/// The root of all tools.
pub fn root() -> PathBuf {
    lab::tools(GROUP)
}

/// Starts `docker-registry`, `skopeo` or `umoci` on the host.
pub fn command(program: &str) -> Command {
    lab::tool(&root(), &format!("usr/bin/{program}"))
}

/// Runs `work` on a thread whose file system is that of the tools, with the host's devices,
/// processes, cgroups and temporary files at their own paths: `Command::new("/usr/bin/crun")` and
/// all that it starts find what they expect. What is written outside temporary files is forgotten.
/// `None` for who is not root and cannot have that.
pub fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !geteuid().is_root() {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    let (tools, place) = (root(), place.path());
    let entered = move || {
        enter(&tools, place).unwrap();
        work()
    };
    Some(thread::scope(|scope| scope.spawn(entered).join().unwrap()))
}

/// Moves this thread into a mount namespace whose root is a writable copy of `tools`.
fn enter(tools: &Path, place: &Path) -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let temporary = env::temp_dir();
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), NONE)?;
    let [root, upper, scratch] = ["root", "upper", "work"].map(|name| place.join(name));
    for directory in [&root, &upper, &scratch] {
        std::fs::create_dir(directory).unwrap();
    }
    let [lower, upper, scratch] = [tools, &upper, &scratch].map(|path| path.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={scratch}");
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    std::fs::create_dir_all(root.join(STATE)).unwrap();
    for shared in HOSTS.map(|name| Path::new("/").join(name)).iter().chain([&temporary]) {
        let at = root.join(shared.strip_prefix("/").unwrap());
        std::fs::create_dir_all(&at).unwrap();
        mount(Some(shared), &at, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    }
    // Not `chroot`: nobody makes a user namespace from inside one (`unshare(2)`, EPERM).
    chdir(&root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_starts() {
        for program in ["docker-registry", "skopeo", "umoci"] {
            let output = command(program).arg("--version").output().unwrap();
            assert!(output.status.success(), "{program}: {output:?}");
        }
        let runtimes = ["crun", "runc"];
        let version = |program: &str| {
            Command::new(format!("/usr/bin/{program}")).arg("--version").output().unwrap()
        };
        match inside(|| runtimes.map(version)) {
            Some(outputs) => {
                assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}")
            }
            None => println!("NOT RUN peers in a root of their own: only root can make one"),
        }
    }
}
