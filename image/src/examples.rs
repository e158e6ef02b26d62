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
use crate::oci::{Image, Program};
use crate::recipes::{EXAMPLES, Recipes};

/// The registry of images that exist only where they were built; no such host exists.
const REGISTRY: &str = "dstyx.local";
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
    EXAMPLES.into_iter().find(|name| {
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
    let image = Image::of(&Program { name, bytes: &bytes, port: PORT });
    let layout = checkout.join("target/examples").join(name);
    image.write(&layout)?;
    let compose = checkout.join("examples").join(name).join("docker-compose.yml");
    check_compose(&compose, &fs::read_to_string(&compose)?, name, image.digest)?;
    Ok(BuiltExample { name, digest: image.digest, layout })
}

/// Is the built image the one that the compose file names?
fn check_compose(
    path: &Path,
    compose: &str,
    name: &str,
    digest: Sha256Digest,
) -> Result<(), ExampleError> {
    let expected = format!("{REGISTRY}/{name}@sha256:{digest}");
    let named =
        compose.lines().filter_map(|line| line.trim_start().strip_prefix("image:")).map(str::trim);
    let mut named = named.filter(|image| image.starts_with(&format!("{REGISTRY}/{name}")));
    match named.next() {
        Some(image) if image == expected => Ok(()),
        found => {
            let found = found.unwrap_or("nothing").to_owned();
            Err(ExampleError { path: path.into(), found, expected })
        }
    }
}

/// a compose file that names another image than the built one
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} names {found}, but its sources build {expected}", .path.display())]
pub struct ExampleError {
    /// The compose file.
    pub path: PathBuf,
    /// Its image.
    pub found: String,
    /// The built one.
    pub expected: String,
}

impl ExampleError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> String {
        format!(
            "if the sources were meant to change, write 'image: {}' into {}",
            self.expected,
            self.path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compose_file_must_name_what_was_built() {
        let path = Path::new("docker-compose.yml");
        let digest = Sha256Digest::of(b"manifest");
        let line = |digest: &str| {
            format!("services:\n  hello:\n    image: dstyx.local/hello@sha256:{digest}\n")
        };
        assert_eq!(check_compose(path, &line(&digest.to_string()), "hello", digest), Ok(()));
        let other = Sha256Digest::of(b"other");
        let refused = check_compose(path, &line(&other.to_string()), "hello", digest).unwrap_err();
        assert_eq!(refused.found, format!("dstyx.local/hello@sha256:{other}"));
        assert!(refused.hint().contains(&digest.to_string()));
        let refused = check_compose(path, "services: {}\n", "hello", digest).unwrap_err();
        assert_eq!(refused.found, "nothing");
    }
}
