//! Lock files: every input by path, version, size and SHA-256.
//!
//! `inputs.lock` is the root of trust of the build: it is checked in and reviewed by
//! people. It names no host; a mirror can deny service and nothing else. `tests.lock`
//! has the same form and pins what only tests start: the time at which `inputs.lock`
//! was resolved is an input of every build, so a newer test tool must not touch it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use fs_err as fs;
use serde::Deserialize;

use crate::digest::{Digest, FieldHasher};
use crate::timestamp;

pub mod diff;

/// The only version of the format.
const VERSION: u32 = 1;
/// A lock of some hundred lines has about 100 KB; more is no lock.
const MAX_BYTES: u64 = 4 << 20;

/// A lock file and the list of wanted names that it is made from, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockFile {
    /// File name of the lock.
    pub lock: &'static str,
    /// File name of what is wanted.
    pub wanted: &'static str,
    /// What the lock holds, as its first line says.
    holds: &'static str,
}

/// What ends in the image, or makes or starts it.
pub const INPUTS: LockFile =
    LockFile { lock: "inputs.lock", wanted: "packages.toml", holds: "Every input of the build." };
/// What only tests start.
pub const TESTS: LockFile = LockFile {
    lock: "tests.lock",
    wanted: "tests.toml",
    holds: "Every tool that only tests start.",
};

/// The whole lock, checked: names are unique, paths are relative and plain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Debian's release name.
    pub release: String,
    /// When the indices were read, `YYYYMMDDTHHMMSSZ`: names the state of a snapshot archive.
    pub resolved: String,
    /// Package groups; each is unpacked into a root of its own.
    pub group: BTreeMap<String, Group>,
    /// Sources of what is built.
    #[serde(default)]
    pub source: BTreeMap<String, Source>,
}

/// A closed set of binary packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// In the order of their names.
    pub packages: Vec<Pin>,
}

/// The files of one source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A `_all.deb` with a tarball in it, or the tarballs of a Debian source package.
    pub files: Vec<Pin>,
}

/// One file of Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The path below the archive's base, such as `pool/main/…`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Of the file.
    pub sha256: Digest,
}

impl Pin {
    /// The last part of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn check(&self) -> Result<(), LockError> {
        let plain = self.path.split('/').all(|part| {
            let known = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(known)
        });
        if plain { Ok(()) } else { Err(LockError::Path(self.path.clone())) }
    }
}

impl Group {
    /// Identifies the packages' contents; versions and names follow from them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_pins("dstyx root 1", &self.packages)
    }
}

impl Source {
    /// Identifies the files' contents.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_pins("dstyx source 1", &self.files)
    }
}

impl Lock {
    pub(crate) fn new(
        release: String,
        resolved: String,
        group: BTreeMap<String, Group>,
        source: BTreeMap<String, Source>,
    ) -> Self {
        Self { version: VERSION, release, resolved, group, source }
    }

    /// Reads and checks a lock file.
    ///
    /// # Errors
    /// If it cannot be read or is no lock of this version.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let size = fs::metadata(path)?.len();
        if size > MAX_BYTES {
            return Err(LockError::TooLarge(size));
        }
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Checks a lock's text.
    ///
    /// # Errors
    /// If it is no lock of this version.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = toml::from_str(text).map_err(|e| LockError::Syntax(Box::new(e)))?;
        if lock.version != VERSION {
            return Err(LockError::Version(lock.version));
        }
        if timestamp::parse(&lock.resolved).is_none() {
            return Err(LockError::Time(lock.resolved));
        }
        lock.pins().try_for_each(|(_, pin)| pin.check())?;
        for (name, group) in &lock.group {
            let ordered = |pair: &[Pin]| pair[0].name < pair[1].name;
            if !group.packages.windows(2).all(ordered) {
                return Err(LockError::Order(name.clone()));
            }
        }
        Ok(lock)
    }

    /// The build's date, in seconds since 1970: when the inputs were resolved. It is
    /// what every recipe sees as `SOURCE_DATE_EPOCH`.
    #[must_use]
    pub fn epoch_secs(&self) -> u64 {
        timestamp::parse(&self.resolved).expect("checked when the lock was parsed")
    }

    /// A group by its name.
    ///
    /// # Errors
    /// If the lock has none of that name.
    pub fn group(&self, name: &str) -> Result<&Group, LockError> {
        let missing = || LockError::NoEntry("group", name.into());
        self.group.get(name).ok_or_else(missing)
    }

    /// A source by its name.
    ///
    /// # Errors
    /// If the lock has none of that name.
    pub fn source(&self, name: &str) -> Result<&Source, LockError> {
        let missing = || LockError::NoEntry("source", name.into());
        self.source.get(name).ok_or_else(missing)
    }

    /// All pins with the name of their group or source.
    pub fn pins(&self) -> impl Iterator<Item = (&str, &Pin)> {
        let packages = self.group.iter().map(|(name, g)| (name, &g.packages));
        let files = self.source.iter().map(|(name, s)| (name, &s.files));
        packages
            .chain(files)
            .flat_map(|(name, pins)| pins.iter().map(move |pin| (name.as_str(), pin)))
    }

    /// The text of the lock, one line a pinned file.
    #[must_use]
    pub fn render(&self, file: &LockFile) -> String {
        let LockFile { wanted, holds, .. } = file;
        let mut text = format!(
            "# {holds} Written by `dstyx lock --update` from {wanted}; review what changes.\n"
        );
        let head = format!(
            "version = {VERSION}\nrelease = \"{}\"\nresolved = \"{}\"\n",
            self.release, self.resolved
        );
        text.push_str(&head);
        for (name, group) in &self.group {
            render_pins(&mut text, &format!("group.{name}"), "packages", &group.packages);
        }
        for (name, source) in &self.source {
            render_pins(&mut text, &format!("source.{name}"), "files", &source.files);
        }
        text
    }
}

