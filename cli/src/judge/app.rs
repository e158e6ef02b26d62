//! The app that a guest must run: the measured file of a directory, or its hash alone.
//!
//! Only bytes are hashed and compared. Whether this version of dstyx could boot the app is no
//! matter of a verdict: evidence of others is about apps that it refuses.

use std::path::{Path, PathBuf};

use attestation::policy::ExpectedApp;
use protocol::app_compose;
use protocol::digest::{ComposeHash, Sha256Digest};

use super::Input;
use crate::app::{APP_COMPOSE_FILE, App};
use crate::failure::Outcome;
use crate::files;

/// How the app is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedApp {
    /// The directory that holds its measured file.
    Directory(PathBuf),
    /// The hash of its measured file.
    Hash(ComposeHash),
}

impl StatedApp {
    /// The app that a policy expects, and the file that says so.
    pub fn expected(&self) -> Outcome<(ExpectedApp, Option<Input>)> {
        match self {
            Self::Hash(hash) => Ok((ExpectedApp::of(*hash), None)),
            Self::Directory(directory) => {
                let bytes = measured_file(directory)?;
                let compose_hash = ComposeHash::of(&bytes);
                let from = directory.display().to_string();
                let sha256 = Sha256Digest(compose_hash.0);
                let input = Input { what: APP_COMPOSE_FILE, from, sha256 };
                let app = ExpectedApp { app_compose: Some(bytes), ..ExpectedApp::of(compose_hash) };
                Ok((app, Some(input)))
            }
        }
    }
}

/// The bytes of the measured file, as they are; it is made of the compose file where there is none.
fn measured_file(directory: &Path) -> Outcome<Vec<u8>> {
    let file = directory.join(APP_COMPOSE_FILE);
    match file.exists() {
        true => files::read_bounded(&file, app_compose::MAX_BYTES as u64),
        false => App::read(directory).map(|app| app.bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// An app that has a KMS and a key that nobody knows: no guest of ours would boot it.
    const OF_OTHERS: &[u8] =
        br#"{"manifest_version":2,"name":"other","kms_enabled":true,"docker_config":{}}"#;

    #[test]
    fn the_measured_file_of_an_app_that_could_not_be_booted_is_hashed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(APP_COMPOSE_FILE), OF_OTHERS).unwrap();
        assert!(App::read(directory.path()).is_err());
        let stated = StatedApp::Directory(directory.path().to_owned());
        let (app, input) = stated.expected().unwrap();
        assert_eq!(app.compose_hash, ComposeHash::of(OF_OTHERS));
        assert_eq!(app.app_compose.as_deref(), Some(OF_OTHERS));
        assert_eq!(input.unwrap().sha256, Sha256Digest::of(OF_OTHERS));
        let (by_hash, _) = StatedApp::Hash(ComposeHash::of(OF_OTHERS)).expected().unwrap();
        assert_eq!((by_hash.compose_hash, by_hash.app_id), (app.compose_hash, app.app_id));
    }
}
