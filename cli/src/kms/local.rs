//! The machine `kms` of this user, and machines with the KMS of a cluster of several owners:
//! started where they do not run; this user's is led to where it serves.
//!
//! Each is a machine like any other, whose disk and app directory are kept. That it is a cluster's
//! is not taken from its name or address: the channel proves its image and its measured file, which
//! were copied at its launch, and its cluster.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use protocol::app_compose;
use protocol::digest::{ComposeHash, OsImageHash};
use protocol::image;
use protocol::kms::{
    Address, CHANNEL_PORT, Cluster, EtcdEndpoints, KmsImage, TimeServer, WebhookAddress,
};
use vmm_configs::spec::Accelerator;

use super::channel::Target;
use super::deploy::{self, Variables};
use super::image::put_image;
use super::reached::{Expected, Reached};
use crate::app::APP_COMPOSE_FILE;
use crate::collateral::named_service;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::judge;
use crate::kept::Kept;
use crate::launch::{IMAGE_COPY, Launch, MachineSettings, Speaks, collateral_is_free, for_guest};
use crate::output::{Output, note};
use crate::owner::Owner;
use crate::parts::{Images, Overrides, Parts};
use crate::platform::Choice;
use crate::vm::Vm;
use crate::{files, paths, private, watch};

/// Name of the machine.
pub const MACHINE: &str = "kms";
/// A KMS needs little: it answers one call at a time.
const SHAPE: (u32, u64) = (1, 1024);
/// Its ledger grows by some hundred bytes an answer.
const DISK_GIB: u64 = 2;
/// How long it may take from then on until it opens a channel.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(120);
/// Ports that are tried for the emulator's collateral: beside those of the KMS, below those that
/// the system gives to anybody.
const COLLATERAL_PORTS: std::ops::Range<u16> = 8445..8545;
/// Name of the file with the port that was chosen.
const COLLATERAL_PORT_FILE: &str = "collateral.port";

/// With what the machine is started, if it is.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Image and QEMU.
    pub overrides: Overrides<'a>,
    /// TDX or emulated.
    pub choice: Choice,
    /// CPU of an emulated guest.
    pub accelerator: Accelerator,
}

/// Where the ports of a KMS are published on this host.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The address.
    pub bind: IpAddr,
    /// The port for channels; `None`: that of earlier starts, or the guest's.
    pub port: Option<u16>,
    /// The port on loopback for the collateral of emulated machines; `None`: that of earlier
    /// starts, or a free one.
    pub collateral_port: Option<u16>,
}

/// A cluster's KMS as a machine of this host.
#[derive(Debug)]
pub struct Place {
    /// Name of the machine.
    pub machine: String,
    /// Directory of the KMS's app.
    pub directory: PathBuf,
    /// Whose KMS it is.
    pub cluster: Cluster,
    /// Where its ports are published.
    pub published: Published,
    /// The etcd in which it stores, as its guest reaches it; `None`: on its disk.
    pub etcd: Option<EtcdEndpoints>,
    /// Where its processes may be; none for a KMS that is alone.
    pub peers: Vec<Address>,
    /// The webhook that it asks besides its policy, as its guest reaches it.
    pub boot_auth: Option<WebhookAddress>,
    /// The time servers that it asks; none: it has its machine's clock.
    pub time_servers: Vec<TimeServer>,
}

/// What a KMS is told besides the machine that it runs on.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub cluster: Cluster,
    /// The etcd in which it stores.
    pub etcd: Option<EtcdEndpoints>,
    /// Where its processes may be.
    pub peers: Vec<Address>,
    /// The webhook that it asks besides its policy.
    pub boot_auth: Option<WebhookAddress>,
    /// The time servers that it asks; none: it has its machine's clock.
    pub time_servers: Vec<TimeServer>,
}

impl Place {
    /// This user's own KMS.
    pub fn own(owner: &Owner) -> Outcome<Self> {
        Ok(Self {
            machine: MACHINE.to_owned(),
            directory: paths::data_directory()?.join("kms-app"),
            cluster: owner.local_cluster(),
            published: Published {
                bind: Ipv4Addr::LOCALHOST.into(),
                port: None,
                collateral_port: None,
            },
            etcd: None,
            peers: Vec::new(),
            boot_auth: None,
            time_servers: Vec::new(),
        })
    }

    /// The KMS of a cluster with this name; `found` says what it is told.
    pub fn of(
        name: &str,
        published: Published,
        found: impl FnOnce(&Path) -> Outcome<Found>,
    ) -> Outcome<Self> {
        let machine = format!("{MACHINE}-{name}");
        paths::vm_directory(&machine)?; // refuses a name that none can have
        let directory = paths::data_directory()?.join(format!("{machine}-app"));
        let Found { cluster, etcd, peers, boot_auth, time_servers } = found(&directory)?;
        Ok(Self { machine, directory, cluster, published, etcd, peers, boot_auth, time_servers })
    }

