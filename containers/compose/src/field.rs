//! How a section reads: a place in the file, and what is found out about it.
//!
//! A [`Field`] knows its path and line, so nothing is refused without them. A reader that refuses
//! returns nothing or a default and goes on, so that all mistakes are told at once; [`Findings`]
//! remembers, and the file as a whole is refused at the end.

use std::collections::{HashMap, HashSet};

use super::document::{Entry, Node, Value};
use super::inputs::{Inputs, Wanted};
use super::interpolate::Unset;
use super::keys::{Support, Table};
use super::missing::Missing;
use super::model::Note;
use super::refusal::{Cause, KeyPath, Refusals};

/// All app files that are mounted, counted for each mount: an app directory holds 512 KiB, most are
/// mounted once.
const MAX_MOUNTED_BYTES: usize = 16 << 20;
/// Notes are for people.
const MAX_NOTES: usize = 64;

/// One value, where it stands, and what it is called.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    /// The value.
    pub node: &'a Node,
    /// The key path.
    pub path: KeyPath,
    /// Line of the key, or of the item in a list.
    pub line: usize,
}

impl<'a> Field<'a> {
    /// The file itself.
    pub fn root(node: &'a Node) -> Self {
        Self { node, path: KeyPath::root(), line: node.line }
    }

    /// The text of a single value.
    pub fn text(&self, findings: &mut Findings<'_>) -> Option<String> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => {
                if text.contains('\0') {
                    return findings.refuse(self, Cause::Nul);
                }
                Some(text.clone())
            }
            _ => self.wrong_kind("text", findings),
        }
    }

    /// The items of a list; an empty value is an empty list.
    pub fn items(&self, findings: &mut Findings<'_>) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::Sequence(items) => self.list(items),
            _ if self.node.is_null() => Vec::new(),
            _ => self.wrong_kind("a list", findings).unwrap_or_default(),
        }
    }

    /// The items of `items` with their paths.
    pub fn list(&self, items: &'a [Node]) -> Vec<Field<'a>> {
        let field = |(index, node): (usize, &'a Node)| Field {
            node,
            path: self.path.item(index),
            line: node.line,
        };
        items.iter().enumerate().map(field).collect()
    }

    /// The texts of a list of single values.
    pub fn texts(&self, findings: &mut Findings<'_>) -> Vec<String> {
        self.items(findings).iter().filter_map(|item| item.text(findings)).collect()
    }

    /// One text or a list of texts, each with its place.
    pub fn text_or_list(&self, findings: &mut Findings<'_>) -> Vec<(String, Field<'a>)> {
        let fields = match &self.node.value {
            Value::Scalar { .. } if !self.node.is_null() => vec![self.clone()],
            Value::Mapping(_) => {
                return self.wrong_kind("text or a list", findings).unwrap_or_default();
            }
            _ => self.items(findings),
        };
        fields.into_iter().filter_map(|field| Some((field.text(findings)?, field))).collect()
    }

    /// The entries of a mapping whose keys are names that people choose.
    pub fn entries(&self, findings: &mut Findings<'_>) -> Vec<(&'a str, Field<'a>)> {
        match &self.node.value {
            Value::Mapping(entries) => self.named(entries),
            _ if self.node.is_null() => Vec::new(),
            _ => self.wrong_kind("a mapping", findings).unwrap_or_default(),
        }
    }

    /// The entries of `entries` with their paths.
    pub fn named(&self, entries: &'a [Entry]) -> Vec<(&'a str, Field<'a>)> {
        entries.iter().map(|entry| (entry.key.as_str(), self.below(entry))).collect()
    }

    /// The entries of a mapping whose keys are those of `table`; all others are refused.
    pub fn section(&self, table: Table, findings: &mut Findings<'_>) -> Option<Section<'a>> {
        let entries: &[Entry] = match &self.node.value {
            Value::Mapping(entries) => entries,
            _ if self.node.is_null() => &[],
            _ => return self.wrong_kind("a mapping", findings),
        };
        let section = Section { field: self.clone(), entries };
        section.check_keys(table, findings);
        Some(section)
    }

    /// Refuses the value for its kind; always `None`.
    pub fn wrong_kind<T>(&self, expected: &'static str, findings: &mut Findings<'_>) -> Option<T> {
        findings.refuse(self, Cause::Kind { expected, found: self.node.kind() })
    }

    /// Refuses the value as no valid `what`; always `None`.
    pub fn invalid<T>(
        &self,
        what: &'static str,
        found: &str,
        rule: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        findings.refuse(self, Cause::Value { what, found: found.to_owned(), rule })
    }

    fn below(&self, entry: &'a Entry) -> Field<'a> {
        Field { node: &entry.node, path: self.path.key(&entry.key), line: entry.line }
    }
}

/// A mapping whose keys are known.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// Where it stands.
    pub field: Field<'a>,
    /// Its keys and values.
    pub entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// Refuses each key that `table` does not have, or has as unsupported; `x-` keys pass.
    fn check_keys(&self, table: Table, findings: &mut Findings<'_>) {
        for (key, field) in self.field.named(self.entries) {
            // Keys of the person's own; `x-dstyx` is read where it counts.
            if key.starts_with("x-") {
                continue;
            }
            let cause = match table.iter().find(|(name, _)| *name == key) {
                Some((_, Support::Now)) => continue,
                Some((_, Support::Note(reason))) => {
                    findings.note(&field, &format!("changes nothing: {reason}"));
                    continue;
                }
                Some((_, Support::No(reason, hint))) => Cause::Unsupported { reason, hint },
                None => Cause::UnknownKey,
            };
            findings.refuse::<()>(&field, cause);
        }
    }

    /// The value of `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| self.field.below(entry))
    }

    /// What `read` makes of the value of `name`; `None` if there is none, or it was refused.
    pub fn read<T>(
        &self,
        name: &str,
        findings: &mut Findings<'_>,
        read: impl FnOnce(&Field<'a>, &mut Findings<'_>) -> Option<T>,
    ) -> Option<T> {
        read(&self.get(name)?, findings)
    }

    /// The items of the list `name`; none if it is absent.
    pub fn items(&self, name: &str, findings: &mut Findings<'_>) -> Vec<Field<'a>> {
        self.get(name).map(|field| field.items(findings)).unwrap_or_default()
    }

    /// The section `name`, if it is there.
    pub fn section(
        &self,
        name: &str,
        table: Table,
        findings: &mut Findings<'_>,
    ) -> Option<Section<'a>> {
        self.get(name)?.section(table, findings)
    }

    /// The same for a value that must be there.
    pub fn required<T>(
        &self,
        name: &'static str,
        findings: &mut Findings<'_>,
        read: impl FnOnce(&Field<'a>, &mut Findings<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            return findings.refuse(&self.field, Cause::Missing(name));
        }
        self.read(name, findings, read)
    }
}

