//! Busybox from its unpacked files to running, and away again, beside the same by `crun` and `runc`, in turns.
//!
//! All three have the machine, the root file system and the cgroups of one thread, and one specification: the one
//! that our helper leaves in its bundle, so capabilities, limits, filter, masked paths and mounts are alike. Each
//! container gets namespaces of its own (user, network, mount, process, ipc, host name, cgroup), a device filter
//! and a fresh overlay, and is killed, waited for and removed.
//!
//! What differs: the peers are called as an engine calls them (`create`, `start`, `kill`, `delete`: four programs one
//! after the other) and get the overlay from here, on files that were given to the container's ids before. Ours maps
//! ids by mounts, has one helper from start to end, and keeps the output.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containers::compose::{ComposeFile, Inputs};
use containers::container::{ContainerRequest, Launcher, Sockets, State};
use containers::images::PulledImage;
use containers::network::Networks;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_child_subreaper;
use serde_json::Value;
use tests::{lab, peers};
use tokio::runtime::{Builder, Runtime};

use peer::Peer;

use super::{busybox, image, median, milliseconds, row, timed};

#[path = "starting/peer.rs"]
mod peer;

/// Containers of each kind, interleaved.
const STARTS: usize = 21;
const FIGURE: &str = "container created, started, stopped";
/// Folder of all that is written, in memory: no disk is measured.
const QUICK: &str = "quick";
/// Of the only service.
const ID: &str = "busybox-1";
const KILL: i32 = 9;

/// Prints both rows.
pub fn starts() {
    let folder = tempfile::tempdir().unwrap();
    // Root of a container passes through to its files.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(folder.path().join(QUICK)).unwrap();
    let helper = lab::guest_program(&image(), "container-helper", folder.path());
    let stored = || busybox::stored(&runtime(), folder.path());
    let Some(runs) = nix::unistd::geteuid().is_root().then(stored).and_then(|(name, pulled)| {
        peers::inside(|| measure(folder.path(), &Ours::new(folder.path(), helper, &name, pulled)))
    }) else {
        return row(FIGURE, "only root can run containers", "", None, "");
    };
    let [ours, crun, runc] = [0, 1, 2].map(|kind| median(runs.iter().map(|run| run[kind])));
    for (name, theirs, aim) in [("runc", runc, "≤ 1.00x"), ("crun", crun, "≤ 1.30x")] {
        let peer = format!("{name}: {}", milliseconds(theirs));
        row(FIGURE, &milliseconds(ours), &peer, Some(ours.as_secs_f64() / theirs.as_secs_f64()), aim);
    }
}

/// Times of ours, of crun and of runc.
fn measure(folder: &Path, ours: &Ours) -> Vec<[Duration; 3]> {
    let quick = folder.join(QUICK);
    for (kind, place) in [("cgroup2", Path::new("/sys/fs/cgroup")), ("tmpfs", &quick)] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
    }
    // What a runtime leaves behind is ours to wait for, as it would be an engine's.
    set_child_subreaper(true).unwrap();
    let runtime = runtime();
    let networks = runtime.block_on(ours.networks());
    // The first of each is not timed.
    let mut specification = Value::Null;
    runtime.block_on(ours.once(&networks, |text| specification = serde_json::from_slice(&text).unwrap()));
    let [crun, runc] = ["crun", "runc"].map(|name| Peer::new(name, &quick, &ours.image.layers, &specification));
    crun.once();
    runc.once();
    let run =
        |_| [timed(|| runtime.block_on(ours.once(&networks, drop))), timed(|| crun.once()), timed(|| runc.once())];
    let runs = (0..STARTS).map(run).collect();
    runtime.block_on(networks.close()).unwrap();
    set_child_subreaper(false).unwrap();
    runs
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
    fn new(folder: &Path, helper: PathBuf, name: &str, image: PulledImage) -> Self {
        let text = format!("services: {{busybox: {{image: '{name}', command: [sleep, '600'], network_mode: none}}}}");
        let part = |name: &str| folder.join(QUICK).join(name);
        let launcher = Launcher {
            helper,
            run_dir: part("run"),
            data_dir: part("data"),
            log_dir: part("log"),
            sockets: Sockets { dstack: part("dstack.sock"), tappd: part("tappd.sock") },
        };
        let compose = ComposeFile::read(text.as_bytes(), &Inputs::default()).unwrap();
        Self { launcher, compose, image, resolv_conf: part("resolv.conf") }
    }

    async fn networks(&self) -> Networks {
        Networks::open(&self.compose, &self.launcher.run_dir, &self.resolv_conf).await.unwrap()
    }

    /// From nothing to running, and to nothing again; shows its specification meanwhile.
    async fn once(&self, networks: &Networks, show: impl FnOnce(Vec<u8>)) {
        let network = networks.join(ID).await.unwrap();
        let service = &self.compose.services[0];
        let request = ContainerRequest { id: ID, service, image: &self.image, network: &network };
        let container = self.launcher.start(&request).await.unwrap();
        show(fs::read(self.launcher.run_dir.join("containers").join(ID).join("config.json")).unwrap());
        container.signal(KILL).await;
        assert_eq!(container.ended().await, State::Killed { signal: KILL, oom: false });
        container.remove().await.unwrap();
        networks.leave(ID).await.unwrap();
    }
}
