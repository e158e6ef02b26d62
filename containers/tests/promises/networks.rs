//! Promise: services reach each other where the file says so and nowhere else, and what is published is reachable
//! from outside; an agent that is started again finds all of it.
//!
//! Each test takes a network and a mount namespace of its own; "containers" are threads in their namespaces.
//! All of them need root.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use containers::compose::model::{Attachment, ComposeFile, Network, NetworkMode};
use containers::network::{Joined, Networks};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use tempfile::TempDir;

use crate::root;
use crate::service::service;

/// How long an answer may take here; a refusal by silence takes this long.
const PATIENCE: Duration = Duration::from_millis(700);

/// A guest of its own for one test.
struct Guest {
    folder: TempDir,
}

impl Guest {
    async fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root may");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_name("lo").up().build();
        netlink.link().set(up).execute().await.expect("loopback");
        Self { folder: tempfile::tempdir().expect("folder") }
    }

    async fn open(&self, compose: &ComposeFile) -> Networks {
        let run = self.folder.path().join("run");
        Networks::open(compose, &run, &self.folder.path().join("resolv.conf")).await.expect("networks")
    }
}

/// Runs `work` in a container's namespace.
fn inside<T: Send>(joined: &Joined, work: impl FnOnce() -> T + Send) -> T {
    in_namespace(joined.namespace.as_deref().expect("a namespace of its own"), work)
}

fn in_namespace<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = std::fs::File::open(namespace).expect("namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may");
            work()
        });
        thread.join().expect("no panic")
    })
}

fn network(name: &str) -> Network {
    Network { name: name.to_owned(), internal: false, ipv6: false, subnets: Vec::new() }
}

fn on(networks: &[&str]) -> NetworkMode {
    let attach = |name: &&str| Attachment { network: (*name).to_owned(), aliases: Vec::new(), addresses: Vec::new() };
    NetworkMode::Networks(networks.iter().map(attach).collect())
}

/// Listens in `server`, connects from `client`; whether bytes arrive.
fn reaches(client: &Joined, server: &Joined, address: IpAddr) -> bool {
    let address = SocketAddr::new(address, 80);
    let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let listener = inside(server, || TcpListener::bind(SocketAddr::new(any, 80)).expect("port 80 is free to take"));
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.write_all(b"hello");
    });
    inside(client, || {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer == "hello"
    })
}

fn compose(networks: Vec<Network>, services: Vec<containers::compose::model::Service>) -> ComposeFile {
    ComposeFile { name: None, services, networks, volumes: Vec::new(), notes: Vec::new(), dangers: Vec::new() }
}

#[tokio::test]
async fn neighbours_on_a_network_reach_each_other() {
    if !root("neighbours_on_a_network_reach_each_other") {
        return;
    }
    let guest = Guest::new().await;
    let mut both = network("both");
    both.ipv6 = true;
    let file = compose(vec![both], vec![service("web", on(&["both"])), service("db", on(&["both"]))]);
    let networks = guest.open(&file).await;
    let web = networks.join("web-1").await.expect("joined");
    let db = networks.join("db-1").await.expect("joined");
    assert_eq!(web.addresses, ["172.31.0.2".parse::<IpAddr>().unwrap(), "fd64:7374:7978::2".parse().unwrap()]);
    for address in &db.addresses {
        assert!(reaches(&web, &db, *address), "{address}");
    }
    assert_eq!(web.hosts[0], ("172.31.0.2".parse().unwrap(), "web".to_owned()));
    assert!(web.resolv_conf.starts_with("nameserver 172.31.0.1\n"), "{}", web.resolv_conf);
    networks.close().await.expect("closed");
}

#[tokio::test]
async fn an_agent_that_is_started_again_finds_its_networks() {
    if !root("an_agent_that_is_started_again_finds_its_networks") {
        return;
    }
    let guest = Guest::new().await;
    let file = compose(vec![network("one")], vec![service("web", on(&["one"])), service("db", on(&["one"]))]);
    let networks = guest.open(&file).await;
    let web = networks.join("web-1").await.expect("joined");
    drop(networks);
    let networks = guest.open(&file).await;
    assert_eq!(networks.join("web-1").await.expect("known"), web);
    let db = networks.join("db-1").await.expect("joined");
    assert!(reaches(&db, &web, web.addresses[0]));
    networks.leave("web-1").await.expect("left");
    networks.leave("web-1").await.expect("twice is fine");
    assert!(!web.namespace.as_ref().expect("namespace").exists());
    let web = networks.join("web-1").await.expect("joined again");
    assert!(reaches(&db, &web, web.addresses[0]));
    drop(networks);
    let other = compose(vec![network("other")], vec![service("new", on(&["other"]))]);
    let networks = guest.open(&other).await;
    assert!(!web.namespace.expect("namespace").exists(), "what is of another file is removed");
    networks.close().await.expect("closed");
    let run = guest.folder.path().join("run");
    assert_eq!(run.read_dir().expect("run folder").count(), 0, "nothing is left");
}
