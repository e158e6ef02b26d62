//! Fetching by digest from mirrors and the registry an image names, each byte hashed as it streams.
//!
//! Every one of them may lie, stall or send without end: the digest decides, and sizes and times are
//! bounded. Mirrors are hints of the untrusted host, asked first, over plain HTTP if they say so, and
//! never with a credential or a redirect. The registry itself is asked over HTTPS only.
//! Source: OCI distribution specification 1.1, "Pull".

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::auth::{self, AuthError};
use super::manifest::ACCEPTED;
use crate::compose::ImageReference;
use crate::digest::ContentDigest;
use crate::error::chain;

/// A registry that does not answer this soon is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that gives nothing for this long has ended.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A blob gets this long, and a second more for each [`MIN_BYTES_PER_SEC`], so that dripping bytes end too.
const BASE_TIMEOUT: Duration = Duration::from_secs(60);
/// Slower than this is a stall.
const MIN_BYTES_PER_SEC: u64 = 32 << 10;
/// Registries redirect blobs to a content network, once or twice.
const MAX_REDIRECTS: usize = 5;
/// Mirrors that the launch block may name (`protocol::launch::MAX_ADDRESSES` bounds it too).
const MAX_MIRRORS: usize = 16;

/// A mirror of registries: `http://host:port` or `https://host[:port]`, no path, no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(Url);

impl Mirror {
    /// Reads a mirror's address.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let bad = || RegistryError::Mirror(text.to_owned());
        let url = Url::parse(text).map_err(|_| bad())?;
        let bare = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        bare.then_some(Self(url)).ok_or_else(bad)
    }
}

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// One thing to fetch: its name decides whether what arrives is it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) image: &'a ImageReference,
    pub(super) kind: Kind,
    pub(super) digest: ContentDigest,
    /// The exact size, where a descriptor told it.
    pub(super) size: Option<u64>,
    /// The size that is too large, where none did.
    pub(super) max_bytes: u64,
}

/// Where what is fetched goes; emptied before each source is tried.
pub(super) trait Sink: AsyncWrite + Unpin {
    /// Forgets what was written.
    fn restart(&mut self) -> impl Future<Output = std::io::Result<()>> + Send;
}

impl Sink for Vec<u8> {
    async fn restart(&mut self) -> std::io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Sink for tokio::fs::File {
    async fn restart(&mut self) -> std::io::Result<()> {
        use tokio::io::AsyncSeekExt;
        self.set_len(0).await?;
        self.rewind().await.map(|_| ())
    }
}

/// The mirrors and registries of one app.
#[derive(Debug)]
pub struct Registries {
    mirrors: Vec<Mirror>,
    mirror_client: Client,
    /// `None` if there are no roots to verify a registry with.
    origin_client: Option<Client>,
    tokens: Mutex<HashMap<String, String>>,
}

impl Registries {
    /// `mirrors` are asked first. `roots_pem` are the certificate roots by which registries are verified;
    /// without it only mirrors are asked.
    pub fn new(mirrors: Vec<Mirror>, roots_pem: Option<&Path>) -> Result<Self, RegistryError> {
        if mirrors.len() > MAX_MIRRORS {
            return Err(RegistryError::TooManyMirrors(mirrors.len()));
        }
        let roots = match roots_pem {
            Some(path) => load_roots(path)?,
            None => RootCertStore::empty(),
        };
        let origin_client = match roots_pem {
            Some(_) => Some(client(roots.clone(), true)?),
            None => None,
        };
        let mirror_client = client(roots, false)?;
        Ok(Self { mirrors, mirror_client, origin_client, tokens: Mutex::new(HashMap::new()) })
    }

