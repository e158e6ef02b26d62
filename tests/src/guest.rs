//! Guests that tests boot by hand, with things that `dstyx up` would never do to one.
//!
//! Everything that a hostile host can change is a field of [`Host`]; what is left alone is what
//! `up` does.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use protocol::app_compose;
use protocol::data_disk;
use protocol::digest::{AppId, Sha256Digest};
use protocol::handover::AGENT_PORT;
use protocol::image::ImageManifest;
use protocol::launch::{self, LaunchClaims, RawLaunch};
use protocol::status::{self, Phase, Record, Refusal};
use tempfile::TempDir;
use vmm_configs::spec::Accelerator;
use vmm_configs::{LaunchSpec, Platform, PortForward, Transport, qemu};

use crate::dstyx::{Answer, User, write_app};
use crate::{http, lab};

/// Longest life of a guest whose test says nothing else: an emulated one on two loaded cores.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Name of every app that is started here.
const APP_NAME: &str = "test";
/// Seed of every instance id here.
pub const INSTANCE_SEED: [u8; protocol::identity::SEED_BYTES] = [7; protocol::identity::SEED_BYTES];
/// How often the status disk is read.
const POLL: Duration = Duration::from_millis(10);
/// How often a guest is asked for something that is not there yet: each time costs it more than
/// reading a disk costs us.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the host of a test does.
#[derive(Debug, Clone)]
pub struct Host {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Raw disks besides those of every launch, one root slot each.
    pub extra_disks: Vec<PathBuf>,
    /// More on the command line than the image's own.
    pub cmdline_addition: Option<String>,
    /// Another kernel than the image's.
    pub kernel: Option<PathBuf>,
    /// Another initrd than the image's.
    pub initrd: Option<PathBuf>,
    /// More QEMU arguments.
    pub more_arguments: Vec<String>,
    /// The data disk.
    pub data_disk: DataDisk,
    /// What is on the launch disk.
    pub launch_disk: LaunchDisk,
    /// Exact bytes of the app-compose.json; by default one is made of the compose file.
    pub app_compose: Option<Vec<u8>>,
    /// The compose file.
    pub compose: String,
    /// Registry mirrors named to the guest.
    pub mirrors: Vec<String>,
    /// Addresses of a KMS named to the guest.
    pub kms_urls: Vec<String>,
    /// Addresses of gateways named to the guest.
    pub gateway_urls: Vec<String>,
    /// Seed of the instance id.
    pub instance_seed: [u8; protocol::identity::SEED_BYTES],
    /// The id that the host states for the app; by default that of its file.
    pub app_id: Option<AppId>,
    /// TCP ports of the guest to forward besides the agent's.
    pub ports: Vec<u16>,
    /// UDP ports of the guest to forward.
    pub udp_ports: Vec<u16>,
    /// How old the guest may become before a wait for something is given up.
    pub timeout: Duration,
    /// Flags of the emulator's host service; `None` leaves the guest without a TDX device.
    pub emulator: Option<Vec<String>>,
}

/// What the host gives the guest as its launch block.
#[derive(Debug, Clone, Copy)]
pub enum LaunchDisk {
    /// An honest block.
    Honest,
    /// An honest block, changed.
    Changed(fn(&mut Vec<u8>)),
    /// An honest block whose JSON was changed and then sealed again with the right length and
    /// digest.
    Resealed(fn(&mut serde_json::Value)),
    /// No such disk.
    Absent,
}

/// What the host gives the guest as its data disk.
#[derive(Debug, Clone)]
pub enum DataDisk {
    /// A new sparse file of so many bytes.
    Fresh(u64),
    /// A file that is there already, and stays.
    Kept(PathBuf),
    /// One that a test serves (`nbd::Server::node`).
    Served(serde_json::Value),
    /// A new one that cannot be written.
    ReadOnly(u64),
    /// A new one, and a second disk with its serial.
    Twice(u64),
    /// A new one that fails every write.
    Failing(u64),
    /// No such disk.
    Absent,
}

impl DataDisk {
    fn fresh_bytes(&self) -> Option<u64> {
        match self {
            Self::Fresh(bytes)
            | Self::ReadOnly(bytes)
            | Self::Twice(bytes)
            | Self::Failing(bytes) => Some(*bytes),
            Self::Absent => Some(0),
            Self::Kept(_) | Self::Served(_) => None,
        }
    }

