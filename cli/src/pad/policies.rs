//! Policies in files: as people write them, or as a Pad has them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use pad_format::Policy;
use pad_format::contents::MAX_CONTENTS_BYTES;
use pad_policy_file::{Compiled, Files, MAX_FILE_BYTES, Names, compile};
use protocol::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

use super::custodian::Public;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// First bits of a policy as a Pad has it: a map of CBOR, where no text of TOML begins so.
const CBOR_MAP: u8 = 0xa6;
/// Largest engine or program whose digest is taken.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;
/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 1 << 16;

/// A policy, and what its file calls custodians and programs, if it says.
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Names of its file; none of a policy that was compiled.
    pub names: Names,
}

/// Reads a policy in either form.
///
/// # Errors
/// If it is none, or names a file that cannot be read.
pub fn load(file: &Path) -> Outcome<Loaded> {
    let bytes = files::read_bounded(file, MAX_FILE_BYTES as u64)?;
    if bytes.first() == Some(&CBOR_MAP) {
        let hint = "compile the policy again: `dstyx pad policy compile`";
        if bytes.len() > MAX_CONTENTS_BYTES {
            let what = format!("{}: {} bytes are no policy", file.display(), bytes.len());
            return Err(Failure::new(what, hint));
        }
        let policy = Policy::parse(&bytes).hint(file.display(), hint)?;
        return Ok(Loaded { policy, names: Names::default() });
    }
    let text = String::from_utf8(bytes).hint(file.display(), "a policy file is UTF-8 text")?;
    let Compiled { policy, names, .. } = compiled(&text, file)?;
    Ok(Loaded { policy, names })
}

/// The names that a policy file defines, or those of the policy itself.
///
/// # Errors
/// If the file is no policy file.
pub fn names(stated: Option<&Path>, own: Names) -> Outcome<Names> {
    stated.map_or(Ok(own), |file| Ok(load(file)?.names))
}

/// Files whose paths count from a directory.
struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn sha256(&mut self, path: &str) -> Result<Sha256Digest, String> {
        sha256_of_file(&self.0.join(path)).map_err(|error| error.to_string())
    }

    fn custodian(&mut self, path: &str) -> Result<Sha256Digest, String> {
        let public = Public::load(&self.0.join(path)).map_err(|failure| failure.to_string())?;
        Ok(public.custodian.id().0)
    }
}

fn compiled(text: &str, file: &Path) -> Outcome<Compiled> {
    let mut beside = Beside(file.parent().unwrap_or(Path::new("")));
    compile(text, &mut beside)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display()), error.hint()))
}

/// The SHA-256 of an engine or program in a file.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn sha256_of_file(path: &Path) -> io::Result<Sha256Digest> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_PROGRAM_BYTES {
        let what = format!("no regular file of at most {MAX_PROGRAM_BYTES} bytes");
        return Err(io::Error::other(what));
    }
    let mut hasher = Sha256::new();
    let mut file = file.take(MAX_PROGRAM_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Sha256Digest(hasher.finalize().into())),
            read => hasher.update(&piece[..read]),
        }
    }
}
