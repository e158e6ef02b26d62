//! The examples: each is one Rust program, its OCI image, and a compose file that names that image
//! by digest.
//!
//! The digest in the compose file is checked in and reviewed like code. The builder must make
//! exactly that image; if it makes another, the build says so instead of changing the file behind a
//! person's back.

use std::path::{Path, PathBuf};

use fs_err as fs;
use protocol::digest::Sha256Digest;
use reproducible_build::builder::Builder;

use crate::BuildImageError;
use crate::example_compose;
use crate::oci::{Image, Program};
use crate::recipes::{EXAMPLES, Recipes};

/// Where every example listens.
const PORT: u16 = 8080;

/// A built example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltExample {
    /// Name of its package and directory.
    pub name: &'static str,
    /// The image's digest.
    pub digest: Sha256Digest,
    /// Directory of the OCI layout, to be served to the guest.
    pub layout: PathBuf,
}

/// The example whose compose file is in `directory`, if it is one of this checkout's.
#[must_use]
pub fn in_directory(checkout: &Path, directory: &Path) -> Option<&'static str> {
    let directory = directory.canonicalize().ok()?;
    EXAMPLES.into_iter().map(|example| example.name).find(|name| {
        checkout.join("examples").join(name).canonicalize().is_ok_and(|own| own == directory)
    })
}

/// Builds an example into `target/examples/NAME` and checks its compose file.
///
/// # Errors
/// If it does not build, or the compose file names another digest.
pub fn build(
    builder: &Builder,
    checkout: &Path,
    name: &'static str,
) -> Result<BuiltExample, BuildImageError> {
    let built = builder.build(&*Recipes::new(builder, checkout).example(name)?)?;
    let bytes = fs::read(built.path.join(name))?;
    let data = EXAMPLES.into_iter().find(|example| example.name == name).and_then(|e| e.data);
    let image = Image::of(&Program { name, bytes: &bytes, port: PORT, data });
    let layout = checkout.join("target/examples").join(name);
    image.write(&layout)?;
    let compose = checkout.join("examples").join(name).join("docker-compose.yml");
    example_compose::check(&compose, &fs::read_to_string(&compose)?, name, image.digest)?;
    Ok(BuiltExample { name, digest: image.digest, layout })
}
