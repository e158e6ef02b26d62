//! How much of the guest a container may use: its cgroup's limits, and those of each process.
//!
//! Sources: the kernel's `Documentation/admin-guide/cgroup-v2.rst`; Docker's meaning of the keys.

use compose::model::Resources;
use container_helper::wire::Limit;
use oci_spec::OciSpecError;
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::BundleError;

/// The period of `cpu.max` in microseconds, as Docker sets it.
const CPU_PERIOD: u64 = 100_000;

/// What is written into the cgroup, in this order; the helper adds what every container is bounded
/// by, which depends on the guest's size.
pub(super) fn cgroup(resources: &Resources) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut set = |file: &str, value: String, required| {
        limits.push(Limit { file: file.to_owned(), value, required })
    };
    // All of a container is killed where one process would be: what is left could not be relied on.
    set("memory.oom.group", "1".to_owned(), false);
    // The guest has no swap; should it ever, secrets stay in memory.
    set("memory.swap.max", "0".to_owned(), false);
    if let Some(processes) = resources.pids {
        set("pids.max", processes.to_string(), true);
    }
    if let Some(bytes) = resources.memory_bytes {
        set("memory.max", bytes.to_string(), true);
    }
    if let Some(bytes) = resources.memory_reservation_bytes {
        set("memory.low", bytes.to_string(), true);
    }
    if let Some(millis) = resources.cpu_millis {
        set("cpu.max", format!("{} {CPU_PERIOD}", u64::from(millis) * CPU_PERIOD / 1000), true);
    }
    if let Some(shares) = resources.cpu_shares {
        set("cpu.weight", weight(shares).to_string(), true);
    }
    if let Some(processors) = &resources.cpuset {
        set("cpuset.cpus", processors.clone(), true);
    }
    limits
}

/// Docker's shares, 2 to 262,144, on the scale of `cpu.weight`, 1 to 10,000, as runc maps them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Limits of each process; those of the service replace the default ones. Open files are the
/// helper's to bound, which knows how many it may allow.
pub(super) fn process(resources: &Resources) -> Result<Vec<PosixRlimit>, BundleError> {
    // A core holds the memory of a program, secrets included.
    let mut limits = vec![(PosixRlimitType::RlimitCore, 0, 0)];
    for (name, soft, hard) in &resources.ulimits {
        let kind = kind(name).ok_or_else(|| UnknownLimit(name.clone()))?;
        limits.retain(|(known, ..)| *known != kind);
        limits.push((kind, *soft, *hard));
    }
    let built: Result<Vec<PosixRlimit>, OciSpecError> = limits
        .into_iter()
        .map(|(kind, soft, hard)| {
            PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build()
        })
        .collect();
    Ok(built?)
}

fn kind(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "as" => PosixRlimitType::RlimitAs,
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}

/// ulimit … is unknown
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ulimit {0:?} is unknown")]
pub struct UnknownLimit(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_files_of_the_cgroup() {
        let resources = Resources {
            memory_bytes: Some(64 << 20),
            memory_reservation_bytes: Some(32 << 20),
            cpu_millis: Some(1500),
            cpu_shares: Some(1024),
            cpuset: Some("0-1".to_owned()),
            pids: Some(10),
            ..Resources::default()
        };
        let limits = cgroup(&resources);
        let lines: Vec<String> = limits
            .iter()
            .map(|limit| format!("{}={} {}", limit.file, limit.value, limit.required))
            .collect();
        assert_eq!(
            lines,
            [
                "memory.oom.group=1 false",
                "memory.swap.max=0 false",
                "pids.max=10 true",
                "memory.max=67108864 true",
                "memory.low=33554432 true",
                "cpu.max=150000 100000 true",
                "cpu.weight=39 true",
                "cpuset.cpus=0-1 true",
            ]
        );
        let default = cgroup(&Resources::default());
        assert!(default.iter().all(|limit| !limit.required && limit.file != "pids.max"));
        assert_eq!((weight(2), weight(262_144), weight(u64::MAX)), (1, 10_000, 10_000));
    }

    #[test]
    fn limits_of_a_process_replace_the_default() {
        let ulimits = vec![("nofile".to_owned(), 7, u64::MAX), ("nproc".to_owned(), 5, 6)];
        let limits = process(&Resources { ulimits, ..Resources::default() }).expect("known");
        let lines: Vec<_> =
            limits.iter().map(|limit| (limit.typ(), limit.soft(), limit.hard())).collect();
        assert_eq!(
            lines,
            [
                (PosixRlimitType::RlimitCore, 0, 0),
                (PosixRlimitType::RlimitNofile, 7, u64::MAX),
                (PosixRlimitType::RlimitNproc, 5, 6),
            ]
        );
        let unknown =
            Resources { ulimits: vec![("nope".to_owned(), 1, 1)], ..Resources::default() };
        assert_eq!(
            process(&unknown).expect_err("unknown").to_string(),
            "ulimit \"nope\" is unknown"
        );
    }
}
