//! The QEMU of the lock, and the refusal of any other.
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

/// The lock group and the package whose version counts.
const GROUP: &str = "qemu";
const PACKAGE: &str = "qemu-system-x86";

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
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
    /// The locked QEMU, unpacked if it is not in the cache.
    ///
    /// # Errors
    /// If it cannot be had, or does not call itself by the locked version.
    pub fn locked(builder: &Builder) -> Result<Self, QemuError> {
        let version = locked_version(builder.lock())?;
        let root = builder.root(GROUP)?.path;
        let program = root.join(PROGRAM);
        let mut argv = vec![
            root.join(LOADER).into_os_string(),
            "--library-path".into(),
            root.join(LIBRARIES).into(),
            program.clone().into(),
        ];
        for folder in DATA {
            argv.extend(["-L".into(), root.join(folder).into()]);
        }
        let modules = root.join(LIBRARIES).join("qemu");
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
        let argv = vec![program.as_os_str().to_owned()];
        let (program, version) = (program.to_owned(), locked_version(lock)?);
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

/// The upstream version of the lock's QEMU.
///
/// # Errors
/// If the lock has none.
pub fn locked_version(lock: &Lock) -> Result<String, QemuError> {
    let group = lock.group(GROUP).map_err(BuildError::from)?;
    let pin = group.packages.iter().find(|pin| pin.name == PACKAGE).ok_or(QemuError::NotLocked)?;
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
    /// inputs.lock pins no qemu-system-x86.
    #[error("inputs.lock pins no {PACKAGE}")]
    NotLocked,
    /// {0} cannot be started.
    #[error("{0} cannot be started")]
    Start(PathBuf, #[source] io::Error),
    /// {program} is QEMU {found:?}, but only {expected} is known to give the predicted ACPI tables.
    #[error("{program} is QEMU {found:?}, but only {expected} is known to give the predicted ACPI tables")]
    Other {
        /// What was started.
        program: PathBuf,
        /// What it calls itself, if it is QEMU at all.
        found: Option<String>,
        /// The locked version.
        expected: String,
    },
    /// the locked QEMU cannot be had.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl QemuError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Other { .. } => Some("leave the choice of QEMU out: the locked one is unpacked and used".into()),
            Self::Start(..) => Some("the locked QEMU runs on x86-64 Linux; is the file executable?".into()),
            Self::NotLocked => Some("take inputs.lock from the repository".into()),
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
