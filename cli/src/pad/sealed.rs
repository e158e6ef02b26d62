//! Pads in files, opened with the file of their key.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use pad_format::{OpenedPad, SealedPad};

use super::data_key::DataKeyFile;
use crate::failure::{Failure, Hint as _, Outcome};

/// What to do about a Pad that was changed.
const CHANGED: &str = "nothing of it was used; get the Pad again from whoever packed it";

/// A regular file that is read from its start, and never waited for.
///
/// # Errors
/// If there is none.
pub fn open_file(path: &Path) -> Outcome<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.hint(path.display(), "does the file exist, and may you read it?")?;
    if file.metadata().hint(path.display(), "is the file readable?")?.is_file() {
        return Ok(file);
    }
    let what = format!("{}: not a regular file", path.display());
    Err(Failure::new(what, "save it as a file first"))
}

/// What somebody sent as a Pad.
///
/// # Errors
/// If it is none.
pub fn claimed(path: &Path) -> Outcome<SealedPad<BufReader<File>>> {
    SealedPad::read(BufReader::new(open_file(path)?))
        .hint(path.display(), "is this a Pad, as `dstyx pad pack` writes it?")
}

/// A Pad whose policies and attributes its key opens.
///
/// # Errors
/// If the key is of another Pad, or anything before the data was changed.
pub fn opened(path: &Path, key: &DataKeyFile) -> Outcome<OpenedPad<BufReader<File>>> {
    let sealed = claimed(path)?;
    key.check(sealed.claimed(), sealed.digest())?;
    sealed.open(&key.key).hint(path.display(), CHANGED)
}

/// Turns an error of a Pad's data into one for a person.
pub fn refused(path: &Path, error: &pad_format::reader::PadError) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), CHANGED)
}
