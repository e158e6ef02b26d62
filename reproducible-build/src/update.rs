//! Writes a lock file from a list of wanted names and the archive's present indices.
//!
//! Run by a maintainer, never by a build: `--update` shows what changes and a
//! person reviews it; `--check` changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use fs_err as fs;
use serde::Deserialize;

use crate::debian::index::{self, IndexError, Package};
use crate::debian::resolve::{ResolveError, Universe};
use crate::digest::Digest;
use crate::fetch::{FetchError, Fetcher};
use crate::lock::{Group, Lock, Pin, Source, diff};
use crate::progress::{Amount, Progress};
use crate::timestamp;

/// `InRelease` of a whole release has 150 KB; ten times that is none.
const MAX_RELEASE_BYTES: u64 = 2 << 20;
/// The largest index has 11 MB packed and 60 MB unpacked.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
/// Part of the names of the files of a source package that are not Debian's.
const UPSTREAM: &str = ".orig.tar.";

/// `packages.toml` or `tests.toml`: what is wanted, by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    release: String,
    suites: Vec<String>,
    group: BTreeMap<String, WantedGroup>,
    #[serde(default)]
    source: BTreeMap<String, WantedSource>,
}

/// Packages by name, or as `name/suite` to take one from a suite that is not
/// among the usual ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedGroup {
    packages: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum WantedSource {
    /// A binary package with a tarball in it.
    Package(String),
    /// A Debian source package.
    Source(String),
    /// The same without Debian's additions.
    Upstream(String),
}

/// How a pinned file stands to the archive as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The group or source.
    pub section: String,
    /// The pinned file.
    pub pin: Pin,
    /// The version that `--update` would take, if it is another.
    pub newer: Option<String>,
    /// Whether a mirror still has the pinned file.
    pub reachable: bool,
}

impl Wanted {
    /// Reads a list of wanted names.
    ///
    /// # Errors
    /// If it cannot be read or is not well formed.
    pub fn read(path: &Path) -> Result<Self, UpdateError> {
        let text = fs::read_to_string(path)?;
        toml::from_str(&text).map_err(|e| UpdateError::Wanted(Box::new(e)))
    }

    /// Reads the indices and resolves every group and source. If nothing changes against what `old`
    /// has, its time stays: the time is an input of every build, and new groups or sources beside
    /// the old ones change none of them.
    ///
    /// # Errors
    /// If an index cannot be had, is not what `InRelease` states, or something wanted cannot be
    /// resolved.
    pub fn resolve(
        &self,
        old: Option<&Lock>,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<Lock, UpdateError> {
        let mut archive = Archive::new(fetcher, progress);
        let mut groups = BTreeMap::new();
        for (name, wanted) in &self.group {
            groups.insert(name.clone(), self.resolve_group(wanted, &mut archive)?);
        }
        let mut sources = BTreeMap::new();
        for (name, wanted) in &self.source {
            sources.insert(name.clone(), self.resolve_source(wanted, &mut archive)?);
        }
        let mut new = Lock::new(self.release.clone(), timestamp::now(), groups, sources);
        if let Some(old) = old.filter(|old| keeps(old, &new)) {
            new.resolved.clone_from(&old.resolved);
        }
        Ok(new)
    }

    fn resolve_group(
        &self,
        wanted: &WantedGroup,
        archive: &mut Archive<'_>,
    ) -> Result<Group, UpdateError> {
        let mut universe = Universe::default();
        for suite in &self.suites {
            universe.add(archive.packages(suite)?)?;
        }
        let mut names = Vec::new();
        for entry in &wanted.packages {
            let (name, suite) = split(entry);
            names.push(name.to_owned());
            if let Some(suite) = suite {
                let named = archive.packages(suite)?.into_iter().filter(|p| p.pin.name == name);
                universe.add(named)?;
            }
        }
        let chosen = universe.closure(&names, &wanted.without)?;
        let packages = chosen.into_iter().map(|p| p.pin.clone()).collect();
        Ok(Group { packages })
    }

    fn resolve_source(
        &self,
        wanted: &WantedSource,
        archive: &mut Archive<'_>,
    ) -> Result<Source, UpdateError> {
        let (entry, files) = match wanted {
            WantedSource::Package(entry) => {
                let (name, suite) = split(entry);
                let mut universe = Universe::default();
                universe.add(archive.packages(suite.unwrap_or(&self.release))?)?;
                let found = universe.get(name).map(|p| vec![p.pin.clone()]);
                (entry, found.unwrap_or_default())
            }
            WantedSource::Source(entry) => (entry, self.source_files(entry, archive)?),
            WantedSource::Upstream(entry) => {
                let mut files = self.source_files(entry, archive)?;
                files.retain(|file| file.file_name().contains(UPSTREAM));
                (entry, files)
            }
        };
        if files.is_empty() {
            return Err(ResolveError::Unknown(entry.clone()).into());
        }
        Ok(Source { files })
    }

    fn source_files(
        &self,
        entry: &str,
        archive: &mut Archive<'_>,
    ) -> Result<Vec<Pin>, UpdateError> {
        let (name, suite) = split(entry);
        let text = archive.text(suite.unwrap_or(&self.release), "main/source/Sources.xz")?;
        Ok(index::source_files(&text, name)?)
    }
}

/// Whether whatever is built from `old` is built from `new` alike: each group and source of `old`
/// is there, unchanged.
fn keeps(old: &Lock, new: &Lock) -> bool {
    let in_old =
        |section: &String| old.group.contains_key(section) || old.source.contains_key(section);
    let beside = |change: &diff::Change| matches!(change, diff::Change::Added { section, .. } if !in_old(section));
    old.release == new.release && diff::diff(old, new).iter().all(beside)
}

/// How every pin of `old` stands: superseded by `new`, and still to be had or not.
///
/// # Errors
/// If no mirror is known.
pub fn standing(
    old: &Lock,
    new: &Lock,
    fetcher: &Fetcher,
    progress: &dyn Progress,
) -> Result<Vec<Standing>, UpdateError> {
    let current: BTreeSet<&str> = new.pins().map(|(_, pin)| pin.path.as_str()).collect();
    let superseded: Vec<_> =
        old.pins().filter(|(_, pin)| !current.contains(pin.path.as_str())).collect();
    let title = "asking for superseded files";
    let activity = progress.start(title, Amount::Items(superseded.len() as u64));
    let mut all = Vec::new();
    for (section, pin) in superseded {
        let same = |(other, p): &(&str, &Pin)| *other == section && p.name == pin.name;
        let newer = new.pins().find(same).map(|(_, p)| p.version.clone());
        all.push(Standing {
            section: section.to_owned(),
            pin: pin.clone(),
            newer: newer.filter(|version| *version != pin.version),
            reachable: fetcher.reachable(&pin.path)?,
        });
        activity.advance(1);
    }
    activity.end("done");
    Ok(all)
}

/// Index texts, each fetched once.
struct Archive<'a> {
    fetcher: &'a Fetcher,
    progress: &'a dyn Progress,
    texts: BTreeMap<(String, String), String>,
}

