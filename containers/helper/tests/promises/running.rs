//! Promise: services run as their image and the compose file say, kept in, reachable where
//! published, and end when they are told to.
//!
//! Each test takes a mount and a network namespace of its own with a private cgroup2 hierarchy, so
//! that nothing of the host's is touched; all of them need root.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use compose::digest::ContentDigest;
use compose::{ComposeFile, Inputs};
use container_helper::End;
use container_images::{Limits, Mirror, RegistrySettings};
use containers::app::{App, AppSpec, AppState, ContainerState};
use containers::container::Sockets;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::image::{Archive, Blobs, gzip};
use crate::registry::{Behaviour, serve};
use crate::root;

/// The static program that containers run here, built once.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/probe.rs");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let built = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-o"])
            .args([&program, &source])
            .status()
            .expect("rustc runs");
        assert!(built.success(), "the probe links statically: a C compiler and libc.a are needed");
        program
    })
}

/// A place of its own for one test.
pub struct Stage {
    pub directory: TempDir,
    pub blobs: Blobs,
}

impl Stage {
    /// Leaves the host's mounts and network for this thread and those that it starts.
    pub async fn set() -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root may");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).expect("cgroup2");
        let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_name("lo").up().build();
        netlink.link().set(up).execute().await.expect("loopback");
        // As in the guest: layers and containers' own files on tmpfs.
        let directory = tempfile::tempdir().expect("directory");
        mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), None).expect("tmpfs");
        Self { directory, blobs: Blobs::default() }
    }

    /// An image of two layers: the probe, and some files.
    pub fn image(&mut self, process: &str) -> ContentDigest {
        let layers = self.layers();
        self.blobs.image(&layers, process)
    }

    /// The same with a third layer.
    pub fn image_with(&mut self, third: Archive, process: &str) -> ContentDigest {
        let mut layers = self.layers().to_vec();
        let third = third.finish();
        layers.push(("tar", third.clone(), third));
        self.blobs.image(&layers, process)
    }

    fn layers(&self) -> [(&'static str, Vec<u8>, Vec<u8>); 2] {
        let program = fs::read(probe()).expect("probe");
        let one = Archive::default()
            .directory("bin/")
            .file("bin/probe", &program)
            .directory("etc/")
            .finish();
        let two = Archive::default()
            .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nwww:x:33:34::/srv:/bin/sh\n")
            .file("etc/group", b"www:x:34:\nssl:x:104:www\n")
            .finish();
        [("tar+gzip", gzip(&one), one), ("tar", two.clone(), two)]
    }

    /// The app, whatever becomes of it; `danger_privileged` lets its file ask for what breaks
    /// confinement.
    pub fn begin(&self, danger_privileged: bool, compose: &str) -> App {
        let mirror = serve(self.blobs.clone(), Behaviour::Honest, Behaviour::Honest);
        let inputs = Inputs { danger_privileged, ..Inputs::default() };
        let file = ComposeFile::read(compose.as_bytes(), &inputs).expect("compose file");
        App::start(spec_of(self.directory.path(), file, vec![mirror]))
    }

    /// Returns when the app runs, or with why it does not.
    pub async fn start(&self, compose: &str) -> Result<App, String> {
        let app = self.begin(false, compose);
        let mut states = app.states();
        let over = |state: &AppState| matches!(state, AppState::Running | AppState::Failed(_));
        // Nothing of the app goes on while somebody looks at its state.
        let state = states.wait_for(over).await.expect("driven").clone();
        match state {
            AppState::Failed(failure)
                if app.status().iter().all(|status| status.started.is_none()) =>
            {
                app.stop().await;
                Err(failure.message)
            }
            _ => Ok(app),
        }
    }

    pub fn log(&self, service: &str) -> String {
        let path = self.directory.path().join(format!("log/{service}-1.log"));
        let text = protocol::log_record::text(&fs::read(path).expect("log"));
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// An app in `directory`.
pub fn spec(directory: &Path, compose: &str, mirrors: Vec<Mirror>) -> AppSpec {
    spec_of(
        directory,
        ComposeFile::read(compose.as_bytes(), &Inputs::default()).expect("compose file"),
        mirrors,
    )
}

fn spec_of(directory: &Path, compose: ComposeFile, mirrors: Vec<Mirror>) -> AppSpec {
    let directory = |name: &str| directory.join(name);
    AppSpec {
        compose,
        registries: RegistrySettings { mirrors, ..RegistrySettings::default() },
        store_dir: directory("store"),
        run_dir: directory("run"),
        data_dir: directory("data"),
        log_dir: directory("log"),
        resolv_conf: directory("resolv.conf"),
        sockets: Sockets {
            dstack: directory("dstack.sock"),
            tappd: directory("tappd.sock"),
            pads: directory("pads"),
        },
        helper: env!("CARGO_BIN_EXE_container-helper").into(),
        limits: Limits::default(),
    }
}

pub fn service(name: &str, digest: ContentDigest, body: &str) -> String {
    format!("  {name}:\n    image: example.org/probe@{digest}\n{body}")
}

/// Returns when there are containers and every one has ended.
pub async fn ended(app: &App) {
    while app.status().is_empty() || !app.status().iter().all(|status| status.state.is_over()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first process of a container that runs.
pub fn pid(app: &App, id: &str) -> Option<i32> {
    match app.status().into_iter().find(|status| status.id == id)?.state {
        ContainerState::Running { pid } => Some(pid),
        _ => None,
    }
}

/// Returns once `holds`.
pub async fn until(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(seconds, what, wait).await;
}

pub async fn within(seconds: u64, what: &str, future: impl Future<Output = ()>) {
    let done = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    done.unwrap_or_else(|_| panic!("{what} took longer than {seconds} s"));
}

#[tokio::test]
async fn a_service_runs_to_its_end_and_its_output_is_kept() {
    if !root("a_service_runs_to_its_end_and_its_output_is_kept") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe"],"Cmd":["exit","3"]}"#);
    let compose = format!(
        "services:\n{}{}",
        service("ends-as-image", digest, ""),
        service("ends-as-told", digest, "    command: exit 0\n")
    );
    let app = stage.start(&compose).await.expect("started");
    within(20, "ending", ended(&app)).await;
    let states: Vec<ContainerState> = app.status().into_iter().map(|status| status.state).collect();
    assert_eq!(
        states,
        [
            ContainerState::Ended(End::Exited { code: 3, oom: false }),
            ContainerState::Ended(End::Exited { code: 0, oom: false })
        ]
    );
    for name in ["ends-as-image", "ends-as-told"] {
        let log = stage.log(name);
        assert!(
            log.contains("to standard output\n") && log.contains("to standard error\n"),
            "{log}"
        );
    }
    assert!(!Path::new("/sys/fs/cgroup/dstyx/ends-as-image-1").exists(), "the cgroup is gone");
}

/// CI builders and OpenShift give users numbers that a container's 65,536 ids do not have.
#[tokio::test]
async fn a_user_beyond_the_range_runs_and_owns_its_files() {
    if !root("a_user_beyond_the_range_runs_and_owns_its_files") {
        return;
    }
    let mut stage = Stage::set().await;
    let owner = [("uid", "4191718"), ("gid", "4191719")];
    let home = Archive::default().pax_all(&owner).directory("home/");
    let process = r#"{"Entrypoint":["/bin/probe"],"User":"4191718:4191719"}"#;
    let digest = stage.image_with(home, process);
    let body = "    command: [owns, /home]\n";
    let compose = format!("services:\n{}", service("large", digest, body));
    let app = stage.start(&compose).await.expect("started");
    within(20, "ending", ended(&app)).await;
    assert_eq!(stage.log("large"), "4191718 4191719\n4191718 4191719\n");
}

#[tokio::test]
async fn a_denied_system_call_is_denied() {
    if !root("a_denied_system_call_is_denied") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Command::new(probe()).arg("calls").output().expect("probe");
    let outside = String::from_utf8(outside.stdout).expect("text");
    assert!(outside.contains("call unshare_nothing=0\n"), "allowed without a filter: {outside}");
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","calls"]}"#);
    let app = stage
        .start(&format!("services:\n{}", service("calls", digest, "")))
        .await
        .expect("started");
    within(20, "ending", ended(&app)).await;
    assert!(outside.contains("call subvolume=9\n"), "known without a filter: {outside}");
    let (eperm, ebadf, enotty, enosys) = (1, 9, 25, 38);
    let expected = [
        ("getppid", 0),
        ("unshare_nothing", eperm),
        ("unshare_user", eperm),
        ("mount", eperm),
        ("io_uring_setup", eperm),
        ("keyctl", eperm),
        ("clone3", enosys),
        ("socket_vsock", eperm),
        ("socket_vsock_above_32_bits", eperm),
        ("socket_unix", 0),
        ("personality_asked_above_32_bits", 0),
        ("subvolume", enotty),
        ("subvolume_above_32_bits", enotty),
        ("snapshot", enotty),
        ("clone_of_a_file", ebadf),
    ];
    let expected: Vec<String> =
        expected.iter().map(|(name, error)| format!("call {name}={error}")).collect();
    assert_eq!(stage.log("calls").lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn something_is_left_to_the_guest_and_to_neighbours() {
    if !root("something_is_left_to_the_guest_and_to_neighbours") {
        return;
    }
    let score = |process: &str| -> i32 {
        let text = fs::read_to_string(format!("/proc/{process}/oom_score_adj")).expect("score");
        text.trim().parse().expect("a number")
    };
    let before = score("self");
    // As init does it for the agent; not everybody may.
    let _ = fs::write("/proc/self/oom_score_adj", "-300");
    let own = score("self");
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let [one, other] = ["one", "other"].map(|name| service(name, digest, ""));
    let compose = format!("services:\n{one}{other}");
    let app = stage.start(&compose).await.expect("started");
    let first = pid(&app, "one-1").expect("it runs").to_string();
    let status = fs::read_to_string(format!("/proc/{first}/status")).expect("status");
    let helper = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    assert_eq!((score(&first), score(helper.trim())), (own.max(0), own));
    fs::write("/proc/self/oom_score_adj", before.to_string()).expect("as before");
    let number = |path: &str| -> Option<u64> {
        fs::read_to_string(path).ok().map(|text| text.trim().parse().expect("a number"))
    };
    let threads = number("/proc/sys/kernel/threads-max").expect("the kernel has one");
    // A kernel may lend its controllers to another hierarchy.
    if let Some(all) = number("/sys/fs/cgroup/dstyx/pids.max") {
        let one = number("/sys/fs/cgroup/dstyx/one-1/pids.max").expect("a limit");
        assert!(all < threads && one < all, "{one} of {all} of {threads}");
    }
    if let Some(all) = number("/sys/fs/cgroup/dstyx/memory.max") {
        let one = number("/sys/fs/cgroup/dstyx/one-1/memory.max").expect("a limit");
        assert!(one < all, "{one} of {all}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_container_sees_itself_and_little_else() {
    if !root("a_container_sees_itself_and_little_else") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","report"],"Env":["FROM_IMAGE=1"]}"#);
    let body = "    command: [a, 'b c']\n    environment: {FROM_SERVICE: two}\n";
    let app = stage
        .start(&format!("services:\n{}", service("sees", digest, body)))
        .await
        .expect("started");
    within(20, "ending", ended(&app)).await;
    let log = stage.log("sees");
    for line in [
        "arguments=[\"a\", \"b c\"]",
        "cwd=/",
        "FROM_IMAGE=1",
        "FROM_SERVICE=two",
        "HOSTNAME=sees",
        "hostname=sees",
        "pid=1",
        "Uid: 0 0 0 0",
        // Docker's default set.
        "CapEff: 00000000a80425fb",
        "CapBnd: 00000000a80425fb",
        // Root here is the first of the container's own ids, nobody to the guest.
        "ids=0 65536 65536",
        "owner /=0",
        "owner /bin/probe=7",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "Seccomp_filters: 3",
        "write /proc/sys/kernel/hostname=Err(ReadOnlyFilesystem)",
        "write /etc/hosts=Err(ReadOnlyFilesystem)",
        "write /sys/written=Err(ReadOnlyFilesystem)",
        "write /written=Ok(())",
        "mknod=-1",
        "dev=fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    ] {
        assert!(log.lines().any(|found| found == line), "{line:?} not in:\n{log}");
    }
    assert!(log.contains("172.31.0.2\\tsees"), "{log}");
    let masked: Vec<&str> = log.lines().filter(|line| line.starts_with("masked ")).collect();
    // A kernel need not have all of them; what is there reads as empty.
    assert!(
        masked.iter().all(|line| line.ends_with("=Ok(0)") || line.ends_with("=Err(NotFound)")),
        "{log}"
    );
    assert!(masked.contains(&"masked /sys/firmware=Ok(0)"), "{log}");
    let layers = stage.directory.path().join("store/layers");
    for layer in layers.read_dir().expect("layers").flatten() {
        assert!(!layer.path().join("written").exists(), "layers are never written");
    }
}

#[tokio::test]
async fn the_user_and_directory_of_the_image_count() {
    if !root("the_user_and_directory_of_the_image_count") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Cmd":["probe","report"],"User":"www","WorkingDir":"/srv/deep"}"#);
    let app =
        stage.start(&format!("services:\n{}", service("user", digest, ""))).await.expect("started");
    within(20, "ending", ended(&app)).await;
    let log = stage.log("user");
    for line in [
        "cwd=/srv/deep",
        "Uid: 33 33 33 33",
        "Gid: 34 34 34 34",
        "Groups: 104",
        "CapEff: 0000000000000000",
    ] {
        assert!(log.lines().any(|found| found == line), "{line:?} not in:\n{log}");
    }
}

#[tokio::test]
async fn published_ports_answer_and_services_know_each_other() {
    if !root("published_ports_answer_and_services_know_each_other") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe"]}"#);
    let compose = format!(
        "services:\n{}{}",
        service("server", digest, "    command: serve 80\n    ports: ['127.0.0.1:18080:80']\n"),
        service("client", digest, "    command: ask server:80\n")
    );
    let app = stage.start(&compose).await.expect("started");
    let address: SocketAddr = "127.0.0.1:18080".parse().expect("address");
    assert_eq!(app.status()[0].ports[0].published, address.port());
    let asked = Instant::now();
    let answer = loop {
        let mut stream = TcpStream::connect(address).await.expect("the guest listens");
        let mut answer = String::new();
        let _ = stream.write_all(b"from outside").await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_string(&mut answer).await;
        if !answer.is_empty() || asked.elapsed() > Duration::from_secs(20) {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer, "FROM OUTSIDE");
    let client = async {
        while app.status()[1].state != ContainerState::Ended(End::Exited { code: 0, oom: false }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(20, "the client", client).await;
    assert!(stage.log("client").ends_with("answer=HELLO\n"), "{}", stage.log("client"));
    app.stop().await;
    assert_eq!(app.status()[0].state, ContainerState::Ended(End::Killed { signal: 9, oom: false }));
}

#[tokio::test]
async fn stopping_an_app_ends_its_processes() {
    if !root("stopping_an_app_ends_its_processes") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let compose = format!("services:\n{}", service("stopped", digest, ""));
    let app = stage.start(&compose).await.expect("started");
    let ContainerState::Running { pid } = app.status()[0].state else {
        panic!("{:?}", app.status())
    };
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    app.stop().await;
    assert_eq!(app.state(), AppState::Stopped);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let again = stage.start(&compose).await.expect("the same directories serve again");
    again.stop().await;
}

#[tokio::test]
async fn a_container_that_cannot_start_says_why() {
    if !root("a_container_that_cannot_start_says_why") {
        return;
    }
    let mut stage = Stage::set().await;
    for (process, expected) in [
        (r#"{"Cmd":["/bin/nothing"]}"#, "'/bin/nothing' not found in $PATH"),
        (r#"{}"#, "neither the image nor the service has a command"),
        (r#"{"Cmd":["/bin/probe"],"User":"nobody"}"#, "user \"nobody\" is no number"),
        (r#"{"Cmd":["/bin/probe"],"StopSignal":"SIGNOPE"}"#, "stop signal \"SIGNOPE\" is unknown"),
        (r#"{"Cmd":["/bin/probe"],"WorkingDir":"/../x"}"#, "has a .. component"),
        (r#"{"Cmd":["/bin/probe"],"WorkingDir":"/etc/passwd"}"#, "open parent"),
    ] {
        let digest = stage.image(process);
        let started = stage.start(&format!("services:\n{}", service("broken", digest, ""))).await;
        let error = started.map(|app| app.status()).expect_err(expected).to_string();
        assert!(
            error.starts_with("service \"broken\": ") && error.contains(expected),
            "{expected}: {error}"
        );
    }
}

#[tokio::test]
async fn volumes_begin_with_the_image_and_are_shared() {
    if !root("volumes_begin_with_the_image_and_are_shared") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe"]}"#);
    let compose = format!(
        "services:\n{}{}volumes: {{data: {{}}}}\n",
        service("writes", digest, "    command: [put, /etc/said]\n    volumes: ['data:/etc']\n"),
        service(
            "reads",
            digest,
            "    command: [get, /seen/said, /seen/passwd]\n    volumes: ['data:/seen:ro']\n    \
             depends_on: {writes: {condition: service_completed_successfully}}\n"
        )
    );
    let app = stage.start(&compose).await.expect("started");
    within(20, "ending", ended(&app)).await;
    let log = stage.log("reads");
    assert!(
        log.contains("/seen/said=0 said\n") && log.contains("/seen/passwd=7 root:x:0:0"),
        "{log}"
    );
}

#[tokio::test]
async fn a_command_in_a_container_is_confined_as_the_container_is() {
    if !root("a_command_in_a_container_is_confined_as_the_container_is") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let check = "{test: [CMD, /bin/probe, confined], interval: 50ms}";
    let body = &format!("    stop_grace_period: 100ms\n    healthcheck: {check}\n");
    let app = stage
        .start(&format!("services:\n{}", service("healthy", digest, body)))
        .await
        .expect("started");
    let healthy = async {
        while app.status()[0].health != Some(containers::app::HealthState::Healthy) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let healthy = tokio::time::timeout(Duration::from_secs(20), healthy).await;
    healthy.unwrap_or_else(|_| {
        panic!("not healthy: {:?} {}", app.events_after(0), stage.log("healthy"))
    });
    app.stop().await;
    assert_eq!(app.status()[0].state, ContainerState::Ended(End::Killed { signal: 9, oom: false }));
}
