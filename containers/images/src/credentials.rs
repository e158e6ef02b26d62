//! Passwords and tokens for private registries: by registry, shown to nobody else, in no message.
//!
//! They come from the environment of the app: as the `auths` of Docker's `config.json` in
//! `DOCKER_AUTH_CONFIG`, and as the variables that dstack's launch scripts know. What an error says
//! of them is where they stand, never what they are. Source: Docker's command line reference,
//! `config.json` and `DOCKER_AUTH_CONFIG`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::strict_json;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use compose::{Environment, valid_registry};

/// The text of Docker's `config.json`.
const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";
/// The registry of dstack's scripts; Docker's without it.
const REGISTRY: &str = "DSTACK_DOCKER_REGISTRY";
const USERNAME: &str = "DSTACK_DOCKER_USERNAME";
const PASSWORD: &str = "DSTACK_DOCKER_PASSWORD";
/// What dstack's scripts log in to Amazon's registry with.
const AMAZON: &str = "DSTACK_AWS_ECR_REGISTRY";

/// A file with a password for each of [`MAX_REGISTRIES`] is far smaller.
const MAX_AUTH_CONFIG_BYTES: usize = 256 << 10;
/// More registries than one app's images come from.
const MAX_REGISTRIES: usize = 64;
/// Tokens of cloud registries are some kilobytes; servers refuse header lines of more than 8 to 16
/// KiB.
const MAX_SECRET_BYTES: usize = 6 << 10;
/// The registry that an image without one comes from.
const DOCKER: &str = "docker.io";

/// What registries are shown, by registry; none by default.
#[derive(Debug, Default)]
pub struct Credentials(BTreeMap<String, Credential>);

/// What one registry is shown.
pub(super) enum Credential {
    /// Shown to the registry or to the token service that it names.
    Password { user: String, password: Secret },
    /// Exchanged for a token at the token service (Docker's `identitytoken`).
    Identity(Secret),
    /// Shown to the registry as it is (Docker's `registrytoken`).
    Bearer(Secret),
}

/// Overwritten when it is dropped, and never printed.
pub(super) struct Secret(Zeroizing<String>);

impl Credentials {
    /// Reads them from the app's environment; variables without a value count as absent.
    pub fn from_environment(environment: &Environment) -> Result<Self, CredentialsError> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if set(AMAZON).is_some() {
            return Err(CredentialsError::Amazon);
        }
        let mut credentials = Self::default();
        if let Some(text) = set(AUTH_CONFIG) {
            credentials.add_auths(text)?;
        }
        match (set(USERNAME), set(PASSWORD), set(REGISTRY)) {
            (None, None, None) => {}
            (Some(user), Some(password), registry) => {
                credentials
                    .add(registry.unwrap_or(DOCKER), Credential::password(user, password)?)?;
            }
            _ => return Err(CredentialsError::Incomplete),
        }
        Ok(credentials)
    }

    /// The registries for which there is something to show.
    pub fn registries(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn of(&self, registry: &str) -> Option<&Credential> {
        self.0.get(registry)
    }

    fn add_auths(&mut self, text: &str) -> Result<(), CredentialsError> {
        // What the parser says may repeat what it read.
        let config: AuthConfig = strict_json::parse(text.as_bytes(), MAX_AUTH_CONFIG_BYTES)
            .map_err(|_| CredentialsError::Json)?;
        for (registry, entry) in config.auths {
            self.add(&registry, entry.credential()?)?;
        }
        Ok(())
    }

    fn add(&mut self, registry: &str, credential: Credential) -> Result<(), CredentialsError> {
        let name =
            normalised(registry).ok_or_else(|| CredentialsError::Registry(shown(registry)))?;
        if self.0.len() >= MAX_REGISTRIES {
            return Err(CredentialsError::TooMany);
        }
        match self.0.insert(name.clone(), credential) {
            None => Ok(()),
            Some(_) => Err(CredentialsError::Twice(name)),
        }
    }
}

/// A registry as images name it, from what `docker login` was given: perhaps an address, perhaps an
/// old name.
fn normalised(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").unwrap_or(text);
    let host = host.split('/').next().unwrap_or_default();
    let name = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER,
        other => other,
    };
    valid_registry(name).then(|| name.to_owned())
}

