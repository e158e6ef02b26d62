//! The QEMU of a lock, and the refusal of any other.
//!
//! ACPI tables, and with them RTMR0, depend on QEMU's version, so QEMU is an input
//! like a compiler. It is started on the host by the dynamic loader and with the
//! libraries of its own root; the host's libraries are never loaded.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::builder::{BuildError, Builder};
use crate::lock::Lock;
use crate::program;

/// The lock group of the QEMU that images are built for.
const GROUP: &str = "qemu";
/// The package whose version counts.
const PACKAGE: &str = "qemu-system-x86";

const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
/// Option ROMs and the like.
const DATA: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A QEMU of the locked version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// Program and first arguments; QEMU's own arguments follow.
    pub argv: Vec<OsString>,
    /// The program itself, which `argv` may start through its loader.
    pub program: PathBuf,
    /// Added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// Upstream version, such as `11.1.3`.
    pub version: String,
}

impl Qemu {
    /// The QEMU that images are built for, unpacked if it is not in the cache.
    ///
    /// # Errors
    /// If it cannot be had, or does not call itself by the locked version.
    pub fn locked(builder: &Builder) -> Result<Self, QemuError> {
        Self::of_group(builder, GROUP)
    }

    /// The QEMU of the group `group` of the builder's lock, unpacked if it is not in the cache.
    ///
    /// # Errors
    /// If it cannot be had, or does not call itself by the locked version.
    pub fn of_group(builder: &Builder, group: &str) -> Result<Self, QemuError> {
        let version = version_in(builder.lock(), group)?;
        let root = builder.root(group)?.path;
        let mut argv = program::argv(&root, PROGRAM);
        for directory in DATA {
            argv.extend(["-L".into(), root.join(directory).into()]);
        }
        let program = root.join(PROGRAM);
        let modules = root.join(program::LIBRARIES).join("qemu");
        let env = vec![("QEMU_MODULE_DIR".into(), modules.into())];
        let qemu = Self { argv, program, env, version };
        qemu.check()?;
        Ok(qemu)
    }

    /// A QEMU of the caller's choice, if it is of the locked version.
    ///
    /// # Errors
    /// If it cannot be started or is of another version.
    pub fn at(program: &Path, lock: &Lock) -> Result<Self, QemuError> {
        Self::of_version(program, &locked_version(lock)?)
    }

    /// A QEMU of the caller's choice, if it is of version `version`.
    ///
    /// # Errors
    /// If it cannot be started or is of another version.
    pub fn of_version(program: &Path, version: &str) -> Result<Self, QemuError> {
        let argv = vec![program.as_os_str().to_owned()];
        let (program, version) = (program.to_owned(), version.to_owned());
        let qemu = Self { argv, program, env: Vec::new(), version };
        qemu.check()?;
        Ok(qemu)
    }

    /// A command to which QEMU's arguments are added.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(self.env.iter().cloned());
        command
    }

    fn check(&self) -> Result<(), QemuError> {
        let program = self.program.clone();
        let output = self.command().arg("--version").output();
        let output = output.map_err(|error| QemuError::Start(program.clone(), error))?;
        let found = stated_version(&String::from_utf8_lossy(&output.stdout));
        match found {
            Some(found) if found == self.version => Ok(()),
            found => Err(QemuError::Other { program, found, expected: self.version.clone() }),
        }
    }
}

/// The upstream version of the QEMU that images are built for.
///
/// # Errors
/// If the lock has none.
pub fn locked_version(lock: &Lock) -> Result<String, QemuError> {
    version_in(lock, GROUP)
}

fn version_in(lock: &Lock, group: &str) -> Result<String, QemuError> {
    let pins = &lock.group(group).map_err(BuildError::from)?.packages;
    let pin = pins
        .iter()
        .find(|pin| pin.name == PACKAGE)
        .ok_or_else(|| QemuError::NotLocked(group.into()))?;
    Ok(upstream(&pin.version).to_owned())
}

/// `1:11.1.3+ds-1~bpo13+1` → `11.1.3`
fn upstream(version: &str) -> &str {
    let rest = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    &rest[..end]
}

/// `QEMU emulator version 11.1.3 (Debian …)` → `11.1.3`
fn stated_version(output: &str) -> Option<String> {
    let rest = output.strip_prefix("QEMU emulator version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Why there is no usable QEMU.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// group {0:?} of the lock pins no qemu-system-x86
    #[error("group {0:?} of the lock pins no {PACKAGE}")]
    NotLocked(String),
    /// {0} cannot be started
    #[error("{0} cannot be started")]
    Start(PathBuf, #[source] io::Error),
    /// {program} is QEMU {found:?}, but only {expected} is known to give the predicted ACPI tables
    #[error(
        "{program} is QEMU {found:?}, but only {expected} is known to give the predicted ACPI tables"
    )]
    Other {
        /// What was started.
        program: PathBuf,
        /// What it calls itself, if it is QEMU at all.
        found: Option<String>,
        /// The locked version.
        expected: String,
    },
    /// the locked QEMU cannot be had
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl QemuError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Other { .. } => {
                Some("leave the choice of QEMU out: the locked one is unpacked and used".into())
            }
            Self::Start(..) => {
                Some("the locked QEMU runs on x86-64 Linux; is the file executable?".into())
            }
            Self::NotLocked(_) => Some("take the lock from the repository".into()),
            Self::Build(error) => error.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock_and_from_the_program() {
        assert_eq!(upstream("1:11.1.3+ds-1~bpo13+1"), "11.1.3");
        assert_eq!(upstream("10.0"), "10.0");
        let text = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright";
        assert_eq!(stated_version(text).as_deref(), Some("11.1.3"));
        assert_eq!(stated_version("GNU bash, version 5"), None);
    }

    #[test]
    fn another_program_is_refused() {
        let text = include_str!("../inputs.lock");
        let lock = Lock::parse(text).unwrap();
        assert!(locked_version(&lock).unwrap().starts_with("11.1."));
        let refused = Qemu::at(Path::new("/bin/true"), &lock).unwrap_err();
        assert!(matches!(refused, QemuError::Other { found: None, .. }));
        let missing = Qemu::at(Path::new("/nonexistent/qemu"), &lock).unwrap_err();
        assert!(matches!(missing, QemuError::Start(..)));
    }
}
