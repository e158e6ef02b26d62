//! What every container is kept in: namespaces, capabilities, mounts, hidden paths, limits.
//!
//! Docker's defaults (moby, `daemon/pkg/oci/defaults.go` and `caps/defaults.go`), and stricter where a
//! guest has something to hide: no `MKNOD`, since no device filter is enforced yet, and the TDX device's
//! measurements are masked, since no container may read or extend them.

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

/// Capabilities that root in a container has: Docker's fourteen without `MKNOD`.
const CAPABILITIES: [Capability; 13] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Paths that show or change the guest; they read as empty.
pub(super) const MASKED_PATHS: [&str; 15] = [
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
    // The guest's own, beyond Docker's: registers of the TDX device, quotes, devices of the launch.
    "/sys/devices/virtual/misc/tdx_guest",
    "/sys/kernel/config",
    "/sys/kernel/security",
];

/// Paths that can be read but not written.
pub(super) const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Open files of one process, as systemd and Docker set them.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// Bounding set for everybody; effective only for root, as `execve` would have it.
pub(super) fn capabilities(uid: u32) -> Result<LinuxCapabilities, OciSpecError> {
    let all: Capabilities = CAPABILITIES.into_iter().collect();
    let held = if uid == 0 { all.clone() } else { Capabilities::new() };
    LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(held.clone())
        .permitted(held)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

/// Own namespaces of every kind but user; the network namespace was made and set up before.
pub(super) fn namespaces(network: Option<&Path>) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let own = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    let mut namespaces = own
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(network) = network {
        namespaces.push(LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network).path(network).build()?);
    }
    Ok(namespaces)
}

/// The file systems of every container, then the files of `etc`, read-only.
pub(super) fn mounts(etc: &[(&str, PathBuf)]) -> Result<Vec<Mount>, OciSpecError> {
    let table: [(&str, &str, &str, &[&str]); 7] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    let mut mounts = Vec::new();
    for (destination, kind, source, options) in table {
        mounts.push(mount(destination, kind, source.into(), options)?);
    }
    for (destination, source) in etc {
        let options = ["bind", "ro", "nosuid", "noexec", "nodev", "private"];
        mounts.push(mount(destination, "bind", source.clone(), &options)?);
    }
    Ok(mounts)
}

fn mount(destination: &str, kind: &str, source: PathBuf, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|option| option.to_string()).collect();
    MountBuilder::default().destination(destination).typ(kind).source(source).options(options).build()
}

/// Limits of one process; none above `max_open_files`, which is the caller's own.
pub(super) fn rlimits(max_open_files: u64) -> Result<Vec<PosixRlimit>, OciSpecError> {
    let (soft, hard) = OPEN_FILES;
    let open_files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(soft.min(max_open_files))
        .hard(hard.min(max_open_files));
    let core = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitCore).soft(0u64).hard(0u64);
    Ok(vec![open_files.build()?, core.build()?])
}
