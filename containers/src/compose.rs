//! The strict reading of a `docker-compose.yml`: text in, an app that can be run out, or every refusal.
//!
//! The same bytes are read twice: by the command line before a boot, so that a person hears of a mistake
//! at once, and in the guest, where the file comes through the untrusted host. Nothing here opens a file
//! or a socket, and nothing is ignored: an unknown key, or one that is not supported yet, is refused with
//! its path and line. Source: the compose specification and its JSON schema.

use std::collections::HashMap;

mod command;
mod document;
mod environment;
mod inputs;
mod keys;
pub mod model;
mod ports;
mod reference;
mod refusal;
mod service;
mod value;

pub use document::{DocumentError, MAX_BYTES};
pub use inputs::{Environment, Inputs};
pub use model::{ComposeFile, Service};
pub use ports::{AGENT_PORT, Protocol, PublishedPort};
#[cfg(feature = "images")]
pub(crate) use reference::valid_registry;
pub use reference::{ImageReference, ReferenceError};
pub use refusal::{Cause, ComposeError, KeyPath, Refusal, Refusals};

use document::{Entry, Node};
use keys::TOP;
use model::Network;

/// Each service costs a process, a network namespace and an address; apps in the field have fewer than 20.
pub const MAX_SERVICES: usize = 64;

impl ComposeFile {
    /// Reads a compose file, refusing all that cannot be run as written.
    pub fn read(bytes: &[u8], _inputs: &Inputs<'_>) -> Result<Self, ComposeError> {
        let root = document::parse(bytes)?;
        let mut refusals = Refusals::default();
        let file = read(&root, &mut refusals);
        match file {
            Some(file) if refusals.is_empty() => Ok(file),
            _ => Err(ComposeError::Refused(refusals)),
        }
    }
}

fn read(root: &Node, refusals: &mut Refusals) -> Option<ComposeFile> {
    let path = KeyPath::root();
    let entries = value::mapping(root, &path, refusals)?;
    keys::check(entries, TOP, &path, refusals);
    let name = match value::find(entries, "name") {
        Some(entry) => project_name(entry, &path.key("name"), refusals).map(Some),
        None => Some(None),
    };
    let services = match value::find(entries, "services") {
        Some(entry) => services(entry, &path.key("services"), refusals),
        None => {
            refusals.add(&path, root.line, Cause::Missing("services"));
            None
        }
    };
    Some(ComposeFile {
        name: name?,
        services: services?,
        networks: vec![Network { name: "default".to_owned(), internal: false, ipv6: false, subnets: Vec::new() }],
        volumes: Vec::new(),
        notes: Vec::new(),
        dangers: Vec::new(),
    })
}

fn project_name(entry: &Entry, path: &KeyPath, refusals: &mut Refusals) -> Option<String> {
    let name = value::text(&entry.node, path, refusals)?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = name.len() <= 63
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|b| word(b) || b == b'-' || b == b'_');
    if !valid {
        let cause = Cause::Name {
            what: "project name",
            found: name,
            rule: "1 to 63 lower-case letters, digits, dashes or underscores, first a letter or digit",
        };
        refusals.add(path, entry.line, cause);
        return None;
    }
    Some(name)
}

fn services(entry: &Entry, path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<Service>> {
    let entries = value::mapping(&entry.node, path, refusals)?;
    let cause = match entries.len() {
        0 => Some(Cause::Kind { expected: "at least one service", found: "none" }),
        found if found > MAX_SERVICES => Some(Cause::TooMany { what: "services", found, limit: MAX_SERVICES }),
        _ => None,
    };
    if let Some(cause) = cause {
        refusals.add(path, entry.line, cause);
        return None;
    }
    let services: Vec<Option<Service>> = entries.iter().map(|entry| service::read(entry, path, refusals)).collect();
    let services: Vec<Service> = services.into_iter().collect::<Option<_>>()?;
    refuse_shared_ports(&services, path, refusals);
    Some(services)
}

/// Two publications of one port would leave it to chance who answers, whatever address they name.
fn refuse_shared_ports(services: &[Service], path: &KeyPath, refusals: &mut Refusals) {
    let mut taken: HashMap<u16, KeyPath> = HashMap::new();
    for service in services {
        let path = path.key(&service.name).key("ports");
        for (index, port) in service.ports.iter().enumerate() {
            let path = path.item(index);
            if let Some(other) = taken.get(&port.published) {
                let cause = Cause::PortTaken { port: port.published, other: other.to_string() };
                refusals.add(&path, port.line, cause);
            } else {
                taken.insert(port.published, path);
            }
        }
    }
}
