//! A KMS of three processes, each in a guest on a platform of its own, started as `docs/kms.md`
//! says it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::image::Flavour;
use tests::dstyx::{Answer, User};
use tests::lab;

use crate::notes::cut_power;

/// The cluster's name.
const CLUSTER: &str = "promise-three";
/// The machine of each process.
const MACHINE: &str = "kms-promise-three";
/// How long a process may take to join, or a majority to go on, on loaded cores.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const POLL: Duration = Duration::from_secs(2);

/// Three hosts, of which the first one's user is the KMS's owner; for this test they are users of
/// one host, with a port each.
struct Hosts {
    users: [User; 3],
    ports: Vec<u16>,
    collateral_port: u16,
    directory: tempfile::TempDir,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for user in &self.users {
            user.dstyx(["down", MACHINE]);
        }
    }
}

/// One process makes the root and the others join it; another epoch begins, whose root each has;
/// one process is killed, and the others decide without it; it comes back as another member.
pub fn decide_together() {
    let hosts = Hosts::of_three();
    let owner = hosts.users[0].dstyx(["kms", "init"]);
    let owner = owner.text("/owner");
    let started: Vec<_> = (0..3).map(|host| hosts.start(host, &hosts.first_start(owner))).collect();
    let [first, others @ ..] = &started[..] else { unreachable!() };
    for other in others {
        assert_eq!(other.text("/key_provider_id"), first.text("/key_provider_id"));
        let [one, two] = [first, other].map(|host| fs::read(host.text("/app_compose")).unwrap());
        assert_eq!(one, two, "equal arguments give one measured file");
    }
    let app_compose = PathBuf::from(first.text("/app_compose"));

    let next = hosts.owner(0, &app_compose, &["next"]);
    assert_eq!((next.code, next.text("/status/state")), (0, "serving"), "{next:#?}");
    hosts.set_policy(0, &app_compose, 1);
    for host in [1, 2] {
        hosts.serves(host, &app_compose, (1, 1));
    }
    let begun = hosts.owner(1, &app_compose, &["epoch", "new"]);
    assert_eq!(begun.code, 0, "{begun:#?}");
    for host in 0..3 {
        hosts.serves(host, &app_compose, (1, 2));
    }

    // Two of three decide; that they have one ledger, every entry of it shows.
    cut_power(&hosts.users[0], MACHINE);
    hosts.set_policy(1, &app_compose, 2);
    hosts.serves(2, &app_compose, (2, 2));
    let ledger = hosts.directory.path().join("ledger").display().to_string();
    let exported = hosts.owner(2, &app_compose, &["ledger", "export", &ledger]);
    assert_eq!(exported.code, 0, "{exported:#?}");
    let verified = hosts.users[0].dstyx(["kms", "ledger", "verify", &ledger]);
    assert_eq!(verified.code, 0, "{verified:#?}");
    let ledger = fs::read_to_string(ledger).unwrap();
    assert_eq!(ledger.matches("member_admitted").count(), 2, "{ledger}");

    // Without a share and without an owner's word.
    hosts.start(0, &[]);
    hosts.serves(0, &app_compose, (2, 2));
}

impl Hosts {
    fn of_three() -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        Self {
            users: Default::default(),
            ports: (0..3).map(|_| free()).collect(),
            collateral_port: free(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Options that are stated once, the same on each host.
    fn first_start(&self, owner: &str) -> Vec<String> {
        let peers = self.ports.iter().map(|port| format!("https://127.0.0.1:{port}"));
        let peers = peers.flat_map(|peer| ["--peer".to_owned(), peer]);
        let options = ["--owner", owner, "--threshold", "1"].map(str::to_owned);
        options.into_iter().chain(peers).collect()
    }

    fn start(&self, host: usize, more: &[String]) -> Answer {
        let [port, collateral_port] =
            [self.ports[host], self.collateral_port].map(|port| port.to_string());
        let start = ["kms", "start", "--emulate", "--cluster", CLUSTER, "--port", &port];
        let start = start.into_iter().chain(["--collateral-port", &collateral_port]);
        let started = self.users[host].dstyx(start.chain(more.iter().map(String::as_str)));
        assert_eq!(started.code, 0, "{started:#?}");
        started
    }

    /// What the owner does at the process of a host.
    fn owner(&self, host: usize, app_compose: &Path, verb: &[&str]) -> Answer {
        let url = format!("https://127.0.0.1:{}", self.ports[host]);
        let [app, image] = [app_compose.to_path_buf(), lab::image(Flavour::Dev)]
            .map(|path| path.display().to_string());
        let at = ["--kms", &url, "--kms-app", &app, "--kms-image", &image];
        let at = at.into_iter().chain(["--danger-accept-emulated"]);
        self.users[0].dstyx(["kms"].into_iter().chain(verb.iter().copied()).chain(at))
    }

    /// Sets a policy that allows three processes, at the process of a host.
    fn set_policy(&self, host: usize, app_compose: &Path, version: u64) {
        let file = self.directory.path().join("policy.json");
        let [policy, envelope] =
            [file.clone(), file.with_extension("dsse")].map(|path| path.display().to_string());
        let written = self.owner(host, app_compose, &["policy", "init", &policy]);
        assert_eq!(written.code, 0, "{written:#?}");
        let mut next: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(next["version"], version);
        next["replicas"] = 3.into();
        fs::write(&file, next.to_string()).unwrap();
        let sign = ["policy", "sign", &policy, "--out", &envelope];
        let signed = self.owner(host, app_compose, &sign);
        assert_eq!(signed.code, 0, "{signed:#?}");
        // Right after a kill there is no majority until another member leads.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pushed = self.owner(host, app_compose, &["policy", "push", &envelope]);
            if pushed.code == 0 || self.policy_version(host, app_compose) == version {
                return;
            }
            assert!(Instant::now() < deadline, "{pushed:#?}");
            std::thread::sleep(POLL);
        }
    }

    fn policy_version(&self, host: usize, app_compose: &Path) -> u64 {
        let status = self.owner(host, app_compose, &["status"]);
        status.json["status"]["policy_version"].as_u64().unwrap_or_default()
    }

    /// Waits until the process of a host serves with this policy in this epoch, and all members
    /// have signed heads of one history.
    fn serves(&self, host: usize, app_compose: &Path, (policy_version, epoch): (u64, u32)) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.owner(host, app_compose, &["status"]);
            let shown = &status.json["status"];
            let members = shown["heads"].as_array().map(Vec::len);
            if shown["state"] == "serving"
                && (&shown["policy_version"], &shown["epoch"])
                    == (&policy_version.into(), &epoch.into())
                && members == Some(3)
            {
                return;
            }
            let consoles = || {
                self.users.iter().map(|user| user.console(MACHINE)).collect::<Vec<_>>().join("\n")
            };
            assert!(Instant::now() < deadline, "{status:#?}\n{}", consoles());
            std::thread::sleep(POLL);
        }
    }
}
