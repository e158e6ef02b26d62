//! Options of the commands that start and stop a machine.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::{Accel, KeyFlags};

/// Options of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Directory with a compose file and, if present, app-compose.json.
    pub dir: PathBuf,
    /// A compose file of DIR; again for each that is merged over it. Without, compose.yaml,
    /// compose.yml, docker-compose.yml or docker-compose.yaml and its override file.
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Variables for the compose file, instead of those of .env beside it; measured and readable by
    /// everybody.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Variables that only the guest may know (NAME=value a line): sealed for it, signed by this
    /// user's key; only their names are measured.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["encrypted_env", "kms", "no_kms"])]
    pub secret_env_file: Option<PathBuf>,
    /// The encrypted environment that `dstyx env seal` wrote for this app.
    #[arg(long, value_name = "FILE", conflicts_with = "no_kms")]
    pub encrypted_env: Option<PathBuf>,
    /// Image directory; by default the checkout's image of the flavour that fits is built.
    #[arg(long)]
    pub image: Option<PathBuf>,
    /// Virtual processors.
    #[arg(long, default_value_t = 2)]
    pub vcpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048)]
    pub memory: u64,
    /// Size of the data disk in GiB: images, volumes and logs. A kept disk keeps its size.
    #[arg(long, default_value_t = 8)]
    pub disk_gib: u64,
    /// Name of the virtual machine; by default the app's name.
    #[arg(long)]
    pub name: Option<String>,
    /// Address on this host where ports are published.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Run on TDX, or fail.
    #[arg(long, conflicts_with = "emulate")]
    pub tdx: bool,
    /// Run with an emulated TDX device, which proves nothing about hardware.
    #[arg(long)]
    pub emulate: bool,
    /// Use this QEMU instead of the locked one, or outside a checkout of the one on the PATH; it
    /// must be of the version in image.json.
    #[arg(long)]
    pub qemu: Option<PathBuf>,
    /// The guest asks this address (http:// or https://, host and port) for images before the
    /// registries that they name; an address of this host's loopback is meant as this host's.
    #[arg(long, value_name = "URL")]
    pub registry_mirror: Vec<String>,
    /// Let a gateway lead to the app, in the app-compose.json that is made. Without --gateway this
    /// user's own is started, whose certificates are for trials on this machine.
    #[arg(long, conflicts_with = "no_kms")]
    pub gateway_enabled: bool,
    /// Where the gateway takes guests (https://HOST:PORT); again for each. The app's KMS says which
    /// app it must be.
    #[arg(long, value_name = "URL")]
    pub gateway: Vec<String>,
    /// Allow services what breaks their confinement, in the app-compose.json that is made:
    /// verifiers see it.
    #[arg(long)]
    pub danger_privileged: bool,
    /// CPU of an emulated guest.
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    pub accel: Accel,
    #[command(flatten)]
    /// Where its keys come from.
    pub keys: KeyFlags,
}

/// Options of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Name as `dstyx ps` shows it.
    pub name: String,
    /// Remove the kept data disk too: what the app wrote is lost.
    #[arg(long)]
    pub volumes: bool,
}
