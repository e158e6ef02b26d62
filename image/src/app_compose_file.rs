//! The image that the compose file of an own app names, which must be the built one.

use std::path::{Path, PathBuf};

use protocol::digest::Sha256Digest;
use protocol::launch::LOCAL_REGISTRY;

/// Refuses a compose file that names another image of the app than the one of `digest`.
pub fn check(
    path: &Path,
    compose: &str,
    name: &str,
    digest: Sha256Digest,
) -> Result<(), OtherImage> {
    let expected = format!("{LOCAL_REGISTRY}/{name}@sha256:{digest}");
    let named =
        compose.lines().filter_map(|line| line.trim_start().strip_prefix("image:")).map(str::trim);
    let mut named = named.filter(|image| image.starts_with(&format!("{LOCAL_REGISTRY}/{name}")));
    match named.next() {
        Some(image) if image == expected => Ok(()),
        found => {
            let found = found.unwrap_or("nothing").to_owned();
            Err(OtherImage { path: path.into(), found, expected })
        }
    }
}

/// a compose file that names another image than the built one
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} names {found}, but its sources build {expected}", .path.display())]
pub struct OtherImage {
    /// The compose file.
    pub path: PathBuf,
    /// Its image.
    pub found: String,
    /// The built one.
    pub expected: String,
}

impl OtherImage {
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
        assert_eq!(check(path, &line(&digest.to_string()), "hello", digest), Ok(()));
        let other = Sha256Digest::of(b"other");
        let refused = check(path, &line(&other.to_string()), "hello", digest).unwrap_err();
        assert_eq!(refused.found, format!("dstyx.local/hello@sha256:{other}"));
        assert!(refused.hint().contains(&digest.to_string()));
        let refused = check(path, "services: {}\n", "hello", digest).unwrap_err();
        assert_eq!(refused.found, "nothing");
    }
}
