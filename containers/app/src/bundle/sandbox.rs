//! What every container is kept in: namespaces and hidden paths.
//!
//! Docker's defaults (moby, `daemon/pkg/oci/defaults.go`), and stricter where a guest has something
//! to hide: the TDX device's measurements and the launch's devices are masked for every container,
//! since none may read or extend them.

use compose::model::{HostNamespace, Privileges, Service};
use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use super::shares;

/// Paths that show or change the guest; they read as empty.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// The guest's own, beyond Docker's: registers of the TDX device, quotes, devices of the launch.
const GUEST_PATHS: [&str; 3] =
    ["/sys/devices/virtual/misc/tdx_guest", "/sys/kernel/config", "/sys/kernel/security"];
/// Paths that can be read but not written.
const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Paths that read as empty.
pub(super) fn masked_paths(privileges: &Privileges) -> Vec<String> {
    let docker = if privileges.privileged { &[][..] } else { &MASKED_PATHS };
    docker.iter().chain(&GUEST_PATHS).map(|path| path.to_string()).collect()
}

/// Paths that cannot be written.
pub(super) fn readonly_paths(privileges: &Privileges) -> Vec<String> {
    let docker = if privileges.privileged { &[][..] } else { &READONLY_PATHS };
    docker.iter().map(|path| path.to_string()).collect()
}

/// Own namespaces of every kind that the service does not share with the guest. The one of ids is
/// the helper's to add; the one of the network is made before and joined by the helper.
pub(super) fn namespaces(service: &Service) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let own = [
        (LinuxNamespaceType::Pid, Some(HostNamespace::Pid)),
        (LinuxNamespaceType::Ipc, Some(HostNamespace::Ipc)),
        (LinuxNamespaceType::Uts, Some(HostNamespace::Uts)),
        (LinuxNamespaceType::Mount, None),
        (LinuxNamespaceType::Cgroup, Some(HostNamespace::Cgroup)),
    ];
    let own =
        own.into_iter().filter(|(_, shared)| !shared.is_some_and(|shared| shares(service, shared)));
    own.map(|(kind, _)| LinuxNamespaceBuilder::default().typ(kind).build()).collect()
}
