//! The app folder: a compose file and the app-compose.json that is measured.
//!
//! The bytes of app-compose.json are the app's identity. Where the folder has none, it is made in dstack's
//! canonical form and written beside the compose file, so that everybody sees what was measured. One that was made
//! so and not edited since is made anew for a launch when the compose file has changed; one that a person edited is theirs.

use std::fs;
use std::path::{Path, PathBuf};

use containers::compose::model::Note;
use containers::compose::{ComposeError, ComposeFile, Environment, Inputs};
use protocol::app_compose::{self, AppCompose, ENVIRONMENT_FILE, NewApp};

use crate::app_files;
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
    /// Whether app-compose.json was made anew.
    renewed: bool,
}

impl App {
    /// Reads the folder; makes app-compose.json if there is none.
    pub fn read(folder: &Path) -> Outcome<Self> {
        Self::load(folder, false, false)
    }

    /// The same for a launch: an app-compose.json that nobody edited follows the compose file. `danger_privileged` allows
    /// what breaks confinement in one that is made.
    pub fn read_or_make(folder: &Path, danger_privileged: bool) -> Outcome<Self> {
        Self::load(folder, danger_privileged, true)
    }

    fn load(folder: &Path, danger_privileged: bool, renew: bool) -> Outcome<Self> {
        let folder = folder
            .canonicalize()
            .hint(folder.display(), "give a folder with a docker-compose.yml, such as examples/hello")?;
        let text = compose_text(&folder)?;
        let files = app_files::referred(&folder, &text)?;
        let wanted = NewApp { name: "", docker_compose_file: &text, files: &files, danger_privileged };
        let existing = read_existing(&folder)?;
        let mut renewed = false;
        let (bytes, settings) = match existing {
            None => made(&folder, &wanted)?,
            Some((bytes, settings)) => match difference(&folder, &settings, &wanted) {
                None => (bytes, settings),
                Some(_) if renew && is_as_made(&bytes, &settings) => {
                    renewed = true;
                    made(&folder, &wanted)?
                }
                Some(failure) => return Err(failure),
            },
        };
        let compose = ComposeFile::of_app(&settings).map_err(|error| refused(&folder, &error))?;
        Ok(Self { folder, bytes, settings, compose, renewed })
    }

