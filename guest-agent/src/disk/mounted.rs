//! What is mounted at a place, as the kernel lists it.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The file system's name.
    pub kind: String,
    /// Its device.
    pub source: PathBuf,
}

impl Mounted {
    /// The topmost mount at exactly `place` in this process's view.
    pub fn at(place: &str) -> io::Result<Option<Self>> {
        Ok(Self::find(&fs::read_to_string("/proc/self/mountinfo")?, place))
    }

    /// In the text of `mountinfo` (proc_pid_mountinfo(5)): the place is the fifth word; kind and
    /// source follow a lone dash.
    fn find(mountinfo: &str, place: &str) -> Option<Self> {
        let entry = |line: &str| {
            let (before, behind) = line.split_once(" - ")?;
            let mut behind = behind.split(' ');
            (before.split(' ').nth(4)? == place)
                .then_some(Self { kind: behind.next()?.to_owned(), source: behind.next()?.into() })
        };
        mountinfo.lines().rev().find_map(entry)
    }
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.source.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
20 1 0:2 / / ro,nosuid,nodev shared:1 - rootfs rootfs rw
30 20 0:22 / /var rw - tmpfs tmpfs rw,mode=755
31 30 0:31 / /var rw,nosuid,nodev,noatime - btrfs /dev/dm-0 rw,space_cache=v2
32 31 0:32 / /var/lib/x rw master:2 propagate_from:1 - overlay overlay rw,lowerdir=/a - b
";

    #[test]
    fn the_topmost_mount_at_the_place_is_found() {
        let mounted = Mounted::find(MOUNTINFO, "/var").unwrap();
        assert_eq!(mounted, Mounted { kind: "btrfs".into(), source: "/dev/dm-0".into() });
        assert_eq!(mounted.to_string(), "btrfs of /dev/dm-0");
        assert_eq!(Mounted::find(MOUNTINFO, "/var/lib"), None);
        assert_eq!(Mounted::find("nonsense\n", "/var"), None);
    }
}
