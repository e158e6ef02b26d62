//! Reading the files that a person names: bounded, with an error that says which file and what to
//! try.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use protocol::digest::OsImageHash;
use protocol::image::{self, ImageManifest};

use crate::failure::{Failure, Hint as _, Outcome};

/// A whole regular file of at most `limit_bytes`. It is opened once, so that what was asked about
/// is what is read, and never waited for: opening a pipe otherwise lasts until somebody writes.
pub fn read_bounded(path: &Path, limit_bytes: u64) -> Outcome<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.hint(path.display(), "does the file exist, and may you read it?")?;
    if !file.metadata().hint(path.display(), "is the file readable?")?.is_file() {
        return Err(Failure::new(
            format!("{}: not a regular file", path.display()),
            "save it as a file first",
        ));
    }
    let mut bytes = Vec::new();
    // One byte more tells a file that is too long from one that just fits.
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .hint(path.display(), "is the file readable?")?;
    if bytes.len() as u64 > limit_bytes {
        let what = format!("{}: more than {limit_bytes} bytes", path.display());
        return Err(Failure::new(what, "is this the right file?"));
    }
    Ok(bytes)
}

/// The same for text.
pub fn read_text(path: &Path, limit_bytes: u64) -> Outcome<String> {
    String::from_utf8(read_bounded(path, limit_bytes)?)
        .hint(path.display(), "the file must be UTF-8 text")
}

/// The exact bytes of a directory's image.json.
pub fn read_image_json(directory: &Path) -> Outcome<Vec<u8>> {
    read_bounded(&directory.join("image.json"), image::MAX_BYTES as u64)
        .map_err(|failure| Failure::new(failure, "build the image first: `dstyx build`"))
}

/// Reads and parses a directory's image.json.
pub fn read_manifest(directory: &Path) -> Outcome<(ImageManifest, OsImageHash)> {
    let json = read_image_json(directory)?;
    let file = directory.join("image.json");
    let manifest =
        ImageManifest::parse(&json).hint(file.display(), "build the image again: `dstyx build`")?;
    Ok((manifest, OsImageHash::of(&json)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_not_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "1234").unwrap();
        assert_eq!(read_bounded(&file, 4).unwrap(), b"1234");
        assert!(read_bounded(&file, 3).unwrap_err().to_string().ends_with("more than 3 bytes"));
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 4).unwrap_err().hint, "the file must be UTF-8 text");
    }

    /// Their length says 0, and they never end or never begin.
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("image.json");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), directory.path()] {
            let error = read_bounded(path, 4).unwrap_err().to_string();
            assert!(error.ends_with("not a regular file"), "{error}");
        }
        assert!(
            read_manifest(directory.path())
                .unwrap_err()
                .to_string()
                .ends_with("not a regular file")
        );
    }

    #[test]
    fn an_image_list_has_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("image.json"), vec![b' '; image::MAX_BYTES + 1]).unwrap();
        assert!(read_manifest(directory.path()).unwrap_err().to_string().contains("more than"));
    }
}
