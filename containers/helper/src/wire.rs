//! What agent and helper tell each other: JSON, a line each.
//!
//! The agent writes one [`StartRequest`] to the helper's standard input and reads [`Report`]s from
//! its standard output: [`Report::Copying`] and [`Report::Copied`] for each volume that is filled,
//! then [`Report::Running`] or [`Report::Ended`]. Everything later goes over the helper's socket,
//! which it has from its first moment, so that an agent knows its process by the socket's peer. The
//! helper says [`Report::Running`] to whoever connects, then takes [`Control`]s and answers them;
//! the last line is the container's end, which also stands in the report file for an agent that was
//! not there. Both ends are of the same build, so there is no version.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::End;

/// Longer than any line either side writes: paths, the arguments of a command and the start of its
/// output.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// The helper's socket in the container's run directory.
pub const SOCKET: &str = "control.sock";

/// The last report, in the container's run directory, once there is one.
pub const REPORT: &str = "report";

/// Where in the run directory the container's root is mounted.
pub const ROOT: &str = "rootfs";

/// Where in the run directory what is mounted is made ready, by its number.
pub const MOUNTS: &str = "mounts";

/// Ids of a container: as many as a 16-bit system has, which is what images are made for.
pub const ID_RANGE: u32 = 1 << 16;

/// Where a container with `init: true` finds the helper's program.
pub const INIT_PATH: &str = "/dev/init";

/// The argument that makes the program a container's first process.
pub const INIT_ROLE: &str = "init";

/// What to run. The agent decides all of it; the helper carries it out or refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// The container's run directory: its root, what is mounted, the socket, the report.
    pub directory: PathBuf,
    /// Names the container.
    pub id: String,
    /// The runtime specification, but for what the helper finds out: user, capabilities held,
    /// namespace of ids.
    pub spec: Spec,
    /// What its root is made of.
    pub root: RootRequest,
    /// Who it runs as.
    pub user: UserRequest,
    /// The first of the 65,536 ids of the guest that its ids stand for; the guest's own ids if
    /// `None`.
    pub first_id: Option<u32>,
    /// What is put into `directory/mounts/N`, in this order, before the specification's mounts bind
    /// it.
    pub binds: Vec<Bind>,
    /// The file that stands for its network namespace; the guest's own if `None`.
    pub network_namespace: Option<PathBuf>,
    /// Kernel parameters of its network namespace, names with dots.
    pub network_sysctls: Vec<(String, String)>,
    /// What its cgroup is bounded by, as far as the file says it.
    pub limits: Vec<Limit>,
    /// Whether the app has more containers, to which it leaves some memory.
    pub has_neighbours: bool,
    /// The device nodes that it may use; everything else is refused.
    pub devices: Vec<DeviceRule>,
    /// Whether it runs without a system call filter; needs `danger_privileged`.
    pub danger_no_filter: bool,
    /// Whether standard input stays open instead of being empty.
    pub stdin_open: bool,
    /// Where the output goes; nowhere if `None`.
    pub log: Option<LogRequest>,
}

/// What a container's root is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootRequest {
    /// Unpacked layers in one directory, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Directory for what the container writes: `upper` and `work` are made in it.
    pub writable: PathBuf,
}

/// Who a container runs as, to be looked up in the image's own files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// `user[:group]`, names or numbers; empty for root.
    pub name: String,
    /// Further groups, names or numbers.
    pub groups: Vec<String>,
}

/// Something that is made ready for a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bind {
    /// A file, directory or socket of the guest.
    Path(PathBuf),
    /// A program of the guest's root, shown as it is: an initramfs cannot be mapped, and who only
    /// runs a file need not own it.
    Program(PathBuf),
    /// A volume; made if it is not there.
    Volume {
        /// Its directory on the data disk.
        directory: PathBuf,
        /// A directory in it that is shown instead of its root.
        subpath: Option<String>,
        /// The directory of the image whose content it starts with.
        fill: Option<String>,
    },
    /// A data directory; made if it is not there.
    Data {
        /// The directory of all data directories on the data disk.
        root: PathBuf,
        /// Its path below, relative and normalised.
        path: String,
        /// The directory whose content it starts with.
        seed: Option<PathBuf>,
        /// Where it is mounted: the image's directory there is the example for a new one's owner.
        target: String,
    },
    /// `/sys` as the container's network namespace has it.
    System,
}

/// One file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name, such as `memory.max`.
    pub file: String,
    /// What is written to it.
    pub value: String,
    /// Whether the container is refused if the kernel has no such file.
    pub required: bool,
}

/// Device nodes that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRule {
    /// Block or character devices.
    pub block: bool,
    /// The major number; every one if `None`.
    pub major: Option<u32>,
    /// The minor number; every one if `None`.
    pub minor: Option<u32>,
    /// Whether nodes may be read.
    pub read: bool,
    /// Whether nodes may be written.
    pub write: bool,
    /// Whether nodes may be made.
    pub make: bool,
}

/// Where a container's output goes: `path`, and `path.1`, `path.2` … for what came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// The newest file.
    pub path: PathBuf,
    /// Size at which a file is set aside.
    pub max_bytes: u64,
    /// How many there are at most, 1 and up.
    pub max_files: u32,
}

/// What the agent asks of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Send this signal to its first process.
    Signal(i32),
    /// Run a command beside it.
    Exec(ExecRequest),
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Tells answers apart; chosen by the agent.
    pub number: u64,
    /// Program and arguments, at least one.
    pub arguments: Vec<String>,
    /// Time after which everything that the command started is killed.
    pub timeout_millis: u64,
}

/// What became of the container, or of a command in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// Its first process runs.
    Running {
        /// In the guest's own numbering.
        pid: i32,
    },
    /// It ended, or never ran.
    Ended {
        /// The way in which it ended.
        end: End,
    },
    /// Files of the image are copied into a volume, which takes as long as they are large; the time
    /// until [`Report::Copied`] does not count against the start's.
    Copying,
    /// The copy is done.
    Copied,
    /// A command ended.
    Executed {
        /// The number of its request.
        number: u64,
        /// How it ended.
        outcome: ExecOutcome,
    },
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecOutcome {
    /// What became of it.
    pub end: ExecEnd,
    /// The first 4 KiB of what it printed to either stream; bytes that are no UTF-8 are replaced.
    pub output: String,
}

/// What became of a command in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecEnd {
    /// It ended.
    Exited {
        /// Its exit code; 128 and the signal's number if a signal ended it, as shells have it.
        code: i32,
    },
    /// It took too long, and was killed with all that it started.
    TimedOut,
    /// It could not be run.
    Failed {
        /// Why, for people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_documented() {
        let shown = |report: &Report| serde_json::to_string(report).expect("json");
        assert_eq!(shown(&Report::Running { pid: 7 }), r#"{"state":"running","pid":7}"#);
        let end = End::Exited { code: 7, oom: false };
        assert_eq!(
            shown(&Report::Ended { end }),
            r#"{"state":"ended","end":{"exited":{"code":7,"oom":false}}}"#
        );
        assert_eq!(serde_json::to_string(&Control::Signal(15)).expect("json"), r#"{"signal":15}"#);
        assert!(serde_json::from_str::<Report>(r#"{"state":"running","pid":0,"more":1}"#).is_err());
    }
}
