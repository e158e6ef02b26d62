//! Fills the variables of a whole file in, before any section reads it.
//!
//! Measured variables may stand in any value. Those of the encrypted environment may stand only in
//! texts that a service is given: what runs, and what it can reach, the measured file decides
//! alone.

use super::document::{Entry, Node, Value};
use super::field::Findings;
use super::interpolate::{InterpolationError, MAX_EXPANDED_BYTES, interpolate, leading};
use super::refusal::{Cause, KeyPath};

/// Keys of a service whose values are texts for it.
const TEXTS: [&str; 5] = ["environment", "command", "entrypoint", "labels", "annotations"];

/// Fills in all values of a document; keys and what lies under `x-` keys stay as they are.
pub(super) fn document(root: &mut Node, findings: &mut Findings<'_>) {
    let line = root.line;
    let mut filling = Filling { left: MAX_EXPANDED_BYTES, keys: Vec::new(), findings };
    filling.node(root, &KeyPath::root(), line);
}

struct Filling<'f, 'i> {
    /// Bytes that values may still have.
    left: usize,
    /// The keys above a value, without places in lists.
    keys: Vec<String>,
    findings: &'f mut Findings<'i>,
}

impl Filling<'_, '_> {
    fn node(&mut self, value: &mut Node, path: &KeyPath, line: usize) {
        match &mut value.value {
            Value::Scalar { text, plain } if text.contains('$') => {
                // What a variable gives is text, never YAML's null.
                *plain = false;
                self.text(text, path, line);
            }
            Value::Scalar { .. } => {}
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let line = item.line;
                    self.node(item, &path.item(index), line);
                }
            }
            Value::Mapping(entries) => {
                let used = |entry: &&mut Entry| !entry.key.starts_with("x-");
                for entry in entries.iter_mut().filter(used) {
                    self.keys.push(entry.key.clone());
                    self.node(&mut entry.node, &path.key(&entry.key), entry.line);
                    self.keys.pop();
                }
            }
        }
    }

    fn text(&mut self, text: &mut String, path: &KeyPath, line: usize) {
        let is_text = self.is_text();
        let Self { findings, left, .. } = self;
        if let (true, Some(name)) = (path.is_mount(), leading(text))
            && findings.variable(name).is_none()
        {
            findings.begins_with(path, name.to_owned());
        }
        let mut deciding = None;
        let filled = interpolate(text, &mut |name| {
            if is_text {
                return findings.text_variable(name);
            }
            if findings.inputs.encrypted.has(name) {
                deciding.get_or_insert_with(|| name.to_owned());
                return Some(String::new());
            }
            findings.variable(name)
        });
        let filled = filled.and_then(|filled| {
            *left = left.checked_sub(filled.len()).ok_or(InterpolationError::TooLong)?;
            Ok(filled)
        });
        match (deciding, filled) {
            (Some(name), _) => findings.unreadable(path, line, Cause::EncryptedDecides(name)),
            (None, Ok(filled)) => *text = filled,
            (None, Err(InterpolationError::Unset(unset))) => findings.unset(path, line, unset),
            (None, Err(error)) => findings.unreadable(path, line, Cause::Interpolation(error)),
        }
    }

    /// Whether the value below these keys is a text for a service.
    fn is_text(&self) -> bool {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        match keys[..] {
            ["services", _, key, ..] if TEXTS.contains(&key) => true,
            ["services", _, "healthcheck", "test"] | ["configs", _, "content"] => true,
            _ => false,
        }
    }
}
