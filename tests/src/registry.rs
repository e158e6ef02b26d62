//! A real registry on loopback: Debian's `docker-registry`, filled by `skopeo`.
//!
//! It speaks plain HTTP and has no users, as a mirror that `dstyx up` names to a guest. Nothing
//! that is pulled is believed for coming from it: digests decide.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use protocol::digest::Sha256Digest;
use tempfile::TempDir;

use crate::guest::free_port;
use crate::images::Image;
use crate::{http, peers};

/// How long it may take to listen.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// Where slirp shows the host's loopback to the guest.
const HOST_IN_GUEST: &str = "10.0.2.2";

/// Documents that a reference may stand for.
const MANIFESTS: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// A running registry; it ends, and what it holds is gone, when this is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Registry {
    /// Starts an empty one.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_port();
        let settings = directory.path().join("config.yml");
        fs::write(&settings, configuration(directory.path(), address)).unwrap();
        let mut command = peers::command("docker-registry");
        command
            .arg("serve")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let registry = Self { server: command.spawn().unwrap(), address, _directory: directory };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < TIMEOUT, "the registry does not listen");
            std::thread::sleep(POLL);
        }
        registry
    }

    /// One that holds these images, tagged `latest`.
    pub fn of(images: &[Image]) -> Self {
        let registry = Self::start();
        for image in images {
            registry.push(&image.layout(), image.name(), "latest");
        }
        registry
    }

    /// Copies everything of an OCI layout with one image to `name:tag`, each byte as it is.
    pub fn push(&self, layout: &Path, name: &str, tag: &str) {
        let mut command = peers::command("skopeo");
        command.args(["--insecure-policy", "--tmpdir"]).arg(std::env::temp_dir());
        command.args(["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
        command
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://{}/{name}:{tag}", self.address));
        let output = command.output().unwrap();
        assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the registry has under a reference, such as a tag.
    pub fn manifest(&self, name: &str, reference: &str) -> Vec<u8> {
        http::get_as(self.address, &format!("/v2/{name}/manifests/{reference}"), MANIFESTS).unwrap()
    }

    /// The digest that a tag stands for.
    pub fn digest(&self, name: &str, tag: &str) -> Sha256Digest {
        Sha256Digest::of(&self.manifest(name, tag))
    }

    /// As programs on this host reach it: `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As a guest reaches it.
    pub fn mirror(&self) -> String {
        format!("http://{HOST_IN_GUEST}:{}", self.address.port())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn configuration(directory: &Path, address: SocketAddr) -> String {
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST, "nobody else's business");
    let storage = directory.join("storage");
    let storage = storage.display();
    format!(
        "version: 0.1\nlog: {{ level: error }}\n\
         storage: {{ filesystem: {{ rootdirectory: \"{storage}\" }} }}\n\
         http: {{ addr: \"{address}\" }}\n"
    )
}
