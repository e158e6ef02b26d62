//! What a compose file says once it is read: types without a choice left open, which everything
//! that runs an app works with.
//!
//! The reader makes them, nothing else does. Meanings are the compose specification's; what it
//! leaves to the implementation is as Docker does it. Relative files, variables and profiles are
//! resolved: a value here needs no other file to be understood.

use std::net::IpAddr;
use std::time::Duration;

use super::reference::ImageReference;

/// An app that can be run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeFile {
    /// The project's name, if the file gives one.
    pub name: Option<String>,
    /// The services of the active profiles in file order, each depending only on ones that are
    /// here.
    pub services: Vec<Service>,
    /// The programs for the sandbox of Pads among the services of the active profiles, in file
    /// order; no service waits for one.
    pub programs: Vec<Program>,
    /// The networks that a service is on, in file order; `default` is here if one is on it.
    pub networks: Vec<Network>,
    /// The named volumes that a service mounts, in file order.
    pub volumes: Vec<String>,
    /// The paths of the data directories that a service mounts, sorted.
    pub data: Vec<String>,
    /// What was understood but changes nothing, for people.
    pub notes: Vec<Note>,
    /// What needs `danger_privileged` in the measured file; empty without it.
    pub dangers: Vec<Note>,
}

/// Something to say about a key that is no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The key path, such as `services.web.volumes[0]`.
    pub path: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// What to know.
    pub what: String,
}

/// A service that is a program for the sandbox of Pads: nothing of it runs until a run names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name, by which runs name it; no other service has it.
    pub name: String,
    /// Line of its name in the file, counted from 1.
    pub line: usize,
    /// The OCI artifact with its component, by digest.
    pub image: ImageReference,
    /// Names and values without a meaning to dstyx, shown to who asks the agent.
    pub labels: Vec<(String, String)>,
}

/// One service: a template of [`Service::replicas`] containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: how other services reach it.
    pub name: String,
    /// Line of its name in the file, counted from 1.
    pub line: usize,
    /// The image, by digest.
    pub image: ImageReference,
    /// How many containers run, 0 and up; with more than one, no published port and no container
    /// name.
    pub replicas: u16,
    /// What runs in each, and as whom.
    pub process: Process,
    /// What it may do beyond, or less than, the default.
    pub privileges: Privileges,
    /// How much of the guest it may use.
    pub resources: Resources,
    /// What is mounted, in the order of the targets' depth; no target twice.
    pub mounts: Vec<Mount>,
    /// Whether the root of the container is read-only.
    pub read_only: bool,
    /// Where it is reachable and whom it reaches.
    pub network: NetworkMode,
    /// Names of hosts and how others are resolved.
    pub names: Names,
    /// What is reachable from outside the guest.
    pub ports: Vec<PublishedPort>,
    /// Which services must have come how far before it starts; no cycle.
    pub depends_on: Vec<Dependency>,
    /// How its health is found out.
    pub health: Health,
    /// When it is started again.
    pub restart: Restart,
    /// How it is asked to end.
    pub stop: Stop,
    /// How much of its output is kept.
    pub logging: Logging,
    /// Names and values without a meaning to dstyx, shown to who asks the agent.
    pub labels: Vec<(String, String)>,
}

/// What runs: each field replaces the image's own where it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Replaces the image's entry point; empty clears it. Either way the image's command no longer
    /// counts.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Names and values over those of the image, those of `env_file` included; no name stands
    /// twice.
    pub environment: Vec<(String, String)>,
    /// Absolute directory to start in.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers of the image.
    pub user: Option<String>,
    /// Further groups, names or numbers of the image.
    pub group_add: Vec<String>,
    /// Whether a small init runs as process 1 and reaps.
    pub init: bool,
    /// Whether standard streams are a terminal.
    pub tty: bool,
    /// Whether standard input stays open, with nobody to write to it, instead of being empty.
    pub stdin_open: bool,
}

