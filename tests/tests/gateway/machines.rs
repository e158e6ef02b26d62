//! The machines of one owner: a KMS, gateways, and instances of an app, each a booted guest.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::image::Flavour;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::clients::{Said, Target};
use tests::dstyx::{Answer, User};
use tests::images::Image;
use tests::registry::Registry;
use tests::{app, emulated, lab};

use crate::policy;

/// Where a guest finds its host.
const HOST_IN_GUEST: &str = "10.0.2.2";
/// The base domain: its names are this machine's, without a resolver.
pub const BASE: &str = "apps.localhost";
/// A gateway's ports, as its compose file publishes them.
const CLIENTS: &str = "443";
const GUESTS: &str = "8443";
/// Whose calls the gateways take; nobody makes one.
const OWNER: &str = "d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737";
/// How long a gateway may take until it has a certificate.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One owner's machines; those that run end when this is dropped.
pub struct Machines {
    user: User,
    directory: TempDir,
    registry: Registry,
    running: Vec<String>,
}

/// A gateway that serves.
pub struct Gateway {
    /// Its machine.
    pub name: &'static str,
    /// Where it takes clients.
    pub clients: SocketAddr,
    guests: SocketAddr,
    /// The certificate of its authority.
    pub authority: PathBuf,
}

impl Gateway {
    /// A name at this gateway.
    pub fn target<'a>(&'a self, name: &'a str) -> Target<'a> {
        Target { address: self.clients, name, authority: &self.authority }
    }
}

impl Machines {
    /// A KMS that serves, and directories of a gateway and of the app. The gateway has this
    /// resolver of others' records.
    pub fn new(txt_resolver: SocketAddr) -> Self {
        let machines = Self {
            user: User::default(),
            directory: tempfile::tempdir().unwrap(),
            registry: Registry::of(&[Image::Speaker]),
            running: vec!["kms".to_owned()],
        };
        let started = machines.user.dstyx(["kms", "start", "--emulate"]);
        assert_eq!(started.code, 0, "{started:#?}");
        machines.write_gateway(txt_resolver);
        machines.write_app();
        machines
    }

    /// The certificate by which the app itself answers, for its owner's domain.
    pub fn app_certificate(&self) -> PathBuf {
        self.path("speaker").join("certificate.pem")
    }

    /// Boots a gateway; the KMS gives its app to guests as theirs.
    pub fn gateway(&mut self, name: &'static str) -> Gateway {
        self.up("gateway", name, &["--memory", "1024"]);
        let app_id = self.user.record(name)["app_id"].clone();
        policy::set_policy(&self.user, self.directory.path(), |policy| {
            policy["gateway_app_id"] = app_id;
        });
        let ports = self.ports(name);
        let authority = self.path(&format!("{name}.pem"));
        let gateway = Gateway { name, clients: ports[CLIENTS], guests: ports[GUESTS], authority };
        let pem = local_authority(&gateway);
        let pem = pem.unwrap_or_else(|error| panic!("{error}: {}", self.logs(name, "gateway")));
        fs::write(&gateway.authority, pem).unwrap();
        gateway
    }

    /// Boots an instance of the app, which is told of these gateways; the ids of app and instance.
    pub fn instance(&mut self, name: &str, gateways: &[&Gateway]) -> [String; 2] {
        let mirror = self.registry.url();
        let urls: Vec<String> =
            gateways.iter().map(|gateway| format!("https://{}", gateway.guests)).collect();
        let mut more = vec!["--memory", "1536", "--gateway-enabled", "--registry-mirror", &mirror];
        more.extend(urls.iter().flat_map(|url| ["--gateway", url]));
        self.up("speaker", name, &more);
        let shape = ["--vcpus", "1", "--memory", "1536"];
        let verdict = self.user.dstyx(["verify", "--vm", name].into_iter().chain(shape));
        verdict.passes();
        ["/facts/app_id", "/facts/instance_id"].map(|id| verdict.text(id).to_owned())
    }

