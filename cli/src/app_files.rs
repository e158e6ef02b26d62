//! The files of an app directory that its compose file refers to: only those travel, and nothing
//! from outside the directory.
//!
//! An app directory may come from somebody else. A link in it that leads out of it would publish a
//! file of the person who starts it, so it is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use compose::{ComposeFile, Encrypted, Environment, Inputs};
use protocol::app_compose::{self, AppFiles, ENVIRONMENT_FILE, MAX_FILES};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// Directories in directories below one that is mounted; deeper ones are no configuration.
const MAX_DEPTH: usize = 16;

/// What a compose file refers to in its directory.
#[derive(Debug, Default)]
pub struct Referred {
    /// The files that travel.
    pub files: AppFiles,
    /// Directories that hold something, and of which the compose file says nothing that would let
    /// them travel.
    pub directories: BTreeSet<String>,
}

/// Reads what the compose file `text` in `directory` (canonical) refers to; the file of variables
/// too if a variable counts: `.env`, or `env_file` in its place. Variables with names of
/// `encrypted` are not in it.
pub fn referred(
    directory: &Path,
    text: &str,
    env_file: Option<&Path>,
    encrypted: &[String],
) -> Outcome<Referred> {
    let mut found = Referred::default();
    match env_file {
        None => load(directory, ENVIRONMENT_FILE, 0, &mut found.files)?,
        Some(file) => {
            let bytes = files::read_bounded(file, app_compose::MAX_BYTES as u64)?;
            found.files.insert(ENVIRONMENT_FILE.to_owned(), bytes);
        }
    }
    let variables = env_file.map_or_else(|| directory.join(ENVIRONMENT_FILE), Path::to_owned);
    let mut seen = BTreeSet::from([ENVIRONMENT_FILE.to_owned()]);
    let count = loop {
        let environment = Environment::of_directory(&found.files)
            .hint(variables.display(), "write one NAME=value a line")?;
        let inputs = Inputs {
            files: &found.files,
            environment: &environment,
            encrypted: Encrypted { names: encrypted, values: None },
            danger_privileged: true,
            ..Inputs::default()
        };
        // What is no compose file at all refers to nothing; the reader says so later.
        let wanted = ComposeFile::wanted(text.as_bytes(), &inputs).unwrap_or_default();
        let new: Vec<String> = wanted.paths.difference(&seen).cloned().collect();
        let only_files = wanted.files.difference(&found.directories);
        let only_files = only_files.filter(|path| !found.files.contains_key(*path));
        let mut more = !new.is_empty();
        for path in only_files.cloned().collect::<Vec<_>>() {
            more |= load_file(directory, &path, &mut found)?;
        }
        if !more {
            break wanted.paths.contains(ENVIRONMENT_FILE);
        }
        for path in new {
            load(directory, &path, 0, &mut found.files)?;
            seen.insert(path);
        }
    };
    if !count {
        found.files.remove(ENVIRONMENT_FILE);
    }
    Ok(found)
}

/// Adds the file at `path`; a directory that holds something is remembered, and not read: it may be
/// what an app wrote here for years. Whether something was there.
fn load_file(directory: &Path, path: &str, found: &mut Referred) -> Outcome<bool> {
    let place = directory.join(path);
    if place.is_dir() {
        let empty = fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_none());
        return Ok(!empty && found.directories.insert(path.to_owned()));
    }
    load(directory, path, 0, &mut found.files)?;
    Ok(found.files.contains_key(path))
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
        referred(&directory.canonicalize().unwrap(), text, None, &[])
            .unwrap()
            .files
            .into_keys()
            .collect()
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
        let error = referred(&directory.path().canonicalize().unwrap(), COMPOSE, None, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("leads out of the app directory"), "{error}");
        fs::remove_file(directory.path().join("conf/secret")).unwrap();
        std::os::unix::fs::symlink("one", directory.path().join("conf/three")).unwrap();
        assert!(names(directory.path(), COMPOSE).contains(&"conf/three".to_owned()));
    }

    #[test]
    fn directories_that_an_app_writes_are_not_read() {
        let directory = directory();
        fs::create_dir(directory.path().join("empty")).unwrap();
        let text = "services:\n  web:\n    image: x\n    volumes: [./conf:/c, ./none:/n, ./empty:/e, ./other:/o]\n";
        let canonical = directory.path().canonicalize().unwrap();
        let found = referred(&canonical, text, None, &[]).unwrap();
        assert_eq!(found.files.keys().collect::<Vec<_>>(), ["other"]);
        assert_eq!(found.directories.iter().collect::<Vec<_>>(), ["conf"]);
        for (declared, travel) in
            [("data", vec!["other"]), ("seed", vec!["conf/deep/two", "conf/one", "other"])]
        {
            let text = format!("{text}x-dstyx: {{{declared}: [./conf]}}\n");
            let found = referred(&canonical, &text, None, &[]).unwrap();
            assert_eq!(found.files.keys().collect::<Vec<_>>(), travel);
            assert!(found.directories.is_empty());
        }
    }

    #[test]
    fn another_file_of_variables_takes_the_place_of_the_directorys() {
        let (directory, other) = (directory(), tempfile::NamedTempFile::new().unwrap());
        fs::write(other.path(), "V=2\n").unwrap();
        let canonical = directory.path().canonicalize().unwrap();
        let read = |text| referred(&canonical, text, Some(other.path()), &[]).unwrap().files;
        let files = read("services:\n  web:\n    image: x:${V}\n");
        assert_eq!(files, AppFiles::from([(".env".to_owned(), b"V=2\n".to_vec())]));
        assert!(read("services:\n  web:\n    image: x\n").is_empty());
    }
}
