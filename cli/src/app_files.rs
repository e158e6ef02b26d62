//! The files of an app directory that its compose file refers to: only those travel, and nothing
//! from outside the directory.
//!
//! An app directory may come from somebody else. A link in it that leads out of it would publish a
//! file of the person who starts it, so it is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use compose::{ComposeFile, Environment, Inputs};
use protocol::app_compose::{self, AppFiles, ENVIRONMENT_FILE, MAX_FILES};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// Directories in directories below one that is mounted; deeper ones are no configuration.
const MAX_DEPTH: usize = 16;

/// Reads what the compose file `text` in `directory` (canonical) refers to; `.env` too if a
/// variable counts.
pub fn referred(directory: &Path, text: &str) -> Outcome<AppFiles> {
    let mut files = AppFiles::new();
    load(directory, ENVIRONMENT_FILE, 0, &mut files)?;
    let mut seen = BTreeSet::from([ENVIRONMENT_FILE.to_owned()]);
    let variables = loop {
        let environment = Environment::of_directory(&files)
            .hint(directory.join(ENVIRONMENT_FILE).display(), "write one NAME=value a line")?;
        let inputs = Inputs { files: &files, environment: &environment, danger_privileged: true };
        // What is no compose file at all refers to nothing; the reader says so later.
        let wanted = ComposeFile::wanted(text.as_bytes(), &inputs).unwrap_or_default();
        let new: Vec<String> = wanted.difference(&seen).cloned().collect();
        if new.is_empty() {
            break wanted.contains(ENVIRONMENT_FILE);
        }
        for path in new {
            load(directory, &path, 0, &mut files)?;
            seen.insert(path);
        }
    };
    if !variables {
        files.remove(ENVIRONMENT_FILE);
    }
    Ok(files)
}

/// Adds the file at `path`, or all files below it; one that is not there is left to the reader to
/// refuse.
fn load(directory: &Path, path: &str, depth: usize, into: &mut AppFiles) -> Outcome<()> {
    let place = directory.join(path);
    let Ok(target) = place.canonicalize() else {
        return Ok(());
    };
    if !target.starts_with(directory) {
        let what =
            format!("{}: leads out of the app directory, to {}", place.display(), target.display());
        return Err(Failure::new(
            what,
            "what the compose file names becomes public: copy the file if that is meant",
        ));
    }
    if !target.is_dir() {
        let bytes = files::read_bounded(&target, app_compose::MAX_BYTES as u64)?;
        into.insert(path.to_owned(), bytes);
        return too_many(directory, into);
    }
    if depth == MAX_DEPTH {
        let what = format!("{}: directories more than {MAX_DEPTH} deep", place.display());
        return Err(Failure::new(what, "name the files that the service needs"));
    }
    for entry in fs::read_dir(&target).hint(place.display(), "is the directory readable?")? {
        let name = entry.hint(place.display(), "is the directory readable?")?.file_name();
        let Some(name) = name.to_str() else {
            let what = format!("{}: holds a name that is not UTF-8", place.display());
            return Err(Failure::new(what, "rename it"));
        };
        load(directory, &format!("{path}/{name}"), depth + 1, into)?;
    }
    Ok(())
}

fn too_many(directory: &Path, files: &AppFiles) -> Outcome<()> {
    let bytes: usize = files.values().map(Vec::len).sum();
    if files.len() <= MAX_FILES && bytes <= app_compose::MAX_BYTES {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "{}: more than {MAX_FILES} files or {} bytes",
            directory.display(),
            app_compose::MAX_BYTES
        ),
        "app-compose.json carries them all: put large files into an image",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str =
        "services:\n  web:\n    image: x\n    env_file: a.env\n    volumes: [./conf:/conf:ro]\n";

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("conf/deep")).unwrap();
        for (path, content) in [
            ("a.env", "A=1\n"),
            ("conf/one", "1"),
            ("conf/deep/two", "2"),
            (".env", "V=1\n"),
            ("other", "no"),
        ] {
            fs::write(directory.path().join(path), content).unwrap();
        }
        directory
    }

    fn names(directory: &Path, text: &str) -> Vec<String> {
        referred(&directory.canonicalize().unwrap(), text).unwrap().into_keys().collect()
    }

    #[test]
    fn only_what_is_referred_to_travels() {
        let directory = directory();
        assert_eq!(names(directory.path(), COMPOSE), ["a.env", "conf/deep/two", "conf/one"]);
        assert_eq!(
            names(directory.path(), "services:\n  web:\n    image: x\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn variables_travel_where_one_counts() {
        let directory = directory();
        assert_eq!(names(directory.path(), "services:\n  web:\n    image: x:${V}\n"), [".env"]);
        fs::write(directory.path().join("a.env"), "A=$V\n").unwrap();
        assert_eq!(
            names(directory.path(), COMPOSE),
            [".env", "a.env", "conf/deep/two", "conf/one"]
        );
    }

    #[test]
    fn links_do_not_lead_out() {
        let (directory, other) = (directory(), tempfile::NamedTempFile::new().unwrap());
        std::os::unix::fs::symlink(other.path(), directory.path().join("conf/secret")).unwrap();
        let error =
            referred(&directory.path().canonicalize().unwrap(), COMPOSE).unwrap_err().to_string();
        assert!(error.contains("leads out of the app directory"), "{error}");
        fs::remove_file(directory.path().join("conf/secret")).unwrap();
        std::os::unix::fs::symlink("one", directory.path().join("conf/three")).unwrap();
        assert!(names(directory.path(), COMPOSE).contains(&"conf/three".to_owned()));
    }
}