    /// Fetches into `sink` from the first source that gives the bytes of that digest.
    pub(super) async fn fetch(&self, wanted: Wanted<'_>, sink: &mut impl Sink) -> Result<(), FetchError> {
        let mut attempts = Vec::new();
        for source in self.sources(wanted.image) {
            sink.restart().await.map_err(FetchError::Store)?;
            let limit = BASE_TIMEOUT + Duration::from_secs(wanted.max_bytes / MIN_BYTES_PER_SEC);
            let cause = match tokio::time::timeout(limit, self.fetch_from(&source, wanted, sink)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(SourceError::Store(error))) => return Err(FetchError::Store(error)),
                Ok(Err(cause)) => cause,
                Err(_) => SourceError::TooSlow(limit.as_secs()),
            };
            tracing::warn!(source = %source.base, digest = %wanted.digest, %cause, "source refused");
            attempts.push(Attempt { source: source.base.to_string(), cause });
        }
        Err(FetchError::AllSources {
            digest: wanted.digest,
            image: wanted.image.to_string(),
            attempts: attempts.into(),
        })
    }

    fn sources(&self, image: &ImageReference) -> Vec<Source<'_>> {
        let mirror = |mirror: &Mirror| Source { base: mirror.0.clone(), client: &self.mirror_client, origin: false };
        let mut sources: Vec<Source<'_>> = self.mirrors.iter().map(mirror).collect();
        if let (Some(client), Ok(base)) = (&self.origin_client, origin_url(image.registry())) {
            sources.push(Source { base, client, origin: true });
        }
        sources
    }

    async fn fetch_from(
        &self,
        source: &Source<'_>,
        wanted: Wanted<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), SourceError> {
        let response = self.request(source, wanted).await?;
        if response.status() != StatusCode::OK {
            return Err(SourceError::Status(response.status().as_u16()));
        }
        receive(response, wanted, sink).await
    }

    /// Asks once; a registry that wants an anonymous token is asked again with one.
    async fn request(&self, source: &Source<'_>, wanted: Wanted<'_>) -> Result<Response, SourceError> {
        let folder = match wanted.kind {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
        };
        let repository = wanted.image.repository();
        let path = format!("/v2/{repository}/{folder}/{}", wanted.digest);
        let mut url = source.base.clone();
        url.set_path(&path);
        let key = format!("{}{repository}", source.base);
        let mut token = self.tokens.lock().map_err(|_| SourceError::Interrupted)?.get(&key).cloned();
        let response = source.get(&url, wanted.kind, token.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !source.origin {
            return Ok(response);
        }
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.ok_or(AuthError::NoChallenge)?;
        let fresh = auth::anonymous_token(source.client, challenge, repository).await?;
        token = Some(fresh.clone());
        self.tokens.lock().map_err(|_| SourceError::Interrupted)?.insert(key, fresh);
        source.get(&url, wanted.kind, token.as_deref()).await
    }
}

/// One place to ask.
struct Source<'a> {
    base: Url,
    client: &'a Client,
    /// The registry itself: it may ask for a token.
    origin: bool,
}

impl Source<'_> {
    async fn get(&self, url: &Url, kind: Kind, token: Option<&str>) -> Result<Response, SourceError> {
        let mut request = self.client.get(url.clone());
        if kind == Kind::Manifest {
            request = request.header(ACCEPT, ACCEPTED);
        }
        if let Some(token) = token.filter(|_| self.origin) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.send().await.map_err(SourceError::from)
    }
}

/// Streams a body into `sink`, hashing it, and ends at the first byte too many.
async fn receive(mut response: Response, wanted: Wanted<'_>, sink: &mut impl Sink) -> Result<(), SourceError> {
    let limit = wanted.size.unwrap_or(wanted.max_bytes).min(wanted.max_bytes);
    let mut hasher = Sha256::new();
    let mut received: u64 = 0;
    while let Some(chunk) = response.chunk().await? {
        received = received.saturating_add(chunk.len() as u64);
        if received > limit {
            return Err(SourceError::TooLong(limit));
        }
        hasher.update(&chunk);
        sink.write_all(&chunk).await.map_err(SourceError::Store)?;
    }
    sink.flush().await.map_err(SourceError::Store)?;
    if wanted.size.is_some_and(|size| size != received) {
        return Err(SourceError::Truncated { expected: limit, found: received });
    }
    let found = ContentDigest::from_bytes(hasher.finalize().into());
    if found != wanted.digest {
        return Err(SourceError::WrongDigest { expected: wanted.digest, found });
    }
    Ok(())
}