    /// What a person should know before this app becomes public.
    pub fn notes(&self) -> Vec<String> {
        let at = |note: &Note| format!("{COMPOSE_FILE}, line {}: {}: {}", note.line, note.path, note.what);
        let mut notes: Vec<String> = self.compose.notes.iter().map(at).collect();
        if self.renewed {
            notes.push(format!(
                "{APP_COMPOSE_FILE} is made anew of {COMPOSE_FILE}: it is another app, with another app id"
            ));
        }
        notes.extend(self.compose.dangers.iter().map(|danger| format!("danger_privileged: {}", at(danger))));
        if !self.settings.files.is_empty() {
            let names: Vec<&str> = self.settings.files.keys().map(String::as_str).collect();
            notes.push(format!(
                "{APP_COMPOSE_FILE} carries {}: measured, readable by everybody, and read-only in the guest",
                names.join(", ")
            ));
        }
        notes
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

fn refused(folder: &Path, error: &ComposeError) -> Failure {
    Failure::new(
        format!("{}: {error}", folder.join(COMPOSE_FILE).display()),
        "nothing was booted: the guest would refuse the same file; docs/compose.md has every key",
    )
}

/// The measured file of the folder, if there is one.
fn read_existing(folder: &Path) -> Outcome<Option<(Vec<u8>, AppCompose)>> {
    let file = folder.join(APP_COMPOSE_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = files::read_bounded(&file, app_compose::MAX_BYTES as u64)
        .map_err(|failure| Failure::new(failure, "make it readable, or remove it"))?;
    let settings = app_compose::parse(&bytes)
        .hint(file.display(), "change that key, or remove the file to have one made from docker-compose.yml")?;
    Ok(Some((bytes, settings)))
}

/// In what the measured file is not of this folder.
fn difference(folder: &Path, settings: &AppCompose, wanted: &NewApp<'_>) -> Option<Failure> {
    let file = folder.join(APP_COMPOSE_FILE);
    let (file, anew) = (file.display(), format!("remove {APP_COMPOSE_FILE} to have it made anew"));
    if settings.docker_compose_file != wanted.docker_compose_file {
        let what = format!("{file} holds another compose file than {COMPOSE_FILE}");
        return Some(Failure::new(what, format!("{anew}, or put its text into {COMPOSE_FILE}")));
    }
    let mut paths = wanted.files.keys();
    if let Some(path) = paths.find(|path| settings.files.get(*path) != wanted.files.get(*path)) {
        return Some(Failure::new(format!("{file} holds another {path} than the folder"), anew));
    }
    let unsaid = wanted.danger_privileged && !settings.danger_privileged;
    unsaid.then(|| Failure::new(format!("{file} does not have danger_privileged"), anew))
}

/// Whether nobody edited the file since it was made: what is in it gives its bytes again.
fn is_as_made(bytes: &[u8], settings: &AppCompose) -> bool {
    let app = NewApp {
        name: &settings.name,
        docker_compose_file: &settings.docker_compose_file,
        files: &settings.files,
        danger_privileged: settings.danger_privileged,
    };
    app.generate().is_ok_and(|made| made == bytes)
}

/// Makes the file as `app` says, named as the compose file or the folder is; nothing is written if the guest would
/// refuse it.
fn made(folder: &Path, app: &NewApp<'_>) -> Outcome<(Vec<u8>, AppCompose)> {
    let environment = Environment::of_folder(app.files)
        .hint(folder.join(ENVIRONMENT_FILE).display(), "write one NAME=value a line")?;
    let inputs = Inputs { files: app.files, environment: &environment, danger_privileged: app.danger_privileged };
    let compose =
        ComposeFile::read(app.docker_compose_file.as_bytes(), &inputs).map_err(|error| refused(folder, &error))?;
    let name = compose.name.unwrap_or_else(|| name_of(folder));
    let bytes = NewApp { name: &name, ..*app }
        .generate()
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
    fn for_a_launch_a_made_file_follows_the_compose_file_and_an_edited_one_does_not() {
        let folder = folder_with(&compose());
        let first = App::read_or_make(folder.path(), false).unwrap();
        assert!(first.notes().is_empty());
        let renamed = compose().replace("name: a", "name: b");
        fs::write(folder.path().join(COMPOSE_FILE), &renamed).unwrap();
        let second = App::read_or_make(folder.path(), false).unwrap();
        assert_eq!(second.settings.docker_compose_file, renamed);
        assert!(second.notes()[0].contains("made anew"), "{:?}", second.notes());
        let file = folder.path().join(APP_COMPOSE_FILE);
        assert_eq!(fs::read(&file).unwrap(), second.bytes);

        let edited =
            String::from_utf8(second.bytes).unwrap().replace(r#""public_logs":false"#, r#""public_logs":true"#);
        fs::write(&file, &edited).unwrap();
        fs::write(folder.path().join(COMPOSE_FILE), compose()).unwrap();
        let error = App::read_or_make(folder.path(), false).unwrap_err().to_string();
        assert!(error.contains("another compose file"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), edited, "nobody's words are lost");
    }

    #[test]
    fn files_of_the_folder_travel_and_are_told_of() {
        let text = compose() + "    command: [\"$WORD\"]\n    volumes: [\"./conf:/conf\"]\n";
        let folder = folder_with(&text);
        fs::write(folder.path().join("conf"), "1").unwrap();
        fs::write(folder.path().join(".env"), "WORD=hello\n").unwrap();
        let app = App::read(folder.path()).unwrap();
        assert_eq!(app.compose.services[0].process.command, Some(vec!["hello".to_owned()]));
        let notes = app.notes().join("\n");
        assert!(notes.contains("line 6: services.web.volumes[0]: mounted read-only"), "{notes}");
        assert!(notes.contains("carries .env, conf: measured, readable by everybody"), "{notes}");
        fs::write(folder.path().join("conf"), "2").unwrap();
        let error = App::read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("holds another conf than the folder"), "{error}");
    }

    #[test]
    fn what_breaks_confinement_must_be_said() {
        let folder = folder_with(&(compose() + "    privileged: true\n"));
        assert!(App::read(folder.path()).unwrap_err().to_string().contains("only with danger_privileged"));
        assert!(!folder.path().join(APP_COMPOSE_FILE).exists());
        let app = App::read_or_make(folder.path(), true).unwrap();
        assert!(app.settings.danger_privileged && app.notes()[0].starts_with("danger_privileged: "));
        assert!(App::read(folder.path()).is_ok(), "the measured file says it now");
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