/// As much of a registry's name as an error needs.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthConfig {
    #[serde(deserialize_with = "strict_json::unique_map")]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthEntry {
    auth: Option<Zeroizing<String>>,
    username: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    registrytoken: Option<Zeroizing<String>>,
    /// Long without a meaning.
    #[serde(rename = "email")]
    _email: Option<String>,
}

impl AuthEntry {
    /// Tokens before passwords, as Docker does.
    fn credential(self) -> Result<Credential, CredentialsError> {
        let set = |value: Option<Zeroizing<String>>| value.filter(|value| !value.is_empty());
        if let Some(token) = set(self.registrytoken) {
            return Ok(Credential::Bearer(Secret::new(&token)?));
        }
        if let Some(token) = set(self.identitytoken) {
            return Ok(Credential::Identity(Secret::new(&token)?));
        }
        if let Some(auth) = set(self.auth) {
            let bytes =
                Zeroizing::new(BASE64.decode(auth.as_bytes()).map_err(|_| CredentialsError::Auth)?);
            let text = std::str::from_utf8(&bytes).map_err(|_| CredentialsError::Auth)?;
            let (user, password) = text.split_once(':').ok_or(CredentialsError::Auth)?;
            return Credential::password(user, password.trim_end_matches('\0'));
        }
        match (set(self.username), set(self.password)) {
            (Some(user), Some(password)) => Credential::password(&user, &password),
            _ => Err(CredentialsError::Auth),
        }
    }
}

impl Credential {
    fn password(user: &str, password: &str) -> Result<Self, CredentialsError> {
        let user_fits = !user.is_empty() && user.len() <= MAX_SECRET_BYTES && !user.contains(':');
        if !user_fits || user.chars().any(char::is_control) {
            return Err(CredentialsError::Auth);
        }
        Ok(Self::Password { user: user.to_owned(), password: Secret::new(password)? })
    }

    /// The header line that shows it as it is; `None` for what must be exchanged first.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        match self {
            Credential::Password { user, password } => {
                let pair = Zeroizing::new(format!("{user}:{}", password.reveal()));
                let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
                sensitive("Basic", &encoded)
            }
            Credential::Bearer(token) => sensitive("Bearer", token.reveal()),
            Credential::Identity(_) => None,
        }
    }
}

