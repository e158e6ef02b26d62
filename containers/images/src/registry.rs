//! Fetching by digest from mirrors and the registry an image names, each byte hashed as it streams.
//!
//! Every one of them may lie, stall or send without end: the digest decides, and sizes and times
//! are bounded. Mirrors are hints of the untrusted host, asked first, over plain HTTP if they say
//! so, and never with a credential or a redirect. The registry itself is asked over HTTPS only,
//! unless the measured app-compose names it as insecure: then over plain HTTP, and it is treated
//! like a mirror. Source: OCI distribution specification 1.1, "Pull".

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use compose::digest::ContentDigest;
use compose::{ImageName, ImageReference, valid_registry};
use protocol::launch::LOCAL_REGISTRY;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use rustls::RootCertStore;

use super::auth::{Applicant, AuthError};
use super::credentials::Credentials;
use super::progress::Progress;

mod error;
mod resolve;
mod source;
mod tls;
mod transfer;

pub use error::{Attempt, Attempts, FetchError, RegistryError, SourceError};
pub use resolve::ResolveError;

use source::{Question, Role, Source};
use transfer::{Sink, Transfer};

/// Registries redirect blobs to a content network, once or twice.
const MAX_REDIRECTS: usize = 5;
/// Mirrors that the launch block may name (`protocol::launch::MAX_ADDRESSES` bounds it too).
const MAX_MIRRORS: usize = 16;
/// A source that breaks off may do so again without it counting once it has sent this much more.
const WORTHWHILE_BYTES: u64 = 1 << 20;
/// Longest pause before a source is asked again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

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

/// How long sources are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A registry that does not answer this soon is not there.
    pub connect: Duration,
    /// A stream that gives nothing for this long has ended.
    pub silence: Duration,
    /// Something fetched gets this long, and a second more for each
    /// [`Timeouts::min_bytes_per_sec`], so that dripping bytes end too.
    pub base: Duration,
    /// Slower than this is a stall; more than 0.
    pub min_bytes_per_sec: u64,
    /// How often in a row a source is asked again that broke off or is overloaded.
    pub retries: u32,
    /// Wait before the first of them; twice as long before each next, 5 s at most.
    pub pause: Duration,
}

impl Default for Timeouts {
    /// A slow link and a busy registry, but no dead one: 10 s, 30 s, 60 s and 32 KiB/s, 4 times
    /// from 250 ms on.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            base: Duration::from_secs(60),
            min_bytes_per_sec: 32 << 10,
            retries: 4,
            pause: Duration::from_millis(250),
        }
    }
}

/// Whom an app asks for its images, and how; by default nobody.
#[derive(Debug, Default)]
pub struct RegistrySettings {
    /// Asked before the registries; hints, since digests decide.
    pub mirrors: Vec<Mirror>,
    /// Certificate roots by which registries are verified; without them no registry is asked over
    /// HTTPS.
    pub roots_pem: Option<PathBuf>,
    /// Registries, `HOST[:PORT]` as images name them, that are asked over plain HTTP and shown
    /// nothing.
    pub insecure: Vec<String>,
    /// What the others are shown, if they ask.
    pub credentials: Credentials,
    /// How long all are waited for.
    pub timeout: Timeouts,
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
    /// Who is told of the bytes that come, if anybody.
    pub(super) progress: Option<&'a Progress>,
}

impl Wanted<'_> {
    fn count(&self, tell: impl Fn(&Progress)) {
        if let Some(progress) = self.progress {
            tell(progress);
        }
    }
}

/// The mirrors and registries of one app.
#[derive(Debug)]
pub struct Registries {
    settings: RegistrySettings,
    plain_client: Client,
    /// `None` if there are no roots to verify a registry with.
    https_client: Option<Client>,
    /// What a registry wanted to be shown for a repository, by address of both.
    shown: Mutex<HashMap<String, HeaderValue>>,
}

