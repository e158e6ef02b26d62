//! Access to a registry that asks who we are: a token for anybody, or for the user that the app
//! names.
//!
//! A password is shown to the registry itself or to the token service that the registry, over
//! verified HTTPS, names in its own domain; an anonymous token may come from anywhere over HTTPS. A
//! token service is not followed when it redirects, and answers once: a registry that is not
//! content with its own token is refused. Source: Docker's "Token Authentication Specification"
//! (bearer tokens, and the OAuth2 form for identity tokens), which the OCI distribution
//! specification refers to.

use protocol::error::chain;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::busy::is_busy;
use super::credentials::{Credential, Secret, sensitive};

/// A token answer is a few kilobytes of base64.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Longest token that is sent back in a header; servers refuse header lines of more than 8 to 16
/// KiB.
const MAX_TOKEN_BYTES: usize = 12 << 10;

/// Who wants in where.
pub(super) struct Applicant<'a> {
    /// HTTPS only, follows nothing.
    pub(super) client: &'a Client,
    /// The registry that asks.
    pub(super) registry: &'a Url,
    /// What is to be pulled.
    pub(super) repository: &'a str,
    /// `None` for anybody.
    pub(super) credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

impl Applicant<'_> {
    /// The header line that the answer 401 asks for.
    pub(super) async fn authorization(
        &self,
        refusal: &HeaderMap,
    ) -> Result<HeaderValue, AuthError> {
        match (Challenge::pick(refusal)?, self.credential) {
            (Challenge::Basic, None) => Err(AuthError::Private),
            (Challenge::Basic, Some(Credential::Identity(_))) => Err(AuthError::Scheme),
            (Challenge::Basic, Some(credential))
            | (_, Some(credential @ Credential::Bearer(_))) => {
                credential.header().ok_or(AuthError::Scheme)
            }
            (Challenge::Bearer { realm, service }, _) => self.token(&realm, service).await,
        }
    }

    async fn token(&self, realm: &Url, service: Option<&str>) -> Result<HeaderValue, AuthError> {
        if self.credential.is_some() && !same_domain(realm, self.registry) {
            return Err(AuthError::ForeignRealm(realm.origin().ascii_serialization()));
        }
        let request = match self.credential {
            Some(Credential::Identity(token)) => self.exchange(realm, service, token),
            Some(credential) => {
                let header = credential.header().ok_or(AuthError::Scheme)?;
                self.client.get(self.token_url(realm, service)).header(AUTHORIZATION, header)
            }
            None => self.client.get(self.token_url(realm, service)),
        };
        let response = request.send().await?;
        let status = response.status();
        if status.is_redirection() {
            return Err(AuthError::Redirected);
        }
        if !status.is_success() {
            return Err(AuthError::refused(status.as_u16(), self.credential));
        }
        token_in(&body(response).await?)
    }

    fn scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    fn token_url(&self, realm: &Url, service: Option<&str>) -> Url {
        let mut url = realm.clone();
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &self.scope());
        drop(query);
        url
    }

    /// The OAuth2 form, which alone takes an identity token.
    fn exchange(&self, realm: &Url, service: Option<&str>, identity: &Secret) -> RequestBuilder {
        // A URL's query has the form that the body needs.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("client_id", "dstyx")
            .append_pair("scope", &self.scope())
            .append_pair("refresh_token", identity.reveal());
        let body = form.query().unwrap_or_default().to_owned();
        self.client
            .post(realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
    }
}

async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(AuthError::TooLong);
        }
    }
    Ok(body)
}

fn token_in(body: &[u8]) -> Result<HeaderValue, AuthError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| AuthError::NoToken)?;
    let token = answer.token.or(answer.access_token).ok_or(AuthError::NoToken)?;
    let printable = token.bytes().all(|b| b.is_ascii_graphic());
    if !printable || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::NoToken);
    }
    sensitive("Bearer", &token).ok_or(AuthError::NoToken)
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge<'a> {
    Basic,
    Bearer { realm: Url, service: Option<&'a str> },
}

impl<'a> Challenge<'a> {
    /// The first bearer challenge, else the first basic one.
    fn pick(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let lines =
            || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let of = |scheme: &str| lines().find_map(|line| after_scheme(line, scheme));
        if let Some(parameters) = of("bearer") {
            return Self::bearer(parameters);
        }
        match (of("basic"), lines().next()) {
            (Some(_), _) => Ok(Challenge::Basic),
            (None, Some(_)) => Err(AuthError::Scheme),
            (None, None) => Err(AuthError::NoChallenge),
        }
    }

    fn bearer(parameters: &'a str) -> Result<Self, AuthError> {
        let text = parameter(parameters, "realm").ok_or(AuthError::NoChallenge)?;
        let realm = Url::parse(text).ok();
        let fits = |url: &Url| {
            url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
        };
        let realm =
            realm.filter(fits).ok_or_else(|| AuthError::Realm(text.chars().take(120).collect()))?;
        Ok(Challenge::Bearer { realm, service: parameter(parameters, "service") })
    }
}