impl<'a> Archive<'a> {
    fn new(fetcher: &'a Fetcher, progress: &'a dyn Progress) -> Self {
        let texts = BTreeMap::new();
        Self { fetcher, progress, texts }
    }

    fn packages(&mut self, suite: &str) -> Result<Vec<Package>, UpdateError> {
        let text = self.text(suite, "main/binary-amd64/Packages.xz")?;
        Ok(index::packages(&text)?)
    }

    fn text(&mut self, suite: &str, name: &str) -> Result<String, UpdateError> {
        let key = (suite.to_owned(), name.to_owned());
        if !self.texts.contains_key(&key) {
            let text = self.fetch(suite, name)?;
            self.texts.insert(key.clone(), text);
        }
        Ok(self.texts[&key].clone())
    }

    fn fetch(&self, suite: &str, name: &str) -> Result<String, UpdateError> {
        let activity = self.progress.start(&format!("reading {suite} {name}"), Amount::Unknown);
        let release = self.fetcher.index(&format!("dists/{suite}/InRelease"), MAX_RELEASE_BYTES)?;
        let (expected, size) = index::stated_digest(&String::from_utf8_lossy(&release), name)?;
        let packed =
            self.fetcher.index(&format!("dists/{suite}/{name}"), MAX_INDEX_BYTES.min(size + 1))?;
        let found = Digest::of(&packed);
        if found != expected {
            let file = format!("dists/{suite}/{name}");
            return Err(UpdateError::Stale { file, expected, found });
        }
        let mut text = String::new();
        let reader = liblzma::read::XzDecoder::new_multi_decoder(&packed[..]);
        io::Read::read_to_string(&mut io::Read::take(reader, MAX_UNPACKED_BYTES), &mut text)?;
        activity.end("done");
        Ok(text)
    }
}

fn split(entry: &str) -> (&str, Option<&str>) {
    match entry.split_once('/') {
        Some((name, suite)) => (name, Some(suite)),
        None => (entry, None),
    }
}

/// Why no lock was made.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// the list of wanted packages is not well formed
    #[error("the list of wanted packages is not well formed")]
    Wanted(#[source] Box<toml::de::Error>),
    /// {file} has the SHA-256 {found}, but InRelease states {expected}
    #[error("{file} has the SHA-256 {found}, but InRelease states {expected}")]
    Stale {
        /// Path in the archive.
        file: String,
        /// What `InRelease` says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// an index is not well formed
    #[error(transparent)]
    Index(#[from] IndexError),
    /// something wanted cannot be resolved
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// an index cannot be fetched
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// a file cannot be read
    #[error("a file cannot be read")]
    Io(#[from] io::Error),
}

impl UpdateError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Stale { .. } => "the mirror is being updated just now; try again later".into(),
            Self::Fetch(error) => return error.hint(),
            Self::Index(_) => "try another mirror with DSTYX_DEBIAN_MIRROR".into(),
            Self::Wanted(_) | Self::Resolve(_) | Self::Io(_) => {
                "see packages.toml and tests.toml in reproducible-build/: names, suites".into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_group_leaves_the_date_of_what_was_pinned_before() {
        let pin = |name: &str| Pin {
            name: name.into(),
            version: "1".into(),
            path: format!("pool/{name}_1.deb"),
            size: 1,
            sha256: Digest::of(name.as_bytes()),
        };
        let lock = |groups: &[(&str, &[&str])]| {
            let group = |(name, pins): &(&str, &[&str])| {
                (
                    (*name).to_owned(),
                    Group { packages: pins.iter().map(|name| pin(name)).collect() },
                )
            };
            let groups = groups.iter().map(group).collect();
            Lock::new("trixie".into(), "20260101T000000Z".into(), groups, BTreeMap::new())
        };
        let old = lock(&[("build", &["a", "b"])]);
        assert!(keeps(&old, &old));
        assert!(keeps(&old, &lock(&[("build", &["a", "b"]), ("more", &["a"])])));
        assert!(!keeps(&old, &lock(&[("build", &["a", "b", "c"])])), "the group is another");
        assert!(!keeps(&old, &lock(&[("build", &["a"]), ("more", &["a"])])));
        assert!(!keeps(&old, &lock(&[("more", &["a", "b"])])));
    }
}
