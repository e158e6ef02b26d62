//! The files of an app directory that travel inside its app-compose: measured, public, and
//! read-only in the guest.
//!
//! dstack has no such field; a file without it means the same to both. Paths and bytes come through
//! the untrusted host until the compose hash says otherwise, so both are bounded and strict.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// File by path: relative, `/` between parts, normalised. None is the directory of another.
pub type AppFiles = BTreeMap<String, Vec<u8>>;

/// The variables of the compose file, where the directory has them (compose specification,
/// "Interpolation").
pub const ENVIRONMENT_FILE: &str = ".env";
/// Configuration of real apps is a few files; each becomes a mount or a line of one directory.
pub const MAX_FILES: usize = 256;
/// Longest path: far below the kernel's 4,096 bytes with the guest's own directories before it.
pub const MAX_PATH_BYTES: usize = 255;

/// Why a file cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// more files than the limit
    #[error("{0} files, at most {MAX_FILES} are accepted")]
    TooMany(usize),
    /// not a path inside the app directory
    #[error(
        "{0:?} is no relative path without empty, . and .. parts of at most {MAX_PATH_BYTES} bytes"
    )]
    Path(String),
    /// one path is a directory of another
    #[error("{0:?} is a file and a directory")]
    FileAndDirectory(String),
    /// the content is not base64
    #[error("{path:?}: not base64: {cause}")]
    Content {
        /// Path of the file.
        path: String,
        /// What the decoder says.
        cause: base64::DecodeError,
    },
}

/// Decodes the field `files`.
pub(super) fn decode(raw: &BTreeMap<String, String>) -> Result<AppFiles, FileError> {
    if raw.len() > MAX_FILES {
        return Err(FileError::TooMany(raw.len()));
    }
    let mut files = AppFiles::new();
    for (path, content) in raw {
        check_path(path)?;
        let content = STANDARD
            .decode(content)
            .map_err(|cause| FileError::Content { path: path.clone(), cause })?;
        files.insert(path.clone(), content);
    }
    let is_file = |directory: &&str| files.contains_key(*directory);
    match files.keys().find_map(|path| directories(path).find(is_file)) {
        Some(directory) => Err(FileError::FileAndDirectory(directory.to_owned())),
        None => Ok(files),
    }
}

/// The field `files` of a file that is written.
pub(super) fn encode(files: &AppFiles) -> BTreeMap<&str, String> {
    files.iter().map(|(path, content)| (path.as_str(), STANDARD.encode(content))).collect()
}

/// Refuses whatever is no normalised path inside the app directory.
pub fn check_path(path: &str) -> Result<(), FileError> {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let fits = path.len() <= MAX_PATH_BYTES && !path.chars().any(char::is_control);
    if fits && path.split('/').all(part) { Ok(()) } else { Err(FileError::Path(path.to_owned())) }
}

/// The directories that `path` lies in.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, content)| (path.to_string(), content.to_string())).collect()
    }

    #[test]
    fn files_survive_their_encoding() {
        let files = decode(&raw(&[("a/b", "AAE="), (".env", "")])).unwrap();
        assert_eq!(files["a/b"], [0, 1]);
        let again =
            encode(&files).into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
        assert_eq!(decode(&again), Ok(files));
    }

    #[test]
    fn paths_stay_inside_and_distinct() {
        let long = "a".repeat(MAX_PATH_BYTES + 1);
        for path in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\n", "a\0", &long] {
            assert_eq!(decode(&raw(&[(path, "")])), Err(FileError::Path(path.into())), "{path:?}");
        }
        assert_eq!(
            decode(&raw(&[("a", ""), ("a.b", ""), ("a/b/c", "")])),
            Err(FileError::FileAndDirectory("a".into()))
        );
        assert!(matches!(decode(&raw(&[("a", "A")])), Err(FileError::Content { .. })));
        let many = (0..=MAX_FILES).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(decode(&many), Err(FileError::TooMany(MAX_FILES + 1)));
    }
}
