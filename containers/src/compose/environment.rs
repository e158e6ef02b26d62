//! `environment`: a mapping of names to values, or a list of `NAME=value`.
//!
//! A name without a value would take the value from wherever compose runs. There is no such place here
//! that can be trusted, so it is refused.

use super::document::{Entry, Node, Value};
use super::refusal::{Cause, KeyPath, Refusals};
use super::value;

/// More than the largest real services set; far below the kernel's limit on a process's environment.
pub const MAX_VARIABLES: usize = 1024;

/// Names and values in file order; no name stands twice.
pub(super) fn read(node: &Node, path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<(String, String)>> {
    let variables = match &node.value {
        _ if node.is_null() => Vec::new(),
        Value::Mapping(entries) => from_mapping(entries, path, refusals)?,
        Value::Sequence(items) => from_list(items, path, refusals)?,
        Value::Scalar { .. } => {
            return value::wrong_kind(node, "a mapping or a list", path, refusals);
        }
    };
    if variables.len() > MAX_VARIABLES {
        let cause = Cause::TooMany { what: "variables", found: variables.len(), limit: MAX_VARIABLES };
        refusals.add(path, node.line, cause);
        return None;
    }
    Some(variables)
}

fn from_mapping(entries: &[Entry], path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<(String, String)>> {
    entries
        .iter()
        .map(|entry| {
            let path = path.key(&entry.key);
            if !valid_name(&entry.key) {
                refusals.add(&path, entry.line, bad_name(&entry.key));
                return None;
            }
            if entry.node.is_null() {
                refusals.add(&path, entry.line, Cause::NoValue(entry.key.clone()));
                return None;
            }
            Some((entry.key.clone(), value::text(&entry.node, &path, refusals)?))
        })
        .collect()
}

fn from_list(items: &[Node], path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<(String, String)>> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut whole = true;
    for (index, item) in items.iter().enumerate() {
        let path = path.item(index);
        let Some(text) = value::text(item, &path, refusals) else {
            whole = false;
            continue;
        };
        let cause = match text.split_once('=') {
            None => Cause::NoValue(text),
            Some((name, _)) if !valid_name(name) => bad_name(name),
            Some((name, _)) if variables.iter().any(|(other, _)| other == name) => {
                Cause::VariableTwice(name.to_owned())
            }
            Some((name, value)) => {
                variables.push((name.to_owned(), value.to_owned()));
                continue;
            }
        };
        refusals.add(&path, item.line, cause);
        whole = false;
    }
    whole.then_some(variables)
}

/// Any text that a process can tell apart from `NAME=value`.
fn valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn bad_name(name: &str) -> Cause {
    Cause::Name { what: "variable name", found: name.to_owned(), rule: "at least one character, no = and no NUL" }
}