impl Registries {
    /// Checks the settings and loads the roots; asks nobody yet.
    pub fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        if settings.mirrors.len() > MAX_MIRRORS {
            return Err(RegistryError::TooManyMirrors(settings.mirrors.len()));
        }
        if let Some(bad) = settings.insecure.iter().find(|registry| !valid_registry(registry)) {
            return Err(RegistryError::Registry(bad.clone()));
        }
        let roots = match &settings.roots_pem {
            Some(path) => tls::load_roots(path)?,
            None => RootCertStore::empty(),
        };
        let https_client = match settings.roots_pem {
            Some(_) => Some(tls::client(roots.clone(), true, &settings.timeout)?),
            None => None,
        };
        let plain_client = tls::client(roots, false, &settings.timeout)?;
        Ok(Self { settings, plain_client, https_client, shown: Mutex::default() })
    }

    /// Fetches into `sink` from the first source that gives the bytes of that digest.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), FetchError> {
        let mut attempts = Vec::new();
        for source in self.sources(wanted.image.name()) {
            let limit = self.time_for(wanted.max_bytes);
            let cause =
                match tokio::time::timeout(limit, self.fetch_from(&source, wanted, sink)).await {
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

    fn time_for(&self, bytes: u64) -> Duration {
        let timeout = &self.settings.timeout;
        timeout.base + Duration::from_secs(bytes / timeout.min_bytes_per_sec.max(1))
    }

    fn sources(&self, image: &ImageName) -> Vec<Source<'_>> {
        let mirror = |mirror: &Mirror| Source {
            base: mirror.0.clone(),
            client: &self.plain_client,
            role: Role::Mirror,
        };
        let mut sources: Vec<Source<'_>> = self.settings.mirrors.iter().map(mirror).collect();
        let insecure = self.settings.insecure.iter().any(|name| name == image.registry());
        let registry = match (insecure, &self.https_client) {
            _ if image.registry() == LOCAL_REGISTRY => None,
            (true, _) => Some(("http", &self.plain_client, Role::Insecure)),
            (false, Some(client)) => Some(("https", client, Role::Registry)),
            (false, None) => None,
        };
        sources.extend(registry.and_then(|(scheme, client, role)| {
            Some(Source { base: registry_url(scheme, image.registry()).ok()?, client, role })
        }));
        sources
    }

    /// Asks a source, and again for the rest where it broke off.
    async fn fetch_from(
        &self,
        source: &Source<'_>,
        wanted: Wanted<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), SourceError> {
        let timeout = &self.settings.timeout;
        let mut transfer = Transfer::begin(wanted, sink).await?;
        let mut failures = 0;
        loop {
            let before = transfer.received();
            let cause = match self.attempt(source, wanted, &mut transfer).await {
                Ok(()) => return transfer.finish().await,
                Err(cause) => cause,
            };
            let received = transfer.received().saturating_sub(before);
            if received >= WORTHWHILE_BYTES {
                failures = 0;
            }
            let asked = cause.retry_after().unwrap_or_default();
            // A longer pause is not waited for here, where a place for fetching is held.
            if failures >= timeout.retries || !cause.is_short(received) || asked > MAX_PAUSE {
                return Err(cause);
            }
            tracing::debug!(source = %source.base, digest = %wanted.digest, %cause, "asking again");
            let pause = timeout.pause.saturating_mul(1 << failures.min(16)).min(MAX_PAUSE);
            tokio::time::sleep(pause.max(asked)).await;
            failures += 1;
        }
    }

    async fn attempt<S: Sink>(
        &self,
        source: &Source<'_>,
        wanted: Wanted<'_>,
        transfer: &mut Transfer<'_, S>,
    ) -> Result<(), SourceError> {
        let mut url = source.base.clone();
        let directory = match wanted.kind {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
        };
        url.set_path(&format!("/v2/{}/{directory}/{}", wanted.image.repository(), wanted.digest));
        let question = Question { url, kind: wanted.kind, offset: transfer.received() };
        let key = format!("{}{}", source.base, wanted.image.repository());
        let known = self.shown.lock().map_err(|_| SourceError::Interrupted)?.get(&key).cloned();
        let answer = source.ask(&question, known.as_ref()).await?;
        // Only the registry itself may ask who we are, not one that it redirects to.
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.redirected {
            return transfer.take(answer.response).await;
        }
        let fresh = self.authorize(source, wanted.image.name(), answer.response.headers()).await?;
        let answer = source.ask(&question, Some(&fresh)).await?;
        if let refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =
            answer.response.status()
        {
            return Err(AuthError::StillRefused(refused.as_u16()).into());
        }
        self.shown.lock().map_err(|_| SourceError::Interrupted)?.insert(key, fresh);
        transfer.take(answer.response).await
    }

    /// What a source that answered with 401 is shown.
    async fn authorize(
        &self,
        source: &Source<'_>,
        image: &ImageName,
        refusal: &HeaderMap,
    ) -> Result<HeaderValue, SourceError> {
        match source.role {
            Role::Mirror => return Err(SourceError::Status(StatusCode::UNAUTHORIZED.as_u16())),
            Role::Insecure => return Err(AuthError::Plain.into()),
            Role::Registry => {}
        }
        let applicant = Applicant {
            client: source.client,
            registry: &source.base,
            repository: image.repository(),
            credential: self.settings.credentials.of(image.registry()),
        };
        Ok(applicant.authorization(refusal).await?)
    }
}

/// Docker's registry answers under another name than its images carry.
fn registry_url(scheme: &str, registry: &str) -> Result<Url, RegistryError> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    Url::parse(&format!("{scheme}://{host}"))
        .map_err(|_| RegistryError::Registry(registry.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_bare_addresses() {
        for good in ["http://10.0.2.2:5000", "https://mirror.example", "http://[::1]:80/"] {
            assert!(Mirror::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "10.0.2.2:5000",
            "ftp://a",
            "http://u:p@a",
            "http://a/b",
            "http://a?x",
            "http://a#x",
            "file:///x",
            "",
        ] {
            assert!(Mirror::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn docker_io_is_asked_by_its_own_name() {
        let url = |scheme, registry| registry_url(scheme, registry).expect("url").to_string();
        assert_eq!(url("https", "docker.io"), "https://registry-1.docker.io/");
        assert_eq!(url("http", "ghcr.io:444"), "http://ghcr.io:444/");
    }

    #[test]
    fn insecure_registries_are_names() {
        for bad in ["http://a.b", "a.b/c", "", "u@a.b"] {
            let settings =
                RegistrySettings { insecure: vec![bad.to_owned()], ..RegistrySettings::default() };
            assert!(matches!(Registries::new(settings), Err(RegistryError::Registry(_))), "{bad}");
        }
    }
}
