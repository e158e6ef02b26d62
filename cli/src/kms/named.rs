//! A KMS that a person names, verified by the measured file and the image that they say it has.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compose::ComposeFile;
use protocol::app_compose;
use protocol::digest::{ComposeHash, OsImageHash};
use protocol::kms::{
    Address, BOOT_AUTH_VARIABLE, Cluster, DANGER_ROOT_VARIABLE, ETCD_VARIABLE, EtcdEndpoints,
    KmsImage, NAME_VARIABLE, PEERS_VARIABLE, TIME_SERVERS_VARIABLE, TimeServer, WebhookAddress,
};

use super::channel::Target;
use super::local::Local;
use super::reached::{Expected, Reached};
use super::sealing;
use crate::app::APP_COMPOSE_FILE;
use crate::args::KmsAt;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::output::note;
use crate::owner::Owner;

impl Reached {
    /// The KMS that a person named, or this user's machine; nothing is started and nothing signed.
    pub fn at(at: &KmsAt) -> Outcome<Self> {
        let identity = at.age_identity.as_deref().map(sealing::identity).transpose()?;
        let mut reached = match named(at)? {
            None => Local::running()?.kms,
            Some(expected) => {
                let (owner, owners) = (Owner::expect()?, &expected.cluster.owners);
                if !owners.contains(&owner.public()) {
                    return Err(Failure::new(
                        format!(
                            "this user's key {} is not one of the owners' of this KMS",
                            owner.public()
                        ),
                        "its measured file names them; the key of another user or machine may be one",
                    ));
                }
                noted(expected).reach(Arc::new(owner), TIMEOUT)?
            }
        };
        if let Some(identity) = identity {
            reached.memory.opens_with(identity);
        }
        Ok(reached)
    }
}

/// Where the KMS is that a person named, or this user's machine, and what it must be: for whoever
/// calls with another key than an owner's.
pub fn target(at: &KmsAt) -> Outcome<Target> {
    match named(at)? {
        None => Local::target(),
        Some(expected) => Ok(noted(expected).target()),
    }
}

/// The same KMS, of which a person is told if it proves nothing.
fn noted(expected: Expected) -> Expected {
    if expected.emulated {
        note("danger: the emulator's root is accepted for the KMS, which proves nothing");
    }
    expected
}

/// How long a KMS that a person named may take to answer: it may have started just now.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The KMS that a person named, and what it must be.
fn named(at: &KmsAt) -> Outcome<Option<Expected>> {
    const TOGETHER: &str = "--kms URL, --kms-app and --kms-image belong together: the KMS is verified against its measured file and its image";
    let (url, app, image) = match (&at.kms, &at.kms_app, &at.kms_image) {
        (Some(url), Some(app), Some(image)) => (url, app, image),
        (None, None, None) if !at.danger_accept_emulated => return Ok(None),
        _ => return Err(Failure::new("a KMS is named by half", TOGETHER)),
    };
    let measured = Measured::read(app)?;
    if measured.emulated != at.danger_accept_emulated {
        let (says, hint) = match measured.emulated {
            true => ("accepts emulated guests", "give --danger-accept-emulated for a test"),
            false => ("accepts no emulated guests", "leave --danger-accept-emulated out"),
        };
        return Err(Failure::new(format!("the measured file of the KMS {says}"), hint));
    }
    let image_json = files::read_image_json(image)?;
    let os_image_hash = OsImageHash::of(&image_json);
    let image = KmsImage { os_image_hash, compose_hash: measured.compose_hash };
    let Measured { cluster, emulated, .. } = measured;
    Ok(Some(Expected { cluster, image, image_json, emulated, address: address(url)? }))
}

/// What a KMS's measured file says of it.
#[derive(Debug)]
pub struct Measured {
    /// The file's hash.
    pub compose_hash: ComposeHash,
    /// Whose KMS it is.
    pub cluster: Cluster,
    /// Whether it accepts emulated guests.
    pub emulated: bool,
    /// The etcd in which it stores; `None`: on its disk.
    pub etcd: Option<EtcdEndpoints>,
    /// Where its processes may be; none for a KMS that is alone.
    pub peers: Vec<Address>,
    /// The webhook that it asks besides its policy.
    pub boot_auth: Option<WebhookAddress>,
    /// The time servers that it asks; none: it has its machine's clock.
    pub time_servers: Vec<TimeServer>,
}

impl Measured {
    /// Reads an app-compose.json, or that of a directory.
    pub fn read(path: &Path) -> Outcome<Self> {
        let file = if path.is_dir() { path.join(APP_COMPOSE_FILE) } else { PathBuf::from(path) };
        let bytes = files::read_bounded(&file, app_compose::MAX_BYTES as u64)?;
        Self::parse(&bytes, &file)
    }

