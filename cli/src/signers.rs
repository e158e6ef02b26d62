//! Whose releases are believed, as a person names them, and whether a directory holds such a
//! release.

use std::path::Path;

use attestation::signatures::{Signer, Trust, dsse, keys};
use image::release::{self, VerifiedRelease};
use protocol::digest::OsImageHash;
use protocol::image::Flavour;

use crate::args::Signers;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// The statement, for reading.
pub const STATEMENT: &str = "provenance.json";
/// The same statement with signatures.
pub const ENVELOPE: &str = "provenance.dsse.json";

/// The release in a directory, if enough of the named signers vouch for it.
pub fn verified(directory: &Path, signers: &Signers) -> Outcome<VerifiedRelease> {
    let trust = trust(signers)?;
    let path = directory.join(ENVELOPE);
    let envelope = files::read_bounded(&path, dsse::MAX_BYTES as u64)?;
    release::verify(&envelope, &trust)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), error.hint()))
}

/// Whether an image that was read is the one that the signers vouch for, of the flavour that they
/// state.
pub fn check_image(
    release: &VerifiedRelease,
    os_image_hash: OsImageHash,
    flavour: Flavour,
) -> Outcome<()> {
    release.check_image(os_image_hash).map_err(|error| Failure::new(&error, error.hint()))?;
    let stated = release.statement().flavour();
    if stated == flavour_name(flavour) {
        return Ok(());
    }
    let what = format!(
        "the signers vouch for a {stated} image, but image.json is of a {} image",
        flavour_name(flavour)
    );
    Err(Failure::new(what, "do not use it; tell its signers"))
}

/// As a statement has it.
pub fn flavour_name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Release => "release",
        Flavour::Dev => "dev",
    }
}

/// Whether a released file has the signed bytes.
pub fn check(release: &VerifiedRelease, name: &str, bytes: &[u8]) -> Outcome<()> {
    release.check(name, bytes).map_err(|error| Failure::new(&error, error.hint()))
}

fn trust(signers: &Signers) -> Outcome<Trust> {
    const HINT: &str = "name a file such as `openssl pkey -in key.pem -pubout` writes";
    let read = |path: &std::path::PathBuf| {
        let pem = files::read_bounded(path, keys::MAX_PEM_BYTES as u64)?;
        Signer::from_pem(&String::from_utf8_lossy(&pem)).hint(path.display(), HINT)
    };
    let keys = signers.signer.iter().map(read).collect::<Outcome<Vec<_>>>()?;
    let threshold = signers.threshold.unwrap_or(keys.len());
    Trust::new(keys, threshold).map_err(|error| Failure::new(&error, error.hint()))
}
