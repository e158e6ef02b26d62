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
    /// Whether services may ask for what breaks their confinement.
    pub danger_privileged: bool,
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