/// A header line that the HTTP library prints nowhere.
pub(super) fn sensitive(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let line = Zeroizing::new(format!("{scheme} {secret}"));
    let mut value = HeaderValue::from_str(&line).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password { .. } => "Password(…)",
            Credential::Identity(_) => "Identity(…)",
            Credential::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Secret {
    fn new(text: &str) -> Result<Self, CredentialsError> {
        let printable = text.chars().all(|c| !c.is_control());
        match printable && !text.is_empty() && text.len() <= MAX_SECRET_BYTES {
            true => Ok(Self(Zeroizing::new(text.to_owned()))),
            false => Err(CredentialsError::Auth),
        }
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Why variables make no credentials; says nothing of what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// the text is not of Docker's form
    #[error(
        "{AUTH_CONFIG} is not {{\"auths\": {{REGISTRY: {{\"auth\": BASE64}}}}}} alone; credential stores and helpers are not here"
    )]
    Json,
    /// an entry holds no usable user, password or token
    #[error(
        "a registry's entry holds neither user and password nor a token of at most {MAX_SECRET_BYTES} characters"
    )]
    Auth,
    /// a registry's name is none
    #[error("{0:?} is no registry: HOST[:PORT]; credentials are sent over https only")]
    Registry(String),
    /// two entries for one registry
    #[error("registry {0:?} has two entries")]
    Twice(String),
    /// too many entries
    #[error("credentials for more than {MAX_REGISTRIES} registries")]
    TooMany,
    /// user without password, or the other way round
    #[error("{USERNAME} and {PASSWORD} belong together, {REGISTRY} to both")]
    Incomplete,
    /// amazon's own way to log in
    #[error(
        "{AMAZON} is not supported; give the user AWS and the output of `aws ecr get-login-password` as {PASSWORD}"
    )]
    Amazon,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let environment =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Credentials::from_environment(&environment)
    }

    fn header(credentials: &Credentials, registry: &str) -> String {
        let header = credentials.of(registry).expect(registry).header().expect("shown as it is");
        assert!(header.is_sensitive());
        header.to_str().expect("text").to_owned()
    }

    #[test]
    fn both_forms_are_read_together() {
        let auths = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},"ghcr.io":{"username":"u","password":"p:q"},
            "127.0.0.1:5000":{"registrytoken":"t0ken"},"x.azurecr.io":{"auth":"MDA6","identitytoken":"refresh"}}}"#;
        let all = [
            (AUTH_CONFIG, auths),
            (USERNAME, "AWS"),
            (PASSWORD, "pw"),
            (REGISTRY, "1.dkr.ecr.aws"),
        ];
        let credentials = read(&all).expect("all");
        assert_eq!(
            credentials.registries().collect::<Vec<_>>(),
            ["1.dkr.ecr.aws", "127.0.0.1:5000", "docker.io", "ghcr.io", "x.azurecr.io"]
        );
        assert_eq!(header(&credentials, "docker.io"), "Basic bWU6c2VjcmV0");
        assert_eq!(header(&credentials, "ghcr.io"), format!("Basic {}", BASE64.encode("u:p:q")));
        assert_eq!(header(&credentials, "127.0.0.1:5000"), "Bearer t0ken");
        assert!(credentials.of("x.azurecr.io").expect("identity").header().is_none());
        assert!(read(&[]).expect("none").registries().next().is_none());
        let docker = read(&[(USERNAME, "u"), (PASSWORD, "p"), (REGISTRY, "")]).expect("docker's");
        assert_eq!(docker.registries().collect::<Vec<_>>(), ["docker.io"]);
    }

    #[test]
    fn nothing_prints_a_secret() {
        let auths = r#"{"auths":{"ghcr.io":{"username":"u","password":"hunter2"}}}"#;
        let shown =
            format!("{:?}", read(&[(AUTH_CONFIG, auths), (USERNAME, "u"), (PASSWORD, "hunter2")]));
        assert!(!shown.contains("hunter2") && shown.contains("ghcr.io"), "{shown}");
        let bad = r#"{"auths":{"ghcr.io":{"auth":["hunter2"]}}}"#;
        assert!(!read(&[(AUTH_CONFIG, bad)]).expect_err("no text").to_string().contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        use CredentialsError::{Amazon, Auth, Incomplete, Json, Registry, Twice};
        let long = format!(
            r#"{{"auths":{{"a.b":{{"registrytoken":"{}"}}}}}}"#,
            "x".repeat(MAX_SECRET_BYTES + 1)
        );
        for (text, expected) in [
            ("{", Json),
            (r#"{"auths":{},"credsStore":"desktop"}"#, Json),
            (r#"{"auths":{"a.b":{"helper":"x"}}}"#, Json),
            (r#"{"auths":{"a.b":{}}}"#, Auth),
            (r#"{"auths":{"a.b":{"auth":"%%%"}}}"#, Auth),
            (r#"{"auths":{"a.b":{"auth":"bm9jb2xvbg=="}}}"#, Auth),
            (r#"{"auths":{"a.b":{"username":"u\r\nx: y","password":"p"}}}"#, Auth),
            (&long, Auth),
            (r#"{"auths":{"http://a.b":{"auth":"bWU6c2VjcmV0"}}}"#, Registry("http://a.b".into())),
            (r#"{"auths":{"":{"auth":"bWU6c2VjcmV0"}}}"#, Registry(String::new())),
            (
                r#"{"auths":{"a.b":{"auth":"bWU6eA=="},"https://a.b/v1":{"auth":"bWU6eA=="}}}"#,
                Twice("a.b".into()),
            ),
        ] {
            assert_eq!(read(&[(AUTH_CONFIG, text)]).expect_err(text), expected, "{text}");
        }
        for incomplete in [&[(USERNAME, "u")][..], &[(PASSWORD, "p")], &[(REGISTRY, "a.b")]] {
            assert_eq!(read(incomplete).expect_err("incomplete"), Incomplete);
        }
        assert_eq!(read(&[(AMAZON, "x")]).expect_err("amazon"), Amazon);
    }
}
