//! What a compose file is read with: variables, the files of the app directory, and what the
//! measured file allows.

use std::collections::{BTreeMap, BTreeSet};

use protocol::app_compose::ENVIRONMENT_FILE;

use super::dotenv::{self, DotenvError, Format};

/// Everything beside its text that decides what a compose file means.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The files of the app directory by relative path, as app-compose carries them.
    pub files: &'a BTreeMap<String, Vec<u8>>,
    /// Directories of the app directory that are there, hold something, and do not travel: a mount
    /// that asks for one without saying read-only is refused before the boot. A guest has none.
    pub directories: &'a BTreeSet<String>,
    /// Variables for interpolation.
    pub environment: &'a Environment,
    /// Variables of the encrypted environment.
    pub encrypted: Encrypted<'a>,
    /// Whether services may ask for what breaks their confinement.
    pub danger_privileged: bool,
}

/// Variables that the measured file names and an encrypted environment brings. A name among them is
/// never looked up elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted<'a> {
    /// Their names.
    pub names: &'a [String],
    /// What an environment brought; `None` before a boot, when each has a stand-in for its value.
    pub values: Option<&'a Environment>,
}

/// The value that an encrypted variable has where nobody knows it.
const STAND_IN: &str = "encrypted";

impl Encrypted<'_> {
    /// Whether the variable is one of them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// The value of one of them.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.map_or(Some(STAND_IN), |values| values.get(name))
    }
}

static NO_FILES: BTreeMap<String, Vec<u8>> = BTreeMap::new();
static NO_DIRECTORIES: BTreeSet<String> = BTreeSet::new();
static NO_VARIABLES: Environment = Environment(BTreeMap::new());

impl Default for Inputs<'static> {
    /// No file, no variable, nothing dangerous.
    fn default() -> Self {
        Self {
            files: &NO_FILES,
            directories: &NO_DIRECTORIES,
            environment: &NO_VARIABLES,
            encrypted: Encrypted { names: &[], values: None },
            danger_privileged: false,
        }
    }
}

/// What a compose file asks for in the app directory, as normalised relative paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Files, and directories with all that is below.
    pub paths: BTreeSet<String>,
    /// Paths that are asked for only if they are files.
    pub files: BTreeSet<String>,
}

/// Variables by name. Values may be secret, so they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of `.env` among the files of an app directory; none if there is no such file.
    pub fn of_directory(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, DotenvError> {
        let bytes = files.get(ENVIRONMENT_FILE).map(Vec::as_slice).unwrap_or_default();
        Ok(dotenv::parse(bytes, Format::Variables, &[], &mut |_| None)?.into_iter().collect())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is no variable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These variables and `others`, which count where both have a name.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
