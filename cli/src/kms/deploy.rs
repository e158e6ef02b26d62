//! The KMS as an app: the checkout's compose file, with this cluster's variables beside it.
//!
//! Everything that the KMS is told stands in its measured file, so another value is another compose
//! hash, which the owner's list does not name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attestation::TrustAnchor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::app_compose::ENVIRONMENT_FILE;
use protocol::kms::{
    Address, BOOT_AUTH_VARIABLE, Cluster, DANGER_ROOT_VARIABLE, ETCD_VARIABLE, EtcdEndpoints,
    NAME_VARIABLE, OWNER_KEYS_VARIABLE, PCCS_VARIABLE, PEERS_VARIABLE, THRESHOLD_VARIABLE,
    TIME_SERVERS_VARIABLE, TimeServer, WebhookAddress,
};

use crate::app::{APP_COMPOSE_FILE, App, Asked};
use crate::failure::{Hint as _, Outcome};
use crate::files;

/// The compose file in a checkout.
const COMPOSE_FILE: &str = "kms/deploy/docker-compose.yml";
/// A compose file of one service.
const MAX_COMPOSE_BYTES: u64 = 64 << 10;

/// What a KMS is told.
#[derive(Debug)]
pub struct Variables<'a> {
    /// Whose KMS it is.
    pub cluster: &'a Cluster,
    /// Whose quotes count.
    pub anchor: &'a TrustAnchor,
    /// The service that hands out collateral; `None`: Intel's.
    pub pccs: Option<&'a str>,
    /// The etcd in which it stores; `None`: on its disk.
    pub etcd: Option<&'a EtcdEndpoints>,
    /// The webhook that is asked besides the policy; `None`: the policy decides alone.
    pub boot_auth: Option<&'a WebhookAddress>,
    /// Where its processes may be; none for a KMS that is alone.
    pub peers: &'a [Address],
    /// The time servers that it asks; none: it has its machine's clock.
    pub time_servers: &'a [TimeServer],
}

/// Makes the app directory of a cluster's KMS anew, and its measured file.
pub fn app(checkout: &Path, directory: &Path, variables: &Variables<'_>) -> Outcome<App> {
    let compose = files::read_bounded(&checkout.join(COMPOSE_FILE), MAX_COMPOSE_BYTES)?;
    fs::create_dir_all(directory).hint(directory.display(), "is the directory writable?")?;
    write(directory.join("docker-compose.yml"), &compose)?;
    write(directory.join(ENVIRONMENT_FILE), variables.to_file().as_bytes())?;
    // What an earlier version of the checkout made is another measured file.
    match fs::remove_file(directory.join(APP_COMPOSE_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).hint(directory.display(), "is the directory writable?");
        }
        _ => {}
    }
    App::read_or_make(directory, Asked { danger_host_readable_disk: true, ..Asked::default() })
}

impl Variables<'_> {
    /// One `NAME=value` a line, sorted.
    fn to_file(&self) -> String {
        let Cluster { name, owners, threshold } = self.cluster;
        let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
        let mut variables = BTreeMap::from([
            (NAME_VARIABLE, name.clone()),
            (OWNER_KEYS_VARIABLE, owners.join(",")),
            (THRESHOLD_VARIABLE, threshold.to_string()),
        ]);
        if let TrustAnchor::DangerEmulated(root) = self.anchor {
            variables.insert(DANGER_ROOT_VARIABLE, STANDARD.encode(root));
        }
        let pccs = self.pccs.map(|pccs| (PCCS_VARIABLE, pccs.to_owned()));
        let etcd = self.etcd.map(|etcd| (ETCD_VARIABLE, etcd.to_string()));
        let peers: Vec<_> = self.peers.iter().map(|peer| format!("https://{peer}")).collect();
        let peers = (!peers.is_empty()).then(|| (PEERS_VARIABLE, peers.join(",")));
        let boot_auth = self.boot_auth.map(|address| (BOOT_AUTH_VARIABLE, address.to_string()));
        let servers: Vec<_> = self.time_servers.iter().map(ToString::to_string).collect();
        let servers = (!servers.is_empty()).then(|| (TIME_SERVERS_VARIABLE, servers.join(",")));
        let chosen = [pccs, etcd, peers, boot_auth, servers];
        variables.extend(chosen.into_iter().flatten());
        variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}

fn write(file: PathBuf, bytes: &[u8]) -> Outcome<()> {
    fs::write(&file, bytes).hint(file.display(), "is the directory writable?")
}

#[cfg(test)]
mod tests {
    use protocol::digest::Ed25519Key;

    use super::*;

    #[test]
    fn all_that_the_kms_is_told_is_in_its_variables() {
        let cluster = Cluster {
            name: "local".into(),
            owners: vec![Ed25519Key([1; 32]), Ed25519Key([2; 32])],
            threshold: 2,
        };
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let fixed =
            format!("DSTYX_KMS_NAME=local\nDSTYX_KMS_OWNERS={one},{two}\nDSTYX_KMS_THRESHOLD=2\n");
        let anchor = &TrustAnchor::Intel;
        let (pccs, etcd, boot_auth, peers) = (None, None, None, &[][..]);
        let (cluster, time_servers) = (&cluster, &[][..]);
        let variables = Variables { cluster, anchor, pccs, etcd, boot_auth, peers, time_servers };
        assert_eq!(variables.to_file(), fixed);
        let emulated = TrustAnchor::DangerEmulated(vec![0x30, 0x82]);
        let etcd = EtcdEndpoints::parse("http://10.0.2.2:2379,http://a:2379").unwrap();
        let pccs = Some("http://10.0.2.2:8445");
        let peers = ["https://10.0.0.1:8443", "https://b"].map(|url| Address::parse(url).unwrap());
        let (anchor, etcd) = (&emulated, Some(&etcd));
        let webhook = WebhookAddress::parse("http://10.0.2.2:8000").unwrap();
        let boot_auth = Some(&webhook);
        let time_servers =
            &TimeServer::parse_all("time-1.example,time-2.example:1,[fd00::1]").unwrap();
        let peers = &peers;
        let variables =
            Variables { anchor, pccs, etcd, boot_auth, peers, time_servers, ..variables };
        let all = variables.to_file();
        assert!(all.contains("DSTYX_KMS_ETCD=http://10.0.2.2:2379,http://a:2379\n"), "{all}");
        assert!(all.contains("DSTYX_KMS_PEERS=https://10.0.0.1:8443,https://b:8443\n"), "{all}");
        assert!(all.contains("DSTYX_KMS_DANGER_EMULATED_ROOT=MII=\n"), "{all}");
        assert!(all.contains("DSTYX_KMS_BOOT_AUTH=http://10.0.2.2:8000\n"), "{all}");
        let servers = "time-1.example:4460,time-2.example:1,[fd00::1]:4460";
        assert!(all.contains(&format!("DSTYX_KMS_TIME_SERVERS={servers}\n")), "{all}");
        assert!(all.contains("DSTYX_KMS_PCCS=http://10.0.2.2:8445\n"), "{all}");
    }
}
