//! The command line as a person types it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod domain;
mod env;
mod gateway;
mod kms;
mod pad;
mod up;

pub use domain::{Domain, DomainVerify};
pub use env::{Env, EnvSeal};
pub use gateway::{Gateway, GatewayCall};
pub use kms::{
    KeyFlags, Kms, KmsAt, KmsCommand, KmsEpoch, KmsImageVerb, KmsLedger, KmsPolicy, KmsStart,
    KmsStatement, NewEpoch, Transfer,
};
pub use pad::{
    Pad, PadAgree, PadAudit, PadComponent, PadEngine, PadEnrol, PadEnrolFile, PadInspect, PadJoint,
    PadKeygen, PadOpen, PadPack, PadPolicy, PadPush, PadRecord, PadResult, PadRevoke, PadRun,
    PadRunOwner, PadSign, PadUpdate, ShownPolicy,
};
pub use up::{Down, Up};

/// Run docker-compose apps in verifiable Intel TDX virtual machines.
#[derive(Debug, Parser)]
#[command(name = "dstyx", version, max_term_width = 100)]
pub struct Cli {
    /// Print one JSON document to standard output instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build if needed, boot DIR's app, verify the guest and print a verdict and links.
    Up(Up),
    /// Write the digest behind each image tag of a compose file.
    Pin(Pin),
    /// Stop a virtual machine and remove its state; a kept data disk stays.
    Down(Down),
    /// Write the kept data disk of a virtual machine to a file, for another host.
    Export(Transfer),
    /// Keep an exported data disk for the next `up`.
    Import(Transfer),
    /// List virtual machines, or the containers of one.
    Ps(Ps),
    /// Show what a guest reported, or what one of its services printed.
    Logs(Logs),
    /// Show what the containers of a virtual machine use.
    Stats(Named),
    /// Show what happened to the containers of a virtual machine.
    Events(Named),
    /// Seal variables that only an app's guests may know.
    #[command(subcommand)]
    Env(Env),
    /// Own a key management service: its root, its policy, its ledger.
    Kms(KmsCommand),
    /// Seal data with policies for its custodians, and say what a Pad allows.
    #[command(subcommand)]
    Pad(Pad),
    /// Build the image from pinned sources and print its directory.
    Build(Build),
    /// Build twice under different conditions and compare every byte.
    Rebuild(Rebuild),
    /// Check or rewrite the pinned inputs.
    Lock(Lock),
    /// Write an image with a statement of what it was built from, signed; or check one.
    Release(Release),
    /// Predict every register from an image and a shape.
    Measure(Measure),
    /// Judge a guest's evidence.
    Verify(Verify),
    /// Check that every key certified for a gateway's name has evidence.
    #[command(subcommand)]
    Domain(Domain),
    /// Ask something of a running gateway as one of its owners.
    #[command(subcommand)]
    Gateway(Gateway),
    /// Compare two evidences, or one with a prediction, event by event.
    Diff(Diff),
    /// Fetch or show what verifying a quote takes beside it.
    #[command(subcommand)]
    Collateral(Collateral),
    /// Print a virtual machine monitor's arguments for a launch specification.
    #[command(subcommand)]
    Config(Config),
    /// Say what this machine lacks to run trust domains.
    Doctor,
    /// Serve an OCI layout read-only on loopback (started by `up`).
    #[command(hide = true)]
    ServeImages(ServeImages),
    /// Check apps as `up` does, without a boot (started by `cargo xtask compose-corpus`).
    #[command(hide = true)]
    CheckApps(CheckApps),
}

/// Options of `pin`.
#[derive(Debug, Args)]
pub struct Pin {
    /// An app directory, or compose files of one; with all files that they extend or include they
    /// are rewritten, and only their image lines change.
    #[arg(default_value = ".")]
    pub file: Vec<PathBuf>,
    /// Take this service's image from a file that `docker save` or `podman save` wrote, or a
    /// program for the sandbox of Pads from a component; it is kept in dstyx-images beside the
    /// compose file, and `up` serves it to the guest.
    #[arg(long, value_name = "SERVICE=FILE")]
    pub image: Vec<String>,
    /// Ask this address (http:// or https://, host and port) before the registries that images
    /// name.
    #[arg(long, value_name = "URL")]
    pub registry_mirror: Vec<String>,
    /// Ask this registry (HOST or HOST:PORT) without TLS; app-compose.json must name it too.
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
}

/// How an emulated guest's CPU is provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// QEMU's translator.
    Tcg,
    /// The host's hardware virtualisation.
    Kvm,
}

