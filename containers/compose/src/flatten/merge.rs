//! How the value of one file is merged into that of the files before it.
//!
//! Source: compose specification, `13-merge.md`, and what Docker Compose does where that is silent:
//! mappings are merged, lists are appended, single values replaced; the exceptions are in [`rule`].

use super::identity::{self, Identity};
use super::tree::{Content, Item, Origin, Tree};
use crate::document::MergeTag;

/// Two values that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where the later one stands.
    pub origin: Origin,
    /// The key path.
    pub path: String,
    /// The kind of the earlier one.
    pub before: &'static str,
    /// The kind of the later one.
    pub found: &'static str,
}

/// How values of one key are merged.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// As their kinds say.
    Kind,
    /// The later one counts.
    Replace,
    /// `NAME=value` in a list or a mapping; the later value of a name counts.
    Pairs,
    /// One text or a list of texts, appended without repetition.
    Texts,
    /// A list whose items are known by something; the later one of two counts.
    Unique(Identity),
    /// A list of names or a mapping; a list becomes a mapping whose values are these.
    Named(fn(Origin) -> Tree),
    /// Options belong to their driver.
    Logging,
    /// One number, or a mapping.
    Ulimit,
}

fn rule(path: &[&str]) -> Rule {
    match path {
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => {
            Rule::Replace
        }
        ["services", _, "environment" | "labels" | "annotations" | "sysctls"]
        | ["services", _, "deploy", "labels"]
        | ["services", _, "build", "args" | "labels"]
        | ["networks" | "volumes" | "configs" | "secrets", _, "labels"] => Rule::Pairs,
        ["services", _, "dns" | "dns_search" | "dns_opt" | "tmpfs" | "env_file" | "label_file"] => {
            Rule::Texts
        }
        ["services", _, "depends_on"] => Rule::Named(started),
        ["services", _, "networks"] => Rule::Named(Tree::null_at),
        ["services", _, "logging"] => Rule::Logging,
        ["services", _, "ulimits", _] => Rule::Ulimit,
        ["services", _, "ports"] => Rule::Unique(identity::port),
        ["services", _, "volumes" | "devices"] => Rule::Unique(identity::mount),
        ["services", _, "configs"] => Rule::Unique(identity::config),
        ["services", _, "secrets"] => Rule::Unique(identity::secret),
        ["services", _, "cap_add" | "cap_drop" | "expose" | "links" | "profiles"]
        | ["services", _, "networks", _, "aliases"] => Rule::Unique(identity::text),
        ["networks", _, "ipam", "config"] => Rule::Unique(identity::subnet),
        _ => Rule::Kind,
    }
}

/// What a service that is named alone under `depends_on` is waited for.
fn started(origin: Origin) -> Tree {
    let tree = Tree::text_at("service_started".to_owned(), origin);
    let items = vec![Item { key: "condition".to_owned(), origin, tree }];
    Tree { content: Content::Mapping(items), origin, tag: None }
}

/// Merges `over` into `base`, both at `path`.
pub(super) fn merge(base: Tree, over: Tree, path: &[&str]) -> Result<Tree, Mismatch> {
    if over.tag.is_some() {
        return Ok(over);
    }
    if base.tag == Some(MergeTag::Reset) {
        // What was taken away from earlier files stays away from them.
        return Ok(Tree { tag: Some(MergeTag::Override), ..over });
    }
    let tag = base.tag;
    let merged = match rule(path) {
        Rule::Replace => Ok(over),
        Rule::Kind => by_kind(base, over, path),
        Rule::Pairs => pairs(base, over, path),
        Rule::Texts => match texts(&base).zip(texts(&over)) {
            Some((before, after)) => Ok(unique(base, before, after, identity::text)),
            None => by_kind(base, over, path),
        },
        Rule::Unique(identity) => match (base.content.clone(), over.content.clone()) {
            (Content::Sequence(before), Content::Sequence(after)) => {
                Ok(unique(base, before, after, identity))
            }
            _ => by_kind(base, over, path),
        },
        Rule::Named(value) => named(base, over, path, value),
        Rule::Logging => {
            let driver = |tree: &Tree| tree.get("driver").and_then(Tree::text).map(str::to_owned);
            match (driver(&base), driver(&over)) {
                (Some(before), Some(after)) if before != after => Ok(over),
                _ => by_kind(base, over, path),
            }
        }
        Rule::Ulimit => match (&base.content, &over.content) {
            (Content::Mapping(_), Content::Mapping(_)) => by_kind(base, over, path),
            _ => Ok(over),
        },
    };
    merged.map(|merged| Tree { tag, ..merged })
}

fn by_kind(base: Tree, over: Tree, path: &[&str]) -> Result<Tree, Mismatch> {
    if over.is_null() {
        return Ok(base);
    }
    let mismatch = mismatch(&base, &over, path);
    let Tree { content, origin, tag } = base;
    match (content, over.content) {
        (Content::Mapping(before), Content::Mapping(after)) => {
            let content = Content::Mapping(mappings(before, after, path)?);
            Ok(Tree { content, origin, tag })
        }
        (Content::Sequence(mut before), Content::Sequence(after)) => {
            before.extend(after);
            Ok(Tree { content: Content::Sequence(before), origin, tag })
        }
        (Content::Scalar { text, plain }, content) => {
            let before = Tree { content: Content::Scalar { text, plain }, origin, tag };
            let fits = before.is_null() || matches!(content, Content::Scalar { .. });
            fits.then_some(Tree { content, ..over }).ok_or(mismatch)
        }
        (_, _) => Err(mismatch),
    }
}

