//! Parts of compose files for the tests of this module.

use compose::model::{Attachment, ComposeFile, Network, NetworkMode, Service};
use compose::{Inputs, Protocol, PublishedPort};

pub(super) fn compose(networks: Vec<Network>, services: Vec<Service>) -> ComposeFile {
    ComposeFile {
        name: None,
        programs: Vec::new(),
        services,
        networks,
        volumes: Vec::new(),
        data: Vec::new(),
        notes: Vec::new(),
        dangers: Vec::new(),
    }
}

pub(super) fn network(name: &str) -> Network {
    Network { name: name.to_owned(), internal: false, ipv6: false, subnets: Vec::new() }
}

pub(super) fn on(networks: &[&str]) -> NetworkMode {
    let attach = |name: &&str| Attachment {
        network: (*name).to_owned(),
        aliases: Vec::new(),
        addresses: Vec::new(),
    };
    NetworkMode::Networks(networks.iter().map(attach).collect())
}

pub(super) fn port(number: u16) -> PublishedPort {
    PublishedPort {
        host_ip: None,
        published: number,
        target: number,
        protocol: Protocol::Tcp,
        line: 1,
    }
}

pub(super) fn service(name: &str, network: NetworkMode) -> Service {
    let compose =
        format!("services:\n  {name}:\n    image: example.org/probe@sha256:{}\n", "0".repeat(64));
    let compose = ComposeFile::read(compose.as_bytes(), &Inputs::default()).expect("compose file");
    Service { network, ..compose.services.into_iter().next().expect("a service") }
}
