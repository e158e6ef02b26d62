//! What a tag stands for today: the digest of the manifest or index that a registry gives for it.
//!
//! The one question whose answer no digest decides. It is asked on a person's machine, before
//! anything is measured, and never in a guest; the digest is of the bytes that came, whatever the
//! registry calls them.

use compose::ImageName;
use compose::digest::ContentDigest;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use sha2::{Digest as _, Sha256};

use super::source::{Answer, Question, Source};
use super::transfer::short;
use super::{Attempt, Attempts, Kind, Registries, SourceError};
use crate::budget::MAX_MANIFEST_BYTES;
use crate::manifest::ACCEPTED;

/// What the registry says the digest is (OCI distribution specification, "Pulling manifests").
const STATED: HeaderName = HeaderName::from_static("docker-content-digest");

/// why nobody says what a tag stands for
#[derive(Debug, thiserror::Error)]
#[error("{image}: {attempts}")]
pub struct ResolveError {
    /// Which image.
    pub image: String,
    /// Who was asked.
    pub attempts: Attempts,
}

impl Registries {
    /// Asks mirrors, then the registry, for the tag of `image`; the first that has it decides.
    pub async fn resolve(&self, image: &ImageName) -> Result<ContentDigest, ResolveError> {
        let mut attempts = Vec::new();
        let limit = self.time_for(MAX_MANIFEST_BYTES);
        for source in self.sources(image) {
            let cause = match tokio::time::timeout(limit, self.resolve_at(&source, image)).await {
                Ok(Ok(digest)) => return Ok(digest),
                Ok(Err(cause)) => cause,
                Err(_) => SourceError::TooSlow(limit.as_secs()),
            };
            attempts.push(Attempt { source: source.base.to_string(), cause });
        }
        Err(ResolveError { image: image.to_string(), attempts: attempts.into() })
    }

    async fn resolve_at(
        &self,
        source: &Source<'_>,
        image: &ImageName,
    ) -> Result<ContentDigest, SourceError> {
        let mut url = source.base.clone();
        url.set_path(&format!("/v2/{}/manifests/{}", image.repository(), image.tag()));
        let question = Question { url, kind: Kind::Manifest, offset: 0 };
        let mut answer = source.ask(&question, None).await?;
        if answer.response.status() == StatusCode::UNAUTHORIZED && !answer.redirected {
            let shown = self.authorize(source, image, answer.response.headers()).await?;
            answer = source.ask(&question, Some(&shown)).await?;
        }
        digest_of(answer).await
    }
}

/// Hashes the answer; refuses what is no manifest, or another than the registry says.
async fn digest_of(answer: Answer) -> Result<ContentDigest, SourceError> {
    let mut response = answer.response;
    let header = |name| {
        response
            .headers()
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (kind, stated) = (header(CONTENT_TYPE).unwrap_or_default(), header(STATED));
    if response.status() != StatusCode::OK {
        return Err(SourceError::of_status(response.status().as_u16(), None));
    }
    if let Some(encoding) = header(CONTENT_ENCODING) {
        return Err(SourceError::Encoded(short(&encoding)));
    }
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !ACCEPTED.split(',').any(|accepted| accepted.trim() == kind) {
        return Err(SourceError::MediaType(short(kind)));
    }
    let (mut hasher, mut received) = (Sha256::new(), 0u64);
    while let Some(chunk) = response.chunk().await? {
        received = received.saturating_add(chunk.len() as u64);
        if received > MAX_MANIFEST_BYTES {
            return Err(SourceError::TooLong(MAX_MANIFEST_BYTES));
        }
        hasher.update(&chunk);
    }
    let found = ContentDigest::from_bytes(hasher.finalize().into());
    match stated.and_then(|stated| stated.parse::<ContentDigest>().ok()) {
        Some(expected) if expected != found => Err(SourceError::WrongDigest { expected, found }),
        _ => Ok(found),
    }
}
