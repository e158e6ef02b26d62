//! App directories of tests, made ready for a guest as a person would: images pinned, files
//! gathered into the measured file.

use std::fs;
use std::path::Path;

use protocol::app_compose::{self, AppFiles, NewApp};
use serde_json::Value;

use crate::dstyx::User;
use crate::guest::Host;
use crate::registry::Registry;

/// Names that a compose file may have in a directory of the test's own.
const COMPOSE_FILES: [&str; 2] = ["docker-compose.yml", "compose.yaml"];

/// An app whose images are in a registry.
#[derive(Debug)]
pub struct App {
    /// Its compose file, pinned.
    pub compose: String,
    /// Its app-compose.json.
    pub app_compose: Vec<u8>,
}

impl App {
    /// The app of a directory, called `name`, whose measured file says `settings` beyond what every
    /// one says.
    pub fn new(source: &Path, name: &str, registry: &Registry, settings: &[(&str, Value)]) -> Self {
        let mut files = AppFiles::new();
        gather(source, Path::new(""), &mut files);
        let compose =
            COMPOSE_FILES.iter().find_map(|name| files.remove(*name)).expect("a compose file");
        let compose = pinned(&compose, registry);
        let plain = NewApp::of(name, &compose, &files).generate().unwrap();
        let mut document: Value = serde_json::from_slice(&plain).unwrap();
        for (key, value) in settings {
            document[*key] = value.clone();
        }
        let app_compose = document.to_string().into_bytes();
        app_compose::parse(&app_compose).unwrap();
        Self { compose, app_compose }
    }

    /// A host that launches it and serves its images.
    pub fn host(&self, registry: &Registry) -> Host {
        Host {
            compose: self.compose.clone(),
            app_compose: Some(self.app_compose.clone()),
            mirrors: vec![registry.mirror()],
            ..Host::default()
        }
    }
}

/// Every file below `directory`, by its path from there.
fn gather(directory: &Path, below: &Path, files: &mut AppFiles) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            gather(&entry.path(), &path, files);
        } else {
            files.insert(path.to_str().unwrap().to_owned(), fs::read(entry.path()).unwrap());
        }
    }
}

/// The compose file after `dstyx pin`.
fn pinned(compose: &[u8], registry: &Registry) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("docker-compose.yml");
    fs::write(&file, compose).unwrap();
    pin(&file, registry);
    fs::read_to_string(file).unwrap()
}

/// `dstyx pin` for the file, with the registry in the place of those that images name.
pub fn pin(file: &Path, registry: &Registry) {
    let pinned = User::default().dstyx([
        Path::new("pin"),
        file,
        "--registry-mirror".as_ref(),
        registry.url().as_ref(),
    ]);
    assert_eq!(pinned.code, 0, "{pinned:#?}");
    assert!(
        pinned.json["pinned"].as_array().is_some_and(|pinned| !pinned.is_empty()),
        "{pinned:#?}"
    );
}