fn after_scheme<'a>(line: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, parameters) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    found.eq_ignore_ascii_case(scheme).then_some(parameters)
}

/// The value of `name="…"` in a list of such parameters; none of those needed holds an escaped
/// quote.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if key.trim_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// Whether two hosts are one, or end with the same two labels, as a registry's token service does
/// (`registry-1.docker.io` and `auth.docker.io`).
fn same_domain(one: &Url, other: &Url) -> bool {
    let (Some(one_host), Some(other_host)) = (one.domain(), other.domain()) else {
        return one.host() == other.host();
    };
    let tail = |host: &str| -> Option<String> {
        let labels: Vec<&str> = host.rsplitn(3, '.').take(2).collect();
        (labels.len() == 2).then(|| labels.join(".").to_ascii_lowercase())
    };
    one_host == other_host || tail(one_host).is_some_and(|end| tail(other_host) == Some(end))
}

/// Why a registry gives no access.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// it refuses without saying how to ask
    #[error("the registry refuses and names no token service")]
    NoChallenge,
    /// it wants a kind of access that we cannot give
    #[error("the registry wants neither a bearer token nor a user and password that are there")]
    Scheme,
    /// it wants a user and password, and there is none for it
    #[error("the registry wants a user and password, and the app has no credentials for it")]
    Private,
    /// it asks who we are over plain HTTP
    #[error("the registry wants credentials, which are never sent over plain HTTP")]
    Plain,
    /// the token service's address is none, or not HTTPS
    #[error("the token service {0:?} is no https address")]
    Realm(String),
    /// the token service is somebody else's
    #[error("the token service {0:?} is not in the registry's domain and gets no password")]
    ForeignRealm(String),
    /// the token service sends us on
    #[error("the token service redirects, which is not followed")]
    Redirected,
    /// the token service refuses anybody
    #[error(
        "the token service answers with HTTP status {0}: the image may be private, and the app has no credentials for it"
    )]
    Refused(u16),
    /// the token service refuses the user
    #[error(
        "the token service answers with HTTP status {0}: the credentials are wrong or do not reach this image"
    )]
    WrongCredentials(u16),
    /// the registry is not content with what its token service gave
    #[error("the registry answers with HTTP status {0} to what it asked for")]
    StillRefused(u16),
    /// the answer is too long
    #[error("the token service sends more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// the answer holds no token
    #[error("the token service sends no token of 1 to {MAX_TOKEN_BYTES} printable characters")]
    NoToken,
    /// the token service cannot be reached
    #[error("token service: {}", chain(.0))]
    Http(reqwest::Error),
}

impl From<reqwest::Error> for AuthError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl AuthError {
    /// Whether asking later may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Refused(status) | Self::WrongCredentials(status) | Self::StillRefused(status) => {
                is_busy(*status)
            }
            _ => false,
        }
    }

    fn refused(status: u16, credential: Option<&Credential>) -> Self {
        match credential {
            Some(_) => Self::WrongCredentials(status),
            None => Self::Refused(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(lines: &[&'static str]) -> Result<String, AuthError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        match Challenge::pick(&headers)? {
            Challenge::Basic => Ok("basic".to_owned()),
            Challenge::Bearer { realm, service } => {
                Ok(format!("{realm} {}", service.unwrap_or_default()))
            }
        }
    }

    #[test]
    fn a_challenge_names_the_token_service() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:x:push""#;
        assert_eq!(pick(&[bearer]).expect("bearer"), "https://auth.example/token reg.example");
        assert_eq!(
            pick(&["Basic realm=\"x\"", bearer]).expect("both"),
            "https://auth.example/token reg.example"
        );
        assert_eq!(pick(&["BASIC realm=\"x\""]).expect("basic"), "basic");
        for (bad, expected) in [
            (&[][..], "names no token service"),
            (&["Bearer"], "names no token service"),
            (&["Bearer service=\"x\""], "names no token service"),
            (&["Negotiate"], "wants neither"),
            (&["Bearer realm=\"http://x\""], "no https address"),
            (&["Bearer realm=\"https://u:p@x\""], "no https address"),
            (&["Bearer realm=\"\""], "no https address"),
        ] {
            let error = pick(bad).expect_err(expected).to_string();
            assert!(error.contains(expected), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_password_stays_in_the_domain() {
        let url = |text: &str| Url::parse(text).expect(text);
        for (realm, registry) in [
            ("https://auth.docker.io/token", "https://registry-1.docker.io"),
            ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com"),
            ("https://localhost:1/token", "https://localhost:2"),
            ("https://127.0.0.1:1", "https://127.0.0.1:2"),
        ] {
            assert!(same_domain(&url(realm), &url(registry)), "{realm} {registry}");
        }
        for (realm, registry) in [
            ("https://docker.io.evil.example", "https://docker.io"),
            ("https://evildocker.io", "https://docker.io"),
            ("https://localhost", "https://127.0.0.1"),
            ("https://127.0.0.2", "https://127.0.0.1"),
            ("https://io", "https://docker.io"),
        ] {
            assert!(!same_domain(&url(realm), &url(registry)), "{realm} {registry}");
        }
    }
}
