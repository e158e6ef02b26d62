//! The launch specification: strict TOML or command-line flags, resolved into a type whose values
//! need no second check.

use std::net::SocketAddr;
use std::path::PathBuf;

use protocol::digest::MrConfigId;
use protocol::image::{Flavour, ImageManifest};
use protocol::shape::{Shape, ShapeError};
use serde::Deserialize;

/// Largest TOML text; a long specification has 2 KiB.
pub const MAX_TOML_BYTES: usize = 64 * 1024;
/// Least memory: kernel, initrd in memory and a small app.
pub const MIN_MEMORY_MIB: u64 = 512;
/// Most forwarded ports.
pub const MAX_PORTS: usize = 64;
/// Root slots that every launch has: host bridge, network card, launch disk, status disk, data
/// disk.
pub const BASE_ROOT_SLOTS: u32 = 5;

/// Why a specification was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// not the TOML that the schema wants
    #[error("launch specification: {0}")]
    Toml(String),
    /// a number out of range
    #[error("launch specification: {0}")]
    Shape(#[from] ShapeError),
    /// a value that cannot work
    #[error("launch specification: {field}: {what}")]
    Field {
        /// The key.
        field: &'static str,
        /// What is wrong and what is legal.
        what: String,
    },
}

/// What is spoken on a forwarded port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP port.
    #[default]
    Tcp,
    /// A UDP port.
    Udp,
}

impl Transport {
    /// As QEMU and libvirt spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the guest made reachable on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortForward {
    /// Address on the host.
    pub host: SocketAddr,
    /// Port in the guest.
    pub guest: u16,
    /// What is spoken there; TCP if nothing else is said.
    #[serde(default)]
    pub transport: Transport,
}

/// Where the host's quote generation service listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum QuoteService {
    /// A vsock address; Intel's service uses port 4050 of context 2.
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// CPU emulation or virtualisation for a guest without TDX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// QEMU's own translator; works everywhere.
    #[default]
    Tcg,
    /// The host's hardware.
    Kvm,
}

/// What stands under the guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Platform {
    /// Intel TDX: QEMU 10.1 or later on a TDX host.
    Tdx {
        /// Bound into the TD at creation.
        mrconfigid: MrConfigId,
        /// Who signs quotes.
        quote_service: QuoteService,
    },
    /// No TDX: an emulated device, which proves nothing about hardware.
    Emulated {
        /// Unix socket of the emulator's host service.
        socket: PathBuf,
        /// How the CPU is provided.
        #[serde(default)]
        accelerator: Accelerator,
    },
}

/// The TOML as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    name: String,
    vcpus: u32,
    memory_mib: u64,
    image: PathBuf,
    launch_disk: PathBuf,
    status_disk: PathBuf,
    data_disk: PathBuf,
    console_log: PathBuf,
    #[serde(default)]
    control_socket: Option<PathBuf>,
    #[serde(default)]
    extra_disks: Vec<PathBuf>,
    #[serde(default)]
    ports: Vec<PortForward>,
    platform: Platform,
}

/// A guest that can be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Name of the virtual machine.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Directory with `firmware.fd`, `kernel`, `initrd` and `image.json`.
    pub image: PathBuf,
    /// Raw file with the launch block; the guest reads it.
    pub launch_disk: PathBuf,
    /// Raw file of 4 KiB; the guest writes its status there.
    pub status_disk: PathBuf,
    /// Raw file, sparse at first: the guest keeps images, volumes and logs there, encrypted with a
    /// key that it does not tell.
    pub data_disk: PathBuf,
    /// What the first serial port prints; stays empty with a release image.
    pub console_log: PathBuf,
    /// QMP socket, if the VMM shall be controllable.
    pub control_socket: Option<PathBuf>,
    /// Further raw disks that the guest does not use by itself, each one more root slot.
    pub extra_disks: Vec<PathBuf>,
    /// Forwarded ports.
    pub ports: Vec<PortForward>,
    /// TDX or emulated.
    pub platform: Platform,
}

