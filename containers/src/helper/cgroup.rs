//! A container's cgroup: where it is, and what the kernel counts in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the cgroups of all containers are.
const PARENT: &str = "/sys/fs/cgroup/dstyx";

/// The folder of one container's cgroup; it need not be there.
pub(crate) fn folder(id: &str) -> PathBuf {
    Path::new(PARENT).join(id)
}

/// Kills every process of the container; one that has no cgroup has none.
pub(crate) fn kill(id: &str) -> io::Result<()> {
    match fs::write(folder(id).join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Whether the kernel killed a process of the container because its memory was used up.
pub(super) fn had_oom_kill(id: &str) -> bool {
    value(&folder(id).join("memory.events"), "oom_kill").is_some_and(|count| count > 0)
}

/// The number after `key` in a file of keys and numbers.
pub(crate) fn value(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
