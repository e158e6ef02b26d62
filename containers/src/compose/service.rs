//! One service: its image, what it runs, its environment and its ports.

use super::command;
use super::document::{Entry, Node};
use super::environment;
use super::keys::{self, SERVICE};
use super::model::{
    Attachment, Health, Logging, Names, NetworkMode, Privileges, Process, Resources, Restart, RestartWhen, Service,
    Stop,
};
use super::ports;
use super::reference::ImageReference;
use super::refusal::{Cause, KeyPath, Refusals};
use super::value;

/// Reads the service `entry`; `None` if it was refused.
pub(super) fn read(entry: &Entry, path: &KeyPath, refusals: &mut Refusals) -> Option<Service> {
    let path = path.key(&entry.key);
    let name = name(entry, &path, refusals);
    let entries = value::mapping(&entry.node, &path, refusals)?;
    keys::check(entries, SERVICE, &path, refusals);
    let image = image(entry, entries, &path, refusals);
    let mut section = Section { entries, path: &path, refusals };
    let entrypoint = section.optional("entrypoint", command::read);
    let command = section.optional("command", command::read);
    let environment = section.optional("environment", environment::read);
    let ports = section.optional("ports", ports::read);
    Some(Service {
        name: name?,
        line: entry.line,
        image: image?,
        replicas: 1,
        process: Process {
            entrypoint: entrypoint?.flatten(),
            command: command?.flatten(),
            environment: environment?.unwrap_or_default(),
            ..Process::default()
        },
        privileges: Privileges::default(),
        resources: Resources::default(),
        mounts: Vec::new(),
        read_only: false,
        network: NetworkMode::Networks(vec![Attachment {
            network: "default".to_owned(),
            aliases: Vec::new(),
            addresses: Vec::new(),
        }]),
        names: Names::default(),
        ports: ports?.unwrap_or_default(),
        depends_on: Vec::new(),
        health: Health::Image,
        restart: Restart { when: RestartWhen::Never, attempts: None, delay: None, window: None },
        stop: Stop::default(),
        logging: Logging { max_bytes: 4 << 20, max_files: 2, none: false },
        labels: Vec::new(),
    })
}

/// The keys of one service while they are read.
struct Section<'a> {
    entries: &'a [Entry],
    path: &'a KeyPath,
    refusals: &'a mut Refusals,
}

impl Section<'_> {
    /// Reads `name` if it is there: outer `None` if it was refused, inner `None` if it is absent.
    fn optional<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Node, &KeyPath, &mut Refusals) -> Option<T>,
    ) -> Option<Option<T>> {
        match value::find(self.entries, name) {
            Some(entry) => read(&entry.node, &self.path.key(name), self.refusals).map(Some),
            None => Some(None),
        }
    }
}

/// A name that is a host name too: the compose specification allows more, DNS does not.
fn name(entry: &Entry, path: &KeyPath, refusals: &mut Refusals) -> Option<String> {
    let name = &entry.key;
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let valid = name.len() <= 63
        && name.bytes().all(inner)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !valid {
        let cause = Cause::Name {
            what: "service name",
            found: name.clone(),
            rule: "1 to 63 letters, digits, dots, dashes or underscores, a letter or digit at each end",
        };
        refusals.add(path, entry.line, cause);
        return None;
    }
    Some(name.clone())
}

fn image(service: &Entry, entries: &[Entry], path: &KeyPath, refusals: &mut Refusals) -> Option<ImageReference> {
    let Some(entry) = value::find(entries, "image") else {
        refusals.add(path, service.line, Cause::Missing("image"));
        return None;
    };
    let path = path.key("image");
    let text = value::text(&entry.node, &path, refusals)?;
    ImageReference::parse(&text).map_err(|cause| refusals.add(&path, entry.line, cause.into())).ok()
}
