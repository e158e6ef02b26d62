//! Data directories: what a bind of a relative path means where the app directory has no file of
//! that path, and the top-level key `x-dstyx`, which says so for directories that are there.
//!
//! Docker makes a missing directory and lets the app write to it. A guest has no directory of a
//! host, so the same bind is a directory on the data disk, named by its path and kept as named
//! volumes are. What the app directory has is measured and read-only. A directory that is there and
//! is not mounted read-only could mean either; nothing is guessed.

use std::collections::BTreeSet;

use super::app_directory;
use super::field::{AppEntry, Field, Findings, Section};
use super::keys;
use super::model::{DirectoryFile, MountSource};
use super::refusal::Cause;
use super::scalar;

/// The key at the top level of the file.
pub(super) const KEY: &str = "x-dstyx";
/// More than an app has directories.
const MAX_PATHS: usize = 64;
/// The longest extension of a file that is seen as one, such as `sqlite3` or `template`.
const MAX_EXTENSION_BYTES: usize = 8;

/// What `x-dstyx` says.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    /// Data directories, whatever lies on the machine that starts the app.
    data: BTreeSet<String>,
    /// Data directories that begin with the app directory's content.
    seed: BTreeSet<String>,
    /// Whether `secrets` may be, although they are public.
    pub danger_public_secrets: bool,
}

/// What a directory that a service binds is meant as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Data,
    Seed,
    /// The file does not say.
    Open,
}

impl Declared {
    /// Reads the key; nothing is declared if it is absent.
    pub fn read(file: &Section<'_>, findings: &mut Findings<'_>) -> Self {
        let Some(section) = file.section(KEY, keys::X_DSTYX, findings) else {
            return Self::default();
        };
        let data = section.get("data").map(|field| paths(&field, findings)).unwrap_or_default();
        let seed = section.get("seed").map(|field| paths(&field, findings)).unwrap_or_default();
        if let (Some(field), Some(path)) = (section.get("seed"), seed.intersection(&data).next()) {
            let other = format!("{KEY}.data");
            let cause = Cause::Taken { what: "the directory", name: path.clone(), other };
            findings.refuse::<()>(&field, cause);
        }
        let allowed = section.read("danger_public_secrets", findings, |field, findings| {
            let allowed = scalar::boolean(field, findings)?;
            if allowed {
                findings
                    .note(field, "secrets travel in the measured file: everybody can read them");
            }
            Some(allowed)
        });
        Self { data, seed, danger_public_secrets: allowed.unwrap_or_default() }
    }

    /// What is said of `path`, or of the nearest directory above it that something is said of.
    fn meaning(&self, path: &str) -> Meaning {
        let mut above = Some(path);
        while let Some(path) = above {
            if self.data.contains(path) {
                return Meaning::Data;
            }
            if self.seed.contains(path) {
                return Meaning::Seed;
            }
            above = path.rsplit_once('/').map(|(above, _)| above);
        }
        Meaning::Open
    }
}

fn paths(field: &Field<'_>, findings: &mut Findings<'_>) -> BTreeSet<String> {
    let texts = field.text_or_list(findings);
    if texts.len() > MAX_PATHS {
        let cause = Cause::TooMany { what: "paths", found: texts.len(), limit: MAX_PATHS };
        return findings.refuse(field, cause).unwrap_or_default();
    }
    texts.into_iter().filter_map(|(text, at)| app_directory::path(&text, &at, findings)).collect()
}

/// A bind of a relative path.
#[derive(Debug)]
pub(super) struct Bind<'a> {
    /// The path as written.
    pub source: &'a str,
    /// Where it is mounted.
    pub target: &'a str,
    /// Whether the file says read-only.
    pub read_only: bool,
    /// Whether a directory that is not there may be made (`create_host_path`).
    pub create: bool,
}

/// What `bind` mounts: a measured file or directory, or a data directory.
pub(super) fn source(
    bind: &Bind<'_>,
    declared: &Declared,
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    if bind.source.starts_with(['/', '~']) && findings.unset_default(field, bind.source) {
        return None;
    }
    let path = app_directory::path(bind.source, field, findings)?;
    let meaning = declared.meaning(&path);
    if meaning == Meaning::Data {
        return Some(MountSource::Data { path, seed: Vec::new() });
    }
    let whole = bind.read_only || meaning == Meaning::Seed;
    let entry = if whole { findings.app_entry(&path) } else { findings.app_file(&path) };
    match (entry, meaning) {
        (Some(AppEntry::File(content)), _) => file(content, bind.read_only, field, findings),
        (Some(AppEntry::Directory(files)), Meaning::Seed) => {
            let seed = directory_files(&files, field, findings)?;
            Some(MountSource::Data { path, seed })
        }
        (Some(AppEntry::Directory(files)), _) if bind.read_only => {
            let files = directory_files(&files, field, findings)?;
            Some(MountSource::Directory { files })
        }
        (Some(AppEntry::Directory(_)), _) => findings.refuse(field, Cause::WritableDirectory(path)),
        (None, Meaning::Seed) => findings.refuse(field, Cause::NoFile(path)),
        (None, _) if !bind.create => findings.refuse(field, Cause::NoFile(path)),
        (None, _) if is_file_like(bind) => findings.refuse(field, Cause::FileLike(path)),
        (None, _) => Some(MountSource::Data { path, seed: Vec::new() }),
    }
}

fn file(
    content: &[u8],
    read_only: bool,
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    findings.mounted(field, content.len())?;
    if !read_only {
        findings.note(field, "mounted read-only, because the file is measured; write :ro (read_only: true) to say so");
    }
    let mode = app_directory::mode(content);
    Some(MountSource::File { content: content.to_vec(), uid: 0, gid: 0, mode })
}

fn directory_files(
    files: &[(&str, &[u8])],
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<DirectoryFile>> {
    findings.mounted(field, files.iter().map(|(_, content)| content.len()).sum())?;
    let file = |(path, content): &(&str, &[u8])| DirectoryFile {
        path: (*path).to_owned(),
        content: content.to_vec(),
        mode: app_directory::mode(content),
    };
    Some(files.iter().map(file).collect())
}

/// Whether a path that is not there looks like a file, in the app directory or in the container. A
/// directory in its place would be a mistake that nobody sees: the app finds an empty directory
/// where it wants its configuration.
fn is_file_like(bind: &Bind<'_>) -> bool {
    let slash = bind.source.ends_with('/') || bind.target.ends_with('/');
    !slash && [bind.source, bind.target].into_iter().any(names_a_file)
}

/// `app.conf`, `Caddyfile`; not `conf.d`, `.cache`, `v1.2`.
fn names_a_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.len() > 4
        && name.ends_with("file")
        && name.starts_with(|c: char| c.is_ascii_uppercase())
    {
        return true;
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let plain = extension.bytes().all(|b| b.is_ascii_alphanumeric());
    let letter = extension.bytes().any(|b| b.is_ascii_alphabetic());
    let short = (1..=MAX_EXTENSION_BYTES).contains(&extension.len());
    (!stem.is_empty() || extension == "env") && plain && letter && short && extension != "d"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_directories_by_name() {
        for file in ["./app.conf", "a/b.yml", "/etc/x.sqlite3", "./Caddyfile", ".env", "x.tar.gz"] {
            assert!(names_a_file(file), "{file}");
        }
        for directory in [
            "./data",
            "./conf.d",
            "/home/node/.n8n",
            "./v1.2",
            "a.b/c",
            "./profile",
            "x.",
            "./File.d",
        ] {
            assert!(!names_a_file(directory), "{directory}");
        }
    }
}