/// Names one virtual machine.
#[derive(Debug, Args)]
pub struct Named {
    /// Name as `dstyx ps` shows it.
    pub name: String,
}

/// Options of `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Show the containers of this virtual machine.
    pub name: Option<String>,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Name as `dstyx ps` shows it.
    pub name: String,
    /// A service or container of its app, as `dstyx ps NAME` shows it.
    #[arg(conflicts_with = "console")]
    pub service: Option<String>,
    /// Go on with what the service prints.
    #[arg(long, requires = "service")]
    pub follow: bool,
    /// Lines from the end.
    #[arg(long, requires = "service", default_value_t = 1000)]
    pub tail: usize,
    /// Only lines since then: 10m (ago), 2026-01-31T12:00:00Z, or seconds since 1970.
    #[arg(long, requires = "service", value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines until then.
    #[arg(long, requires = "service", value_name = "TIME")]
    pub until: Option<String>,
    /// Begin each line with its time.
    #[arg(long, requires = "service")]
    pub timestamps: bool,
    /// Show the serial console too (dev guests only).
    #[arg(long)]
    pub console: bool,
}

/// Options of `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Which image.
    #[arg(long, value_enum, default_value_t = FlavourArg::Release)]
    pub flavour: FlavourArg,
    /// Fail unless the build equals the accepted one.
    #[arg(long, conflicts_with = "accept")]
    pub check: bool,
    /// Record this build's digests as the accepted ones.
    #[arg(long)]
    pub accept: bool,
}

/// Release or dev.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlavourArg {
    /// For TDX hardware.
    Release,
    /// For any machine, with the emulated TDX device.
    Dev,
}

/// Options of `rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Only this part.
    #[arg(long, value_enum)]
    pub only: Option<Part>,
    /// Build the image that this image.json describes, and compare; with the files beside it if
    /// they are there.
    #[arg(long, value_name = "IMAGE.JSON", conflicts_with = "only")]
    pub against: Option<PathBuf>,
}

/// Parts that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Both kernels.
    Kernel,
    /// The firmware.
    Firmware,
    /// Programs and initial file systems.
    Initrd,
    /// The examples' container images.
    Examples,
    /// The container image of the key management service.
    Kms,
    /// The container image of the gateway.
    Gateway,
    /// The sandbox of Pads, and programs for it.
    Pads,
}

/// Options of `release`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Release {
    /// Which image.
    #[arg(long, value_enum, default_value_t = FlavourArg::Release)]
    pub flavour: FlavourArg,
    /// Sign with this Ed25519 key (PKCS#8 PEM); again for each key.
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Directory to write; signatures are added to those of the same statement there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Something else than writing a release.
    #[command(subcommand)]
    pub verb: Option<ReleaseVerb>,
}

/// What else is done with a release.
#[derive(Debug, Subcommand)]
pub enum ReleaseVerb {
    /// Check who signed the release in DIR, and that its files are the signed ones.
    Check(ReleaseCheck),
}

/// Options of `release check`.
#[derive(Debug, Args)]
pub struct ReleaseCheck {
    /// Directory with the release.
    pub dir: PathBuf,
    #[command(flatten)]
    /// Who is trusted.
    pub signers: Signers,
}

/// Whose signatures count.
#[derive(Debug, Clone, Default, Args)]
pub struct Signers {
    /// Trust this Ed25519 public key (PEM); again for each key.
    #[arg(long, value_name = "FILE")]
    pub signer: Vec<PathBuf>,
    /// How many of the signers must have signed; by default all.
    #[arg(long, value_name = "K", requires = "signer")]
    pub threshold: Option<usize>,
}

/// Options of `lock`.
#[derive(Debug, Args)]
pub struct Lock {
    /// Say which pinned files are superseded or gone; change nothing.
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
    /// Rewrite the locks from the mirror's current index and print the difference.
    #[arg(long)]
    pub update: bool,
    /// Only this lock; the time of the build's own is an input of every build, so a change there
    /// builds all anew.
    #[arg(long, value_enum)]
    pub only: Option<LockName>,
}

/// The lock files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockName {
    /// inputs.lock: what the image is made from.
    Inputs,
    /// tests.lock: what only tests start.
    Tests,
}

