//! Whose releases are believed, as a person names them, and whether a directory holds such a
//! release.

use std::path::{Path, PathBuf};

use attestation::signatures::{Signer, Trust, dsse, keys};
use image::release::{self, VerifiedRelease};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// The statement, for reading.
pub const STATEMENT: &str = "provenance.json";
/// The same statement with signatures.
pub const ENVELOPE: &str = "provenance.dsse.json";

/// The signers that a person names.
#[derive(Debug, Clone)]
pub struct StatedSigners {
    /// Files of their public keys.
    pub keys: Vec<PathBuf>,
    /// How many must have signed; by default all.
    pub threshold: Option<usize>,
}

/// The release in a directory, if enough of the named signers vouch for it.
pub fn verified(directory: &Path, signers: &StatedSigners) -> Outcome<VerifiedRelease> {
    let trust = trust(signers)?;
    let path = directory.join(ENVELOPE);
    let envelope = files::read_bounded(&path, dsse::MAX_BYTES as u64)?;
    release::verify(&envelope, &trust)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), error.hint()))
}

/// Whether a released file has the signed bytes.
pub fn check(release: &VerifiedRelease, name: &str, bytes: &[u8]) -> Outcome<()> {
    release.check(name, bytes).map_err(|error| Failure::new(&error, error.hint()))
}

fn trust(signers: &StatedSigners) -> Outcome<Trust> {
    const HINT: &str = "name a file such as `openssl pkey -in key.pem -pubout` writes";
    let read = |path: &PathBuf| {
        let pem = files::read_bounded(path, keys::MAX_PEM_BYTES as u64)?;
        Signer::from_pem(&String::from_utf8_lossy(&pem)).hint(path.display(), HINT)
    };
    let keys = signers.keys.iter().map(read).collect::<Outcome<Vec<_>>>()?;
    let threshold = signers.threshold.unwrap_or(keys.len());
    Trust::new(keys, threshold).map_err(|error| Failure::new(&error, error.hint()))
}
