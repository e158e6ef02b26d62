//! A document as text, each line with the place that it comes from.
//!
//! Every key and every item has a line of its own, so that the line of a refusal leads back. The
//! text is read again before it is believed: it must say what the document says.

use super::tree::{Content, Origin, Tree};
use crate::document;

/// A line and where what it says was written.
pub(super) type Line = (String, Origin);

/// The lines of a document; `None` if it cannot be written so that it is read as the same.
pub(super) fn lines(root: &Tree) -> Option<Vec<Line>> {
    // Without quotes where there were none; if that reads as something else, with them.
    [false, true].into_iter().find_map(|quotes| {
        let lines = below(root, 0, quotes);
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        let read = document::parse(text.as_bytes()).ok()?;
        Tree::of(read, 0).says(root).then_some(lines)
    })
}

/// The lines of what stands below a key or a dash.
fn below(tree: &Tree, indent: usize, quotes: bool) -> Vec<Line> {
    let space = " ".repeat(indent);
    match &tree.content {
        Content::Scalar { .. } => {
            vec![(format!("{space}{}", inline(tree, quotes).trim_start()), tree.origin)]
        }
        Content::Mapping(items) => {
            let item = |item: &super::tree::Item| {
                let key = key(&item.key);
                let line = format!("{space}{key}:{}", inline(&item.tree, quotes));
                let mut lines = vec![(line, item.origin)];
                if is_block(&item.tree) {
                    lines.extend(below(&item.tree, indent + 2, quotes));
                }
                lines
            };
            items.iter().flat_map(item).collect()
        }
        Content::Sequence(trees) => {
            let item = |tree: &Tree| {
                if !is_block(tree) {
                    let text =
                        if tree.is_null() { " null".to_owned() } else { inline(tree, quotes) };
                    return vec![(format!("{space}-{text}"), tree.origin)];
                }
                let mut lines = below(tree, indent + 2, quotes);
                if let Some((first, _)) = lines.first_mut() {
                    first.replace_range(indent..indent + 1, "-");
                }
                lines
            };
            trees.iter().flat_map(item).collect()
        }
    }
}

fn is_block(tree: &Tree) -> bool {
    match &tree.content {
        Content::Scalar { .. } => false,
        Content::Sequence(trees) => !trees.is_empty(),
        Content::Mapping(items) => !items.is_empty(),
    }
}

/// What follows on the line itself, with a space before it.
fn inline(tree: &Tree, quotes: bool) -> String {
    match &tree.content {
        Content::Scalar { .. } if tree.is_null() => String::new(),
        Content::Scalar { text, plain } => {
            let bare = *plain && !quotes && !text.contains('\n');
            if bare { format!(" {text}") } else { format!(" {}", quoted(text)) }
        }
        Content::Sequence(trees) if trees.is_empty() => " []".to_owned(),
        Content::Mapping(items) if items.is_empty() => " {}".to_owned(),
        _ => String::new(),
    }
}

fn key(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    let plain = key.starts_with(|c: char| c.is_ascii_alphanumeric()) && key.bytes().all(bare);
    if plain { key.to_owned() } else { quoted(key) }
}

/// YAML 1.2.2, section 5.7: what may not stand in a double-quoted line is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flatten::tree::Item;

    const ORIGIN: Origin = Origin { file: 0, line: 1 };

    fn tree() -> impl Strategy<Value = Tree> {
        let texts = prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", "[a-z:#\\-?&*!|>'\"%@`{}, \n\t]{0,8}"];
        let leaf = texts.prop_map(|text| Tree::text_at(text, ORIGIN));
        let leaf = prop_oneof![leaf, Just(Tree::null_at(ORIGIN))];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let of = |content| Tree { content, origin: ORIGIN, tag: None };
            let keys = prop_oneof!["[a-z]{1,4}", "[ -~]{1,6}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(move |trees| of(Content::Sequence(trees))),
                prop::collection::btree_map(keys, inner, 0..4).prop_map(move |map| {
                    let item = |(key, tree)| Item { key, origin: ORIGIN, tree };
                    of(Content::Mapping(map.into_iter().map(item).collect()))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(tree in tree()) {
            let items = vec![Item { key: "k".to_owned(), origin: ORIGIN, tree }];
            let root = Tree { content: Content::Mapping(items), origin: ORIGIN, tag: None };
            prop_assert!(lines(&root).is_some(), "{:?}", below(&root, 0, true));
        }
    }
}
