//! What a gateway is told: one JSON file among the measured ones, and secrets of the encrypted
//! environment that the file names.
//!
//! The file is in the compose hash that a policy of the KMS names, so that whoever starts the guest
//! chooses nothing in it. No field turns a judgement off; what weakens one has `danger` in its
//! name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use attestation::signatures::{Signer, Trust};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_domain::name::{DomainName, NameError};
use gateway_rules::names;
use protocol::digest::Ed25519Key;
use protocol::strict_json::{self, JsonError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Largest file: some base domains, and a root or two.
pub const MAX_BYTES: usize = 128 << 10;
/// Most base domains: each has a thread of its own.
const MAX_BASES: usize = 32;
/// Most roots.
const MAX_ROOTS: usize = 16;
/// Largest secret in the environment.
const MAX_SECRET_BYTES: usize = 1024;
/// Most connections that may be asked for.
const MAX_CONNECTIONS: u32 = 1_000_000;

/// Why a gateway cannot start with its file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// the file
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// another JSON
    #[error("the gateway's file: {0}")]
    Json(#[from] JsonError),
    /// base domains
    #[error("base_domains: {0}")]
    Bases(String),
    /// a name that is none
    #[error("{place}: {source}")]
    Name {
        /// The field.
        place: &'static str,
        /// Why not.
        source: NameError,
    },
    /// resolvers
    #[error("resolvers: two addresses https://… of different operators are expected, found {0}")]
    Resolvers(String),
    /// a root that is none
    #[error("roots: {0}")]
    Roots(String),
    /// owners
    #[error("admin: {0}")]
    Admin(String),
    /// guests
    #[error("guests: {0}")]
    Guests(&'static str),
    /// a number of connections
    #[error("connections: {0}, expected 1 to {MAX_CONNECTIONS}")]
    Connections(u32),
    /// a secret that is not there
    #[error("the variable {0}, which the gateway's file names, is not set")]
    NoSecret(String),
    /// a secret that is none
    #[error("the variable {name}: {what}")]
    Secret {
        /// The variable.
        name: String,
        /// What is wrong, without its value.
        what: &'static str,
    },
}

impl ConfigError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "does the compose file mount gateway.json as a config?",
            Self::Json(_) => "docs/gateway.md lists the fields; others are refused",
            Self::Bases(_) | Self::Name { .. } => {
                "name each base domain once, with `acme` or with `danger_local_ca: true`"
            }
            Self::Resolvers(_) => "name two, such as https://1.1.1.1/dns-query",
            Self::Roots(_) => "each is one certificate in PEM",
            Self::Guests(_) => "name `guests` and `listen.guests`, or neither",
            Self::Admin(_) => "owners' keys are 64 lower-case hexadecimal digits each",
            Self::Connections(_) => "leave it out",
            Self::NoSecret(_) | Self::Secret { .. } => {
                "seal it with `dstyx env seal`, and name it under `environment:` and `allowed_envs`"
            }
        }
    }
}

/// Where the program listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Clients.
    pub clients: SocketAddr,
    /// Guests that dial.
    #[serde(default)]
    pub guests: Option<SocketAddr>,
    /// What Prometheus reads.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Owners' calls.
    #[serde(default)]
    pub admin: Option<SocketAddr>,
}

/// What a gateway is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The base domains.
    pub bases: Vec<Base>,
    /// The two resolvers by which records are read back; none where no authority is asked.
    pub resolvers: Option<[String; 2]>,
    /// Whose certificates authorities, providers and resolvers may have; none: Mozilla's list.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where the program listens.
    pub listen: Listen,
    /// Whether a proxy in front says who connects.
    pub proxied: bool,
    /// Connections of clients at a time; `None`: as many as descriptors bear.
    pub connections: Option<u32>,
    /// Whose calls count; none: nobody's.
    pub admin: Option<Trust>,
    /// Which guests may dial; `None`: none.
    pub guests: Option<Guests>,
    /// The resolver of others' TXT records; `None`: that of the container.
    pub txt_resolver: Option<SocketAddr>,
    /// The service that hands out collateral; `None`: Intel's.
    pub pccs: Option<String>,
    /// The directory of the store.
    pub data: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
}

/// What guests must be that dial, besides guests of the KMS of this one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guests {
    /// Files of the images that they may run, and this gateway's own.
    pub images: Vec<PathBuf>,
    /// File of a policy for their platforms; `None`: up to date, under Intel's root.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// The oldest epoch of the KMS that counts.
    #[serde(default = "first_epoch")]
    pub minimum_epoch: u32,
}

/// One base domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The name.
    pub name: DomainName,
    /// Who certifies its keys.
    pub source: Source,
}