/// A file or directory of the app directory.
#[derive(Debug)]
pub(super) enum AppEntry<'a> {
    /// A file.
    File(&'a [u8]),
    /// A directory: paths below it, and contents.
    Directory(Vec<(&'a str, &'a [u8])>),
}

/// What is found out while a file is read.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    /// What it is read with.
    pub inputs: Inputs<'a>,
    /// What is wrong.
    pub refusals: Refusals,
    /// What to say.
    pub notes: Vec<Note>,
    /// What weakens confinement.
    pub dangers: Vec<Note>,
    /// What of the app directory was asked for.
    pub wanted: Wanted,
    missing: Missing,
    leading: HashMap<KeyPath, String>,
    unreadable: HashSet<KeyPath>,
    mounted_bytes: usize,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub fn new(inputs: Inputs<'a>) -> Self {
        Self {
            inputs,
            refusals: Refusals::default(),
            notes: Vec::new(),
            dangers: Vec::new(),
            wanted: Wanted::default(),
            missing: Missing::default(),
            leading: HashMap::new(),
            unreadable: HashSet::new(),
            mounted_bytes: 0,
        }
    }

    /// Refuses `field`; always `None`.
    pub fn refuse<T>(&mut self, field: &Field<'_>, cause: Cause) -> Option<T> {
        self.refuse_at(&field.path, field.line, cause)
    }

    /// Refuses what stands at `path`, once if its variables could not be filled in; always `None`.
    pub fn refuse_at<T>(&mut self, path: &KeyPath, line: usize, cause: Cause) -> Option<T> {
        if !self.unreadable.contains(path) {
            self.refusals.add(path, line, cause);
        }
        None
    }

    /// Refuses a value whose variables cannot be filled in; what is said of its text later does not
    /// count.
    pub fn unreadable(&mut self, path: &KeyPath, line: usize, cause: Cause) {
        self.refuse_at::<()>(path, line, cause);
        self.unreadable.insert(path.clone());
    }

    /// Remembers variables that the value at `path` needs and nothing sets; they are refused
    /// together.
    pub fn unset(&mut self, path: &KeyPath, line: usize, unset: Vec<Unset>) {
        let leading = self.leading.get(path).map(String::as_str);
        self.missing.add_leading(path, line, &format!("line {line}"), unset, leading);
        self.unreadable.insert(path.clone());
    }

    /// Remembers that the value at `path` begins with the variable `name`, which nothing sets.
    pub fn begins_with(&mut self, path: &KeyPath, name: String) {
        self.leading.insert(path.clone(), name);
    }

    /// Asks for the variable that the bind `field` begins with, where its default leads out of the
    /// app; whether there is one.
    pub fn unset_default(&mut self, field: &Field<'_>, default: &str) -> bool {
        let Some(name) = self.leading.get(&field.path).cloned() else { return false };
        let message = format!("its default leads to {default}, which is a path of a host");
        self.unset(&field.path, field.line, vec![Unset { name, message }]);
        true
    }

    /// The same for variables of the file of variables that `field` names; always `None`.
    pub fn unset_in<T>(&mut self, at: &str, field: &Field<'_>, unset: Vec<Unset>) -> Option<T> {
        self.missing.add(&field.path, field.line, at, unset);
        None
    }

    /// Refuses the variables that are missing, all at once.
    pub fn refuse_missing(&mut self) {
        if let Some((path, line, missing)) = std::mem::take(&mut self.missing).into_parts() {
            self.refusals.add_always(path, line, Cause::MissingVariables(missing));
        }
    }

    /// Says something about `field` that is no refusal.
    pub fn note(&mut self, field: &Field<'_>, what: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note {
                path: field.path.to_string(),
                line: field.line,
                what: what.to_owned(),
            });
        }
    }

    /// Allows what weakens confinement if the measured file does, and refuses it otherwise.
    pub fn danger(&mut self, field: &Field<'_>, what: &str) {
        if self.inputs.danger_privileged {
            self.dangers.push(Note {
                path: field.path.to_string(),
                line: field.line,
                what: what.to_owned(),
            });
        } else {
            self.refuse::<()>(field, Cause::Danger(what.to_owned()));
        }
    }

    /// The value of a variable for a text of a service; remembers that `.env` counts, if it does.
    pub fn text_variable(&mut self, name: &str) -> Option<String> {
        let encrypted = self.inputs.encrypted;
        match encrypted.has(name) {
            true => encrypted.get(name).map(str::to_owned),
            false => self.variable(name),
        }
    }

    /// The value of a measured variable; remembers that `.env` counts.
    pub fn variable(&mut self, name: &str) -> Option<String> {
        self.wanted.paths.insert(protocol::app_compose::ENVIRONMENT_FILE.to_owned());
        self.inputs.environment.get(name).map(str::to_owned)
    }

    /// What lies at `path` in the app directory; remembers that it is wanted, a directory with all
    /// that is below.
    pub fn app_entry(&mut self, path: &str) -> Option<AppEntry<'a>> {
        self.wanted.paths.insert(path.to_owned());
        self.entry(path)
    }

    /// The same; remembers that it is wanted if it is a file.
    pub fn app_file(&mut self, path: &str) -> Option<AppEntry<'a>> {
        self.wanted.files.insert(path.to_owned());
        let there = self.inputs.directories.contains(path);
        self.entry(path).or_else(|| there.then(|| AppEntry::Directory(Vec::new())))
    }

    fn entry(&self, path: &str) -> Option<AppEntry<'a>> {
        let files = self.inputs.files;
        if let Some(content) = files.get(path) {
            return Some(AppEntry::File(content));
        }
        let prefix = format!("{path}/");
        let below = files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let below: Vec<_> =
            below.map(|(path, content)| (&path[prefix.len()..], content.as_slice())).collect();
        (!below.is_empty()).then_some(AppEntry::Directory(below))
    }

    /// Counts the bytes of a mounted file; refuses `field` if they have become too many.
    pub fn mounted(&mut self, field: &Field<'_>, bytes: usize) -> Option<()> {
        self.mounted_bytes = self.mounted_bytes.saturating_add(bytes);
        if self.mounted_bytes > MAX_MOUNTED_BYTES {
            let found = self.mounted_bytes;
            return self.refuse(
                field,
                Cause::TooMany { what: "bytes of mounted files", found, limit: MAX_MOUNTED_BYTES },
            );
        }
        Some(())
    }
}
