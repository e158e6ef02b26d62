//! Anonymous access to public registries: the token that they hand to anybody who asks.
//!
//! No credential exists here, so none can leak; the token says nothing about the guest. Source: Docker's
//! "Token Authentication Specification", which the OCI distribution specification refers to.

use reqwest::{Client, Url};
use serde::Deserialize;

/// A token answer is a few kilobytes of base64.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Longest token that is sent back in a header.
const MAX_TOKEN_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Follows a `WWW-Authenticate` challenge for pulling from `repository`.
pub(super) async fn anonymous_token(client: &Client, challenge: &str, repository: &str) -> Result<String, AuthError> {
    let url = token_url(challenge, repository)?;
    let mut response = client.get(url).send().await?;
    if !response.status().is_success() {
        return Err(AuthError::Refused(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(AuthError::TooLong);
        }
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| AuthError::NoToken)?;
    let token = answer.token.or(answer.access_token).ok_or(AuthError::NoToken)?;
    let printable = token.bytes().all(|b| b.is_ascii_graphic());
    match printable && !token.is_empty() && token.len() <= MAX_TOKEN_BYTES {
        true => Ok(token),
        false => Err(AuthError::NoToken),
    }
}

/// The realm of a bearer challenge with its service, and the scope that is really needed.
fn token_url(challenge: &str, repository: &str) -> Result<Url, AuthError> {
    let (scheme, parameters) = challenge.split_once(' ').ok_or(AuthError::NoChallenge)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Scheme(scheme.to_owned()));
    }
    let realm = parameter(parameters, "realm").ok_or(AuthError::NoChallenge)?;
    let mut url = Url::parse(realm).map_err(|_| AuthError::Realm(realm.to_owned()))?;
    if url.scheme() != "https" {
        return Err(AuthError::Realm(realm.to_owned()));
    }
    let mut query = url.query_pairs_mut();
    if let Some(service) = parameter(parameters, "service") {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    drop(query);
    Ok(url)
}

/// The value of `name="…"` in a list of such parameters; none of those needed holds an escaped quote.
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

/// Why a registry gives no anonymous token.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It refuses without saying how to ask.
    #[error("the registry refuses and names no token service")]
    NoChallenge,
    /// It wants another kind of access.
    #[error("the registry wants {0:?} access; only anonymous tokens are supported")]
    Scheme(String),
    /// The token service's address is none, or not HTTPS.
    #[error("the token service {0:?} is no https address")]
    Realm(String),
    /// The token service refuses.
    #[error("the token service answers with HTTP status {0}: the image may be private")]
    Refused(u16),
    /// The answer is too long.
    #[error("the token service sends more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// The answer holds no token.
    #[error("the token service sends no token")]
    NoToken,
    /// The token service cannot be reached.
    #[error("token service: {0}")]
    Http(#[from] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_token_service() {
        let challenge = r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:x:push""#;
        let url = token_url(challenge, "library/nginx").expect("url");
        assert_eq!(
            url.as_str(),
            "https://auth.example/token?service=reg.example&scope=repository%3Alibrary%2Fnginx%3Apull"
        );
        for (bad, expected) in [
            ("Bearer", "names no token service"),
            ("Bearer service=\"x\"", "names no token service"),
            ("Basic realm=\"https://x\"", "wants \"Basic\""),
            ("Bearer realm=\"http://x\"", "no https address"),
            ("Bearer realm=\"\"", "no https address"),
        ] {
            let error = token_url(bad, "x").expect_err(bad).to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
