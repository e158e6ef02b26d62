//! Starting one machine: its directory, its disks, its helpers, QEMU.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use compose::Protocol;
use container_images::Mirror;
use protocol::digest::{AppId, InstanceId, MrConfigId};
use protocol::handover::{AGENT_PORT, OWNER_PORT};
use protocol::identity::SEED_BYTES;
use protocol::launch::{self, LaunchClaims, RawLaunch};
use protocol::{mr_config, status};
use vmm_configs::spec::Accelerator;
use vmm_configs::{LaunchSpec, Platform, PortForward, QuoteService, Transport, qemu};

use crate::app::{APP_COMPOSE_FILE, App};
use crate::data_disk;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kept::{self, Kept};
use crate::parts::Parts;
use crate::platform::{Choice, emulated_machine_seed};
use crate::ports::{self, Started};
use crate::vm::{CONTROL_SOCKET, Process, Vm};

/// Where slirp shows the host's loopback to the guest.
const HOST_IN_GUEST: &str = "10.0.2.2";
/// Name of the copy of image.json in a machine's directory.
pub const IMAGE_COPY: &str = "image.json";
/// QEMU's log in a machine's directory.
const QEMU_LOG: &str = "qemu.log";
/// How often other ports are chosen where one was taken before QEMU had it.
const PORT_ATTEMPTS: usize = 5;
/// How long the image server may take to listen.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Intel's quote generation service on the host's vsock.
const QUOTE_SERVICE: QuoteService = QuoteService::Vsock { cid: 2, port: 4050 };

/// What a person sets of the machine.
#[derive(Debug, Clone)]
pub struct MachineSettings {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Size of the data disk in GiB.
    pub disk_gib: u64,
    /// How an emulated guest's CPU is provided; TDX always takes the host's.
    pub accelerator: Accelerator,
}

/// Everything that a launch is made of.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The machine.
    pub machine: MachineSettings,
    /// Registries that the guest asks before those that images name, as this host reaches them.
    pub registry_mirrors: &'a [String],
    /// Address on this host where ports are published.
    pub bind: IpAddr,
    /// TDX or emulated.
    pub choice: Choice,
    /// The app.
    pub app: &'a App,
    /// Image, QEMU, emulator and images to serve.
    pub parts: &'a Parts,
    /// The disk, seed and id that outlive the machine; without them all is made for one boot.
    pub kept: Option<&'a Kept>,
    /// Where the guest finds its KMS, as it reaches it.
    pub kms_urls: &'a [String],
    /// Where the guest finds gateways, as it reaches them.
    pub gateway_urls: &'a [String],
    /// The app's encrypted environment, if it has one.
    pub encrypted_env: Option<&'a [u8]>,
    /// Port on loopback of a service with the emulator's collateral, which a KMS fetches.
    pub collateral_port: Option<u16>,
    /// What the app speaks on the TCP ports that it publishes, for links to them.
    pub speaks: Speaks,
}

/// What an app speaks, as far as this host knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP, as most apps do.
    Http,
    /// TLS, as a KMS does.
    Tls,
}

impl Speaks {
    /// The link to a published port.
    fn link(self, address: SocketAddr) -> String {
        match self {
            Self::Http => format!("http://{address}/"),
            // As `--kms` takes it.
            Self::Tls => format!("https://{address}"),
        }
    }
}

