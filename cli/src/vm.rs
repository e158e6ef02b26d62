//! The state of virtual machines that `up` started: a directory each, with the processes that
//! belong to it.
//!
//! A process is known by its id and its start time, so that a reused id is never taken for it, and
//! never signalled.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::digest::AppId;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::{paths, qmp};

/// Name of QEMU's control socket in a machine's directory.
pub const CONTROL_SOCKET: &str = "qmp.sock";

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long a guest may take to stop its app and power off; its agent kills what takes longer than
/// 80 s, its init then the agent.
const SHUTDOWN: Duration = Duration::from_secs(100);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// A process that was started for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    started_ticks: u64,
}

/// What `up` remembers in `vm.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Directory of its image.
    pub image: PathBuf,
    /// Directory of its app.
    pub app: PathBuf,
    /// Address of the agent, such as `http://127.0.0.1:8090`.
    pub agent_url: String,
    /// Address of the owner's view, of an app that names owners.
    #[serde(default)]
    pub owner_address: Option<SocketAddr>,
    /// Addresses of the app's published ports.
    pub urls: Vec<String>,
    /// Addresses on this host by the guest's TCP ports.
    #[serde(default)]
    pub ports: BTreeMap<u16, SocketAddr>,
    /// The app's id, where its compose hash does not say it.
    #[serde(default)]
    pub app_id: Option<AppId>,
    /// Whether it has an emulated TDX device.
    pub emulated: bool,
    /// QEMU.
    pub qemu: Process,
    /// Emulator, image server and collateral service.
    pub helpers: Vec<Process>,
}

impl Process {
    /// Remembers a running process.
    pub fn of(pid: u32) -> Outcome<Self> {
        let pid = i32::try_from(pid).expect("process ids fit i32 on Linux");
        let started_ticks = start_ticks(pid).ok_or_else(|| {
            Failure::new(
                format!("process {pid} ended at once"),
                "see its log in the machine's directory",
            )
        })?;
        Ok(Self { pid, started_ticks })
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.started_ticks)
    }

    /// Ends it: asked first, killed after a grace period.
    pub fn end(&self) -> Outcome<()> {
        self.signal(Signal::SIGTERM)?;
        self.wait(GRACE);
        self.signal(Signal::SIGKILL)
    }

    fn wait(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.alive() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(Failure::new(
                format!("ending process {}: {error}", self.pid),
                "was it started by another user? then run this command as that user",
            )),
        }
    }
}

impl Vm {
    /// The machine called `name`.
    pub fn load(name: &str) -> Outcome<Self> {
        let file = paths::vm_directory(name)?.join("vm.json");
        let json = fs::read(&file).map_err(|_| {
            Failure::new(format!("there is no virtual machine {name}"), "`dstyx ps` lists them")
        })?;
        serde_json::from_slice(&json)
            .hint(file.display(), "remove the machine with `dstyx down` and start it again")
    }

    /// All machines, by name.
    pub fn all() -> Outcome<Vec<Self>> {
        let Ok(entries) = fs::read_dir(paths::vms_directory()?) else {
            return Ok(Vec::new());
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut vms: Vec<_> = names.filter_map(|name| Self::load(&name).ok()).collect();
        vms.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(vms)
    }

    /// Writes `vm.json`.
    pub fn save(&self, directory: &Path) -> Outcome<()> {
        let json = serde_json::to_vec_pretty(self).expect("strings and numbers serialise");
        fs::write(directory.join("vm.json"), json)
            .hint(directory.display(), "is the directory writable?")
    }

    /// Directory of its state.
    pub fn directory(&self) -> Outcome<PathBuf> {
        paths::vm_directory(&self.name)
    }

    /// Ends its processes: the guest is asked to shut down; what remains is ended.
    pub fn end(&self) -> Outcome<()> {
        let asked =
            self.qemu.alive() && qmp::power_button(&self.directory()?.join(CONTROL_SOCKET)).is_ok();
        if asked {
            self.qemu.wait(SHUTDOWN);
        }
        self.qemu.end()?;
        self.helpers.iter().try_for_each(Process::end)
    }
}

/// `None` for a process that does not exist or has ended and was not waited for yet.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses; the fields start behind the last one.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_gone_after_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.alive());
        let reused = Process { started_ticks: process.started_ticks + 1, ..process };
        assert!(!reused.alive());
        reused.end().unwrap();
        assert!(process.alive(), "a reused id must not be signalled");
        process.end().unwrap();
        assert!(!process.alive());
        child.wait().unwrap();
    }
}