    fn change(&self, arguments: &mut Vec<String>) {
        let at = device(arguments, "data");
        match self {
            Self::Fresh(_) | Self::Kept(_) => {}
            Self::Served(file) => {
                let mut node: serde_json::Value = serde_json::from_str(&arguments[at - 2]).unwrap();
                node["file"] = file.clone();
                arguments[at - 2] = node.to_string();
            }
            Self::ReadOnly(_) => {
                arguments[at - 2] =
                    arguments[at - 2].replace(r#""read-only":false"#, r#""read-only":true"#);
            }
            Self::Twice(_) => {
                let second = [
                    "-blockdev".to_owned(),
                    r#"{"driver":"null-co","node-name":"second","size":4294967296}"#.to_owned(),
                    "-device".to_owned(),
                    format!("virtio-blk-pci,drive=second,serial={}", data_disk::DISK_SERIAL),
                ];
                arguments.extend(second);
            }
            Self::Failing(_) => {
                let file = r#""file":{"driver":"blkdebug","inject-error":[{"event":"pwritev","errno":5}],"image":{"driver":"file""#;
                let failing = arguments[at - 2].replace(r#""file":{"driver":"file""#, file);
                arguments[at - 2] = format!("{failing}}}");
            }
            Self::Absent => {
                arguments.drain(at - 1..=at);
            }
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            vcpus: 2,
            memory_mib: 2048,
            extra_disks: Vec::new(),
            cmdline_addition: None,
            kernel: None,
            initrd: None,
            more_arguments: Vec::new(),
            data_disk: DataDisk::Fresh(2 << 30),
            launch_disk: LaunchDisk::Honest,
            app_compose: None,
            compose: format!(
                "services:\n  web:\n    image: dstyx.local/none@sha256:{}\n",
                "00".repeat(32)
            ),
            mirrors: Vec::new(),
            kms_urls: Vec::new(),
            gateway_urls: Vec::new(),
            instance_seed: INSTANCE_SEED,
            app_id: None,
            ports: Vec::new(),
            udp_ports: Vec::new(),
            timeout: TIMEOUT,
            emulator: Some(Vec::new()),
        }
    }
}

/// A running guest; it is killed when this is dropped.
#[derive(Debug)]
pub struct Guest {
    directory: TempDir,
    qemu: Child,
    emulator: Option<Child>,
    started: Instant,
    timeout: Duration,
    spec: LaunchSpec,
    /// The compose file that was launched.
    pub compose: String,
    /// Exact bytes of the app-compose.json that was launched.
    pub app_compose: Vec<u8>,
}

impl Host {
    /// Starts a guest of the image in `image`.
    pub fn start(&self, image: &Path) -> Guest {
        let directory = tempfile::tempdir().unwrap();
        let manifest = lab::manifest(image);
        let spec = self.spec(directory.path(), image);
        let made = || app_compose::generate(APP_NAME, &self.compose).unwrap();
        let app_compose = self.app_compose.clone().unwrap_or_else(made);
        fs::write(&spec.launch_disk, self.disk(self.block(&spec, &manifest, &app_compose)))
            .unwrap();
        fs::write(&spec.status_disk, [0; status::DISK_BYTES]).unwrap();
        if let Some(bytes) = self.data_disk.fresh_bytes() {
            fs::File::create(&spec.data_disk).unwrap().set_len(bytes).unwrap();
        }
        let emulator = self.emulator.as_ref().map(|flags| start_emulator(directory.path(), flags));
        let started = Instant::now();
        let qemu = self.qemu(&spec, &manifest).spawn().unwrap();
        let (timeout, compose) = (self.timeout, self.compose.clone());
        Guest { directory, qemu, emulator, started, timeout, spec, compose, app_compose }
    }

    fn disk(&self, mut honest: Vec<u8>) -> Vec<u8> {
        match self.launch_disk {
            LaunchDisk::Honest | LaunchDisk::Absent => honest,
            LaunchDisk::Changed(change) => {
                change(&mut honest);
                honest
            }
            LaunchDisk::Resealed(change) => {
                let end = honest.iter().rposition(|byte| *byte != 0).unwrap();
                let mut json = serde_json::from_slice(&honest[launch::HEADER_BYTES..=end]).unwrap();
                change(&mut json);
                sealed(&serde_json::to_vec(&json).unwrap())
            }
        }
    }

    fn block(&self, spec: &LaunchSpec, manifest: &ImageManifest, app_compose: &[u8]) -> Vec<u8> {
        launch::encode(&RawLaunch {
            app_compose: base64::engine::general_purpose::STANDARD.encode(app_compose),
            app_id: self.app_id,
            instance_id_seed: hex::encode(self.instance_seed),
            kms_urls: self.kms_urls.clone(),
            gateway_urls: self.gateway_urls.clone(),
            registry_mirrors: self.mirrors.clone(),
            encrypted_env: None,
            claims: LaunchClaims {
                os_image_hash: manifest.os_image_hash(),
                shape: spec.shape(manifest),
            },
        })
        .unwrap()
    }

    fn spec(&self, directory: &Path, image: &Path) -> LaunchSpec {
        let tcp =
            self.ports.iter().copied().chain([AGENT_PORT]).map(|guest| (guest, Transport::Tcp));
        let udp = self.udp_ports.iter().map(|guest| (*guest, Transport::Udp));
        let forward = |(guest, transport)| PortForward { host: free_port(), guest, transport };
        LaunchSpec {
            name: "test".to_owned(),
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            image: image.to_path_buf(),
            launch_disk: directory.join("launch.img"),
            status_disk: directory.join("status.img"),
            data_disk: match &self.data_disk {
                DataDisk::Kept(path) => path.clone(),
                _ => directory.join("data.img"),
            },
            console_log: directory.join("console.log"),
            control_socket: Some(directory.join("qmp.sock")),
            extra_disks: self.extra_disks.clone(),
            ports: tcp.chain(udp).map(forward).collect(),
            platform: Platform::Emulated {
                socket: directory.join("tdx.sock"),
                accelerator: Accelerator::Tcg,
            },
        }
    }

    fn qemu(&self, spec: &LaunchSpec, manifest: &ImageManifest) -> Command {
        let cmdline = match &self.cmdline_addition {
            Some(addition) => format!("{} {addition}", manifest.cmdline),
            None => manifest.cmdline.clone(),
        };
        let mut arguments = qemu::arguments(spec, &cmdline);
        if self.emulator.is_none() {
            without_tdx_port(&mut arguments);
        }
        if let LaunchDisk::Absent = self.launch_disk {
            let at = device(&arguments, "launch");
            arguments.drain(at - 1..=at);
        }
        self.data_disk.change(&mut arguments);
        for (option, file) in [("-kernel", &self.kernel), ("-initrd", &self.initrd)] {
            if let Some(file) = file {
                let at = arguments.iter().position(|argument| argument == option).unwrap();
                arguments[at + 1] = file.display().to_string();
            }
        }
        let mut command = lab::qemu().command();
        command
            .args(arguments)
            .args(&self.more_arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

impl Guest {
    /// Waits for `phase`, or for a refusal or the machine's end; the record that ended the wait.
    pub fn reached(&mut self, phase: Phase) -> Option<Record> {
        loop {
            let ended = self.qemu.try_wait().unwrap().is_some();
            let records = self.records();
            let found = records.iter().find(|record| match record.refusal {
                Refusal::None => record.phase == phase,
                refusal => !refusal.goes_on(),
            });
            if let Some(record) = found {
                return Some(*record);
            }
            if ended {
                return None;
            }
            self.still_young(&format!("no {phase:?}: {records:?}"));
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the machine has powered off.
    pub fn ended(&mut self) {
        while self.qemu.try_wait().unwrap().is_none() {
            self.still_young("still running");
            std::thread::sleep(POLL);
        }
    }

    /// What the app's containers have printed, as far as the guest publishes it, with the console:
    /// for who reads a failure.
    pub fn all_logs(&self, ids: &[&str]) -> String {
        let log = |id: &&str| {
            let log = self.get(AGENT_PORT, &format!("/logs/{id}")).unwrap_or_default();
            format!("== {id}\n{}\n", String::from_utf8_lossy(&log))
        };
        ids.iter().map(log).collect::<String>() + &self.console()
    }

    /// Presses the machine's power button.
    pub fn power_button(&self) {
        let mut monitor = UnixStream::connect(self.spec.control_socket.as_ref().unwrap()).unwrap();
        let mut replies = BufReader::new(monitor.try_clone().unwrap());
        for command in ["qmp_capabilities", "system_powerdown"] {
            writeln!(monitor, "{{\"execute\":\"{command}\"}}").unwrap();
            let mut reply = String::new();
            while !reply.contains("\"return\"") {
                reply.clear();
                assert_ne!(replies.read_line(&mut reply).unwrap(), 0, "the monitor has gone");
            }
        }
    }

    /// Time since QEMU was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until a question has an answer.
    pub fn until<T>(&self, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            self.still_young(what);
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends the test of a guest that takes too long.
    fn still_young(&self, what: &str) {
        assert!(
            self.started.elapsed() < self.timeout,
            "{what}, after {:?}:\n{}",
            self.timeout,
            self.console()
        );
    }

    /// What the guest has reported so far.
    pub fn records(&self) -> Vec<Record> {
        status::decode(&fs::read(self.directory.path().join("status.img")).unwrap()).unwrap()
    }

    /// What the serial console shows so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(
            &fs::read(self.directory.path().join("console.log")).unwrap_or_default(),
        )
        .into_owned()
    }

    /// Waits until the console shows `message`: it may lag behind the status disk.
    pub fn says(&self, message: &str) {
        while !self.console().contains(message) {
            self.still_young(&format!("the console does not show {message:?}"));
            std::thread::sleep(POLL);
        }
    }

    /// A file of the machine's directory, such as the emulator's `collateral.json`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Address of a forwarded TCP port of the guest on this host.
    pub fn address(&self, guest_port: u16) -> SocketAddr {
        self.forwarded(guest_port, Transport::Tcp)
    }

    /// Address of a forwarded UDP port of the guest on this host.
    pub fn udp_address(&self, guest_port: u16) -> SocketAddr {
        self.forwarded(guest_port, Transport::Udp)
    }

    fn forwarded(&self, guest: u16, transport: Transport) -> SocketAddr {
        let mut forwards = self.spec.ports.iter();
        forwards
            .find(|forward| (forward.guest, forward.transport) == (guest, transport))
            .expect("forwarded")
            .host
    }

    /// Status and body of `GET path` on a forwarded guest port, if something answers.
    pub fn answer(&self, guest_port: u16, path: &str) -> Option<(u16, Vec<u8>)> {
        http::answer(self.address(guest_port), path, "*/*").ok()
    }

    /// Body of `GET path` on a forwarded guest port, if something answers with 200.
    pub fn get(&self, guest_port: u16, path: &str) -> Option<Vec<u8>> {
        http::get(self.address(guest_port), path).ok()
    }

    /// Evidence over `nonce`.
    pub fn evidence(&self, nonce: &[u8; 32]) -> Vec<u8> {
        http::get(self.address(AGENT_PORT), &format!("/evidence?nonce={}", hex::encode(nonce)))
            .unwrap()
    }

    /// The real program's judgement of fresh evidence, for exactly the machine that was started.
    pub fn verified(&self) -> Answer {
        self.verified_as(&self.compose, &self.app_compose)
    }

    /// The same, but the app that should run is this one.
    pub fn verified_as(&self, compose: &str, app_compose: &[u8]) -> Answer {
        let app = tempfile::tempdir().unwrap();
        write_app(app.path(), compose, app_compose);
        let evidence = self.file("evidence.json");
        let nonce = [0x5a; 32];
        fs::write(&evidence, self.evidence(&nonce)).unwrap();
        let shape = self.spec.shape(&lab::manifest(&self.spec.image));
        let [vcpus, memory, slots] =
            [u64::from(shape.vcpus), shape.memory_mib, u64::from(shape.root_slots)]
                .map(|number| number.to_string());
        let paths = [
            evidence,
            self.file("collateral.json"),
            self.spec.image.clone(),
            app.path().to_path_buf(),
        ];
        let [evidence, collateral, image, app] = paths.map(|path| path.display().to_string());
        let nonce = hex::encode(nonce);
        let what = [
            "verify",
            "--danger-accept-emulated",
            "--nonce",
            &nonce,
            "--evidence",
            &evidence,
            "--collateral",
            &collateral,
            "--image",
            &image,
            "--app",
            &app,
        ];
        let machine = ["--vcpus", &vcpus, "--memory", &memory, "--root-slots", &slots];
        User::default().dstyx(what.into_iter().chain(machine))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.qemu).chain(&mut self.emulator) {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_emulator(directory: &Path, flags: &[String]) -> Child {
    let mut command = Command::new(lab::program("tdx-emulator"));
    command
        .arg("serve")
        .arg("--socket")
        .arg(directory.join("tdx.sock"))
        .arg("--state-dir")
        .arg(directory)
        .args(flags);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening"), "the emulator did not start: {line}");
    child
}

/// Takes the emulated device's chardev and its serial port away, as on any machine without TDX.
fn without_tdx_port(arguments: &mut Vec<String>) {
    let at = arguments.iter().position(|argument| argument.starts_with("socket,id=tdx")).unwrap();
    arguments.drain(at - 1..at + 3);
}

/// Where the value of the `-device` option of a disk is.
fn device(arguments: &[String], drive: &str) -> usize {
    let start = format!("virtio-blk-pci,drive={drive},");
    arguments.iter().position(|argument| argument.starts_with(&start)).unwrap()
}

/// A launch disk with this JSON, whatever it says.
fn sealed(json: &[u8]) -> Vec<u8> {
    let mut disk = launch::MAGIC.to_vec();
    disk.extend(launch::VERSION.to_le_bytes());
    disk.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
    disk.extend(Sha256Digest::of(json).0);
    disk.extend(json);
    disk.resize(disk.len().next_multiple_of(launch::SECTOR_BYTES), 0);
    disk
}

/// An address on loopback where nobody listens.
pub fn free_port() -> SocketAddr {
    held_port().local_addr().unwrap()
}

/// A port of loopback that no other test is given while this is held.
pub fn held_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