fn render_pins(text: &mut String, table: &str, key: &str, pins: &[Pin]) {
    // Names, versions and paths hold only characters that TOML strings take as they are.
    let _ = writeln!(text, "\n[{table}]\n{key} = [");
    for Pin { name, version, path, size, sha256 } in pins {
        let _ = writeln!(
            text,
            "  {{ name = \"{name}\", version = \"{version}\", path = \"{path}\", size = {size}, sha256 = \"{sha256}\" }},"
        );
    }
    text.push_str("]\n");
}

fn digest_pins(label: &str, pins: &[Pin]) -> Digest {
    pins.iter()
        .fold(FieldHasher::new(label), |hasher, pin| {
            hasher.field(&pin.name).field(pin.sha256.to_string())
        })
        .finish()
}

/// Why a lock was refused.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// the lock cannot be read
    #[error("the lock cannot be read")]
    Io(#[from] io::Error),
    /// the lock has {0} bytes; at most 4194304 are read
    #[error("the lock has {0} bytes; at most {MAX_BYTES} are read")]
    TooLarge(u64),
    /// the lock is not well formed
    #[error("the lock is not well formed")]
    Syntax(#[source] Box<toml::de::Error>),
    /// the lock has version {0}; this program reads version 1
    #[error("the lock has version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// the lock was resolved at {0:?}, which is no time YYYYMMDDTHHMMSSZ
    #[error("the lock was resolved at {0:?}, which is no time YYYYMMDDTHHMMSSZ")]
    Time(String),
    /// the lock names the path {0:?}, which is not a plain relative path
    #[error("the lock names the path {0:?}, which is not a plain relative path")]
    Path(String),
    /// the packages of group {0:?} are not in the order of their names, each once
    #[error("the packages of group {0:?} are not in the order of their names, each once")]
    Order(String),
    /// the lock has no {0} named {1:?}
    #[error("the lock has no {0} named {1:?}")]
    NoEntry(&'static str, String),
}

impl LockError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("take the lock from the repository, or write it anew: dstyx lock --update".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lock {
        let pin = |name: &str| Pin {
            name: name.into(),
            version: "1:2.0~rc1-3+b1".into(),
            path: format!("pool/main/a/{name}_2.0~rc1-3+b1_amd64.deb"),
            size: 7,
            sha256: Digest::of(name.as_bytes()),
        };
        let group = Group { packages: vec![pin("aa"), pin("bb")] };
        let source = Source { files: vec![pin("src")] };
        Lock::new(
            "trixie".into(),
            "20260101T000000Z".into(),
            BTreeMap::from([("build".into(), group)]),
            BTreeMap::from([("linux".into(), source)]),
        )
    }

    #[test]
    fn render_and_parse_agree() {
        let lock = sample();
        assert_eq!(Lock::parse(&lock.render(&INPUTS)).unwrap(), lock);
    }

    #[test]
    fn the_checked_in_locks_are_as_they_would_be_written() {
        for (file, text) in
            [(INPUTS, include_str!("../inputs.lock")), (TESTS, include_str!("../tests.lock"))]
        {
            assert_eq!(Lock::parse(text).unwrap().render(&file), text, "{}", file.lock);
        }
    }

    #[test]
    fn paths_that_leave_the_archive_are_refused() {
        for bad in ["/etc/passwd", "../x", "a/../b", "a//b", "http://h/x", "a/b?c", ""] {
            let mut lock = sample();
            lock.group.get_mut("build").unwrap().packages[0].path = bad.into();
            assert!(matches!(Lock::parse(&lock.render(&INPUTS)), Err(LockError::Path(_))), "{bad}");
        }
    }

    #[test]
    fn unknown_keys_versions_and_order_are_refused() {
        let text = sample().render(&INPUTS);
        assert!(matches!(Lock::parse(&format!("x = 1\n{text}")), Err(LockError::Syntax(_))));
        let newer = text.replace("version = 1\n", "version = 2\n");
        assert!(matches!(Lock::parse(&newer), Err(LockError::Version(2))));
        let mut lock = sample();
        lock.group.get_mut("build").unwrap().packages.reverse();
        assert!(matches!(Lock::parse(&lock.render(&INPUTS)), Err(LockError::Order(_))));
    }

    #[test]
    fn a_group_is_identified_by_its_contents() {
        let lock = sample();
        let mut other = lock.clone();
        let group = other.group.get_mut("build").unwrap();
        group.packages[1].sha256 = Digest::of(b"other");
        assert_ne!(lock.group["build"].digest(), other.group["build"].digest());
    }
}
