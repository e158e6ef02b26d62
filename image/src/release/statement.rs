//! The statement that is signed: in-toto Statement v1 with a SLSA provenance v1 predicate.
//!
//! Only what is the same for everybody who builds the same sources is in it: files with their
//! digests, the commit, every locked input. It is written in one form; reading refuses what
//! `dstyx release` would not write.

use std::collections::BTreeSet;

use protocol::digest::{Sha256Digest, Sha384Digest};
use reproducible_build::digest::Digest;
use reproducible_build::lock::{Lock, Pin};
use serde::{Deserialize, Serialize};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// How the files come from the inputs: the recipes of the commit, run by its hermetic builder.
const BUILD_TYPE: &str = "urn:dstyx:image-build:1";
/// Whoever builds: two builders that differ in anything else must agree in every byte.
const BUILDER_ID: &str = "urn:dstyx:hermetic-builder:1";
/// The file that names all others of an image by their digests; its own SHA-256 is the image's
/// name.
pub(super) const IMAGE: &str = "image.json";
/// An image has four files.
const MAX_FILES: usize = 32;
/// The lock has three hundred.
const MAX_INPUTS: usize = 4096;

/// What was built, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Provenance,
}

/// in-toto `ResourceDescriptor` of a released file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: FileDigests,
}

/// Digests of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigests {
    /// As everywhere.
    pub sha256: Sha256Digest,
    /// As TDX registers have it.
    pub sha384: Sha384Digest,
}

/// SLSA v1.0 `Provenance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Provenance {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: Parameters,
    resolved_dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    flavour: String,
}

/// in-toto `ResourceDescriptor` of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: InputDigest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum InputDigest {
    GitCommit(String),
    Sha256(Digest),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunDetails {
    builder: Builder,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Builder {
    id: String,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    dstyx: String,
}

/// What a release was built from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// `release` or `dev`.
    pub flavour: &'a str,
    /// Version of dstyx.
    pub version: &'a str,
    /// The commit that was checked out, without changes.
    pub commit: &'a str,
    /// The lock.
    pub lock: &'a Lock,
    /// The file `Cargo.lock`.
    pub cargo_lock: &'a [u8],
}

impl FileDigests {
    /// Of a file's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Sha256Digest::of(bytes), sha384: Sha384Digest::of(bytes) }
    }
}

impl Statement {
    /// The statement about files by name.
    ///
    /// # Errors
    /// If a file or the commit could not be stated, so that reading would refuse it.
    pub fn new(files: &[(&str, &[u8])], sources: &Sources<'_>) -> Result<Self, StatementError> {
        let file = |(name, bytes): &(&str, &[u8])| Subject {
            name: (*name).to_owned(),
            digest: FileDigests::of(bytes),
        };
        let statement = Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: files.iter().map(file).collect(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Provenance {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE.to_owned(),
                    external_parameters: Parameters { flavour: sources.flavour.to_owned() },
                    resolved_dependencies: inputs(sources),
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: BUILDER_ID.to_owned(),
                        version: Version { dstyx: sources.version.to_owned() },
                    },
                },
            },
        };
        statement.check()?;
        Ok(statement)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// If it is not what `dstyx release` writes.
    pub fn parse(json: &[u8]) -> Result<Self, StatementError> {
        let statement: Self = serde_json::from_slice(json)
            .map_err(|error| StatementError::Json(error.to_string()))?;
        statement.check()?;
        Ok(statement)
    }

    /// The bytes that are signed; the same for everybody who builds the same.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("strings serialise");
        json.push(b'\n');
        json
    }

    /// The digests of a released file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileDigests> {
        self.subject.iter().find(|subject| subject.name == name).map(|subject| &subject.digest)
    }

    /// The digests of image.json.
    pub(super) fn image(&self) -> &FileDigests {
        self.file(IMAGE).expect("checked: there is one")
    }

    /// Names of the released files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.subject.iter().map(|subject| subject.name.as_str())
    }

    /// `release` or `dev`.
    #[must_use]
    pub fn flavour(&self) -> &str {
        &self.predicate.build_definition.external_parameters.flavour
    }

    /// The commit that was built.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.commits().next().expect("checked: there is one")
    }

    fn commits(&self) -> impl Iterator<Item = &str> {
        self.predicate.build_definition.resolved_dependencies.iter().filter_map(
            |input| match &input.digest {
                InputDigest::GitCommit(commit) => Some(commit.as_str()),
                InputDigest::Sha256(_) => None,
            },
        )
    }

    fn check(&self) -> Result<(), StatementError> {
        let constants = [
            ("_type", &self.statement_type, STATEMENT_TYPE),
            ("predicateType", &self.predicate_type, PREDICATE_TYPE),
            ("buildType", &self.predicate.build_definition.build_type, BUILD_TYPE),
            ("builder.id", &self.predicate.run_details.builder.id, BUILDER_ID),
        ];
        if let Some((key, found, expected)) =
            constants.into_iter().find(|(_, found, expected)| found != expected)
        {
            return Err(StatementError::Constant { key, found: found.clone(), expected });
        }
        let (files, inputs) =
            (self.subject.len(), self.predicate.build_definition.resolved_dependencies.len());
        if files == 0 || files > MAX_FILES {
            return Err(StatementError::Files(files));
        }
        if inputs > MAX_INPUTS {
            return Err(StatementError::Inputs(inputs));
        }
        let mut names = BTreeSet::new();
        if let Some(name) = self.files().find(|name| !plain(name) || !names.insert(*name)) {
            return Err(StatementError::Name(name.to_owned()));
        }
        if !names.contains(IMAGE) {
            return Err(StatementError::NoImage);
        }
        let commits: Vec<&str> = self.commits().collect();
        let hexadecimal = |text: &str| {
            text.len() >= 40 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
        };
        match commits[..] {
            [commit] if hexadecimal(commit) => Ok(()),
            _ => Err(StatementError::Commit),
        }
    }
}

