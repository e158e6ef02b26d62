//! Which files of an app directory are its compose file, and their text as one.
//!
//! Names and their order are Docker's. Every file is read from inside the directory: a link that
//! leads out would publish a file of the person who starts the app.

use std::path::{Component, Path, PathBuf};

use compose::flatten::{self, Flattened};
use protocol::app_compose;

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::note;

/// Names of compose files, the first that is there counts (Docker Compose, "cli/cli.go").
pub const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of override files, which count where no file is named by a person.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The compose files of `directory` (canonical): those that a person named, or Docker's choice.
pub fn chosen(directory: &Path, named: &[PathBuf]) -> Outcome<Vec<String>> {
    if !named.is_empty() {
        return named.iter().map(|file| relative(directory, file)).collect();
    }
    let first = |names: [&'static str; 4]| {
        let there: Vec<&str> =
            names.into_iter().filter(|name| directory.join(name).exists()).collect();
        if let [counts, rest @ ..] = there.as_slice()
            && !rest.is_empty()
        {
            note(&format!("{counts} counts, {} does not, as Docker chooses", rest.join(", ")));
        }
        there.first().map(|name| (*name).to_owned())
    };
    let Some(file) = first(NAMES) else {
        return Err(Failure::new(
            format!("{}: no compose file", directory.display()),
            format!("an app directory holds a {}, or name files with -f", NAMES.join(", ")),
        ));
    };
    Ok([Some(file), first(OVERRIDES)].into_iter().flatten().collect())
}

/// A file that a person named, as a path in the app directory.
fn relative(directory: &Path, file: &Path) -> Outcome<String> {
    let plain =
        file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let inside = if file.is_absolute() {
        file.canonicalize()
            .ok()
            .and_then(|file| Some(file.strip_prefix(directory).ok()?.to_owned()))
    } else {
        plain.then(|| file.components().filter(|part| *part != Component::CurDir).collect())
    };
    let text = inside.and_then(|path: PathBuf| path.to_str().map(str::to_owned));
    text.filter(|path| app_compose::check_path(path).is_ok()).ok_or_else(|| {
        Failure::new(
            format!("-f {}: no file of {}", file.display(), directory.display()),
            "-f names files relative to the app directory, and inside it",
        )
    })
}

/// The text of `names`, files of `directory` (canonical), as one.
pub fn read(directory: &Path, names: &[String]) -> Outcome<Flattened> {
    let mut failed: Option<Failure> = None;
    let flattened = flatten::flatten(names, &mut |path| {
        let place = directory.join(path);
        if !place.exists() {
            return None;
        }
        let text = inside(directory, &place)
            .and_then(|place| files::read_text(&place, app_compose::MAX_BYTES as u64));
        text.map_err(|failure| failed = failed.take().or(Some(failure))).ok()
    });
    match (flattened, failed) {
        (_, Some(failure)) => {
            let hint = "a compose file is UTF-8 text of a few KiB; move data into images";
            Err(Failure::new(failure, hint))
        }
        (Ok(flattened), None) => Ok(flattened),
        (Err(error), None) => {
            Err(Failure::new(format!("{}: {error}", directory.display()), error.hint()))
        }
    }
}

/// Where a file of the directory lies; refuses a link that leads out.
fn inside(directory: &Path, place: &Path) -> Outcome<PathBuf> {
    match place.canonicalize() {
        Ok(target) if target.starts_with(directory) => Ok(target),
        _ => Err(Failure::new(
            format!("{}: leads out of the app directory", place.display()),
            "what a compose file says becomes public: copy the file if that is meant",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs::write(directory.path().join(path), text).unwrap();
        }
        let canonical = directory.path().canonicalize().unwrap();
        (directory, canonical)
    }

    #[test]
    fn names_count_as_docker_has_them() {
        let (_kept, path) = directory(&[
            ("compose.yml", ""),
            ("docker-compose.yml", ""),
            ("docker-compose.override.yml", ""),
            ("docker-compose.override.yaml", ""),
        ]);
        let chosen =
            |named: &[&str]| chosen(&path, &named.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(chosen(&[]).unwrap(), ["compose.yml", "docker-compose.override.yml"]);
        assert_eq!(chosen(&["./a.yml", "b/c.yml"]).unwrap(), ["a.yml", "b/c.yml"]);
        let absolute = path.join("compose.yml");
        assert_eq!(chosen(&[absolute.to_str().unwrap()]).unwrap(), ["compose.yml"]);
        for outside in ["../a.yml", "/etc/passwd"] {
            assert!(chosen(&[outside]).unwrap_err().hint.contains("relative to the app directory"));
        }
    }

    #[test]
    fn a_directory_without_one_says_which_names_count() {
        let (_kept, path) = directory(&[("other.yml", "")]);
        let failure = chosen(&path, &[]).unwrap_err();
        assert!(
            failure.hint.contains("compose.yaml, compose.yml, docker-compose.yml"),
            "{failure}"
        );
    }

    #[test]
    fn a_link_that_leads_out_is_not_read() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let (kept, path) = directory(&[("a.yml", "include: [b.yml]\n")]);
        std::os::unix::fs::symlink(outside.path(), kept.path().join("b.yml")).unwrap();
        let error = read(&path, &["a.yml".to_owned()]).unwrap_err().to_string();
        assert!(error.ends_with("b.yml: leads out of the app directory"), "{error}");
        let error = read(&path, &["gone.yml".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("there is no file \"gone.yml\""), "{error}");
    }
}
