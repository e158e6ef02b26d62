//! How a section reads one node: as text, as a mapping, as a list; each time refusing the wrong kind.
//!
//! Compose replaces `$NAME` in values before anything else. Until variables are supported, a `$` is
//! refused unless it is doubled, so that a file never means something else later than it does now.

use super::document::{Entry, Node, Value};
use super::refusal::{Cause, KeyPath, Refusals};

/// The value of `name`, if the mapping has it.
pub(super) fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == name)
}

/// The entries of a mapping; an empty value is an empty mapping.
pub(super) fn mapping<'a>(node: &'a Node, path: &KeyPath, refusals: &mut Refusals) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Mapping(entries) => Some(entries),
        _ if node.is_null() => Some(&[]),
        _ => wrong_kind(node, "a mapping", path, refusals),
    }
}

/// The text of a single value, `$$` made `$`.
pub(super) fn text(node: &Node, path: &KeyPath, refusals: &mut Refusals) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => {
            let cause = match unescape(text) {
                Ok(text) if !text.contains('\0') => return Some(text),
                Ok(_) => Cause::Nul,
                Err(cause) => cause,
            };
            refusals.add(path, node.line, cause);
            None
        }
        _ => wrong_kind(node, "text", path, refusals),
    }
}

/// The texts of a list of single values.
pub(super) fn texts(items: &[Node], path: &KeyPath, refusals: &mut Refusals) -> Option<Vec<String>> {
    items.iter().enumerate().map(|(index, item)| text(item, &path.item(index), refusals)).collect()
}

/// Adds the refusal of a value of another kind; always `None`.
pub(super) fn wrong_kind<T>(node: &Node, expected: &'static str, path: &KeyPath, refusals: &mut Refusals) -> Option<T> {
    let found = node.kind();
    refusals.add(path, node.line, Cause::Kind { expected, found });
    None
}

fn unescape(text: &str) -> Result<String, Cause> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let Some(after) = after.strip_prefix('$') else {
            return Err(Cause::Variable(text.to_owned()));
        };
        out.push_str(before);
        out.push('$');
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_is_doubled_or_refused() {
        assert_eq!(unescape("a$$b$$$$").as_deref(), Ok("a$b$$"));
        for bad in ["$A", "${A}", "a$", "$$$A"] {
            assert_eq!(unescape(bad), Err(Cause::Variable(bad.into())), "{bad}");
        }
    }
}
