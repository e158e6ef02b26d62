//! To whom this user's shares are sealed, and what opens them: keys of age's, which can be kept
//! where the user's files are not.

use std::path::{Path, PathBuf};

use crate::age::{Identity, MAX_IDENTITY_BYTES, Recipient};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::{paths, private};

/// Name of the file with the recipient.
const FILE: &str = "kms-age-recipient";
/// A recipient has 62 characters.
const MAX_FILE_BYTES: u64 = 128;

/// To whom shares are sealed that this user takes; none: they are kept as they are.
pub fn recipient() -> Outcome<Option<Recipient>> {
    let file = file()?;
    let Some(bytes) = private::read(&file, MAX_FILE_BYTES)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let recipient = Recipient::parse(text.trim_end())
        .hint(file.display(), "`dstyx kms init --age-recipient age1…` writes it anew")?;
    Ok(Some(recipient))
}

/// Seals shares that are taken from now on to a recipient that a person states.
pub fn set_recipient(text: &str) -> Outcome<()> {
    let recipient = Recipient::parse(text)
        .hint("--age-recipient", "give what `age-keygen` prints as the public key")?;
    let file = file()?;
    private::replace(&file, format!("{recipient}\n").as_bytes())
        .hint(file.display(), "is the directory writable?")
}

/// What opens sealed shares, from a file as `age-keygen` writes it.
pub fn identity(path: &Path) -> Outcome<Identity> {
    let file = private::read(path, MAX_IDENTITY_BYTES as u64)?;
    let file = file.ok_or_else(|| {
        Failure::new(
            format!("{}: no such file", path.display()),
            "give the file that `age-keygen` wrote",
        )
    })?;
    Identity::parse(&file).hint(path.display(), "give the file that `age-keygen` wrote")
}

fn file() -> Outcome<PathBuf> {
    Ok(paths::data_directory()?.join(FILE))
}
