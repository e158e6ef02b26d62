//! What a container uses, as the kernel counts it in the container's cgroup.
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::io;
use std::path::Path;

use container_helper::cgroup::{self, value};

/// What a container uses; a value is `None` where the kernel does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Processor time since the start, in microseconds (`cpu.stat`).
    pub cpu_micros: Option<u64>,
    /// Memory in use, page cache included (`memory.current`).
    pub memory_bytes: Option<u64>,
    /// The most that it may use (`memory.max`); `None` without a limit too.
    pub memory_limit_bytes: Option<u64>,
    /// Page cache that can be given back, part of `memory_bytes` (`inactive_file` of
    /// `memory.stat`).
    pub memory_cache_bytes: Option<u64>,
    /// Processes and threads (`pids.current`).
    pub pids: Option<u64>,
    /// Processes killed because the memory was used up (`memory.events`).
    pub oom_kills: Option<u64>,
}

impl Statistics {
    /// Of the container of that id; an error if it does not run.
    pub fn of_container(id: &str) -> io::Result<Self> {
        Self::of(&cgroup::directory(id))
    }

    /// Reads them; an error if there is no such cgroup.
    fn of(cgroup: &Path) -> io::Result<Self> {
        fs::metadata(cgroup)?;
        let number = |file: &str| fs::read_to_string(cgroup.join(file)).ok()?.trim().parse().ok();
        Ok(Self {
            cpu_micros: value(&cgroup.join("cpu.stat"), "usage_usec"),
            memory_bytes: number("memory.current"),
            memory_limit_bytes: number("memory.max"),
            memory_cache_bytes: value(&cgroup.join("memory.stat"), "inactive_file"),
            pids: number("pids.current"),
            oom_kills: value(&cgroup.join("memory.events"), "oom_kill"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_none() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(Statistics::of(directory.path()).expect("empty"), Statistics::default());
        for (file, text) in [
            ("cpu.stat", "usage_usec 70\nuser_usec 50\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 1024\n"),
            ("memory.events", "low 0\noom 1\noom_kill 2\noom_group_kill 3\n"),
        ] {
            fs::write(directory.path().join(file), text).expect(file);
        }
        let expected = Statistics {
            cpu_micros: Some(70),
            memory_bytes: Some(4096),
            memory_limit_bytes: None,
            memory_cache_bytes: Some(1024),
            pids: None,
            oom_kills: Some(2),
        };
        assert_eq!(Statistics::of(directory.path()).expect("counted"), expected);
        assert!(Statistics::of(&directory.path().join("none")).is_err());
    }
}
