//! What containers may take of the guest's memory and processes: all together, and each without a
//! limit of its own.
//!
//! All together leave enough for the kernel, init, the agent and the helpers, whatever containers
//! do. One that has neighbours leaves something to them: it reaches its own limit before all reach
//! theirs, and is ended for it. At the limit of all, the kernel would choose by what processes have
//! mapped, which pages of a memfd are not, and end a neighbour.
//!
//! Pure, but for [`Guest::read`].

use std::fs;
use std::io;

use super::wire::Limit;

const MEMORY: &str = "memory.max";
const PROCESSES: &str = "pids.max";
/// What is left beside containers: init, agent, helpers and what they cache take some 100 MiB while
/// images are unpacked; the image itself lies in memory too.
const RESERVED_BYTES: u64 = 256 << 20;
/// And of each so many bytes one, for what the kernel keeps about the rest.
const RESERVED_PART: u64 = 64;
/// A thousand helpers, the agent's threads and the kernel's own.
const RESERVED_PROCESSES: u64 = 2048;
/// Processes and threads of one container: a fork bomb ends early, and the largest servers in the
/// field run some hundreds.
const DEFAULT_PROCESSES: u64 = 4096;

/// What the kernel has in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guest {
    memory_bytes: u64,
    processes: u64,
}

impl Guest {
    /// Asks the kernel.
    pub(super) fn read() -> io::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let kib = kib.ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal in kB"))?;
        let threads = number("/proc/sys/kernel/threads-max")?;
        let processes = threads.min(number("/proc/sys/kernel/pid_max")?);
        Ok(Self { memory_bytes: kib.saturating_mul(1024), processes })
    }

    /// Limits of the cgroup in which those of all containers are.
    pub(super) fn of_all(self) -> [Limit; 2] {
        [limit(MEMORY, self.memory_of_all()), limit(PROCESSES, self.processes_of_all())]
    }

    /// Limits that a container has beside `own`: half of the processes, and three quarters of the
    /// memory if it has neighbours.
    pub(super) fn of_one(self, own: &[Limit], has_neighbours: bool) -> Vec<Limit> {
        let memory = self.memory_of_all() / 4 * 3;
        let processes = DEFAULT_PROCESSES.min(self.processes_of_all() / 2);
        let mut limits = vec![limit(PROCESSES, processes)];
        limits.extend(has_neighbours.then(|| limit(MEMORY, memory)));
        limits.retain(|limit| own.iter().all(|own| own.file != limit.file));
        limits
    }

    /// At least half, where the guest is smaller than a real one.
    fn memory_of_all(self) -> u64 {
        let reserved = RESERVED_BYTES + self.memory_bytes / RESERVED_PART;
        self.memory_bytes.saturating_sub(reserved).max(self.memory_bytes / 2)
    }

    /// At least three quarters.
    fn processes_of_all(self) -> u64 {
        self.processes - RESERVED_PROCESSES.min(self.processes / 4)
    }
}

/// A kernel without the controller goes on without the limit: the guest's has both.
fn limit(file: &str, value: u64) -> Limit {
    Limit { file: file.to_owned(), value: value.to_string(), required: false }
}

fn number(path: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{path} is no number: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn values(limits: &[Limit]) -> Vec<(&str, u64)> {
        let value = |limit: &Limit| limit.value.parse().expect("a number");
        limits.iter().map(|limit| (limit.file.as_str(), value(limit))).collect()
    }

    #[test]
    fn all_together_leave_something_to_the_guest() {
        let guest = |mib, processes| Guest { memory_bytes: mib * MIB, processes };
        for (guest, memory_mib, processes) in [
            (guest(400, 3200), 200, 2400),
            (guest(1024, 8192), 1024 - 256 - 16, 6144),
            (guest(65536, 32768), 65536 - 256 - 1024, 30720),
            (guest(65536, 4_194_304), 65536 - 256 - 1024, 4_192_256),
        ] {
            let expected = [("memory.max", memory_mib * MIB), ("pids.max", processes)];
            assert_eq!(values(&guest.of_all()), expected, "{guest:?}");
        }
        let host = Guest::read().expect("the kernel's numbers");
        assert!(host.memory_of_all() < host.memory_bytes, "{host:?}");
        assert!(host.processes_of_all() < host.processes, "{host:?}");
    }

    #[test]
    fn one_leaves_something_to_its_neighbours_but_what_it_has_of_its_own_stays() {
        let guest = Guest { memory_bytes: 1024 * MIB, processes: 8192 };
        let (pids, memory) = (("pids.max", 3072), ("memory.max", 564 * MIB));
        for (own, has_neighbours, expected) in [
            (vec![], true, vec![pids, memory]),
            // What is alone may have all.
            (vec![], false, vec![pids]),
            (vec![limit("memory.max", 1)], true, vec![pids]),
            (vec![limit("pids.max", 1)], true, vec![memory]),
        ] {
            let limits = guest.of_one(&own, has_neighbours);
            assert_eq!(values(&limits), expected, "{own:?} {has_neighbours}");
        }
        let large = Guest { processes: 1 << 20, ..guest };
        assert_eq!(values(&large.of_one(&[], false)), [("pids.max", 4096)]);
    }
}