/// The machine that a prediction or a verdict is for.
#[derive(Debug, Clone, Default, Args)]
pub struct ShapeFlags {
    /// Virtual processors.
    #[arg(long)]
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    #[arg(long)]
    pub memory: Option<u64>,
    /// PCI functions on the root bus, host bridge included.
    #[arg(long)]
    pub root_slots: Option<u32>,
    /// QEMU's version.
    #[arg(long)]
    pub qemu_version: Option<String>,
    /// ISA serial ports.
    #[arg(long)]
    pub serial_ports: Option<u32>,
    /// Whether QEMU offers ACPI PCI hot-plug.
    #[arg(long, value_enum)]
    pub pci_hotplug: Option<Switch>,
}

/// Something that a machine has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It has.
    On,
    /// It has not.
    Off,
}

impl ShapeFlags {
    /// Whether hot-plug was stated, and which.
    pub fn stated_pci_hotplug(&self) -> Option<bool> {
        self.pci_hotplug.map(|switch| switch == Switch::On)
    }
}

/// What no file of an image says about its firmware.
#[derive(Debug, Clone, Default, Args)]
pub struct FirmwareFlags {
    /// Which events the firmware measures into RTMR0: edk2-2025.02 or edk2-2025.05.
    #[arg(long, value_name = "NAME")]
    pub layout: Option<String>,
    /// Reference for the digest of SMBIOS tables that newer firmware measures, 96 hex digits; it is
    /// not computed.
    #[arg(long, value_name = "HEX")]
    pub handoff_tables: Option<String>,
}

/// Options of `measure`.
#[derive(Debug, Args)]
pub struct Measure {
    /// Image directory, ours (image.json) or dstack's (sha256sum.txt).
    #[arg(long, conflicts_with = "firmware", required_unless_present = "firmware")]
    pub image: Option<PathBuf>,
    /// Firmware file of anybody's image.
    #[arg(long)]
    pub firmware: Option<PathBuf>,
    /// Kernel file.
    #[arg(long, requires = "firmware")]
    pub kernel: Option<PathBuf>,
    /// Initrd file.
    #[arg(long, requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    #[arg(long, requires = "kernel")]
    pub cmdline: Option<String>,
    #[command(flatten)]
    /// The firmware.
    pub of_firmware: FirmwareFlags,
    #[command(flatten)]
    /// The machine.
    pub shape: ShapeFlags,
    /// App directory, for RTMR3 and MRCONFIGID.
    #[arg(long)]
    pub app: Option<PathBuf>,
    /// App id, 40 hex digits; by default the start of the compose hash.
    #[arg(long, requires = "app")]
    pub app_id: Option<String>,
    /// Instance id, 40 hex digits, or none (an empty id). Each launch has its own unless the app
    /// says no_instance_id.
    #[arg(long, requires = "app", default_value = "none")]
    pub instance_id: String,
    /// Payload of the key-provider event; by default what the app's file asks for.
    #[arg(long, requires = "app")]
    pub key_provider: Option<String>,
    /// Payload of the os-image-hash event, 64 hex digits; without it there is no such event.
    #[arg(long, requires = "app")]
    pub os_image_hash: Option<String>,
    /// Payload of the storage-fs event; by default what the app's file asks for, `none` for a guest
    /// without a data disk.
    #[arg(long, requires = "app")]
    pub storage_fs: Option<String>,
    /// Last event of RTMR3.
    #[arg(long, value_enum, default_value_t = Until::BootMrDone)]
    pub until: Until,
}

