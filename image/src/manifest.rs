//! What is in the initramfs: one list, with the most bytes that each file may have.
//!
//! Everything of the OS is here, so whoever reads this list has seen the whole guest: no shell, no
//! interpreter, no shared library, no package manager, no secret. A file that is not listed cannot
//! get in; a listed one that is missing ends the build. The ceilings keep growth a decision instead
//! of an accident.

use protocol::image::Flavour;

/// Most bytes of kernel and compressed initramfs together: what a guest must hash, load and hold
/// while it boots.
pub const TOTAL_CEILING_BYTES: u64 = 30_000_000;
/// Most bytes of the kernel: 5.5 MB today.
pub const KERNEL_CEILING_BYTES: u64 = 8_000_000;
/// Most bytes of the firmware: the size of its flash.
pub const FIRMWARE_CEILING_BYTES: u64 = 4 << 20;

/// PID 1.
pub const INIT: &str = "init";
/// The resident service.
pub const GUEST_AGENT: &str = "bin/guest-agent";
/// Starts one container.
pub const CONTAINER_HELPER: &str = "bin/container-helper";
/// Debian's bundle of certificate authorities.
pub const CA_CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The time before which no guest's clock starts.
pub const BUILD_DATE: &str = "etc/dstyx/build-date";
/// The btrfs that a data disk starts with.
pub const BTRFS_TEMPLATE: &str = "usr/share/dstyx/btrfs.template";
/// The ext4 that a data disk starts with.
pub const EXT4_TEMPLATE: &str = "usr/share/dstyx/ext4.template";
/// The sandbox of Pads, compressed: an agent unpacks it where the measured file asks for Pads.
pub const PAD_RUNNER: &str = "usr/share/dstyx/pad-runner.zst";
/// The project's own licence.
pub const LICENCE: &str = "usr/share/licenses/dstyx/Apache-2.0.txt";
/// What else is in the image, under which licence.
pub const NOTICES: &str = "usr/share/licenses/NOTICES.txt";
/// Names and licences of the crates in the programs.
pub const CRATES: &str = "usr/share/licenses/crates.txt";
/// The emulator's published, worthless root.
pub const EMULATED_ROOT: &str = "etc/dstyx/danger-emulated-root.der";

/// One path of the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Relative to the root.
    pub path: &'static str,
    /// Permission bits; a link's are always 0o777.
    pub mode: u32,
    /// What it is.
    pub what: What,
    /// The only flavour that has it; both, if there is none.
    pub only: Option<Flavour>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A directory, most of them mount points.
    Directory,
    /// A symbolic link and where it points.
    Link(&'static str),
    /// A character device by major and minor number.
    Device(u32, u32),
    /// A file and the most bytes that it may have.
    File(u64),
}

