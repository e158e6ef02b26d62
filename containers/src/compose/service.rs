//! One service: its image, what it runs, its environment and its ports.

use super::command;
use super::document::{Entry, Node};
use super::environment;
use super::keys::{self, SERVICE};
use super::ports::{self, PublishedPort};
use super::reference::ImageReference;
use super::refusal::{Cause, KeyPath, Refusals};
use super::value;

/// A service that can be run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: the host name inside, and how other services reach it.
    pub name: String,
    /// Line of its name in the file, counted from 1.
    pub line: usize,
    /// The image, by digest.
    pub image: ImageReference,
    /// Replaces the image's entry point; empty clears it. Either way the image's command no longer counts.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Names and values, over those of the image; no name stands twice.
    pub environment: Vec<(String, String)>,
    /// What is reachable from outside the guest.
    pub ports: Vec<PublishedPort>,
}

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
        entrypoint: entrypoint?.flatten(),
        command: command?.flatten(),
        environment: environment?.unwrap_or_default(),
        ports: ports?.unwrap_or_default(),
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