/// Where a prediction of RTMR3 stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// What init measures.
    BootMrDone,
    /// What the agent measures too.
    SystemReady,
}

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct Verify {
    /// A virtual machine started by `up`.
    #[arg(long, group = "source")]
    pub vm: Option<String>,
    /// A guest's public address, such as http://127.0.0.1:8090.
    #[arg(long, group = "source")]
    pub url: Option<String>,
    /// A file of evidence: ours, dstack's, or a raw quote.
    #[arg(long, group = "source")]
    pub evidence: Option<PathBuf>,
    /// Event log beside a raw quote: run-time JSON, a CCEL dump, or one of each.
    #[arg(long, value_name = "FILE", requires = "evidence")]
    pub event_log: Vec<PathBuf>,
    /// The nonce for which you asked the guest for the file, 64 hex digits; without it nothing is
    /// known of the evidence's age.
    #[arg(long, value_name = "HEX", requires = "evidence", conflicts_with = "report_data")]
    pub nonce: Option<String>,
    /// What the quote was made for, 128 hex digits, where not for a nonce of ours.
    #[arg(long, value_name = "HEX", requires = "evidence")]
    pub report_data: Option<String>,
    /// Image directory that the guest must run.
    #[arg(long)]
    pub image: Option<PathBuf>,
    #[command(flatten)]
    /// Who must have released that image; without a signer, the directory is believed as it is.
    pub signers: Signers,
    /// App directory that the guest must run; its app-compose.json is hashed as it is.
    #[arg(long)]
    pub app: Option<PathBuf>,
    /// Hash of the app-compose.json that the guest must run, 64 hex digits, in place of --app.
    #[arg(long, value_name = "HEX", conflicts_with = "app")]
    pub compose_hash: Option<String>,
    /// Id under which the app must run, 40 hex digits, where it is not that of its file: a later
    /// version keeps the id of the first.
    #[arg(long, value_name = "HEX")]
    pub app_id: Option<String>,
    #[command(flatten)]
    /// The machine that it must have; what is not stated is taken from the evidence's own claim.
    pub shape: ShapeFlags,
    #[command(flatten)]
    /// The firmware of another image than ours.
    pub of_firmware: FirmwareFlags,
    /// Collateral (dcap-qvl's QuoteCollateralV3 JSON); by default that of the cache, see `dstyx
    /// collateral`.
    #[arg(long)]
    pub collateral: Option<PathBuf>,
    /// Policy (TOML): what must hold besides, and what is tolerated by name and date; see
    /// docs/policy.md.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Fetch collateral there if the cache has none that is valid [default: DSTYX_PCCS, or nothing
    /// is fetched].
    #[arg(long, value_name = "URL", conflicts_with = "collateral")]
    pub pccs: Option<String>,
    /// Judge at this time (RFC 3339) instead of now.
    #[arg(long)]
    pub at: Option<String>,
    /// Write the verdict as a page too: one HTML file, without scripts or anything from elsewhere.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Accept the emulator's root: such a verdict proves nothing about hardware.
    #[arg(long)]
    pub danger_accept_emulated: bool,
}

/// What to do about collateral.
#[derive(Debug, Subcommand)]
pub enum Collateral {
    /// Fetch what a quote needs into the cache, where `verify` finds it.
    Fetch(FetchCollateral),
    /// Say what collateral is for and until when it is valid.
    Show {
        /// A file (QuoteCollateralV3 JSON); by default everything in the cache.
        file: Option<PathBuf>,
    },
}

/// Options of `collateral fetch`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct FetchCollateral {
    /// A virtual machine started by `up`.
    #[arg(long, group = "source")]
    pub vm: Option<String>,
    /// A guest's public address, such as http://127.0.0.1:8090.
    #[arg(long, group = "source")]
    pub url: Option<String>,
    /// A file of evidence.
    #[arg(long, group = "source")]
    pub evidence: Option<PathBuf>,
    /// Service to ask [default: DSTYX_PCCS, or Intel's].
    #[arg(long, value_name = "URL")]
    pub pccs: Option<String>,
    /// Judge what comes at this time (RFC 3339) instead of now.
    #[arg(long)]
    pub at: Option<String>,
    /// Accept the emulator's root: such collateral is for no hardware.
    #[arg(long)]
    pub danger_accept_emulated: bool,
}

/// Options of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// A file of evidence.
    pub a: PathBuf,
    /// Another one; without it, give --image and the machine for a prediction.
    #[arg(conflicts_with = "image", required_unless_present = "image")]
    pub b: Option<PathBuf>,
    /// Image directory to predict registers of, ours (image.json) or dstack's (sha256sum.txt).
    #[arg(long)]
    pub image: Option<PathBuf>,
    #[command(flatten)]
    /// The machine of the prediction; what is not stated is taken from the evidence's own claim.
    pub shape: ShapeFlags,
    #[command(flatten)]
    /// The firmware of another image than ours.
    pub of_firmware: FirmwareFlags,
}

/// Virtual machine monitors.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Arguments for QEMU, one a line.
    Qemu {
        /// Launch specification (TOML).
        spec: PathBuf,
    },
    /// Domain XML for libvirt 12 or later, for a TDX guest.
    Libvirt {
        /// Launch specification (TOML) with absolute paths.
        spec: PathBuf,
    },
}

/// Options of the hidden image server.
#[derive(Debug, Args)]
pub struct ServeImages {
    /// OCI layout directories.
    #[arg(long)]
    pub layout: Vec<PathBuf>,
    /// File that gets the server's port once it listens.
    #[arg(long)]
    pub port_file: PathBuf,
}

/// Options of `check-apps`.
#[derive(Debug, Args)]
pub struct CheckApps {
    /// App directories. Placeholders stand for missing digests and variables; nothing is written.
    #[arg(required = true)]
    pub dir: Vec<PathBuf>,
}