/// The whole initramfs, in the order of its paths.
const RULES: [Rule; 32] = [
    directory("bin", 0o755),
    file(CONTAINER_HELPER, 0o755, 8_000_000),
    // The attested channel, the judgement of evidence, containers: 16.3 MB when the time of a KMS
    // and the end of release statements came to it. 16.8 MB with runs on Pads and their key
    // delegators, without the sandbox; 17.2 MB with tunnels to gateways and the judgement of them.
    file(GUEST_AGENT, 0o755, 17_500_000),
    directory("dev", 0o755),
    // Before init mounts devtmpfs: Rust's runtime wants /dev/null for closed standard streams.
    Rule { path: "dev/console", mode: 0o600, what: What::Device(5, 1), only: None },
    Rule { path: "dev/null", mode: 0o666, what: What::Device(1, 3), only: None },
    directory("etc", 0o755),
    directory("etc/dstyx", 0o755),
    file(BUILD_DATE, 0o644, 16),
    Rule { only: Some(Flavour::Dev), ..file(EMULATED_ROOT, 0o644, 2_048) },
    // Written by init on a tmpfs: the root is read-only.
    Rule {
        path: "etc/resolv.conf",
        mode: 0o777,
        what: What::Link("/run/dstyx/resolv.conf"),
        only: None,
    },
    directory("etc/ssl", 0o755),
    directory("etc/ssl/certs", 0o755),
    file(CA_CERTIFICATES, 0o644, 400_000),
    file(INIT, 0o755, 4_000_000),
    directory("proc", 0o555),
    directory("root", 0o700),
    directory("run", 0o755),
    directory("sys", 0o555),
    directory("tmp", 0o1777),
    directory("usr", 0o755),
    directory("usr/share", 0o755),
    directory("usr/share/dstyx", 0o755),
    file(BTRFS_TEMPLATE, 0o644, 1_000_000),
    file(EXT4_TEMPLATE, 0o644, 1_000_000),
    // wasmtime: 3.95 MB; with tract, whose inference programs may be granted, 8.25 MB.
    file(PAD_RUNNER, 0o644, 8_500_000),
    directory("usr/share/licenses", 0o755),
    file(NOTICES, 0o644, 16_384),
    file(CRATES, 0o644, 65_536),
    directory("usr/share/licenses/dstyx", 0o755),
    file(LICENCE, 0o644, 16_384),
    directory("var", 0o755),
];

/// The rules of one flavour.
pub fn rules(flavour: Flavour) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.only.is_none_or(|only| only == flavour))
}

const fn directory(path: &'static str, mode: u32) -> Rule {
    Rule { path, mode, what: What::Directory, only: None }
}

const fn file(path: &'static str, mode: u32, ceiling_bytes: u64) -> Rule {
    Rule { path, mode, what: What::File(ceiling_bytes), only: None }
}

/// Is a file within its ceiling?
///
/// # Errors
/// If not: names file, ceiling and size.
pub fn check_size(file: &str, bytes: u64, ceiling_bytes: u64) -> Result<(), CeilingError> {
    if bytes <= ceiling_bytes {
        Ok(())
    } else {
        Err(CeilingError { file: file.into(), bytes, ceiling_bytes })
    }
}

/// a file above its ceiling
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} has {bytes} bytes; its ceiling is {ceiling_bytes}")]
pub struct CeilingError {
    /// Name of the file.
    pub file: String,
    /// Size found.
    pub bytes: u64,
    /// Largest size allowed.
    pub ceiling_bytes: u64,
}

impl CeilingError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "find out what grew; if it is worth it, raise the ceiling in image/src/manifest.rs with a reason"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_named_once_and_nothing_looks_like_a_shell_or_a_secret() {
        let paths: Vec<_> = rules(Flavour::Dev).map(|rule| rule.path).collect();
        let mut once = paths.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), paths.len());
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        for bad in
            ["sh", "dash", "bash", "busybox", "python3", "perl", "passwd", "shadow", "modprobe"]
        {
            assert!(!paths.iter().any(|path| name(path) == bad), "{bad}");
        }
        for bad in [".so", "ld-linux", ".key", ".pem", "secret"] {
            assert!(!paths.iter().any(|path| path.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn flavours_differ_in_the_emulators_root_alone() {
        let paths = |flavour| rules(flavour).map(|rule| rule.path).collect::<Vec<_>>();
        let (release, dev) = (paths(Flavour::Release), paths(Flavour::Dev));
        let extra: Vec<_> = dev.iter().filter(|path| !release.contains(path)).collect();
        assert_eq!(extra, [&EMULATED_ROOT]);
        assert!(release.iter().all(|path| dev.contains(path)));
    }

    #[test]
    fn a_file_above_its_ceiling_is_named_with_both_sizes() {
        assert_eq!(check_size("init", 5, 5), Ok(()));
        let refused = check_size("init", 6, 5).unwrap_err();
        assert_eq!(refused.to_string(), "init has 6 bytes; its ceiling is 5");
    }
}
