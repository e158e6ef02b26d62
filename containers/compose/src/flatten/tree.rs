//! A document whose every value knows its file and line, so that what several files say can be
//! joined and still be traced.

use crate::document::{MergeTag, Node, Value};

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Position of the file in the order in which they were read.
    pub file: usize,
    /// Line, counted from 1.
    pub line: usize,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    /// What it is.
    pub content: Content,
    /// Where it was written.
    pub origin: Origin,
    /// How it is merged into what the files before it say.
    pub tag: Option<MergeTag>,
}

/// The three kinds of value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Text, and whether it was written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Tree>),
    /// Keys and values in order.
    Mapping(Vec<Item>),
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub origin: Origin,
    /// The value.
    pub tree: Tree,
}

impl Tree {
    /// The document `node` of file number `file`.
    pub fn of(node: Node, file: usize) -> Self {
        let content = match node.value {
            Value::Scalar { text, plain } => Content::Scalar { text, plain },
            Value::Sequence(nodes) => {
                Content::Sequence(nodes.into_iter().map(|node| Self::of(node, file)).collect())
            }
            Value::Mapping(entries) => {
                let item = |entry: crate::document::Entry| Item {
                    key: entry.key,
                    origin: Origin { file, line: entry.line },
                    tree: Self::of(entry.node, file),
                };
                Content::Mapping(entries.into_iter().map(item).collect())
            }
        };
        Self { content, origin: Origin { file, line: node.line }, tag: node.tag }
    }

    /// A text in quotes.
    pub fn text_at(text: String, origin: Origin) -> Self {
        Self { content: Content::Scalar { text, plain: false }, origin, tag: None }
    }

    /// An empty value.
    pub fn null_at(origin: Origin) -> Self {
        let content = Content::Scalar { text: String::new(), plain: true };
        Self { content, origin, tag: None }
    }

    /// Whether it is an empty value or one of the spellings of null.
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a single value that is not null.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The items of a mapping; none of anything else.
    pub fn items(&self) -> &[Item] {
        match &self.content {
            Content::Mapping(items) => items,
            _ => &[],
        }
    }

    /// The items of a mapping, to be changed.
    pub fn items_mut(&mut self) -> Option<&mut Vec<Item>> {
        match &mut self.content {
            Content::Mapping(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.items().iter().find(|item| item.key == key).map(|item| &item.tree)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Tree> {
        self.items_mut()?.iter_mut().find(|item| item.key == key).map(|item| &mut item.tree)
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &str) -> Option<Item> {
        let items = self.items_mut()?;
        let at = items.iter().position(|item| item.key == key)?;
        Some(items.remove(at))
    }

    /// What a person would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.content {
            _ if self.is_null() => "nothing",
            Content::Scalar { .. } => "a single value",
            Content::Sequence(_) => "a list",
            Content::Mapping(_) => "a mapping",
        }
    }

    /// Whether both say the same, wherever they stand.
    pub fn says(&self, other: &Tree) -> bool {
        match (&self.content, &other.content) {
            (Content::Sequence(a), Content::Sequence(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.says(b))
            }
            (Content::Mapping(a), Content::Mapping(b)) => {
                let same = |a: &Item, b: &Item| a.key == b.key && a.tree.says(&b.tree);
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Content::Scalar { text: a, .. }, Content::Scalar { text: b, .. }) => {
                let nulls = [self.is_null(), other.is_null()];
                nulls == [true, true] || (a == b && nulls == [false, false])
            }
            _ => false,
        }
    }

    /// Whether a merge tag stands in it.
    pub fn has_tags(&self) -> bool {
        let below = match &self.content {
            Content::Scalar { .. } => false,
            Content::Sequence(trees) => trees.iter().any(Tree::has_tags),
            Content::Mapping(items) => items.iter().any(|item| item.tree.has_tags()),
        };
        self.tag.is_some() || below
    }

    /// Takes away what `!reset` stands at, and every tag.
    pub fn settle(&mut self) {
        let stays = |tree: &Tree| tree.tag != Some(MergeTag::Reset);
        match &mut self.content {
            Content::Scalar { .. } => {}
            Content::Sequence(trees) => {
                trees.retain(stays);
                trees.iter_mut().for_each(Tree::settle);
            }
            Content::Mapping(items) => {
                items.retain(|item| stays(&item.tree));
                items.iter_mut().for_each(|item| item.tree.settle());
            }
        }
        self.tag = None;
    }
}