impl LaunchSpec {
    /// Parses strict TOML.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        if text.len() > MAX_TOML_BYTES {
            return Err(SpecError::Toml(format!(
                "{} bytes, at most {MAX_TOML_BYTES} are accepted",
                text.len()
            )));
        }
        let raw: RawSpec =
            toml::from_str(text).map_err(|error| SpecError::Toml(error.to_string()))?;
        let spec = Self {
            name: raw.name,
            vcpus: raw.vcpus,
            memory_mib: raw.memory_mib,
            image: raw.image,
            launch_disk: raw.launch_disk,
            status_disk: raw.status_disk,
            data_disk: raw.data_disk,
            console_log: raw.console_log,
            control_socket: raw.control_socket,
            extra_disks: raw.extra_disks,
            ports: raw.ports,
            platform: raw.platform,
        };
        spec.check()?;
        Ok(spec)
    }

    /// Refuses what no VMM could launch; flags go through here as TOML does.
    pub fn check(&self) -> Result<(), SpecError> {
        let wrong = |field, what: String| Err(SpecError::Field { field, what });
        if let Err(error) = protocol::app_compose::check_name(&self.name) {
            return wrong("name", error.to_string());
        }
        if self.memory_mib < MIN_MEMORY_MIB {
            return wrong(
                "memory_mib",
                format!("{} is too little, at least {MIN_MEMORY_MIB} are needed", self.memory_mib),
            );
        }
        if self.ports.len() > MAX_PORTS {
            return wrong("ports", format!("{} ports, at most {MAX_PORTS}", self.ports.len()));
        }
        if self.ports.iter().any(|port| port.guest == 0 || port.host.port() == 0) {
            return wrong("ports", "port 0 is not a port; legal are 1 to 65535".into());
        }
        if let Some(path) = self.paths().find(|path| path.to_str().is_none()) {
            return wrong(
                "paths",
                format!("{} is not UTF-8, which QEMU's options must be", path.display()),
            );
        }
        let mut hosts: Vec<_> = self.ports.iter().map(|port| port.host).collect();
        hosts.sort();
        if let Some(pair) = hosts.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong("ports", format!("{} is forwarded twice", pair[0]));
        }
        let any_image = self.shape_with("0", 0);
        Ok(any_image.check()?)
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let of_platform = match &self.platform {
            Platform::Tdx { quote_service: QuoteService::Unix { path }, .. } => Some(path),
            Platform::Tdx { .. } => None,
            Platform::Emulated { socket, .. } => Some(socket),
        };
        [&self.image, &self.launch_disk, &self.status_disk, &self.data_disk, &self.console_log]
            .into_iter()
            .chain(&self.control_socket)
            .chain(&self.extra_disks)
            .chain(of_platform)
    }

    /// The shape that this launch has with `image` on the QEMU that the image names.
    pub fn shape(&self, image: &ImageManifest) -> Shape {
        self.shape_with(&image.machine.qemu_version, image.machine.serial_ports)
    }

    /// Serial ports that QEMU gets for this platform: the console, and the emulated TDX device
    /// behind it.
    pub fn serial_ports(&self) -> u32 {
        match self.platform {
            Platform::Tdx { .. } => 1,
            Platform::Emulated { .. } => 2,
        }
    }

    /// The flavour of image that this platform is for.
    pub fn flavour(&self) -> Flavour {
        match self.platform {
            Platform::Tdx { .. } => Flavour::Release,
            Platform::Emulated { .. } => Flavour::Dev,
        }
    }

    fn shape_with(&self, qemu_version: &str, serial_ports: u32) -> Shape {
        let extra = u32::try_from(self.extra_disks.len()).unwrap_or(u32::MAX);
        Shape {
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            root_slots: BASE_ROOT_SLOTS.saturating_add(extra),
            serial_ports,
            qemu_version: qemu_version.to_owned(),
            pci_hotplug: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = include_str!("../golden/emulated.toml");

    #[test]
    fn the_checked_in_specification_parses() {
        let spec = LaunchSpec::from_toml(TOML).unwrap();
        assert_eq!((spec.vcpus, spec.serial_ports(), spec.flavour()), (2, 2, Flavour::Dev));
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let error = |from: &str, to: &str| {
            LaunchSpec::from_toml(&TOML.replace(from, to)).unwrap_err().to_string()
        };
        assert!(error("vcpus = 2", "vcpus = 2\ncpus = 1").contains("cpus"));
        assert!(error("vcpus = 2", "vcpus = 0").contains("vcpus is 0, legal are 1 to 4096"));
        assert!(error("memory_mib = 2048", "memory_mib = 16").contains("at least 512"));
        assert!(error("guest = 8090", "guest = 0").contains("port 0"));
        assert!(error("127.0.0.1:18090", "127.0.0.1:18080").contains("forwarded twice"));
        assert!(error("name = \"hello\"", "name = \"../x\"").contains("name"));
    }
}
