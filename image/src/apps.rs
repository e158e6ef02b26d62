//! The checkout's own apps, examples and services: each is one Rust program, its OCI image, and a
//! compose file that names that image by digest.
//!
//! The digest in the compose file is checked in and reviewed like code. The builder must make
//! exactly that image; if it makes another, the build says so instead of changing the file behind a
//! person's back.

use std::path::{Path, PathBuf};

use fs_err as fs;
use protocol::digest::Sha256Digest;
use reproducible_build::builder::{BuildError, Builder};
use reproducible_build::cache::Kind;

use crate::BuildImageError;
use crate::app_compose_file;
use crate::oci::{Image, Program};
use crate::recipes::Recipes;
pub use crate::recipes::{EXAMPLES, GATEWAY, KMS, OwnApp};

/// A built app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltApp {
    /// Name of its package.
    pub name: &'static str,
    /// The image's digest.
    pub digest: Sha256Digest,
    /// Directory of the OCI layout, to be served to the guest.
    pub layout: PathBuf,
}

impl OwnApp {
    /// The app of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|app| app.name == name)
    }

    /// The app whose compose file is in `directory`, if it is one of the checkout's.
    #[must_use]
    pub fn in_directory(checkout: &Path, directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        Self::all().find(|app| {
            checkout.join(app.directory).canonicalize().is_ok_and(|own| own == directory)
        })
    }

    /// Builds it into `target/apps/NAME` and checks its compose file.
    ///
    /// # Errors
    /// If it does not build, or the compose file names another digest.
    pub fn build(self, builder: &Builder, checkout: &Path) -> Result<BuiltApp, BuildImageError> {
        let Self { name, port, data, .. } = self;
        let built = builder.build(&*Recipes::new(builder, checkout).app(&self)?)?;
        let bytes = fs::read(built.path.join(name))?;
        let image = Image::of(&Program { name, bytes: &bytes, port, data });
        let layout = checkout.join("target/apps").join(name);
        // Two launches at the same time may both find that it is missing.
        let guard = builder.cache().lock(Kind::Builds, name).map_err(BuildError::from)?;
        image.write(&layout)?;
        drop(guard);
        let compose = checkout.join(self.directory).join("docker-compose.yml");
        app_compose_file::check(&compose, &fs::read_to_string(&compose)?, name, image.digest)?;
        Ok(BuiltApp { name, digest: image.digest, layout })
    }
}
