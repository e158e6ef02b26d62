//! A container's cgroup: where it is, what bounds it, what the kernel counts in it, and its end.
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::shares::Guest;
use super::wire::Limit;

/// Where the cgroups are.
const ROOT: &str = "/sys/fs/cgroup";
/// The cgroup in which those of all containers are.
const PARENT: &str = "/sys/fs/cgroup/dstyx";
/// What containers are bounded by, where the kernel has it.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// Killed processes are gone within milliseconds; one that writes to a slow disk may take longer.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait for them; each is twice as long as the one before.
const GONE_WAIT: Duration = Duration::from_micros(100);

/// The directory of one container's cgroup; it need not be there.
pub fn directory(id: &str) -> PathBuf {
    Path::new(PARENT).join(id)
}

/// Makes the cgroup of a container, with `limits` and with those that every container has; one that
/// is left over is emptied. What all containers together may take is set first.
pub(super) fn make(id: &str, limits: &[Limit], has_neighbours: bool) -> io::Result<PathBuf> {
    let directory = directory(id);
    if !directory.exists() {
        fs::create_dir_all(PARENT)?;
        for parent in [ROOT, PARENT] {
            for controller in CONTROLLERS {
                // A kernel without it has no file to set either, which is found below where it
                // matters.
                let _ = fs::write(
                    Path::new(parent).join("cgroup.subtree_control"),
                    format!("+{controller}"),
                );
            }
        }
        fs::create_dir(&directory)?;
    }
    let guest = Guest::read()?;
    bound(Path::new(PARENT), &guest.of_all())?;
    bound(&directory, &guest.of_one(limits, has_neighbours))?;
    bound(&directory, limits)?;
    Ok(directory)
}

fn bound(directory: &Path, limits: &[Limit]) -> io::Result<()> {
    for limit in limits {
        match write(&directory.join(&limit.file), &limit.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !limit.required => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(io::Error::other(format!("the kernel cannot bound {}", limit.file)));
            }
            Err(error) => return Err(io::Error::other(format!("{}: {error}", limit.file))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Writes to a file that the kernel made; a missing one is told as such.
fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// Kills every process of the container; one that has no cgroup has none.
pub fn kill(id: &str) -> io::Result<()> {
    kill_in(&directory(id))
}

/// Kills what is left in a cgroup and those below it, and removes them all.
pub fn remove(directory: &Path) -> io::Result<()> {
    kill_in(directory)?;
    let begun = Instant::now();
    let mut wait = GONE_WAIT;
    while value(&directory.join("cgroup.events"), "populated") == Some(1) {
        if begun.elapsed() > GONE_TIMEOUT {
            return Err(io::Error::other(format!(
                "processes of {} do not end",
                directory.display()
            )));
        }
        sleep(wait);
        wait *= 2;
    }
    remove_empty(directory)
}

fn kill_in(directory: &Path) -> io::Result<()> {
    match write(&directory.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

fn remove_empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the kernel killed a process of the container because its memory was used up.
pub(super) fn had_oom_kill(id: &str) -> bool {
    value(&directory(id).join("memory.events"), "oom_kill").is_some_and(|count| count > 0)
}

/// The number after `key` in a file of keys and numbers.
pub fn value(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