/// Docker's registry answers under another name than its images carry.
fn origin_url(registry: &str) -> Result<Url, RegistryError> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    Url::parse(&format!("https://{host}")).map_err(|_| RegistryError::Registry(registry.to_owned()))
}

fn client(roots: RootCertStore, origin: bool) -> Result<Client, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(RegistryError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let redirects = match origin {
        true => reqwest::redirect::Policy::limited(MAX_REDIRECTS),
        false => reqwest::redirect::Policy::none(),
    };
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(origin)
        .redirect(redirects)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("dstyx/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(RegistryError::Client)
}

fn load_roots(path: &Path) -> Result<RootCertStore, RegistryError> {
    let bad = |message: String| RegistryError::Roots { path: path.display().to_string(), message };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Why registries cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A mirror's address is none.
    #[error("mirror {0:?} is no address: http(s)://host[:port] and nothing else")]
    Mirror(String),
    /// A registry's name makes no address.
    #[error("registry {0:?} is no host name")]
    Registry(String),
    /// Too many mirrors.
    #[error("{0} mirrors, at most {MAX_MIRRORS}")]
    TooManyMirrors(usize),
    /// The certificate roots cannot be read.
    #[error("certificate roots {path}: {message}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The TLS library refused its configuration.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// The HTTP library refused its configuration.
    #[error("HTTP client: {0}")]
    Client(reqwest::Error),
}

/// Why one source did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Other bytes than those pinned.
    #[error("wrong bytes: expected {expected}, found {found}")]
    WrongDigest {
        /// What the compose file or a verified manifest pins.
        expected: ContentDigest,
        /// What was sent.
        found: ContentDigest,
    },
    /// The stream went on past the end.
    #[error("more than {0} bytes were sent")]
    TooLong(u64),
    /// The stream ended early.
    #[error("{found} bytes of {expected} were sent")]
    Truncated {
        /// What the manifest says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The answer is no document.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The connection failed or broke.
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    /// The stream is too slow to be useful.
    #[error("not done after {0} s")]
    TooSlow(u64),
    /// The registry gives no anonymous access.
    #[error("access: {0}")]
    Auth(#[from] AuthError),
    /// Another fetch ended by panic while it held the tokens.
    #[error("interrupted")]
    Interrupted,
    /// The store cannot be written; no other source helps.
    #[error("store: {0}")]
    Store(std::io::Error),
}

/// One source and why it was of no use.
#[derive(Debug)]
pub struct Attempt {
    /// Its address.
    pub source: String,
    /// What went wrong.
    pub cause: SourceError,
}

/// All sources of one blob and why none was of use.
#[derive(Debug)]
pub struct Attempts(Vec<Attempt>);

impl From<Vec<Attempt>> for Attempts {
    fn from(attempts: Vec<Attempt>) -> Self {
        Self(attempts)
    }
}

impl Attempts {
    /// In the order asked.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.0.iter()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no mirror was named and no registry may be asked");
        }
        for (index, attempt) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{} {}", attempt.source, attempt.cause)?;
        }
        Ok(())
    }
}

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No source gave the bytes.
    #[error("{digest} of {image}: {attempts}")]
    AllSources {
        /// What was wanted.
        digest: ContentDigest,
        /// Of which image.
        image: String,
        /// Who was asked.
        attempts: Attempts,
    },
    /// The store cannot be written.
    #[error("store: {0}")]
    Store(std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_bare_addresses() {
        for good in ["http://10.0.2.2:5000", "https://mirror.example", "http://[::1]:80/"] {
            assert!(Mirror::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["10.0.2.2:5000", "ftp://a", "http://u:p@a", "http://a/b", "http://a?x", "http://a#x", "file:///x", ""]
        {
            assert!(Mirror::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn docker_io_is_asked_by_its_own_name() {
        assert_eq!(origin_url("docker.io").expect("url").as_str(), "https://registry-1.docker.io/");
        assert_eq!(origin_url("ghcr.io:444").expect("url").as_str(), "https://ghcr.io:444/");
    }
}