fn mismatch(base: &Tree, over: &Tree, path: &[&str]) -> Mismatch {
    Mismatch { origin: over.origin, path: path.join("."), before: base.kind(), found: over.kind() }
}

fn mappings(mut before: Vec<Item>, after: Vec<Item>, path: &[&str]) -> Result<Vec<Item>, Mismatch> {
    for item in after {
        let Some(at) = before.iter().position(|known| known.key == item.key) else {
            before.push(item);
            continue;
        };
        let old = before[at].clone();
        let below: Vec<&str> = path.iter().copied().chain([item.key.as_str()]).collect();
        let tree = merge(old.tree, item.tree, &below)?;
        // A refusal of the value leads to the file that decided.
        let origin = if tree.origin.file == item.origin.file { item.origin } else { old.origin };
        before[at] = Item { key: old.key, origin, tree };
    }
    Ok(before)
}

/// Both as lists if one is a list: names of variables in lists may hold variables, keys may not.
fn pairs(base: Tree, over: Tree, path: &[&str]) -> Result<Tree, Mismatch> {
    match (&base.content, &over.content) {
        (Content::Mapping(before), Content::Mapping(after)) => {
            let mut before = before.clone();
            for item in after {
                match before.iter_mut().find(|known| known.key == item.key) {
                    Some(known) => *known = item.clone(),
                    None => before.push(item.clone()),
                }
            }
            Ok(Tree { content: Content::Mapping(before), ..base })
        }
        (
            Content::Sequence(_) | Content::Mapping(_),
            Content::Sequence(_) | Content::Mapping(_),
        ) => {
            let removed: Vec<&str> = over
                .items()
                .iter()
                .filter(|item| item.tree.tag == Some(MergeTag::Reset))
                .map(|item| item.key.as_str())
                .collect();
            let listed = listed(&base).zip(listed(&over));
            let (mut before, after) = listed.ok_or_else(|| mismatch(&base, &over, path))?;
            before.retain(|tree| {
                identity::pair(tree).is_none_or(|name| !removed.contains(&name.as_str()))
            });
            Ok(unique(base.clone(), before, after, identity::pair))
        }
        _ => by_kind(base, over, path),
    }
}

/// A mapping of pairs as a list of `NAME=value`; `None` if a value is no single one.
fn listed(tree: &Tree) -> Option<Vec<Tree>> {
    let items = match &tree.content {
        Content::Sequence(trees) => return Some(trees.clone()),
        Content::Mapping(items) => items,
        Content::Scalar { .. } => return None,
    };
    let line = |item: &Item| {
        // In a list the name is read for variables, in a mapping it is not.
        let name = item.key.replace('$', "$$");
        let text = match &item.tree.content {
            Content::Scalar { .. } if item.tree.is_null() => name,
            Content::Scalar { text, .. } => format!("{name}={text}"),
            _ => return None,
        };
        Some(Tree::text_at(text, item.origin))
    };
    items.iter().filter(|item| item.tree.tag != Some(MergeTag::Reset)).map(line).collect()
}

/// One text, or a list, as a list; `None` for anything else.
fn texts(tree: &Tree) -> Option<Vec<Tree>> {
    match &tree.content {
        Content::Sequence(trees) => Some(trees.clone()),
        Content::Scalar { .. } if tree.is_null() => Some(Vec::new()),
        Content::Scalar { .. } => Some(vec![Tree { tag: None, ..tree.clone() }]),
        Content::Mapping(_) => None,
    }
}

fn named(
    base: Tree,
    over: Tree,
    path: &[&str],
    value: fn(Origin) -> Tree,
) -> Result<Tree, Mismatch> {
    if let (Content::Sequence(before), Content::Sequence(after)) = (&base.content, &over.content) {
        let (before, after) = (before.clone(), after.clone());
        return Ok(unique(base, before, after, identity::text));
    }
    let mapping = |tree: Tree| match tree.content {
        Content::Sequence(trees) => {
            let item = |tree: &Tree| {
                let key = tree.text()?.to_owned();
                Some(Item { key, origin: tree.origin, tree: value(tree.origin) })
            };
            let items = trees.iter().map(item).collect::<Option<Vec<Item>>>()?;
            Some(Tree { content: Content::Mapping(items), ..tree })
        }
        _ => Some(tree),
    };
    let failed = mismatch(&base, &over, path);
    let (base, over) = mapping(base).zip(mapping(over)).ok_or(failed)?;
    by_kind(base, over, path)
}

/// `before` with `after` behind it; an item of `after` takes the place of the one that it is known
/// to be.
fn unique(base: Tree, before: Vec<Tree>, after: Vec<Tree>, identity: Identity) -> Tree {
    let mut items = before;
    for tree in after {
        let known = identity(&tree);
        let same = |other: &Tree| known.is_some() && identity(other) == known;
        match items.iter_mut().find(|other| same(other)) {
            Some(place) => *place = tree,
            None => items.push(tree),
        }
    }
    Tree { content: Content::Sequence(items), ..base }
}
