//! The name of an image as a compose file writes it: `[registry/]repository[:tag]@sha256:…`.
//!
//! The digest decides what runs; registry, repository and tag only say where to ask. A name without
//! a digest is refused: a tag is whatever a registry says it is today. Grammar: OCI distribution
//! specification 1.1, "Pulling manifests", and Docker's rules for the parts that may be left out.

use std::fmt;

use crate::digest::{ContentDigest, DigestError};

/// Where an image without a registry comes from.
const DEFAULT_REGISTRY: &str = "docker.io";
/// What an image without a tag and digest means.
const DEFAULT_TAG: &str = "latest";
/// Longest host and repository together that registries accept.
const MAX_NAME_BYTES: usize = 255;
/// Longest tag (OCI distribution specification).
const MAX_TAG_BYTES: usize = 128;

/// Where to ask for an image, and by which tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: Option<String>,
}

impl ImageName {
    /// Reads `[registry/]repository[:tag]`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (registry, rest) = split_registry(text);
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let repository = match repository.contains('/') || registry != DEFAULT_REGISTRY {
            true => repository.to_owned(),
            false => format!("library/{repository}"),
        };
        let valid = valid_registry(registry)
            && valid_repository(&repository)
            && tag.is_none_or(valid_tag)
            && registry.len() + repository.len() <= MAX_NAME_BYTES;
        if !valid {
            return Err(ReferenceError::Name(text.to_owned()));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned) })
    }

    /// Host and port of the registry, as written; `docker.io` if nothing is.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path below the registry, with Docker's `library/` filled in.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if nothing is written.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

/// An image by digest, and where to ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    name: ImageName,
    digest: ContentDigest,
}

impl ImageReference {
    /// Reads a reference; one without a digest is refused.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let Some((name, digest)) = text.split_once('@') else {
            return Err(ReferenceError::NoDigest(text.to_owned()));
        };
        let digest = digest
            .parse()
            .map_err(|cause| ReferenceError::Digest { text: text.to_owned(), cause })?;
        let name = ImageName::parse(name).map_err(|_| ReferenceError::Name(text.to_owned()))?;
        Ok(Self { name, digest })
    }

    /// Where to ask for it.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// See [`ImageName::registry`].
    pub fn registry(&self) -> &str {
        self.name.registry()
    }

    /// See [`ImageName::repository`].
    pub fn repository(&self) -> &str {
        self.name.repository()
    }

    /// What decides which bytes run.
    pub fn digest(&self) -> ContentDigest {
        self.digest
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}

/// The first part is a registry if it looks like a host: it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

/// Whether a text is a registry's name: a host name or IPv4 address, and a port if there is one.
pub fn valid_registry(registry: &str) -> bool {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
        })
}

/// Parts of lower-case words joined by `.`, `_`, `__` or dashes, joined by `/`.
fn valid_repository(repository: &str) -> bool {
    repository.split('/').all(|part| {
        let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = part.as_bytes();
        let ends = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
        let separators = bytes
            .split(word)
            .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'));
        ends && separators
    })
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Why a text does not name an image that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// there is no digest
    #[error("image {0:?} is not pinned by digest")]
    NoDigest(String),
    /// what follows `@` is no digest
    #[error("image {text:?}: {cause}")]
    Digest {
        /// The whole reference.
        text: String,
        /// What is wrong.
        cause: DigestError,
    },
    /// registry, repository or tag break their grammar
    #[error("image {0:?} is no valid name: [registry/]repository[:tag]@sha256:digest")]
    Name(String),
}

impl ReferenceError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            ReferenceError::NoDigest(_) => {
                Some("`dstyx pin docker-compose.yml` writes the digest behind each tag")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("@sha256:{}", "0f".repeat(32))
    }

    #[test]
    fn defaults_are_those_of_docker() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("me/app", "docker.io/me/app"),
            ("ghcr.io/a/b_c/d:v1", "ghcr.io/a/b_c/d:v1"),
            ("localhost/app", "localhost/app"),
            ("127.0.0.1:5000/app:x", "127.0.0.1:5000/app:x"),
        ] {
            let reference = ImageReference::parse(&format!("{text}{}", digest())).expect(text);
            assert_eq!(reference.to_string(), format!("{full}{}", digest()));
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for text in [
            "",
            "Nginx",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a:",
            "a:.x",
            "a:b:c",
            "host.name:0/a",
            "host.name:70000/a",
            "host.name:/a",
            "-host.name/a",
            "host..name/a",
            "a b",
            "../a.b/c",
            "a?x=y",
            "exa mple.org/a",
        ] {
            assert!(ImageReference::parse(&format!("{text}{}", digest())).is_err(), "{text:?}");
        }
        let long = format!("{}{}", "a".repeat(300), digest());
        assert!(ImageReference::parse(&long).is_err());
    }

    #[test]
    fn a_tag_alone_is_no_pin() {
        assert_eq!(
            ImageReference::parse("nginx:latest"),
            Err(ReferenceError::NoDigest("nginx:latest".into()))
        );
        assert!(matches!(
            ImageReference::parse("nginx@sha256:00"),
            Err(ReferenceError::Digest { .. })
        ));
        assert!(matches!(
            ImageReference::parse(&format!("nginx{}{}", digest(), digest())),
            Err(ReferenceError::Digest { .. })
        ));
    }
}
