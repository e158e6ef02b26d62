//! The default system call profile: what a container may ask of the kernel.
//!
//! It is data in the form of the OCI runtime specification (`config-linux.md`, "Seccomp"), an allow-list
//! with Docker's choices for a container without further capabilities: no mounts, namespaces, modules, BPF,
//! `io_uring`, keyrings or performance counters; no sockets of the kind that leads to the host (`AF_VSOCK`,
//! 40); `clone3` answers `ENOSYS` so that a C library falls back to `clone`, whose flags can be judged.
//! The helper enforces it; see [`crate::helper`].

use oci_spec::runtime::LinuxSeccomp;

const DEFAULT: &str = include_str!("seccomp-default.json");

/// The profile of every container.
pub(crate) fn default_profile() -> LinuxSeccomp {
    serde_json::from_str(DEFAULT).expect("the profile is part of the program and read by a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_an_allow_list() {
        use oci_spec::runtime::LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};
        let profile = default_profile();
        assert_eq!(profile.default_action(), ScmpActErrno);
        let rules = profile.syscalls().as_ref().expect("rules");
        let allowed: Vec<&String> =
            rules.iter().filter(|rule| rule.action() == ScmpActAllow).flat_map(|rule| rule.names()).collect();
        for never in ["mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "init_module", "kexec_load"] {
            assert!(!allowed.iter().any(|name| *name == never), "{never}");
        }
    }
}
