//! The default system call profile: what a container may ask of the kernel.
//!
//! It is data in the form of the OCI runtime specification (`config-linux.md`, "Seccomp"), an
//! allow-list with Docker's choices for a container without further capabilities: no mounts,
//! namespaces, modules, BPF, `io_uring`, keyrings or performance counters; no sockets of the kind
//! that leads to the host (`AF_VSOCK`, 40), which the image's kernel does not have either; no
//! subvolumes on the data disk; `clone3` answers `ENOSYS` so that a C library falls
//! back to `clone`, whose flags can be judged. A capability beyond the default opens the calls that
//! it is for, and one that is dropped closes its own, as in Docker's profile. The helper enforces
//! it; see [`container_helper`].

use std::collections::BTreeSet;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

const DEFAULT: &str = include_str!("seccomp-default.json");

/// Calls of capabilities that are not in the default set (moby, `profiles/seccomp/default.json`,
/// the rules with `includes`).
const OPENED: [(Capability, &[&str]); 13] = [
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (Capability::SysAdmin, ADMIN),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysModule, &["delete_module", "init_module", "finit_module"]),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp", "pidfd_getfd", "process_madvise"]),
    (Capability::SysRawio, &["iopl", "ioperm"]),
    (Capability::SysTime, &["settimeofday", "clock_settime"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// btrfs's requests that make, delete or change subvolumes (`linux/btrfs.h`, x86_64).
///
/// A subvolume is no directory: whoever owns the one above it can make it, and removing what an
/// app left on the data disk ends at it. The file systems' common requests for clones (`FICLONE`,
/// `FICLONERANGE`, `FIDEDUPERANGE`) have the same letter and stay.
const SUBVOLUMES: [(&str, u32); 12] = [
    ("SNAP_CREATE", 0x5000_9401),
    ("SUBVOL_CREATE", 0x5000_940e),
    ("SNAP_DESTROY", 0x5000_940f),
    ("DEFAULT_SUBVOL", 0x4008_9413),
    ("SNAP_CREATE_V2", 0x5000_9417),
    ("SUBVOL_CREATE_V2", 0x5000_9418),
    ("SUBVOL_SETFLAGS", 0x4008_941a),
    ("SET_RECEIVED_SUBVOL", 0xc0c8_9425),
    ("SET_RECEIVED_SUBVOL_32", 0xc0c0_9425),
    ("SEND", 0x4048_9426),
    ("SEND_32", 0x4044_9426),
    ("SNAP_DESTROY_V2", 0x5000_943f),
];

const ADMIN: &[&str] = &[
    "bpf",
    "clone",
    "clone3",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "perf_event_open",
    "quotactl",
    "quotactl_fd",
    "setdomainname",
    "sethostname",
    "setns",
    "syslog",
    "umount2",
    "unshare",
];

/// The profile of a container whose root holds `held`.
pub fn profile(held: &Capabilities) -> LinuxSeccomp {
    let mut profile: LinuxSeccomp = serde_json::from_str(DEFAULT)
        .expect("the profile is part of the program and read by a test");
    let mut opened = BTreeSet::new();
    for (_, calls) in OPENED.iter().filter(|(capability, _)| held.contains(capability)) {
        opened.extend(calls.iter().copied());
    }
    let mut closed = opened.clone();
    if !held.contains(&Capability::SysChroot) {
        closed.insert("chroot");
    }
    let mut rules = Vec::new();
    for mut rule in profile.syscalls().clone().unwrap_or_default() {
        // A call that is opened has no condition and no other answer any more.
        let names: Vec<String> =
            rule.names().iter().filter(|name| !closed.contains(name.as_str())).cloned().collect();
        if !names.is_empty() {
            rule.set_names(names);
            rules.push(rule);
        }
    }
    rules.extend(allow(opened));
    rules.extend(SUBVOLUMES.map(|(_, request)| refuse_request(request)));
    profile.set_syscalls(Some(rules));
    profile
}

/// A rule that allows `calls`; none if there are none.
fn allow(calls: BTreeSet<&str>) -> Option<LinuxSyscall> {
    let mut rule = LinuxSyscall::default();
    rule.set_names(calls.iter().map(|name| name.to_string()).collect());
    rule.set_action(LinuxSeccompAction::ScmpActAllow);
    rule.set_errno_ret(None).set_args(None);
    (!calls.is_empty()).then_some(rule)
}

/// A rule by which a device or file does not know `request`, as on any other file system.
fn refuse_request(request: u32) -> LinuxSyscall {
    const ENOTTY: u32 = 25;
    let argument = LinuxSeccompArgBuilder::default()
        .index(1_usize)
        .value(request)
        .op(LinuxSeccompOperator::ScmpCmpEq)
        .build()
        .expect("index, value and operator are given");
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec!["ioctl".to_owned()]).set_action(LinuxSeccompAction::ScmpActErrno);
    rule.set_errno_ret(Some(ENOTTY)).set_args(Some(vec![argument]));
    rule
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};

    use super::*;

    /// Calls that are allowed without a condition.
    fn allowed(held: &[Capability]) -> BTreeSet<String> {
        let profile = profile(&held.iter().copied().collect());
        assert_eq!(profile.default_action(), ScmpActErrno);
        let rules = profile.syscalls().clone().expect("rules");
        let allowed =
            rules.iter().filter(|rule| rule.action() == ScmpActAllow && rule.args().is_none());
        allowed.flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn the_profile_is_an_allow_list() {
        let allowed = allowed(&[Capability::SysChroot]);
        for never in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "keyctl",
            "init_module",
            "kexec_load",
        ] {
            assert!(!allowed.contains(never), "{never}");
        }
        assert!(allowed.contains("chroot") && !allowed.contains("clone"));
    }

    #[test]
    fn capabilities_open_and_close_their_calls() {
        assert!(!allowed(&[]).contains("chroot"));
        for (capability, calls) in OPENED {
            let (with, without) = (allowed(&[capability]), allowed(&[]));
            for call in calls {
                assert!(with.contains(*call) && !without.contains(*call), "{capability} {call}");
            }
        }
    }
}