    fn parse(bytes: &[u8], file: &Path) -> Outcome<Self> {
        const HINT: &str = "give the app-compose.json that the KMS was started with";
        let settings = app_compose::parse(bytes).hint(file.display(), HINT)?;
        let compose = ComposeFile::of_app(&settings)
            .map_err(|error| Failure::new(format!("{}: {error}", file.display()), HINT))?;
        let named = |variable: &str| {
            let all = compose.services.iter().flat_map(|service| &service.process.environment);
            let mut values = all.filter(|(name, _)| name == variable).map(|(_, value)| value);
            values.next().filter(|value| !value.is_empty()).cloned()
        };
        if named(NAME_VARIABLE).is_none() {
            let what = format!("{}: no service has {NAME_VARIABLE}", file.display());
            return Err(Failure::new(what, HINT));
        }
        let cluster = Cluster::of_variables(named).hint(file.display(), HINT)?;
        let emulated = named(DANGER_ROOT_VARIABLE).is_some();
        let etcd = named(ETCD_VARIABLE).map(|text| EtcdEndpoints::parse(&text));
        let etcd = etcd.transpose().hint(file.display(), HINT)?;
        let peers = named(PEERS_VARIABLE).unwrap_or_default();
        let peers = peers.split(',').filter(|peer| !peer.is_empty()).map(Address::parse);
        let peers = peers.collect::<Result<_, _>>().hint(file.display(), HINT)?;
        let boot_auth = named(BOOT_AUTH_VARIABLE).map(|text| WebhookAddress::parse(&text));
        let boot_auth = boot_auth.transpose().hint(file.display(), HINT)?;
        let time_servers = named(TIME_SERVERS_VARIABLE).map(|text| TimeServer::parse_all(&text));
        let time_servers = time_servers.transpose().hint(file.display(), HINT)?.unwrap_or_default();
        let compose_hash = settings.hash;
        Ok(Self { compose_hash, cluster, emulated, etcd, peers, boot_auth, time_servers })
    }
}

/// `HOST:PORT` of `https://HOST:PORT`; a person states the port.
fn address(url: &str) -> Outcome<String> {
    let address = Address::parse(url).ok().map(|address| address.to_string());
    let as_stated = |address: &String| url.trim_end_matches('/').ends_with(address.as_str());
    address.filter(as_stated).ok_or_else(|| {
        Failure::new(format!("--kms: {url:?} is no address"), "write https://HOST:PORT")
    })
}

#[cfg(test)]
mod tests {
    use protocol::app_compose::{AppFiles, ENVIRONMENT_FILE, NewApp};

    use super::*;

    const COMPOSE: &str = include_str!("../../../kms/deploy/docker-compose.yml");

    fn measured(variables: &str) -> Outcome<Measured> {
        let files: AppFiles = [(ENVIRONMENT_FILE.to_owned(), variables.as_bytes().to_vec())].into();
        let new = NewApp { danger_host_readable_disk: true, ..NewApp::of("kms", COMPOSE, &files) };
        Measured::parse(&new.generate().unwrap(), Path::new("app-compose.json"))
    }

    #[test]
    fn the_measured_file_says_whose_kms_it_is() {
        let [one, two] = [1, 2].map(|byte| format!("{byte:02x}").repeat(32));
        let text =
            format!("DSTYX_KMS_NAME=ours\nDSTYX_KMS_OWNERS={one},{two}\nDSTYX_KMS_THRESHOLD=2\n");
        let found = measured(&text).unwrap();
        assert_eq!((found.cluster.name.as_str(), found.cluster.threshold), ("ours", 2));
        assert!(!found.emulated && found.etcd.is_none() && found.peers.is_empty());
        assert!(found.boot_auth.is_none() && found.time_servers.is_empty());
        let servers = format!("{text}DSTYX_KMS_TIME_SERVERS=a.example,b.example:1,10.0.0.1\n");
        assert_eq!(measured(&servers).unwrap().time_servers.len(), 3);
        let webhook = format!("{text}DSTYX_KMS_BOOT_AUTH=http://10.0.2.2:8000\n");
        let webhook = measured(&webhook).unwrap().boot_auth.map(|webhook| webhook.to_string());
        assert_eq!(webhook.as_deref(), Some("http://10.0.2.2:8000"));
        let peers = format!("{text}DSTYX_KMS_PEERS=https://10.0.0.1:8443,https://kms-2.example\n");
        let peers: Vec<_> =
            measured(&peers).unwrap().peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["10.0.0.1:8443", "kms-2.example:8443"]);
        let etcd = format!("{text}DSTYX_KMS_ETCD=http://10.0.2.2:2379\n");
        let etcd = measured(&etcd).unwrap().etcd.map(|etcd| etcd.to_string());
        assert_eq!(etcd.as_deref(), Some("http://10.0.2.2:2379"));
        let danger = format!("{text}DSTYX_KMS_DANGER_EMULATED_ROOT=MIIB\n");
        assert!(measured(&danger).unwrap().emulated);
        let refused = measured(&text.replace("THRESHOLD=2", "THRESHOLD=3")).unwrap_err();
        assert!(refused.to_string().contains("threshold of 1 to 2"), "{refused}");
    }

    #[test]
    fn an_address_has_a_host_and_a_port_and_nothing_else() {
        assert_eq!(address("https://kms.example:8443").unwrap(), "kms.example:8443");
        assert_eq!(address("https://[::1]:1/").unwrap(), "[::1]:1");
        for wrong in ["http://a:1", "https://a", "https://a:x", "https://a:1/b", "https://u@a:1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_kms_is_named_whole_or_not_at_all() {
        assert!(named(&KmsAt::default()).unwrap().is_none());
        let half = KmsAt { kms: Some("https://a:1".into()), ..KmsAt::default() };
        assert!(named(&half).is_err());
        let danger = KmsAt { danger_accept_emulated: true, ..KmsAt::default() };
        assert!(named(&danger).is_err());
    }
}
