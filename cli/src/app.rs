//! The app folder: a compose file and the app-compose.json that is measured.
//!
//! The bytes of app-compose.json are the app's identity. Where the folder has none, it is made in dstack's
//! canonical form and written beside the compose file, so that everybody sees what was measured.

use std::fs;
use std::path::{Path, PathBuf};

use containers::compose::{ComposeFile, Inputs};
use protocol::app_compose::{self, AppCompose};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// Name of the compose file in an app folder.
const COMPOSE_FILE: &str = "docker-compose.yml";
/// Name of the measured file in an app folder.
const APP_COMPOSE_FILE: &str = "app-compose.json";

/// An app that passed every check that is possible before a boot.
#[derive(Debug)]
pub struct App {
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Exact bytes of app-compose.json.
    pub bytes: Vec<u8>,
    /// What they say.
    pub settings: AppCompose,
    /// What its compose file says.
    pub compose: ComposeFile,
}

impl App {
    /// Reads the folder; makes app-compose.json if there is none.
    pub fn read(folder: &Path) -> Outcome<Self> {
        let folder = folder
            .canonicalize()
            .hint(folder.display(), "give a folder with a docker-compose.yml, such as examples/hello")?;
        let text = compose_text(&folder)?;
        let compose = parse_compose(&folder.join(COMPOSE_FILE), text.as_bytes())?;
        let (bytes, settings) = match read_existing(&folder)? {
            Some(bytes) => existing(&folder, bytes, &text)?,
            None => made(&folder, &compose, &text)?,
        };
        Ok(Self { folder, bytes, settings, compose })
    }
}

fn compose_text(folder: &Path) -> Outcome<String> {
    files::read_text(&folder.join(COMPOSE_FILE), app_compose::MAX_BYTES as u64).map_err(|failure| {
        Failure::new(
            failure,
            "an app folder holds a docker-compose.yml: UTF-8 text of a few KiB; move data into images",
        )
    })
}

fn parse_compose(file: &Path, bytes: &[u8]) -> Outcome<ComposeFile> {
    ComposeFile::read(bytes, &Inputs::default()).map_err(|error| {
        Failure::new(
            format!("{}: {error}", file.display()),
            "nothing was booted: the guest would refuse the same file; see README, \"What an app may use\"",
        )
    })
}

fn read_existing(folder: &Path) -> Outcome<Option<Vec<u8>>> {
    let file = folder.join(APP_COMPOSE_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = files::read_bounded(&file, app_compose::MAX_BYTES as u64);
    Ok(Some(bytes.map_err(|failure| Failure::new(failure, "make it readable, or remove it"))?))
}

fn existing(folder: &Path, bytes: Vec<u8>, text: &str) -> Outcome<(Vec<u8>, AppCompose)> {
    let file = folder.join(APP_COMPOSE_FILE);
    let settings = app_compose::parse(&bytes)
        .hint(file.display(), "change that key, or remove the file to have one made from docker-compose.yml")?;
    if settings.docker_compose_file != text {
        return Err(Failure::new(
            format!("{} holds another compose file than {COMPOSE_FILE}", file.display()),
            format!("remove {APP_COMPOSE_FILE} to have it made anew, or put its text into {COMPOSE_FILE}"),
        ));
    }
    Ok((bytes, settings))
}

fn made(folder: &Path, compose: &ComposeFile, text: &str) -> Outcome<(Vec<u8>, AppCompose)> {
    let name = compose.name.clone().unwrap_or_else(|| name_of(folder));
    let bytes = app_compose::generate(&name, text)
        .hint(folder.display(), "give the app a plain name with `name:` in docker-compose.yml")?;
    let settings = app_compose::parse(&bytes).hint(folder.display(), "this is an error of dstyx, please report it")?;
    let file = folder.join(APP_COMPOSE_FILE);
    fs::write(&file, &bytes).hint(file.display(), "the measured file is written beside docker-compose.yml")?;
    Ok((bytes, settings))
}

/// The folder's name without what no name may have; `app` if nothing is left.
fn name_of(folder: &Path) -> String {
    let folder_name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = folder_name.chars().filter(|c| legal(*c)).take(app_compose::MAX_NAME_BYTES).collect();
    match name.trim_start_matches('.') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(compose: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(COMPOSE_FILE), compose).unwrap();
        folder
    }

    fn compose() -> String {
        format!("name: a\nservices:\n  web:\n    image: x.local/a@sha256:{}\n", "ab".repeat(32))
    }

    #[test]
    fn a_made_file_is_written_and_found_again_unchanged() {
        let folder = folder_with(&compose());
        let first = App::read(folder.path()).unwrap();
        let second = App::read(folder.path()).unwrap();
        assert_eq!((first.settings.name.as_str(), first.bytes), ("a", second.bytes));
    }

    #[test]
    fn another_compose_file_than_the_measured_one_is_an_error() {
        let folder = folder_with(&compose());
        App::read(folder.path()).unwrap();
        fs::write(folder.path().join(COMPOSE_FILE), compose().replace("name: a", "name: b")).unwrap();
        assert!(App::read(folder.path()).unwrap_err().to_string().contains("another compose file"));
    }

    #[test]
    fn a_folder_of_any_name_gives_an_app_name() {
        let names = [("/srv/.hidden", "hidden"), ("/srv/my app!", "myapp"), ("/", "app"), ("/srv/ü", "app")];
        for (folder, name) in names {
            assert_eq!(name_of(Path::new(folder)), name);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_path() {
        let folder = folder_with(&compose().replace("    image", "    colour: red\n    image"));
        let error = App::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("services.web.colour"), "{error}");
    }
}
