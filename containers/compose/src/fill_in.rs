//! Fills the variables of a whole file in, before any section reads it.

use super::document::{Entry, Node, Value};
use super::field::Findings;
use super::interpolate::{InterpolationError, MAX_EXPANDED_BYTES, interpolate, leading};
use super::refusal::{Cause, KeyPath};

/// Fills in all values of a document; keys and what lies under `x-` keys stay as they are.
pub(super) fn document(root: &mut Node, findings: &mut Findings<'_>) {
    let mut left = MAX_EXPANDED_BYTES;
    node(root, &KeyPath::root(), root.line, &mut left, findings);
}

fn node(
    value: &mut Node,
    path: &KeyPath,
    line: usize,
    left: &mut usize,
    findings: &mut Findings<'_>,
) {
    match &mut value.value {
        Value::Scalar { text, plain } if text.contains('$') => {
            // What a variable gives is text, never YAML's null.
            *plain = false;
            if let (true, Some(name)) = (path.is_mount(), leading(text))
                && findings.variable(name).is_none()
            {
                findings.begins_with(path, name.to_owned());
            }
            let filled =
                interpolate(text, &mut |name| findings.variable(name)).and_then(|filled| {
                    *left = left.checked_sub(filled.len()).ok_or(InterpolationError::TooLong)?;
                    Ok(filled)
                });
            match filled {
                Ok(filled) => *text = filled,
                Err(InterpolationError::Unset(unset)) => findings.unset(path, line, unset),
                Err(error) => findings.unreadable(path, line, Cause::Interpolation(error)),
            }
        }
        Value::Scalar { .. } => {}
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let line = item.line;
                node(item, &path.item(index), line, left, findings);
            }
        }
        Value::Mapping(entries) => {
            let used = |entry: &&mut Entry| !entry.key.starts_with("x-");
            for entry in entries.iter_mut().filter(used) {
                node(&mut entry.node, &path.key(&entry.key), entry.line, left, findings);
            }
        }
    }
}
