//! Busybox from its unpacked files to running, and away again, beside the same by `crun` and
//! `runc`, in turns.
//!
//! All three have the machine, the root file system and the cgroups of one thread, and one
//! specification: the one that our helper leaves in its bundle, so capabilities, limits, filter,
//! masked paths and mounts are alike. Each container gets namespaces of its own (user, network,
//! mount, process, ipc, host name, cgroup), a device filter and a fresh overlay, and is killed,
//! waited for and removed.
//!
//! What differs: the peers are called as an engine calls them (`create`, `start`, `kill`, `delete`:
//! four programs one after the other) and get the overlay from here, on files that were given to
//! the container's ids before. Ours maps ids by mounts, has one helper from start to end, and keeps
//! the output.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use compose::{ComposeFile, Inputs};
use container_helper::End;
use container_images::PulledImage;
use containers::container::{ContainerRequest, Launcher, Sockets, State};
use containers::network::Networks;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_child_subreaper;
use serde_json::Value;
use tests::{lab, peers};
use tokio::runtime::{Builder, Runtime};

use peer::{FIRST_ID, Peer};

use super::{busybox, image, median, milliseconds, row, timed};

#[path = "starting/peer.rs"]
mod peer;

/// Containers of each kind, interleaved.
const STARTS: usize = 21;
const FIGURE: &str = "container created, started, stopped";
/// Directory of all that is written, in memory: no disk is measured.
const QUICK: &str = "quick";
/// Of the only service.
const ID: &str = "busybox-1";
const KILL: i32 = 9;
/// The first of the ids that are given to the first container here.
const FIRST_OF_OURS: &str = "65536";
/// How long a started process may take to become the program.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Prints both rows.
pub fn starts() {
    let directory = tempfile::tempdir().unwrap();
    // Root of a container passes through to its files.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(directory.path().join(QUICK)).unwrap();
    let helper = lab::guest_program(&image(), "container-helper", directory.path());
    let stored = || busybox::stored(&runtime(), directory.path());
    let Some(runs) = nix::unistd::geteuid().is_root().then(stored).and_then(|(name, pulled)| {
        peers::inside(|| {
            measure(directory.path(), &Ours::new(directory.path(), helper, &name, pulled))
        })
    }) else {
        return row(FIGURE, "only root can run containers", "", None, "");
    };
    let [ours, crun, runc] = [0, 1, 2].map(|kind| median(runs.iter().map(|run| run[kind])));
    for (name, theirs, aim) in [("runc", runc, "≤ 1.00x"), ("crun", crun, "≤ 1.30x")] {
        let peer = format!("{name}: {}", milliseconds(theirs));
        row(
            FIGURE,
            &milliseconds(ours),
            &peer,
            Some(ours.as_secs_f64() / theirs.as_secs_f64()),
            aim,
        );
    }
}

/// Times of ours, of crun and of runc.
fn measure(directory: &Path, ours: &Ours) -> Vec<[Duration; 3]> {
    let quick = directory.join(QUICK);
    for (kind, place) in [("cgroup2", Path::new("/sys/fs/cgroup")), ("tmpfs", &quick)] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
    }
    // What a runtime leaves behind is ours to wait for, as it would be an engine's.
    set_child_subreaper(true).unwrap();
    let runtime = runtime();
    let networks = runtime.block_on(ours.networks());
    // The first of each is not timed, but looked at.
    let mut first = None;
    let look = |pid| first = Some((ours.specification(), confinement(pid)));
    runtime.block_on(ours.once(&networks, look));
    let (specification, confined) = first.unwrap();
    let peers =
        ["crun", "runc"].map(|name| Peer::new(name, &quick, &ours.image.layers, &specification));
    for peer in &peers {
        peer.once(|pid| assert_eq!(confinement(pid), confined, "{peer:?}"));
    }
    let [crun, runc] = &peers;
    let run = |_| {
        [
            timed(|| runtime.block_on(ours.once(&networks, drop))),
            timed(|| crun.once(drop)),
            timed(|| runc.once(drop)),
        ]
    };
    let runs = (0..STARTS).map(run).collect();
    runtime.block_on(networks.close()).unwrap();
    set_child_subreaper(false).unwrap();
    runs
}

/// What the kernel says about a container's first process, once it is the program.
fn confinement(pid: i32) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let begun = Instant::now();
    while read("comm") != "sleep\n" {
        assert!(begun.elapsed() < TIMEOUT, "{} does not become the program", read("comm"));
        thread::sleep(Duration::from_millis(1));
    }
    let kept = ["Uid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:"];
    let status = read("status");
    let lines = status.lines().filter(|line| kept.iter().any(|kept| line.starts_with(kept)));
    // The ids are of different ranges.
    lines.map(|line| line.replace(&FIRST_ID.to_string(), FIRST_OF_OURS)).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Our way to run it.
struct Ours {
    launcher: Launcher,
    compose: ComposeFile,
    image: PulledImage,
    resolv_conf: PathBuf,
}

impl Ours {
    fn new(directory: &Path, helper: PathBuf, name: &str, image: PulledImage) -> Self {
        let text = format!(
            "services: {{busybox: {{image: '{name}', command: [sleep, '600'], network_mode: none}}}}"
        );
        let part = |name: &str| directory.join(QUICK).join(name);
        let launcher = Launcher {
            helper,
            run_dir: part("run"),
            data_dir: part("data"),
            log_dir: part("log"),
            sockets: Sockets {
                dstack: part("dstack.sock"),
                tappd: part("tappd.sock"),
                pads: part("pads"),
            },
        };
        let compose = ComposeFile::read(text.as_bytes(), &Inputs::default()).unwrap();
        Self { launcher, compose, image, resolv_conf: part("resolv.conf") }
    }

    async fn networks(&self) -> Networks {
        Networks::open(&self.compose, &self.launcher.run_dir, &self.resolv_conf).await.unwrap()
    }

    /// The specification in the bundle of the container that runs.
    fn specification(&self) -> Value {
        let file = self.launcher.run_dir.join("containers").join(ID).join("config.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// From nothing to running, and to nothing again; `look` sees the process meanwhile.
    async fn once(&self, networks: &Networks, look: impl FnOnce(i32)) {
        let network = networks.join(ID).await.unwrap();
        let service = &self.compose.services[0];
        let request = ContainerRequest {
            id: ID,
            service,
            image: &self.image,
            network: &network,
            has_neighbours: false,
        };
        let container = self.launcher.start(&request).await.unwrap();
        let State::Running { pid } = *container.state().borrow() else { panic!("{container:?}") };
        look(pid);
        container.signal(KILL).await;
        assert_eq!(container.ended().await, End::Killed { signal: KILL, oom: false });
        container.remove().await.unwrap();
        networks.leave(ID).await.unwrap();
    }
}