/// Departures from the default confinement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Names without `CAP_`, upper case; `ALL` stands alone. Beyond Docker's default only with
    /// `danger_privileged`.
    pub cap_add: Vec<String>,
    /// The same; what is dropped and added is held.
    pub cap_drop: Vec<String>,
    /// Everything allowed; only with `danger_privileged`.
    pub privileged: bool,
    /// No system call filter; only with `danger_privileged`.
    pub seccomp_unconfined: bool,
    /// Device nodes of the guest, `(host path, container path, some of "rwm")`; only with
    /// `danger_privileged`.
    pub devices: Vec<(String, String, String)>,
    /// Which of the guest's namespaces it shares; only with `danger_privileged`.
    pub host_namespaces: Vec<HostNamespace>,
    /// Kernel parameters of its own namespaces, such as `net.core.somaxconn`; only namespaced ones.
    pub sysctls: Vec<(String, String)>,
}

/// A namespace of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostNamespace {
    /// `pid: host`
    Pid,
    /// `ipc: host`
    Ipc,
    /// `uts: host`
    Uts,
    /// `userns_mode: host`
    User,
    /// `cgroup: host`
    Cgroup,
}

/// Limits; `None` is no limit but the guest's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// `memory.max`.
    pub memory_bytes: Option<u64>,
    /// `memory.low`.
    pub memory_reservation_bytes: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// `cpu.weight` by way of Docker's shares (2 to 262,144).
    pub cpu_shares: Option<u64>,
    /// Processors that it may run on, such as `0-1,3`.
    pub cpuset: Option<String>,
    /// `pids.max`.
    pub pids: Option<u64>,
    /// Size of `/dev/shm`; 64 MiB if not given.
    pub shm_bytes: Option<u64>,
    /// Limits of each process, by lower-case names such as `nofile`: soft and hard, `u64::MAX` is
    /// unlimited.
    pub ulimits: Vec<(String, u64, u64)>,
    /// How willingly the kernel kills it when memory ends, -1000 to 1000; negative only with
    /// `danger_privileged`.
    pub oom_score_adj: Option<i32>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container, normalised.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
    /// What is mounted there.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A named volume of the app, on the data disk, filled from the image's directory when it is
    /// first mounted unless `nocopy`.
    Volume {
        /// One of [`ComposeFile::volumes`].
        name: String,
        /// A directory in it, relative and normalised; the root of the volume if `None`.
        subpath: Option<String>,
        /// Whether it starts empty whatever the image has there.
        nocopy: bool,
    },
    /// A directory of the app on the data disk, named by the path that the file binds and kept as
    /// named volumes are.
    Data {
        /// One of [`ComposeFile::data`]: relative and normalised. A path below another's is a
        /// directory in it.
        path: String,
        /// What it holds when it is first mounted.
        seed: Vec<DirectoryFile>,
    },
    /// A volume of this container alone, gone with it; filled from the image like a named one.
    Anonymous,
    /// Memory.
    Tmpfs(Tmpfs),
    /// Measured bytes of the app directory, of `configs` or of `secrets`: one file, always
    /// read-only.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its owner in the container's numbering.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Permission bits; 0o444 as the specification has it.
        mode: u32,
    },
    /// A directory of the app directory: files by relative path, always read-only.
    Directory {
        /// What is in it, in the order of the paths.
        files: Vec<DirectoryFile>,
    },
    /// A socket of the guest's agent.
    Socket(AgentSocket),
}

/// A file system in memory; set-id bits and device nodes never count in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its size; half the guest's memory if `None`, as the kernel has it.
    pub size_bytes: Option<u64>,
    /// Permission bits of its root; 0o1777 if `None`.
    pub mode: Option<u32>,
    /// The owner of its root in the container's numbering.
    pub uid: u32,
    /// The group of its root.
    pub gid: u32,
    /// Whether programs in it may be run.
    pub exec: bool,
}

/// A file in a directory of the app directory. It belongs to root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryFile {
    /// Relative and normalised path below the mount; directories between are made, 0o755.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// The sockets that a service may ask for by binding them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentSocket {
    /// `/var/run/dstack.sock`
    Dstack,
    /// `/var/run/tappd.sock`
    Tappd,
    /// `/run/dstyx/pads.sock`, of which each service has its own; only for services that the
    /// measured file names.
    Pads,
}

/// How a service is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// Loopback only.
    None,
    /// The network namespace of another service, which runs before and as long.
    Service(String),
    /// The guest's own; only with `danger_privileged`.
    Host,
    /// These networks, at least one, the one of highest priority first.
    Networks(Vec<Attachment>),
}

