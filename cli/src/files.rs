//! Reading the files that a person names: bounded, with an error that says which file and what to try.

use std::fs;
use std::path::Path;

use protocol::digest::OsImageHash;
use protocol::image::ImageManifest;

use crate::failure::{Failure, Hint as _, Outcome};

/// A whole file of at most `limit_bytes`.
pub fn read_bounded(path: &Path, limit_bytes: u64) -> Outcome<Vec<u8>> {
    let length = fs::metadata(path).hint(path.display(), "does the file exist?")?.len();
    if length > limit_bytes {
        let what = format!("{}: {length} bytes, at most {limit_bytes} are accepted", path.display());
        return Err(Failure::new(what, "is this the right file?"));
    }
    fs::read(path).hint(path.display(), "is the file readable?")
}

/// Reads and parses a folder's image.json.
pub fn read_manifest(folder: &Path) -> Outcome<(ImageManifest, OsImageHash)> {
    let file = folder.join("image.json");
    let json = fs::read(&file).hint(file.display(), "build the image first: `dstyx build`")?;
    let manifest = ImageManifest::parse(&json).hint(file.display(), "build the image again: `dstyx build`")?;
    Ok((manifest, OsImageHash::of(&json)))
}
