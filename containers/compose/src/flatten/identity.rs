//! By what two items of a list are known to be the same, so that a later file replaces instead of
//! repeating it (compose specification, `13-merge.md`, "Unique resources").

use super::tree::{Content, Tree};

/// What an item is known by; `None` for one that is never the same as another.
pub(super) type Identity = fn(&Tree) -> Option<String>;

/// Itself, or the `path` of the long form of `env_file`.
pub(super) fn text(tree: &Tree) -> Option<String> {
    match &tree.content {
        Content::Mapping(_) => Some(tree.get("path")?.text()?.to_owned()),
        _ => tree.text().map(str::to_owned),
    }
}

/// The name before `=`.
pub(super) fn pair(tree: &Tree) -> Option<String> {
    let text = tree.text()?;
    Some(text.split_once('=').map_or(text, |(name, _)| name).trim().to_owned())
}

/// Address, published port, target and protocol.
pub(super) fn port(tree: &Tree) -> Option<String> {
    let (address, published, target, protocol) = match &tree.content {
        Content::Mapping(_) => {
            let of = |key: &str| tree.get(key).and_then(Tree::text).unwrap_or_default().to_owned();
            (of("host_ip"), of("published"), of("target"), of("protocol"))
        }
        _ => {
            let text = tree.text()?;
            let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, ""));
            let mut parts = fields(rest);
            let target = parts.pop()?;
            let published = parts.pop().unwrap_or_default();
            (parts.join(":"), published.to_owned(), target.to_owned(), protocol.to_owned())
        }
    };
    let address = if address == "0.0.0.0" { String::new() } else { address };
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol };
    Some(format!("{address}|{published}|{target}|{protocol}"))
}

/// The target.
pub(super) fn mount(tree: &Tree) -> Option<String> {
    let target = match &tree.content {
        Content::Mapping(_) => tree.get("target")?.text()?,
        _ => {
            let parts = fields(tree.text()?);
            parts.get(1).or(parts.first()).copied()?
        }
    };
    match target.trim_end_matches('/') {
        "" => Some("/".to_owned()),
        target => Some(target.to_owned()),
    }
}

/// The target, `/NAME` if none is said.
pub(super) fn config(tree: &Tree) -> Option<String> {
    grant(tree, "")
}

/// The target, `/run/secrets/NAME` if none is said.
pub(super) fn secret(tree: &Tree) -> Option<String> {
    grant(tree, "/run/secrets")
}

fn grant(tree: &Tree, directory: &str) -> Option<String> {
    let target = match &tree.content {
        Content::Mapping(_) => tree.get("target").or_else(|| tree.get("source"))?.text()?,
        _ => tree.text()?,
    };
    if target.starts_with('/') {
        return Some(target.to_owned());
    }
    Some(format!("{directory}/{target}"))
}

/// The subnet.
pub(super) fn subnet(tree: &Tree) -> Option<String> {
    tree.get("subnet")?.text().map(str::to_owned)
}

/// The parts between colons outside `${…}` and outside the brackets of an IPv6 address.
pub(super) fn fields(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