/// A service on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// One of [`ComposeFile::networks`].
    pub network: String,
    /// Further names of the service on that network.
    pub aliases: Vec<String>,
    /// A fixed address, inside the network's subnet.
    pub addresses: Vec<IpAddr>,
}

/// A network of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name in the file.
    pub name: String,
    /// Whether it has no way out of the guest.
    pub internal: bool,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Subnets that the file gives, address and prefix length; others are chosen.
    pub subnets: Vec<(IpAddr, u8)>,
}

/// How a container is called, and what it knows of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Its host name; the service's name if `None`.
    pub hostname: Option<String>,
    /// Its NIS domain.
    pub domainname: Option<String>,
    /// A name of the container, unique in the app; also known to the resolver.
    pub container_name: Option<String>,
    /// Further lines of `/etc/hosts`; `None` is `host-gateway`, the guest's address on the network.
    pub extra_hosts: Vec<(String, Option<IpAddr>)>,
    /// Servers that the resolver asks instead of the guest's.
    pub dns: Vec<IpAddr>,
    /// Domains that names are tried in.
    pub dns_search: Vec<String>,
    /// Options of `resolv.conf`.
    pub dns_options: Vec<String>,
}

/// Another service that this one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The service that is waited for.
    pub service: String,
    /// How far it must have come.
    pub condition: Condition,
    /// Whether this one restarts when that one is restarted by us.
    pub restart: bool,
    /// Whether it fails with it; otherwise a warning is enough.
    pub required: bool,
}

/// How far a dependency must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its containers run.
    Started,
    /// Its containers are healthy.
    Healthy,
    /// Its containers have ended with exit code 0.
    CompletedSuccessfully,
}

/// How health is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// As the image says, if it does.
    #[default]
    Image,
    /// Not at all.
    Disabled,
    /// By a command; fields that are `None` are the image's, or the default.
    Check(HealthCheck),
}

/// A health check: the command is run in the container, exit code 0 is healthy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// The command's words, those of a shell form included (`/bin/sh -c …`); the image's if `None`.
    pub test: Option<Vec<String>>,
    /// Time between checks; 30 s.
    pub interval: Option<Duration>,
    /// Time that a check may take; 30 s.
    pub timeout: Option<Duration>,
    /// Failures in a row that make it unhealthy; 3.
    pub retries: Option<u32>,
    /// Time in which failures do not count; 0 s.
    pub start_period: Option<Duration>,
    /// Time between checks meanwhile; 5 s.
    pub start_interval: Option<Duration>,
}

/// When a container that ended is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub when: RestartWhen,
    /// Tries in a row; without end if `None`.
    pub attempts: Option<u32>,
    /// Wait before each; grows from 100 ms if `None`.
    pub delay: Option<Duration>,
    /// Lifetime after which a start counts as a success.
    pub window: Option<Duration>,
}

/// After which ends a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartWhen {
    /// None.
    #[default]
    Never,
    /// All but exit code 0.
    OnFailure,
    /// All.
    Always,
}

/// How a container is asked to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stop {
    /// A signal by name or number; the image's, or SIGTERM.
    pub signal: Option<String>,
    /// Time until it is killed; 10 s.
    pub grace: Option<Duration>,
}

/// Files of output, the newest included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Size at which a file is set aside.
    pub max_bytes: u64,
    /// How many there are at most, 1 and up.
    pub max_files: u32,
    /// Whether nothing is kept.
    pub none: bool,
}

/// TCP port of the guest on which its agent answers; never a service's.
pub const AGENT_PORT: u16 = 8090;
/// Port of the agent's channels with the app's owners; the same holds for it.
pub const OWNER_PORT: u16 = 8091;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A TCP port.
    #[default]
    Tcp,
    /// A UDP port.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// One port of the guest that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Address of the guest to listen on; all of them if `None`.
    pub host_ip: Option<IpAddr>,
    /// Port of the guest; not 0, with TCP neither [`AGENT_PORT`] nor [`OWNER_PORT`].
    pub published: u16,
    /// Port of the service; not 0.
    pub target: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Line of the file, counted from 1.
    pub line: usize,
}