    /// Ends a machine as a crash of its host does.
    pub fn kill(&self, name: &str) {
        let killed = Command::new("kill").args(["-9", &self.user.qemu(name).to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// What a service of a machine has said, for its owner.
    fn logs(&self, name: &str, service: &str) -> String {
        let logs = self.user.dstyx(["logs", name, service]);
        format!("{}{}", logs.json, logs.stderr)
    }

    fn up(&mut self, directory: &str, name: &str, more: &[&str]) -> Answer {
        let directory = self.path(directory).display().to_string();
        self.running.push(name.to_owned());
        let mut arguments = vec!["up", &directory, "--emulate", "--name", name];
        arguments.extend(["--vcpus", "1", "--disk-gib", "1"]);
        arguments.extend(more);
        let up = self.user.dstyx(arguments);
        assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
        up
    }

    /// Addresses on this host by the guest's ports.
    fn ports(&self, name: &str) -> BTreeMap<String, SocketAddr> {
        let vm = fs::read(self.user.machine(name).join("vm.json")).unwrap();
        let vm: Value = serde_json::from_slice(&vm).unwrap();
        serde_json::from_value(vm["ports"].clone()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As an operator does it: the compose file of the checkout, and beside it what it is told.
    fn write_gateway(&self, txt_resolver: SocketAddr) {
        let directory = self.path("gateway");
        fs::create_dir(&directory).unwrap();
        let deploy = lab::checkout().join("gateway/deploy/docker-compose.yml");
        fs::copy(deploy, directory.join("docker-compose.yml")).unwrap();
        let image = lab::image(Flavour::Dev).join("image.json");
        fs::copy(image, directory.join("image.json")).unwrap();
        fs::write(directory.join("policy.toml"), accepts_emulated()).unwrap();
        fs::write(directory.join("gateway.json"), self.gateway_file(txt_resolver)).unwrap();
        let image = image::apps::GATEWAY.build(lab::builder(), lab::checkout()).unwrap();
        symlink(image.layout, directory.join("dstyx-images")).unwrap();
    }

    fn gateway_file(&self, txt_resolver: SocketAddr) -> String {
        let in_guest = |port| format!("{HOST_IN_GUEST}:{port}");
        let pccs = fs::read_to_string(self.user.data("collateral.port")).unwrap();
        let file = json!({
            "base_domains": [{ "name": BASE, "danger_local_ca": true }],
            "listen": {
                "clients": "0.0.0.0:8444", "guests": "0.0.0.0:8443",
                "metrics": "0.0.0.0:9090", "admin": "0.0.0.0:8445",
            },
            "admin": { "owners": [OWNER], "threshold": 1 },
            "guests": { "images": ["/image.json"], "policy": "/policy.toml" },
            "pccs": format!("http://{}", in_guest(pccs.trim().parse::<u16>().unwrap())),
            "txt_resolver": in_guest(txt_resolver.port()),
        });
        file.to_string()
    }

    fn write_app(&self) {
        let directory = self.path("speaker");
        let source = lab::checkout().join("tests/vectors/apps/speaker");
        let copied = Command::new("cp").arg("-r").args([&source, &directory]).status().unwrap();
        assert!(copied.success());
        app::pin(&directory.join("docker-compose.yml"), &self.registry);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["*.apps.localhost", crate::strangers::DOMAIN].map(str::to_owned);
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in self.running.iter().rev() {
            self.user.dstyx(["down", name]);
        }
    }
}

/// A policy under which emulated guests count.
fn accepts_emulated() -> String {
    let root = STANDARD.encode(emulated::root());
    let lines: Vec<&str> =
        root.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    format!("version = 1\ndanger_root = \"\"\"\n{pem}\"\"\"\n")
}

/// The certificate of a gateway's own authority, which the gateway shows as soon as it serves.
fn local_authority(gateway: &Gateway) -> Said {
    let name = format!("gateway.{BASE}");
    let started = Instant::now();
    loop {
        let asked = Target { authority: Path::new("/dev/null"), ..gateway.target(&name) }
            .curl("/.dstyx/local-ca.pem", &["--insecure"]);
        match asked {
            Err(_) if started.elapsed() < TIMEOUT => thread::sleep(Duration::from_millis(500)),
            asked => return asked,
        }
    }
}