/// The commit, the lock of crates, then every file of the lock.
fn inputs(sources: &Sources<'_>) -> Vec<Dependency> {
    let commit = InputDigest::GitCommit(sources.commit.to_owned());
    let crates = InputDigest::Sha256(Digest::of(sources.cargo_lock));
    let mut all = vec![
        Dependency { name: "dstyx".to_owned(), uri: None, digest: commit },
        Dependency { name: "Cargo.lock".to_owned(), uri: None, digest: crates },
    ];
    all.extend(sources.lock.pins().map(|(section, pin)| Dependency {
        name: format!("{section}/{} {}", pin.name, pin.file_name()),
        uri: Some(package_url(pin)),
        digest: InputDigest::Sha256(pin.sha256),
    }));
    all
}

/// A package URL (purl, type `deb`): names no mirror.
fn package_url(pin: &Pin) -> String {
    let package = pin.file_name().strip_suffix(".deb");
    let architecture = package.and_then(|name| name.rsplit('_').next()).unwrap_or("source");
    let escaped = |text: &str| text.replace('+', "%2B");
    format!("pkg:deb/debian/{}@{}?arch={architecture}", escaped(&pin.name), escaped(&pin.version))
}

/// A file name that stays in its directory.
fn plain(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.len() <= 128 && name.chars().all(known)
}

/// Why something is no statement about a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// the statement is not the JSON of a release: {0}
    #[error("the statement is not the JSON of a release: {0}")]
    Json(String),
    /// the statement's {key} is {found:?}; expected is {expected:?}
    #[error("the statement's {key} is {found:?}; expected is {expected:?}")]
    Constant {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What dstyx writes.
        expected: &'static str,
    },
    /// the statement is about {0} files; legal are 1 to 32
    #[error("the statement is about {0} files; legal are 1 to {MAX_FILES}")]
    Files(usize),
    /// the statement names {0} inputs; at most 4096 are read
    #[error("the statement names {0} inputs; at most {MAX_INPUTS} are read")]
    Inputs(usize),
    /// the statement names the file {0:?} twice, or it is no plain name
    #[error("the statement names the file {0:?} twice, or it is no plain name")]
    Name(String),
    /// the statement names no image.json: it vouches for no image
    #[error("the statement names no {IMAGE}: it vouches for no image")]
    NoImage,
    /// the statement names no single git commit
    #[error("the statement names no single git commit")]
    Commit,
}