/// Who certifies the keys of a base domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An authority.
    Acme(Acme),
    /// An authority of this process: for trials on one machine.
    DangerLocal,
}

/// An authority, and who changes the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The address of its directory.
    pub directory: String,
    /// What it calls itself in CAA records.
    pub issuer: DomainName,
    /// The zone.
    pub zone: Zone,
}

/// In whose hands the records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// The gateway may change the zone.
    Own(Provider),
    /// Challenges are elsewhere, and the records are their owner's.
    Delegated {
        /// Where the alias leads.
        challenge: DomainName,
        /// Who changes what is there.
        provider: Provider,
    },
}

/// What changes records. Secrets are named, not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A name server that takes signed updates.
    Updates {
        /// Its address.
        server: SocketAddr,
        /// The zone.
        zone: DomainName,
        /// The key's name.
        key_name: DomainName,
        /// The variable with the key, in base64.
        secret_variable: String,
    },
    /// Cloudflare.
    Cloudflare {
        /// The zone's id.
        zone_id: String,
        /// The variable with the token.
        token_variable: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    base_domains: Vec<RawBase>,
    #[serde(default)]
    resolvers: Vec<String>,
    #[serde(default)]
    roots: Vec<String>,
    listen: Listen,
    #[serde(default)]
    proxied: bool,
    #[serde(default)]
    connections: Option<u32>,
    #[serde(default)]
    admin: Option<RawAdmin>,
    #[serde(default)]
    guests: Option<Guests>,
    #[serde(default)]
    txt_resolver: Option<SocketAddr>,
    #[serde(default)]
    pccs: Option<String>,
    #[serde(default = "data")]
    data: PathBuf,
    #[serde(default = "socket")]
    socket: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBase {
    name: String,
    #[serde(default)]
    acme: Option<RawAcme>,
    #[serde(default)]
    danger_local_ca: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAcme {
    directory: String,
    issuer: String,
    zone: RawZone,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawZone {
    Own(RawProvider),
    Delegated { challenge: String, provider: RawProvider },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawProvider {
    Updates { server: SocketAddr, zone: String, key_name: String, secret_variable: String },
    Cloudflare { zone_id: String, token_variable: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    owners: Vec<Ed25519Key>,
    threshold: usize,
}

fn first_epoch() -> u32 {
    1
}

fn data() -> PathBuf {
    "/data".into()
}

fn socket() -> PathBuf {
    agent_client::socket::PATH.into()
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let at = |source| ConfigError::File { path: path.display().to_string(), source };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(at)?;
        let mut limited = std::io::Read::take(file, MAX_BYTES as u64 + 1);
        std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(at)?;
        Self::parse(&bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If a field is missing, malformed or unknown, or two do not fit together.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = strict_json::parse(bytes, MAX_BYTES)?;
        let bases = bases(raw.base_domains)?;
        let asks = bases.iter().any(|base| matches!(base.source, Source::Acme(_)));
        let beyond = |most: &u32| !(1..=MAX_CONNECTIONS).contains(most);
        if let Some(most) = raw.connections.filter(beyond) {
            return Err(ConfigError::Connections(most));
        }
        Ok(Self {
            bases,
            resolvers: resolvers(raw.resolvers, asks)?,
            roots: roots(&raw.roots)?,
            admin: admin(raw.admin, raw.listen.admin.is_some())?,
            guests: guests(raw.guests, raw.listen.guests.is_some())?,
            listen: raw.listen,
            proxied: raw.proxied,
            connections: raw.connections,
            txt_resolver: raw.txt_resolver,
            pccs: raw.pccs,
            data: raw.data,
            socket: raw.socket,
        })
    }
}

impl Base {
    /// The name as clients' names are compared with it.
    pub fn routed(&self) -> names::DomainName {
        routed(&self.name).expect("the file's names were read as both")
    }
}

impl Provider {
    /// The variable with its secret.
    pub fn variable(&self) -> &str {
        match self {
            Self::Updates { secret_variable, .. } => secret_variable,
            Self::Cloudflare { token_variable, .. } => token_variable,
        }
    }
}

/// A secret that the file names, out of the environment.
///
/// # Errors
/// If it is not set, or longer than any.
pub fn secret(
    name: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Zeroizing<String>, ConfigError> {
    let value = environment(name).map(Zeroizing::new).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| ConfigError::NoSecret(name.to_owned()))?;
    match value.len() {
        0..=MAX_SECRET_BYTES => Ok(value),
        _ => Err(ConfigError::Secret { name: name.to_owned(), what: "longer than 1,024 bytes" }),
    }
}

/// The bytes of a secret in base64.
///
/// # Errors
/// If it is none.
pub fn decoded(name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
    bytes.map_err(|_| ConfigError::Secret { name: name.to_owned(), what: "no base64" })
}

fn routed(name: &DomainName) -> Result<names::DomainName, names::NameError> {
    names::DomainName::parse(name.as_str())
}

fn bases(raw: Vec<RawBase>) -> Result<Vec<Base>, ConfigError> {
    if !(1..=MAX_BASES).contains(&raw.len()) {
        let what = format!("{} names, expected 1 to {MAX_BASES}", raw.len());
        return Err(ConfigError::Bases(what));
    }
    let mut seen = BTreeSet::new();
    let mut bases = Vec::new();
    for raw in raw {
        let name = name("base_domains", &raw.name)?;
        routed(&name).map_err(|error| ConfigError::Bases(error.to_string()))?;
        if !seen.insert(name.clone()) {
            return Err(ConfigError::Bases(format!("{name} twice")));
        }
        let source = match (raw.acme, raw.danger_local_ca) {
            (Some(acme), false) => Source::Acme(self::acme(acme)?),
            (None, true) => Source::DangerLocal,
            (Some(_), true) => {
                return Err(ConfigError::Bases(format!("{name} has two authorities")));
            }
            (None, false) => return Err(ConfigError::Bases(format!("{name} has no authority"))),
        };
        bases.push(Base { name, source });
    }
    Ok(bases)
}

fn acme(raw: RawAcme) -> Result<Acme, ConfigError> {
    let zone = match raw.zone {
        RawZone::Own(provider) => Zone::Own(self::provider(provider)?),
        RawZone::Delegated { challenge, provider } => Zone::Delegated {
            challenge: name("challenge", &challenge)?,
            provider: self::provider(provider)?,
        },
    };
    if !raw.directory.starts_with("https://") {
        return Err(ConfigError::Bases(format!("{:?} is no https:// address", raw.directory)));
    }
    Ok(Acme { directory: raw.directory, issuer: name("issuer", &raw.issuer)?, zone })
}

fn provider(raw: RawProvider) -> Result<Provider, ConfigError> {
    Ok(match raw {
        RawProvider::Updates { server, zone, key_name, secret_variable } => Provider::Updates {
            server,
            zone: name("zone", &zone)?,
            key_name: name("key_name", &key_name)?,
            secret_variable,
        },
        RawProvider::Cloudflare { zone_id, token_variable } => {
            Provider::Cloudflare { zone_id, token_variable }
        }
    })
}

fn name(place: &'static str, text: &str) -> Result<DomainName, ConfigError> {
    text.parse().map_err(|source| ConfigError::Name { place, source })
}

fn resolvers(raw: Vec<String>, needed: bool) -> Result<Option<[String; 2]>, ConfigError> {
    if raw.is_empty() && !needed {
        return Ok(None);
    }
    let found = format!("{raw:?}");
    let two: Option<[String; 2]> = raw.try_into().ok();
    let two = two.filter(|[first, second]| {
        first != second && [first, second].iter().all(|url| url.starts_with("https://"))
    });
    two.map(Some).ok_or(ConfigError::Resolvers(found))
}

fn roots(raw: &[String]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    if raw.len() > MAX_ROOTS {
        return Err(ConfigError::Roots(format!("{}, at most {MAX_ROOTS}", raw.len())));
    }
    let read = |pem: &String| {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| ConfigError::Roots(error.to_string()))
    };
    raw.iter().map(read).collect()
}

fn guests(raw: Option<Guests>, served: bool) -> Result<Option<Guests>, ConfigError> {
    match (&raw, served) {
        (Some(_), false) => Err(ConfigError::Guests("there is no port for them")),
        (None, true) => Err(ConfigError::Guests("a port is named, and not which may dial")),
        _ => Ok(raw),
    }
}

fn admin(raw: Option<RawAdmin>, served: bool) -> Result<Option<Trust>, ConfigError> {
    let refused = |what: String| ConfigError::Admin(what);
    let raw = match (raw, served) {
        (None, false) => return Ok(None),
        (Some(raw), true) => raw,
        (None, true) => return Err(refused("a port is named, and no owners".to_owned())),
        (Some(_), false) => return Err(refused("owners are named, and no port".to_owned())),
    };
    let signers = raw.owners.iter().map(Signer::from_key).collect::<Result<Vec<_>, _>>();
    let signers = signers.map_err(|error| refused(error.to_string()))?;
    let trust = Trust::new(signers, raw.threshold);
    trust.map(Some).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests;
