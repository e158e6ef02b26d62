//! Which device nodes a container has and may use.
//!
//! Docker's list (moby, `daemon/pkg/oci/defaults.go`): harmless ones and terminals may be used, any
//! node may be made, which alone opens nothing. A device of the guest is added by name, with
//! `danger_privileged`; the data disk and the TDX device are never given.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use rustix::fs::{major, minor};

use compose::model::Privileges;
use container_helper::wire::DeviceRule;

/// Character devices that every container may read and write; all minor numbers if `None`.
const USABLE: [(u32, Option<u32>); 9] = [
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(1)), // console
    (5, Some(2)), // ptmx
    (136, None),  // pts
];

/// Names in `/dev` that are nobody's: registers and quotes of the TDX device, and what leads to
/// other guests.
const NEVER: [&str; 3] = ["tdx_guest", "tdx-guest", "mem"];

/// What the filter allows.
pub(super) fn rules(privileges: &Privileges) -> Result<Vec<DeviceRule>, DeviceError> {
    let usable = USABLE.map(|(major, minor)| DeviceRule {
        block: false,
        major: Some(major),
        minor,
        read: true,
        write: true,
        make: true,
    });
    let made = [false, true].map(|block| DeviceRule {
        block,
        major: None,
        minor: None,
        read: false,
        write: false,
        make: true,
    });
    let mut rules: Vec<DeviceRule> = usable.into_iter().chain(made).collect();
    for (path, _, access) in &privileges.devices {
        let device = Device::of(path)?;
        rules.push(DeviceRule {
            block: false,
            major: Some(device.major),
            minor: Some(device.minor),
            read: access.contains('r'),
            write: access.contains('w'),
            make: access.contains('m'),
        });
    }
    Ok(rules)
}

/// The nodes that are made in the container's `/dev` beside the default ones.
pub(super) fn nodes(privileges: &Privileges) -> Result<Vec<LinuxDevice>, DeviceError> {
    let node = |(path, target, _): &(String, String, String)| {
        let device = Device::of(path)?;
        let node = LinuxDeviceBuilder::default()
            .path(PathBuf::from(target))
            .typ(LinuxDeviceType::C)
            .major(i64::from(device.major))
            .minor(i64::from(device.minor))
            .file_mode(device.mode)
            .uid(device.uid)
            .gid(device.gid);
        node.build().map_err(DeviceError::Spec)
    };
    privileges.devices.iter().map(node).collect()
}

/// A character device of the guest.
struct Device {
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Device {
    fn of(path: &str) -> Result<Self, DeviceError> {
        let never = path
            .rsplit('/')
            .next()
            .is_some_and(|name| NEVER.contains(&name) || name.starts_with("dm-"));
        if never || path.starts_with("/dev/mapper/") {
            return Err(DeviceError::Never(path.to_owned()));
        }
        let node =
            fs::metadata(path).map_err(|error| DeviceError::Io { path: path.to_owned(), error })?;
        let kind = node.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(DeviceError::NoDevice(path.to_owned()));
        }
        // Block devices are the guest's disks: what was launched, its data, its status.
        if kind.is_block_device() {
            return Err(DeviceError::Never(path.to_owned()));
        }
        Ok(Self {
            major: major(node.rdev()),
            minor: minor(node.rdev()),
            mode: node.mode() & 0o777,
            uid: node.uid(),
            gid: node.gid(),
        })
    }
}

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// it belongs to the guest alone
    #[error("device {0:?} is the guest's own and given to no container")]
    Never(String),
    /// it is something else
    #[error("{0:?} is no device node")]
    NoDevice(String),
    /// it cannot be looked at
    #[error("device {path:?}: {error}")]
    Io {
        /// The path that was named.
        path: String,
        /// The error of the kernel.
        error: io::Error,
    },
    /// it cannot be described
    #[error("device: {0}")]
    Spec(OciSpecError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(path: &str) -> Privileges {
        let devices = vec![(path.to_owned(), "/dev/given".to_owned(), "r".to_owned())];
        Privileges { devices, ..Privileges::default() }
    }

    #[test]
    fn a_named_device_is_added_and_the_guests_own_never() {
        let given = with("/dev/null");
        let rules = rules(&given).expect("rules");
        let expected = DeviceRule {
            block: false,
            major: Some(1),
            minor: Some(3),
            read: true,
            write: false,
            make: false,
        };
        assert_eq!(rules.last(), Some(&expected));
        assert_eq!(nodes(&given).expect("nodes").len(), 1);
        for (path, expected) in [
            ("/dev/tdx_guest", "is the guest's own"),
            ("/dev/mapper/data", "is the guest's own"),
            ("/dev/dm-0", "is the guest's own"),
            ("/dev/nothing", "No such file"),
            ("/etc/passwd", "is no device node"),
        ] {
            let error = super::rules(&with(path)).expect_err(path).to_string();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }

    #[test]
    fn a_disk_is_never_given_whatever_its_name() {
        use std::io::Write as _;

        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

        let directory = tempfile::tempdir().expect("directory");
        let disk = directory.path().join("harmless");
        let made = mknodat(CWD, &disk, FileType::BlockDevice, Mode::RUSR, makedev(7, 0));
        if made == Err(rustix::io::Errno::PERM) {
            // Past libtest's capture: `cargo xtask test` counts these lines.
            let test = "a_disk_is_never_given_whatever_its_name";
            let _ = writeln!(io::stdout(), "NOT RUN {test}: it needs the machine's root");
            return;
        }
        made.expect("node");
        let disk = disk.to_str().expect("text");
        assert!(matches!(rules(&with(disk)), Err(DeviceError::Never(named)) if named == disk));
        assert!(matches!(nodes(&with(disk)), Err(DeviceError::Never(_))));
    }
}
