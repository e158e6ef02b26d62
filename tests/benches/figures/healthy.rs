//! Ten services from nothing to healthy, beside what the services of the longest chain of needs
//! take by themselves.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use compose::{ComposeFile, Inputs};
use container_images::{Limits, RegistrySettings};
use containers::app::{App, AppSpec, AppState};
use containers::container::Sockets;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tests::lab;

use super::{busybox, image, median, row, seconds};

/// Starts of each kind, interleaved.
const STARTS: usize = 5;
/// What each of the ten needs to be healthy, by place: the longest chain is 0, 1, 4, 7, 9.
const NEEDS: [&[usize]; 10] = [&[], &[0], &[0], &[0], &[1], &[2], &[3], &[4, 5], &[5, 6], &[7, 8]];
const CHAIN: u32 = 5;
const FIGURE: &str = "ten services up to healthy, a chain of five";

/// Prints the row.
pub fn starts() {
    if !geteuid().is_root() {
        return row(FIGURE, "only root can run containers", "", None, "");
    }
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage {
        image: busybox::stored(&runtime(), directory.path()).0,
        helper: lab::guest_program(&image(), "container-helper", directory.path()),
        directory: directory.path(),
    };
    let runs = thread::scope(|scope| scope.spawn(|| stage.measure()).join().unwrap());
    let ten = median(runs.iter().map(|(ten, _)| *ten));
    let chain = median(runs.iter().map(|(_, one)| *one)) * CHAIN;
    let peer = format!("five times one service alone: {}", seconds(chain));
    row(FIGURE, &seconds(ten), &peer, Some(ten.as_secs_f64() / chain.as_secs_f64()), "≤ 1.20x");
}

/// What the app of every run has.
struct Stage<'a> {
    directory: &'a Path,
    image: String,
    helper: PathBuf,
}

impl Stage<'_> {
    /// Pairs of times: ten services, and one, on a thread that leaves the host's network, mounts
    /// and cgroups.
    fn measure(&self) -> Vec<(Duration, Duration)> {
        const NONE: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), NONE).unwrap();
        let (ten, one) = (compose(&self.image, &NEEDS), compose(&self.image, &[&[]]));
        runtime().block_on(async {
            let mut runs = Vec::new();
            for _ in 0..STARTS {
                runs.push((self.start(&ten).await, self.start(&one).await));
            }
            runs
        })
    }

    /// From nothing to healthy; it is stopped again.
    async fn start(&self, compose: &str) -> Duration {
        let part = |name: &str| self.directory.join(name);
        let spec = AppSpec {
            compose: ComposeFile::read(compose.as_bytes(), &Inputs::default()).unwrap(),
            registries: RegistrySettings::default(),
            store_dir: part(busybox::STORE),
            run_dir: part("run"),
            data_dir: part("data"),
            log_dir: part("log"),
            resolv_conf: part("resolv.conf"),
            sockets: Sockets {
                dstack: part("dstack.sock"),
                tappd: part("tappd.sock"),
                pads: part("pads"),
            },
            helper: self.helper.clone(),
            limits: Limits::default(),
        };
        let began = Instant::now();
        let app = App::start(spec);
        let over = |state: &AppState| matches!(state, AppState::Running | AppState::Failed(_));
        let state = app.states().wait_for(over).await.unwrap().clone();
        let took = began.elapsed();
        assert_eq!(state, AppState::Running);
        app.stop().await;
        took
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn compose(image: &str, needs: &[&[usize]]) -> String {
    let mut text = "services:\n".to_owned();
    for (place, needs) in needs.iter().enumerate() {
        let needs: Vec<String> =
            needs.iter().map(|need| format!("s{need}: {{condition: service_healthy}}")).collect();
        writeln!(
            text,
            "  s{place}: {{image: '{image}', command: [sleep, '600'], stop_signal: SIGKILL, \
             healthcheck: {{test: [CMD, 'true']}}, depends_on: {{{}}}}}",
            needs.join(", ")
        )
        .unwrap();
    }
    text
}