    /// The port on which this process's channels are published; `None` if any will do. Where the
    /// measured file names it to other processes, it must be free.
    fn channel_port(&self, kept: &Kept) -> Outcome<Option<u16>> {
        let Published { bind, port, .. } = self.published;
        if port.is_none() && self.peers.is_empty() {
            return Ok(None);
        }
        let earlier = kept.record.ports.get(&CHANNEL_PORT).copied();
        let port = port.or(earlier).unwrap_or(CHANNEL_PORT);
        TcpListener::bind((bind, port)).hint(
            format!("{bind}:{port}, where the channels of the KMS are published"),
            "does another program listen there? --port takes another one, which --peer names too",
        )?;
        Ok(Some(port))
    }
}

/// This user's KMS, at the other end of a channel.
pub struct Local {
    /// The KMS.
    pub kms: Reached,
    /// The machine.
    pub vm: Vm,
}

impl Local {
    /// Starts the machine if it does not run, and leads the KMS to where it serves.
    pub fn serving(start: Start<'_>, output: &Output) -> Outcome<Self> {
        let _lock = lock()?;
        let owner = Arc::new(Owner::ensured(output)?);
        let vm = running(start, &Place::own(&owner)?, output)?;
        let mut local = Self::open(vm, owner)?;
        local.kms.lead(output)?;
        // Guests judge it by the text that it states.
        put_image(&mut local.kms.connection, &local.kms.image_json, output)?;
        Ok(local)
    }

    /// The machine as it runs; nothing is started and nothing is signed.
    pub fn running() -> Outcome<Self> {
        Self::open(running_machine()?, Arc::new(Owner::expect()?))
    }

    /// Where the machine is that runs, and what it must be.
    pub fn target() -> Outcome<Target> {
        Ok(expected(&running_machine()?, &Owner::expect()?)?.target())
    }

    fn open(vm: Vm, owner: Arc<Owner>) -> Outcome<Self> {
        let kms = expected(&vm, &owner)?.reach(owner, CHANNEL_TIMEOUT)?;
        Ok(Self { kms, vm })
    }

    /// The address that guests on this host are told.
    pub fn url_for_guests(&self) -> Outcome<String> {
        Ok(for_guest(&format!("https://{}", channel_address(&self.vm)?)))
    }
}

/// The machine `kms`, which has to run.
fn running_machine() -> Outcome<Vm> {
    Vm::load(MACHINE).ok().filter(|vm| vm.qemu.alive()).ok_or_else(|| {
        Failure::new(
            "this user's KMS does not run",
            "`dstyx kms start` or `dstyx up` of an app with keys starts it; --kms URL names another one",
        )
    })
}

/// What the machine must be, as it was copied at its launch.
fn expected(vm: &Vm, owner: &Owner) -> Outcome<Expected> {
    let Deployed { image, image_json } = Deployed::of(vm)?;
    if vm.emulated {
        note(
            "danger: the emulator's root is accepted for the KMS, as this program started its machine's emulator itself",
        );
    }
    let (cluster, emulated) = (owner.local_cluster(), vm.emulated);
    Ok(Expected { cluster, image, image_json, emulated, address: channel_address(vm)? })
}

/// Starts the machine of a cluster's KMS if it does not run; nothing is signed. Its address.
pub fn started_machine(start: Start<'_>, place: &Place, output: &Output) -> Outcome<String> {
    let _lock = lock()?;
    let vm = running(start, place, output)?;
    channel_address(&vm)
}

/// What was started, as it was copied at the launch.
struct Deployed {
    image: KmsImage,
    image_json: Vec<u8>,
}

impl Deployed {
    fn of(vm: &Vm) -> Outcome<Self> {
        let directory = vm.directory()?;
        let image_json = files::read_bounded(&directory.join(IMAGE_COPY), image::MAX_BYTES as u64)?;
        let file = directory.join(APP_COMPOSE_FILE);
        let measured = files::read_bounded(&file, app_compose::MAX_BYTES as u64)?;
        let image = KmsImage {
            os_image_hash: OsImageHash::of(&image_json),
            compose_hash: ComposeHash::of(&measured),
        };
        Ok(Self { image, image_json })
    }
}

fn running(start: Start<'_>, place: &Place, output: &Output) -> Outcome<Vm> {
    let machine = &place.machine;
    if let Ok(vm) = Vm::load(machine) {
        if vm.qemu.alive() {
            if vm.emulated != (start.choice == Choice::Emulated) {
                return Err(Failure::new(
                    format!("{machine} runs on another platform than was asked for"),
                    format!("`dstyx down {machine}` first, or name another KMS with --kms"),
                ));
            }
            return Ok(vm);
        }
        vm.end()?;
    }
    let directory = paths::vm_directory(machine)?;
    if directory.exists() {
        fs::remove_dir_all(&directory).hint(directory.display(), "remove it by hand")?;
    }
    started(start, place, &directory, output)
}