impl Launch<'_> {
    /// Starts helpers, then QEMU; what was started is ended again if a later step fails.
    pub fn start(&self, name: &str, directory: &Path) -> Outcome<Vm> {
        fs::create_dir_all(directory).hint(directory.display(), "is the directory writable?")?;
        let mut helpers = Vec::new();
        self.start_all(name, directory, &mut helpers).inspect_err(|_| {
            for helper in &helpers {
                // The first failure is the one to tell; a helper that cannot be ended is shown by
                // `ps`.
                let _ = helper.end();
            }
        })
    }

    fn start_all(&self, name: &str, directory: &Path, helpers: &mut Vec<Process>) -> Outcome<Vm> {
        let named = self.registry_mirrors.iter().map(|address| mirror_for_guest(address));
        let mut mirrors = named.collect::<Outcome<Vec<_>>>()?;
        mirrors.extend(self.start_mirror(directory, helpers)?);
        let seed = self.seed()?;
        let mut spec = self.spec(name, &seed, directory)?;
        self.write_disks(&spec, &seed, mirrors)?;
        if let Some((emulator, port)) = self.parts.emulator.as_ref().zip(self.collateral_port) {
            helpers.extend(start_collateral(emulator, port, directory)?);
        }
        let qemu = self.start_qemu(&mut spec, &seed, directory, helpers)?;
        let published = spec
            .ports
            .iter()
            .filter(|port| ![AGENT_PORT, OWNER_PORT].contains(&port.guest))
            .filter(|port| port.transport == Transport::Tcp);
        let of_agent = |guest| {
            let tcp = |port: &&PortForward| (port.guest, port.transport) == (guest, Transport::Tcp);
            spec.ports.iter().find(tcp).map(|port| port.host)
        };
        let agent = of_agent(AGENT_PORT).expect("ports() always forwards the agent");
        let vm = Vm {
            name: name.to_owned(),
            image: self.parts.image.clone(),
            app: self.app.directory.clone(),
            agent_url: format!("http://{agent}"),
            owner_address: of_agent(OWNER_PORT),
            urls: published.clone().map(|port| self.speaks.link(port.host)).collect(),
            ports: published.map(|port| (port.guest, port.host)).collect(),
            app_id: self.kept.and_then(|kept| kept.record.stated_app_id()),
            emulated: self.choice == Choice::Emulated,
            qemu,
            helpers: helpers.clone(),
        };
        vm.save(directory)?;
        Ok(vm)
    }

    /// Starts QEMU behind its emulator, again with other ports where one was taken since.
    fn start_qemu(
        &self,
        spec: &mut LaunchSpec,
        seed: &[u8; SEED_BYTES],
        directory: &Path,
        helpers: &mut Vec<Process>,
    ) -> Outcome<Process> {
        for _ in 0..PORT_ATTEMPTS {
            if let Some(emulator) = &self.parts.emulator {
                helpers.push(self.start_emulator(emulator, seed, directory)?);
            }
            let mut command = self.parts.qemu.command();
            command.args(qemu::arguments(spec, &self.parts.manifest.cmdline));
            let mut child = spawn(&mut command, directory, QEMU_LOG)?;
            let (socket, log) = (directory.join(CONTROL_SOCKET), directory.join(QEMU_LOG));
            match ports::of_started(&mut child, &socket, &log)? {
                Started::Runs => return Process::of(child.id()),
                Started::PortTaken => spec.ports = self.ports()?,
            }
            if self.parts.emulator.is_some()
                && let Some(emulator) = helpers.pop()
            {
                emulator.end()?;
            }
        }
        Err(Failure::new(
            format!("{PORT_ATTEMPTS} times another process took a port that was free before"),
            "start the machine again when fewer are started at once",
        ))
    }

    fn spec(&self, name: &str, seed: &[u8; SEED_BYTES], directory: &Path) -> Outcome<LaunchSpec> {
        let platform = match self.choice {
            Choice::Tdx => {
                Platform::Tdx { mrconfigid: self.mr_config_id(seed), quote_service: QUOTE_SERVICE }
            }
            Choice::Emulated => Platform::Emulated {
                socket: directory.join("tdx.sock"),
                accelerator: self.machine.accelerator,
            },
        };
        let spec = LaunchSpec {
            name: name.to_owned(),
            vcpus: self.machine.vcpus,
            memory_mib: self.machine.memory_mib,
            image: self.parts.image.clone(),
            launch_disk: directory.join("launch.img"),
            status_disk: directory.join("status.img"),
            data_disk: self.kept.map_or_else(|| directory.join("data.img"), Kept::disk),
            console_log: directory.join("console.log"),
            control_socket: Some(directory.join(CONTROL_SOCKET)),
            extra_disks: Vec::new(),
            ports: self.ports()?,
            platform,
        };
        spec.check().hint("the launch", "choose other values for --vcpus, --memory or --name")?;
        Ok(spec)
    }

    /// What the TD is bound to at its creation: this app, and its KMS if it pins one.
    fn mr_config_id(&self, seed: &[u8; SEED_BYTES]) -> MrConfigId {
        let settings = &self.app.settings;
        let app_id = self.app_id();
        let instance_id = (!settings.no_instance_id).then(|| InstanceId::derive(seed, &app_id));
        let provider = settings.key_provider;
        mr_config::expected(
            &settings.hash,
            &app_id,
            instance_id.as_ref(),
            provider.name(),
            &provider.id(),
        )
    }

    /// The app's id in this launch.
    pub fn app_id(&self) -> AppId {
        let of_hash = || AppId::from_compose_hash(&self.app.settings.hash);
        self.kept.map_or_else(of_hash, |kept| kept.record.app_id)
    }

    /// The seed of the instance id: the kept one, or one of this boot alone.
    fn seed(&self) -> Outcome<[u8; SEED_BYTES]> {
        self.kept.map_or_else(kept::random_seed, |kept| kept.record.seed())
    }

    /// The agent's ports and each published one, on the port of the same number where that is free.
    fn ports(&self) -> Outcome<Vec<PortForward>> {
        let services = &self.app.compose.services;
        let published = services.iter().flat_map(|service| &service.ports).map(|port| {
            let transport = match port.protocol {
                Protocol::Tcp => Transport::Tcp,
                Protocol::Udp => Transport::Udp,
            };
            (port.published, transport)
        });
        let mut forwards = Vec::new();
        let of_owners = (!self.app.settings.owners.is_empty()).then_some(OWNER_PORT);
        let agents = [AGENT_PORT].into_iter().chain(of_owners).map(|port| (port, Transport::Tcp));
        for (guest, transport) in published.chain(agents) {
            let earlier = self.kept.and_then(|kept| kept.record.ports.get(&guest).copied());
            let host = ports::free(self.bind, earlier.unwrap_or(guest), transport)?;
            forwards.push(PortForward { host, guest, transport });
        }
        Ok(forwards)
    }

    fn write_disks(
        &self,
        spec: &LaunchSpec,
        seed: &[u8; SEED_BYTES],
        registry_mirrors: Vec<String>,
    ) -> Outcome<()> {
        use base64::Engine as _;
        let block = RawLaunch {
            app_compose: base64::engine::general_purpose::STANDARD.encode(&self.app.bytes),
            app_id: self.kept.and_then(|kept| kept.record.stated_app_id()),
            instance_id_seed: hex::encode(seed),
            kms_urls: self.kms_urls.to_vec(),
            gateway_urls: self.gateway_urls.to_vec(),
            registry_mirrors,
            encrypted_env: self
                .encrypted_env
                .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
            claims: LaunchClaims {
                os_image_hash: self.parts.os_image_hash,
                shape: spec.shape(&self.parts.manifest),
            },
        };
        let disk =
            launch::encode(&block).hint("the launch block", "make the compose file smaller")?;
        write(&spec.launch_disk, &disk)?;
        self.write_copies(&spec.launch_disk)?;
        write(&spec.status_disk, &[0; status::DISK_BYTES])?;
        match self.kept {
            Some(kept) => kept.save(self.machine.disk_gib),
            None => data_disk::create(&spec.data_disk, self.machine.disk_gib),
        }
    }

    /// What runs, as it was at this launch: later builds and edits change the originals.
    fn write_copies(&self, launch_disk: &Path) -> Outcome<()> {
        let image_json = files::read_image_json(&self.parts.image)?;
        write(&launch_disk.with_file_name(IMAGE_COPY), &image_json)?;
        write(&launch_disk.with_file_name(APP_COMPOSE_FILE), &self.app.bytes)
    }

    /// Serves local images to the guest; its address is a hint, the digest decides.
    fn start_mirror(
        &self,
        directory: &Path,
        helpers: &mut Vec<Process>,
    ) -> Outcome<Option<String>> {
        if self.parts.layouts.is_empty() {
            return Ok(None);
        }
        let port_file = directory.join("mirror.port");
        let program =
            std::env::current_exe().hint("finding this program", "was it removed while it ran?")?;
        let mut command = Command::new(program);
        command.arg("serve-images").arg("--port-file").arg(&port_file);
        for layout in &self.parts.layouts {
            command.arg("--layout").arg(layout);
        }
        let process = Process::of(spawn(&mut command, directory, "mirror.log")?.id())?;
        helpers.push(process);
        let deadline = Instant::now() + HELPER_TIMEOUT;
        loop {
            if let Ok(port) = fs::read_to_string(&port_file) {
                return Ok(Some(format!("http://{HOST_IN_GUEST}:{port}")));
            }
            if !process.alive() || Instant::now() > deadline {
                return Err(Failure::new(
                    "the image server did not start",
                    "see mirror.log in the machine's directory",
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its first line says that it listens; QEMU must not be started before.
    fn start_emulator(
        &self,
        program: &Path,
        seed: &[u8; SEED_BYTES],
        directory: &Path,
    ) -> Outcome<Process> {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--socket")
            .arg(directory.join("tdx.sock"))
            .arg("--state-dir")
            .arg(directory);
        command.arg("--mrconfigid").arg(self.mr_config_id(seed).to_string());
        command.arg("--machine-seed").arg(emulated_machine_seed()?);
        listening(&mut command, "the TDX emulator", "emulator.err", directory)
    }
}

/// Whether nothing listens yet where guests expect the collateral of emulated machines.
pub fn collateral_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A service on loopback with the collateral of every emulated machine; none if another KMS of this
/// host has it already, also since a moment ago: the collateral is the same.
fn start_collateral(program: &Path, port: u16, directory: &Path) -> Outcome<Option<Process>> {
    if !collateral_is_free(port) {
        return Ok(None);
    }
    let mut command = Command::new(program);
    command.arg("serve-collateral").arg("--listen").arg(format!("{}:{port}", Ipv4Addr::LOCALHOST));
    let what = "the emulator's collateral service";
    match listening(&mut command, what, "collateral.err", directory) {
        Err(_) if !collateral_is_free(port) => Ok(None),
        started => started.map(Some),
    }
}

/// Starts a process of the emulator's, and waits for the line that says that it listens.
fn listening(
    command: &mut Command,
    what: &str,
    log_name: &str,
    directory: &Path,
) -> Outcome<Process> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log(directory, log_name)?)
        .process_group(0);
    let mut child = command.spawn().hint(what, "build it: `cargo build -p tdx-emulator`")?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped above");
    let read = BufReader::new(stdout).read_line(&mut line);
    if !read.is_ok_and(|_| line.starts_with("listening")) {
        return Err(Failure::new(
            format!("{what} did not start"),
            format!("see {log_name} in the machine's directory"),
        ));
    }
    Process::of(child.id())
}

/// A mirror's address as the guest reaches it.
fn mirror_for_guest(address: &str) -> Outcome<String> {
    Mirror::parse(address).hint("--registry-mirror", "write http://HOST:PORT or https://HOST")?;
    Ok(for_guest(address))
}

/// An address as the guest reaches it: what is on this host's loopback is elsewhere for the guest.
pub fn for_guest(address: &str) -> String {
    let (scheme, host) = address.split_once("://").unwrap_or_default();
    let loopback =
        ["localhost", "127.0.0.1", "[::1]"].into_iter().find_map(|name| host.strip_prefix(name));
    let rest = loopback.filter(|rest| rest.is_empty() || rest.starts_with([':', '/']));
    rest.map_or(address.to_owned(), |rest| format!("{scheme}://{HOST_IN_GUEST}{rest}"))
}

/// Starts a process that outlives this one, its words in a log of the machine's directory.
fn spawn(command: &mut Command, directory: &Path, log_name: &str) -> Outcome<Child> {
    let log_file = log(directory, log_name)?;
    let also = log_file.try_clone().hint(log_name, "is the directory writable?")?;
    let program = command.get_program().to_owned();
    command.stdin(Stdio::null()).stdout(log_file).stderr(also).process_group(0);
    command.spawn().hint(program.display(), "is the program there and executable?")
}

fn log(directory: &Path, name: &str) -> Outcome<fs::File> {
    let path = directory.join(name);
    fs::File::create(&path).hint(path.display(), "is the directory writable?")
}

fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    fs::write(path, bytes).hint(path.display(), "is the directory writable, and the disk not full?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_on_loopback_is_the_host_for_the_guest() {
        for (given, expected) in [
            ("http://localhost:5000", "http://10.0.2.2:5000"),
            ("https://127.0.0.1/", "https://10.0.2.2/"),
            ("http://[::1]:5000", "http://10.0.2.2:5000"),
            ("https://localhost.example.org", "https://localhost.example.org"),
            ("https://mirror.example.org:8443", "https://mirror.example.org:8443"),
        ] {
            assert_eq!(mirror_for_guest(given).unwrap(), expected);
        }
        for refused in ["mirror.example.org", "ftp://a", "http://a/path", "http://user:word@a"] {
            let failure = mirror_for_guest(refused).unwrap_err();
            assert!(failure.to_string().contains(refused), "{failure}");
        }
    }
}
