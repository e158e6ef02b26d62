//! What a KMS is told: variables of its measured compose file, and nothing else.
//!
//! All of them are in the compose hash that owners put on their list, so that whoever starts the
//! guest chooses none of them. No variable turns the judgement of guests off.

use attestation::TrustAnchor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_rules::policy::MAX_MEMBERS;
use protocol::kms::{
    Address, AddressError, BOOT_AUTH_VARIABLE, Cluster, DANGER_ROOT_VARIABLE, ETCD_VARIABLE,
    EndpointError, EtcdEndpoints, NAME_VARIABLE, OWNER_KEYS_VARIABLE, PCCS_VARIABLE,
    PEERS_VARIABLE, THRESHOLD_VARIABLE, TIME_SERVERS_VARIABLE, TimeServer, TimeServersError,
    VariableError, WebhookAddress, WebhookError,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::store::Location;

/// What the names of all variables begin with; one that nobody knows is refused.
const PREFIX: &str = "DSTYX_";
/// All variables.
const KNOWN: [&str; 9] = [
    NAME_VARIABLE,
    OWNER_KEYS_VARIABLE,
    THRESHOLD_VARIABLE,
    DANGER_ROOT_VARIABLE,
    PCCS_VARIABLE,
    ETCD_VARIABLE,
    PEERS_VARIABLE,
    BOOT_AUTH_VARIABLE,
    TIME_SERVERS_VARIABLE,
];
/// Largest certificate of an emulator, in base64.
const MAX_ROOT_BYTES: usize = 8192;
/// The volume of the compose file.
const DATA: &str = "/data";

/// Why a KMS cannot start with these variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// the variables that name the cluster
    #[error(transparent)]
    Cluster(#[from] VariableError),
    /// a variable that nobody knows
    #[error("{0} is unknown")]
    Unknown(String),
    /// a variable that is no text
    #[error("{0} is not UTF-8")]
    Text(String),
    /// a root that is none
    #[error("{DANGER_ROOT_VARIABLE}: {0}")]
    Root(String),
    /// addresses of processes that are none
    #[error("{PEERS_VARIABLE}: {0}")]
    Peer(#[from] AddressError),
    /// too many of them
    #[error("{PEERS_VARIABLE}: {0} addresses, at most {MAX_MEMBERS} are expected")]
    Peers(usize),
    /// addresses of etcd that are none
    #[error("{ETCD_VARIABLE}: {0}")]
    Etcd(#[from] EndpointError),
    /// an address of a webhook that is none
    #[error("{BOOT_AUTH_VARIABLE}: {0}")]
    BootAuth(#[from] WebhookError),
    /// time servers that are none
    #[error("{TIME_SERVERS_VARIABLE}: {0}")]
    TimeServers(#[from] TimeServersError),
}

impl ConfigError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cluster(VariableError::Missing(_)) => {
                "set it under `environment:` of the KMS's compose file"
            }
            Self::Unknown(_) => "is it spelled as the documentation spells it?",
            Self::Text(_) => "write it in ASCII",
            Self::Cluster(VariableError::Owner { .. }) => {
                "owners' keys are 64 lower-case hexadecimal digits each, separated by commas"
            }
            Self::Cluster(VariableError::Threshold(_)) => "state how many owners decide together",
            Self::Cluster(VariableError::Cluster(_)) => {
                "name the owners' keys in ascending order, each once"
            }
            Self::Root(_) => {
                "it is base64 of one certificate in DER; leave it out where hardware is real"
            }
            Self::Peer(_) | Self::Peers(_) => {
                "write https://HOST:PORT of each process, separated by commas"
            }
            Self::Etcd(_) => "write http://HOST:PORT of each member, separated by commas",
            Self::BootAuth(_) => "write http://HOST:PORT of the webhook, without /bootAuth",
            Self::TimeServers(_) => {
                "name three servers of Network Time Security, of operators that do not depend on \
                 each other: HOST:PORT of each, separated by commas"
            }
        }
    }
}

/// What a KMS is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who the KMS is.
    pub cluster: Cluster,
    /// Whose quotes count.
    pub anchor: TrustAnchor,
    /// The service that hands out collateral; `None`: Intel's.
    pub pccs: Option<String>,
    /// The webhook that is asked besides the policy; `None`: the policy decides alone.
    pub boot_auth: Option<WebhookAddress>,
    /// The time servers that are asked; none: the time is the machine's clock's.
    pub time_servers: Vec<TimeServer>,
    /// Where the KMS's processes may be, this one included; none for a KMS that is alone.
    pub peers: Vec<Address>,
    /// Where the KMS stores, and somebody else can read and change it.
    pub store: Location,
}

impl Config {
    /// Reads variables.
    ///
    /// # Errors
    /// If one is missing, malformed or unknown.
    pub fn of(
        variables: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<Self, ConfigError> {
        let mut values = [const { None }; KNOWN.len()];
        for (name, value) in variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match KNOWN.iter().position(|known| *known == name) {
                Some(at) => values[at] = Some(value.ok_or(ConfigError::Text(name))?),
                None => return Err(ConfigError::Unknown(name)),
            }
        }
        let [name, owners, threshold, root, pccs, etcd, peers, boot_auth, time] = values;
        let cluster = Cluster::of_variables(|variable| match variable {
            NAME_VARIABLE => name.clone(),
            OWNER_KEYS_VARIABLE => owners.clone(),
            _ => threshold.clone(),
        })?;
        // A compose file sets what it fills in with nothing to nothing.
        let [root, pccs, etcd, peers, boot_auth, time] = [root, pccs, etcd, peers, boot_auth, time]
            .map(|value| value.filter(|value| !value.is_empty()));
        let anchor = match root {
            Some(root) => TrustAnchor::DangerEmulated(certificate(&root)?),
            None => TrustAnchor::Intel,
        };
        let store = match etcd {
            Some(etcd) => Location::Etcd(EtcdEndpoints::parse(&etcd)?),
            None => Location::Directory(DATA.into()),
        };
        let peers = peers.map_or(Ok(Vec::new()), |peers| addresses(&peers))?;
        let boot_auth = boot_auth.map(|text| WebhookAddress::parse(&text)).transpose()?;
        let time_servers = time.map_or(Ok(Vec::new()), |text| TimeServer::parse_all(&text))?;
        Ok(Self { cluster, anchor, pccs, boot_auth, time_servers, peers, store })
    }
}

fn addresses(text: &str) -> Result<Vec<Address>, ConfigError> {
    let found = text.split(',').count();
    if found > usize::from(MAX_MEMBERS) {
        return Err(ConfigError::Peers(found));
    }
    Ok(text.split(',').map(Address::parse).collect::<Result<_, _>>()?)
}

fn certificate(text: &str) -> Result<Vec<u8>, ConfigError> {
    if text.len() > MAX_ROOT_BYTES {
        let what = format!("{} characters, at most {MAX_ROOT_BYTES} are read", text.len());
        return Err(ConfigError::Root(what));
    }
    let der = STANDARD.decode(text).map_err(|error| ConfigError::Root(error.to_string()))?;
    Certificate::from_der(&der).map_err(|error| ConfigError::Root(error.to_string()))?;
    Ok(der)
}

#[cfg(test)]
mod tests {
    use protocol::digest::Ed25519Key;

    use super::*;

    const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

    fn read(changes: &[(&str, Option<&str>)]) -> Result<Config, ConfigError> {
        let mut variables = vec![
            (NAME_VARIABLE.to_owned(), "local".to_owned()),
            (OWNER_KEYS_VARIABLE.to_owned(), KEY.to_owned()),
            (THRESHOLD_VARIABLE.to_owned(), "1".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ];
        for (name, value) in changes {
            variables.retain(|(known, _)| known != name);
            variables.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
        }
        Config::of(variables.into_iter().map(|(name, value)| (name, Some(value))))
    }

    #[test]
    fn the_measured_variables_are_all_that_is_read() {
        let empty = [
            DANGER_ROOT_VARIABLE,
            PCCS_VARIABLE,
            ETCD_VARIABLE,
            PEERS_VARIABLE,
            BOOT_AUTH_VARIABLE,
            TIME_SERVERS_VARIABLE,
        ]
        .map(|name| (name, Some("")));
        assert_eq!(read(&[]), read(&empty));
        let config = read(&[]).unwrap();
        assert_eq!(config.cluster.owners, [Ed25519Key([1; 32])]);
        assert_eq!((config.anchor, config.pccs), (TrustAnchor::Intel, None));
        assert!(config.peers.is_empty() && config.boot_auth.is_none());
        assert!(config.time_servers.is_empty());
        let servers = "time-1.example:4460,time-2.example,[fd00::1]:4460";
        let config = read(&[(TIME_SERVERS_VARIABLE, Some(servers))]).unwrap();
        assert_eq!(config.time_servers, TimeServer::parse_all(servers).unwrap());
        let webhook = "http://10.0.0.9:8000";
        let config = read(&[(BOOT_AUTH_VARIABLE, Some(webhook))]).unwrap();
        assert_eq!(config.boot_auth, Some(WebhookAddress::parse(webhook).unwrap()));
        let peers = "https://10.0.0.1:8443,https://kms-2.example";
        let config = read(&[(PEERS_VARIABLE, Some(peers))]).unwrap();
        let shown: Vec<_> = config.peers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:8443", "kms-2.example:8443"]);
        assert_eq!(config.store, Location::Directory(DATA.into()));
        let members = "http://10.0.0.1:2379,http://[::1]:2379,http://etcd.example:2379";
        let config = read(&[(ETCD_VARIABLE, Some(members))]).unwrap();
        assert_eq!(config.store, Location::Etcd(EtcdEndpoints::parse(members).unwrap()));
    }

    #[test]
    fn what_is_missing_malformed_or_unknown_says_so_and_what_to_try() {
        let rows = [
            (NAME_VARIABLE, None, "DSTYX_KMS_NAME is not set"),
            (OWNER_KEYS_VARIABLE, None, "is not set"),
            (THRESHOLD_VARIABLE, None, "is not set"),
            (NAME_VARIABLE, Some("A b"), "the cluster: a name"),
            (OWNER_KEYS_VARIABLE, Some(""), "key 1: expected 64"),
            (OWNER_KEYS_VARIABLE, Some("01,"), "key 1"),
            (THRESHOLD_VARIABLE, Some("0"), "threshold"),
            (THRESHOLD_VARIABLE, Some("one"), "no number"),
            (DANGER_ROOT_VARIABLE, Some("AAAA"), "DANGER"),
            (PEERS_VARIABLE, Some("10.0.0.1:8443"), "is not https://HOST:PORT"),
            (PEERS_VARIABLE, Some("https://a,"), "\"\" is not"),
            (PEERS_VARIABLE, Some("a,b,c,d,e,f,g,h"), "8 addresses"),
            (ETCD_VARIABLE, Some("etcd:2379"), "\"etcd:2379\" is no address"),
            (BOOT_AUTH_VARIABLE, Some("10.0.0.9:8000"), "no address of a webhook"),
            (TIME_SERVERS_VARIABLE, Some("a,b"), "3 to 7 time servers are expected, found 2"),
            (TIME_SERVERS_VARIABLE, Some("a,b,c:0"), "\"c:0\" is no time server"),
            ("DSTYX_KMS_OWNER", Some(KEY), "DSTYX_KMS_OWNER is unknown"),
            ("DSTYX_KMS_NO_ATTESTATION", Some("1"), "is unknown"),
        ];
        for (name, value, expected) in rows {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert!(!error.hint().is_empty());
        }
    }
}