fn started(start: Start<'_>, place: &Place, directory: &Path, output: &Output) -> Outcome<Vm> {
    let Place { machine, cluster, .. } = place;
    let checkout = paths::checkout().map_err(|failure| {
        Failure::new(
            format!("{machine} does not run, and {failure}"),
            "start it in a checkout of dstyx, name another KMS with --kms, or give --no-kms",
        )
    })?;
    let emulated = start.choice == Choice::Emulated;
    let anchor = judge::anchor_if(emulated);
    let asked_port = place.published.collateral_port;
    let collateral_port = emulated.then(|| collateral_port(asked_port)).transpose()?;
    let pccs = collateral_for_guests(emulated)?;
    let (etcd, peers, boot_auth) = (place.etcd.as_ref(), &place.peers, place.boot_auth.as_ref());
    let (anchor, pccs) = (&anchor, pccs.as_deref());
    let time_servers = &place.time_servers[..];
    let variables = Variables { cluster, anchor, pccs, etcd, boot_auth, peers, time_servers };
    let app = deploy::app(&checkout, &place.directory, &variables)?;
    let parts = Parts::of(start.overrides, start.choice, &app, Images::Kms)?;
    let mut kept = Kept::for_any_version(machine, app.settings.hash)?;
    if let Some(port) = place.channel_port(&kept)? {
        kept.record.ports.insert(CHANNEL_PORT, port);
    }
    let (vcpus, memory_mib) = SHAPE;
    let launch = Launch {
        machine: MachineSettings {
            vcpus,
            memory_mib,
            disk_gib: DISK_GIB,
            accelerator: start.accelerator,
        },
        registry_mirrors: &[],
        bind: place.published.bind,
        choice: start.choice,
        app: &app,
        parts: &parts,
        kept: Some(&kept),
        kms_urls: &[],
        gateway_urls: &[],
        encrypted_env: None,
        collateral_port,
        speaks: Speaks::Tls,
    };
    output.step(&format!(
        "starting the KMS of {}, the machine {machine}: {vcpus} vCPU, {memory_mib} MiB",
        match machine.as_str() {
            MACHINE => "this user",
            _ => &cluster.name,
        }
    ));
    let vm = launch.start(machine, directory)?;
    kept.remember_ports(&vm)?;
    watch::until_app_runs(&vm, directory, output)?;
    Ok(vm)
}

fn channel_address(vm: &Vm) -> Outcome<String> {
    let address = vm.ports.get(&CHANNEL_PORT).ok_or_else(|| {
        Failure::new(
            format!("the machine {} publishes no port {CHANNEL_PORT}", vm.name),
            format!("is it another app? `dstyx down {}` ends it", vm.name),
        )
    })?;
    Ok(address.to_string())
}

/// The service with the collateral of machines on this host, as guests reach it: that of this
/// user's KMS where they are emulated; `None`: Intel's.
pub fn collateral_for_guests(emulated: bool) -> Outcome<Option<String>> {
    match emulated {
        true => {
            let port = collateral_port(None)?;
            Ok(Some(for_guest(&format!("http://{}:{port}", Ipv4Addr::LOCALHOST))))
        }
        false => Ok(named_service(None).map(|url| for_guest(&url))),
    }
}

/// Held while the machine is started: two commands would start two.
fn lock() -> Outcome<Flock<fs::File>> {
    let path = paths::data_directory()?.join("kms.lock");
    fs::create_dir_all(paths::data_directory()?).hint(path.display(), "is it writable?")?;
    let file = fs::File::create(&path).hint(path.display(), "is it writable?")?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| Failure::new(format!("{}: {error}", path.display()), "try again"))
}

/// The port of the emulator's collateral service, which is chosen once: the measured file has it.
fn collateral_port(asked: Option<u16>) -> Outcome<u16> {
    let file = paths::data_directory()?.join(COLLATERAL_PORT_FILE);
    if let Some(text) = private::read(&file, 8)? {
        let port = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        let port = port.ok_or_else(|| {
            Failure::new(format!("{}: no port", file.display()), "remove the file")
        })?;
        return match asked.is_some_and(|asked| asked != port) {
            false => Ok(port),
            true => Err(Failure::new(
                format!("the KMSs of this user have the collateral port {port} already"),
                "leave --collateral-port out; other processes of the KMS need the same one",
            )),
        };
    }
    // Users who start their KMSs at the same moment begin their search at different ports.
    let begin = std::process::id() as usize % COLLATERAL_PORTS.len();
    let mut ports = COLLATERAL_PORTS.cycle().skip(begin).take(COLLATERAL_PORTS.len());
    let port = asked.or_else(|| ports.find(|port| collateral_is_free(*port)));
    let port = port.ok_or_else(|| {
        Failure::new("no port is free for the emulator's collateral", "end other programs")
    })?;
    private::replace(&file, port.to_string().as_bytes())
        .hint(file.display(), "is the directory writable?")?;
    Ok(port)
}
