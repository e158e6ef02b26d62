//! What this machine says of itself, collected for [`super::evaluate`]; nothing is judged or
//! changed here.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use reproducible_build::lock::{INPUTS, Lock};
use reproducible_build::qemu::locked_version;

use crate::{paths, platform};

/// Longest wait for a certificate cache.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Where `up` lets guests ask for quotes: the host's own context, the port of Intel's service.
const QUOTE_SERVICE: (u32, u32) = (2, 4050);
/// Configuration of Intel's quote provider library.
const QCNL: &str = "/etc/sgx_default_qcnl.conf";
const REGISTRATION: &str =
    "/sys/firmware/efi/efivars/SgxRegistrationStatus-f236c5dc-a491-4bbe-bcdd-88885770df45";
const SGX_DEVICES: [&str; 2] = ["/dev/sgx_enclave", "/dev/sgx_provision"];
/// The first QEMU with TDX.
const OLDEST_QEMU: (u32, u32) = (10, 1);

/// Everything that is judged.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `vendor_id` of /proc/cpuinfo.
    pub vendor: Option<String>,
    /// `model name` of /proc/cpuinfo.
    pub model: Option<String>,
    /// `flags` of the first processor.
    pub cpu_flags: Vec<String>,
    /// As `uname -r` prints it.
    pub kernel_release: Option<String>,
    /// Parameter `tdx` of kvm_intel.
    pub kvm_tdx: Option<String>,
    /// Whether /dev/kvm opens for reading and writing.
    pub kvm_access: Result<String, String>,
    /// Devices of SGX, and whether each exists.
    pub sgx_devices: Vec<(String, bool)>,
    /// Intel's quote generation service.
    pub quote_service: Reached,
    /// The certificate cache that is configured.
    pub certificate_cache: Option<CertificateCache>,
    /// The EFI variable SgxRegistrationStatus, four bytes of attributes first.
    pub registration: Option<Vec<u8>>,
    /// Version of the locked QEMU.
    pub qemu: Result<String, String>,
    /// Whether this user can make a user namespace.
    pub namespaces: Result<String, String>,
}

/// Whether something answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It takes connections.
    Yes,
    /// Why not.
    No(String),
}

/// A configured PCCS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateCache {
    /// `pccs_url`.
    pub url: String,
    /// Whether its host takes connections.
    pub reached: Reached,
}

impl Default for Facts {
    /// A machine of which nothing is known.
    fn default() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            vendor: None,
            model: None,
            cpu_flags: Vec::new(),
            kernel_release: None,
            kvm_tdx: None,
            kvm_access: Err(unknown()),
            sgx_devices: Vec::new(),
            quote_service: Reached::No(unknown()),
            certificate_cache: None,
            registration: None,
            qemu: Err(unknown()),
            namespaces: Err(unknown()),
        }
    }
}

/// Looks at this machine.
pub fn collect() -> Facts {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    Facts {
        vendor: value("vendor_id"),
        model: value("model name"),
        cpu_flags: value("flags").unwrap_or_default().split(' ').map(str::to_owned).collect(),
        kernel_release: release.map(|release| release.trim().to_owned()),
        kvm_tdx: platform::kvm_tdx(),
        kvm_access: platform::kvm_access()
            .map(|()| String::new())
            .map_err(|error| format!("/dev/kvm: {error}")),
        sgx_devices: SGX_DEVICES
            .map(|device| (device.to_owned(), Path::new(device).exists()))
            .to_vec(),
        quote_service: quote_service(),
        certificate_cache: certificate_cache(),
        registration: fs::read(REGISTRATION).ok(),
        qemu: qemu(),
        namespaces: namespaces(),
    }
}

fn quote_service() -> Reached {
    let (context, port) = QUOTE_SERVICE;
    let connected = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .and_then(|socket| connect(socket.as_raw_fd(), &VsockAddr::new(context, port)));
    match connected {
        Ok(()) => Reached::Yes,
        Err(error) => Reached::No(error.desc().to_owned()),
    }
}

/// The configuration is JSON with comments, of which one value is of interest.
fn certificate_cache() -> Option<CertificateCache> {
    let text = fs::read_to_string(QCNL).ok()?;
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix("\"pccs_url\""));
    let url = values.next()?.split('"').nth(1)?.to_owned();
    let reached = match reach(&url) {
        Ok(()) => Reached::Yes,
        Err(error) => Reached::No(error.to_string()),
    };
    Some(CertificateCache { url, reached })
}

fn reach(url: &str) -> io::Result<()> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| io::Error::other("not an address"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let with_port = match host.rsplit_once(':') {
        Some(_) => host.to_owned(),
        None => format!("{host}:{}", if scheme == "http" { 80 } else { 443 }),
    };
    let address = with_port
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("the name has no address"))?;
    TcpStream::connect_timeout(&address, TIMEOUT).map(drop)
}

fn qemu() -> Result<String, String> {
    let checkout = paths::checkout().map_err(|failure| failure.to_string())?;
    let lock = Lock::read(&checkout.join("reproducible-build").join(INPUTS.lock))
        .map_err(|error| error.to_string())?;
    let version = locked_version(&lock).map_err(|error| error.to_string())?;
    match super::version(&version) {
        Some(number) if number >= OLDEST_QEMU => Ok(format!("{version}, pinned by inputs.lock")),
        _ => Err(format!("inputs.lock pins {version}; TDX needs 10.1 or later")),
    }
}

/// Asks the kernel by making one, in a child.
fn namespaces() -> Result<String, String> {
    let child = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    match child {
        Ok(output) if output.status.success() => Ok(String::new()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}
