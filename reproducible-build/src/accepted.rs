//! `accepted.json`: digests of the last build that a person accepted.
//!
//! Checked in, and written only when somebody asks for it. Every other builder,
//! continuous integration above all, compares its own build with it: a second,
//! independent builder at no cost.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The only version of the format.
const VERSION: u32 = 1;

/// Artefacts by name, such as `release/kernel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    version: u32,
    artefacts: BTreeMap<String, Artefact>,
}

/// What is known of an artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Of the file.
    pub sha256: Digest,
    /// Of the file, in bytes.
    pub size: u64,
}

/// A way in which a build is not the accepted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// The accepted build has no artefact of this name.
    Unknown(String),
    /// The artefact has other bytes.
    Different {
        /// The artefact.
        name: String,
        /// As it was accepted.
        accepted: Artefact,
        /// As it was built now.
        built: Artefact,
    },
}

impl Artefact {
    /// Of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let (sha256, size) = Digest::of_file(path)?;
        Ok(Self { sha256, size })
    }
}

impl Accepted {
    /// A list of artefacts to be written.
    #[must_use]
    pub fn new(artefacts: BTreeMap<String, Artefact>) -> Self {
        Self { version: VERSION, artefacts }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing, not well formed or of another version.
    pub fn read(path: &Path) -> Result<Self, AcceptedError> {
        let accepted: Self = serde_json::from_slice(&fs::read(path)?)?;
        if accepted.version != VERSION {
            return Err(AcceptedError::Version(accepted.version));
        }
        Ok(accepted)
    }

    /// Writes the file. Artefacts that an earlier list names and this one does not are kept.
    ///
    /// # Errors
    /// If an earlier list cannot be read, or the file cannot be written.
    pub fn write_over(&self, path: &Path) -> Result<(), AcceptedError> {
        let mut all = match path.exists() {
            true => Self::read(path)?,
            false => Self::new(BTreeMap::new()),
        };
        all.artefacts.extend(self.artefacts.clone());
        let mut text = serde_json::to_string_pretty(&all)?;
        text.push('\n');
        Ok(fs::write(path, text)?)
    }

    /// How `built` deviates from this list. Accepted artefacts that were not built now
    /// are no deviation: a build may be of one flavour only.
    #[must_use]
    pub fn deviations(&self, built: &Self) -> Vec<Deviation> {
        let deviation = |(name, built): (&String, &Artefact)| {
            let (name, built) = (name.clone(), *built);
            match self.artefacts.get(&name) {
                None => Some(Deviation::Unknown(name)),
                Some(accepted) if *accepted == built => None,
                Some(accepted) => Some(Deviation::Different { name, accepted: *accepted, built }),
            }
        };
        built.artefacts.iter().filter_map(deviation).collect()
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "{name}: never accepted"),
            Self::Different { name, accepted, built } => write!(
                f,
                "{name}: accepted {} ({} bytes), built {} ({} bytes)",
                accepted.sha256, accepted.size, built.sha256, built.size
            ),
        }
    }
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcceptedError {
    /// accepted.json cannot be read or written
    #[error("accepted.json cannot be read or written")]
    Io(#[from] io::Error),
    /// accepted.json is not well formed
    #[error("accepted.json is not well formed")]
    Syntax(#[from] serde_json::Error),
    /// accepted.json has version {0}; this program reads version 1
    #[error("accepted.json has version {0}; this program reads version {VERSION}")]
    Version(u32),
}

impl AcceptedError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("take it from the repository; `dstyx build --accept` writes it".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, &str)]) -> Accepted {
        let artefact = |content: &str| Artefact {
            sha256: Digest::of(content.as_bytes()),
            size: content.len() as u64,
        };
        Accepted::new(
            entries.iter().map(|(name, content)| ((*name).to_owned(), artefact(content))).collect(),
        )
    }

    #[test]
    fn deviations_are_what_was_built_otherwise() {
        let accepted =
            list(&[("dev/kernel", "d"), ("release/kernel", "a"), ("release/initrd", "b")]);
        assert_eq!(accepted.deviations(&list(&[("release/kernel", "a")])), []);
        let found = accepted.deviations(&list(&[("release/kernel", "x"), ("new", "n")]));
        assert_eq!(found[0], Deviation::Unknown("new".into()));
        assert!(found[1].to_string().starts_with("release/kernel: accepted ca97"), "{}", found[1]);
    }

    #[test]
    fn what_is_written_is_read_and_earlier_entries_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accepted.json");
        list(&[("a", "1"), ("b", "1")]).write_over(&path).unwrap();
        list(&[("b", "2")]).write_over(&path).unwrap();
        assert_eq!(Accepted::read(&path).unwrap(), list(&[("a", "1"), ("b", "2")]));
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 2"),
        )
        .unwrap();
        assert!(matches!(Accepted::read(&path), Err(AcceptedError::Version(2))));
    }
}
