//! Parts of compose files for the tests of this module.

use crate::compose::model::{
    Attachment, ComposeFile, Health, Logging, Names, Network, NetworkMode, Privileges, Process, Resources, Restart,
    RestartWhen, Service, Stop,
};
use crate::compose::{ImageReference, Protocol, PublishedPort};

pub(super) fn compose(networks: Vec<Network>, services: Vec<Service>) -> ComposeFile {
    ComposeFile { name: None, services, networks, volumes: Vec::new(), notes: Vec::new(), dangers: Vec::new() }
}

pub(super) fn network(name: &str) -> Network {
    Network { name: name.to_owned(), internal: false, ipv6: false, subnets: Vec::new() }
}

pub(super) fn on(networks: &[&str]) -> NetworkMode {
    let attach = |name: &&str| Attachment { network: (*name).to_owned(), aliases: Vec::new(), addresses: Vec::new() };
    NetworkMode::Networks(networks.iter().map(attach).collect())
}

pub(super) fn port(number: u16) -> PublishedPort {
    PublishedPort { host_ip: None, published: number, target: number, protocol: Protocol::Tcp, line: 1 }
}

pub(super) fn service(name: &str, network: NetworkMode) -> Service {
    let image = format!("example.org/probe@sha256:{}", "0".repeat(64));
    Service {
        name: name.to_owned(),
        line: 1,
        image: ImageReference::parse(&image).expect("reference"),
        replicas: 1,
        process: Process::default(),
        privileges: Privileges::default(),
        resources: Resources::default(),
        mounts: Vec::new(),
        read_only: false,
        network,
        names: Names::default(),
        ports: Vec::new(),
        depends_on: Vec::new(),
        health: Health::default(),
        restart: Restart { when: RestartWhen::Never, attempts: None, delay: None, window: None },
        stop: Stop::default(),
        logging: Logging { max_bytes: 1 << 20, max_files: 2, none: false },
        labels: Vec::new(),
    }
}
