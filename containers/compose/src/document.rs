//! YAML text as a tree in which every node knows its line, within bounds.
//!
//! The crate below gives events; the tree, aliases, merges and every limit are here, because a
//! compose file comes through the untrusted host and a parser of the general kind either loses the
//! lines or expands aliases without end. Plain scalars stay text: the field that reads one decides
//! what it means.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag, options};

/// A compose file is written by people; the launch block that carries it holds 1 MiB for
/// everything.
pub const MAX_BYTES: usize = 256 << 10;
/// The deepest key of the compose specification lies at 9; anchors may nest a little more.
pub const MAX_DEPTH: usize = 32;
/// Nodes after all aliases are expanded, so that nine anchors of nine aliases each end early.
pub const MAX_NODES: usize = 10_000;

/// One value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Line, counted from 1; for an alias the line of the anchored text.
    pub line: usize,
    /// How it is merged into another file; always `None` in a file that is run.
    pub tag: Option<MergeTag>,
}

/// The tags by which a file says how one of its values is merged into the files before it (compose
/// specification, `13-merge.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeTag {
    /// `!reset`: the key is taken away.
    Reset,
    /// `!override`: the value takes the place of the whole old one.
    Override,
}

/// The three kinds of YAML node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text; `plain` if it was written without quotes, so that it may also be read as null, boolean
    /// or number.
    Scalar {
        /// The text as written, quotes and escapes resolved.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in file order; no key stands twice.
    Mapping(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's line, counted from 1.
    pub line: usize,
    /// The value.
    pub node: Node,
}

impl Node {
    /// True for the plain spellings of null in YAML's core schema (an empty value among them).
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What a person would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Why a text is no document that a compose file can be read from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// the file is larger than the limit
    #[error("the file has {found} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// Its size.
        found: usize,
    },
    /// the bytes are not UTF-8
    #[error("the file is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// YAML does not allow the text
    #[error("line {line}: not YAML: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// there is no document, or an empty one
    #[error("the file is empty")]
    Empty,
    /// a second document follows
    #[error("line {0}: a second document; a compose file is one document")]
    SecondDocument(usize),
    /// lists and mappings are nested too deeply
    #[error("line {0}: nested deeper than {MAX_DEPTH} levels")]
    TooDeep(usize),
    /// there are too many values once aliases are expanded
    #[error("line {0}: more than {MAX_NODES} values once aliases are expanded")]
    TooManyNodes(usize),
    /// a mapping's key is a list, a mapping or an alias
    #[error("line {0}: a key must be plain text")]
    ComplexKey(usize),
    /// a key stands twice in one mapping
    #[error("line {line}: key {key:?} stands twice")]
    DuplicateKey {
        /// Line of the second one.
        line: usize,
        /// The key.
        key: String,
    },
    /// a tag such as `!!int` or `!reset`
    #[error("line {0}: tags are not supported")]
    Tag(usize),
    /// `<<` is followed by something that is no mapping
    #[error("line {0}: << must be followed by a mapping or a list of mappings")]
    BadMerge(usize),
    /// an anchor is used inside itself
    #[error("line {0}: an alias inside its own anchor")]
    AliasCycle(usize),
}

/// Reads the one document in `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Node, DocumentError> {
    read(bytes, false)
}

/// The same with merge tags, for files that are merged before they are run.
pub fn parse_with_merge_tags(bytes: &[u8]) -> Result<Node, DocumentError> {
    read(bytes, true)
}

fn read(bytes: &[u8], merge_tags: bool) -> Result<Node, DocumentError> {
    if bytes.len() > MAX_BYTES {
        return Err(DocumentError::TooLong { found: bytes.len() });
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| DocumentError::NotUtf8(error.valid_up_to()))?;
    // What go-yaml, which Docker Compose reads with, makes of a block scalar that the end of the
    // file ends.
    let options = options! { block_scalar_eof_without_line_feed: true };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { parser, anchors: HashMap::new(), nodes: 0, merge_tags };
    reader.document()
}

/// Pulls events and counts what they build.
struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    merge_tags: bool,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), DocumentError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, line_of(&span))),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    fn document(&mut self) -> Result<Node, DocumentError> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Err(DocumentError::Empty),
                (Event::DocumentStart(..), _) => break,
                _ => {}
            }
        }
        let (event, line) = self.next()?;
        let root = self.node(event, line, 0)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(..), line) => {
                    return Err(DocumentError::SecondDocument(line));
                }
                _ => {}
            }
        }
        if root.is_null() {
            return Err(DocumentError::Empty);
        }
        Ok(root)
    }

    /// Builds the node that `event` begins.
    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, DocumentError> {
        if depth > MAX_DEPTH {
            return Err(DocumentError::TooDeep(line));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let tag = self.tag(event.tag(), line)?;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, line),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                (Value::Scalar { text, plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Value::Sequence(self.sequence(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Value::Mapping(self.mapping(depth)?), anchor),
            _ => return Err(DocumentError::Empty),
        };
        let node = Node { value, line, tag };
        if anchor > 0 {
            let size = self.nodes - before;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, DocumentError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, DocumentError> {
        let mut own: Vec<Entry> = Vec::new();
        let mut keys: HashSet<String> = HashSet::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            let (key, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, _, tag) => {
                    if tag.is_some() {
                        return Err(DocumentError::Tag(line));
                    }
                    (text.into_owned(), style == ScalarStyle::Plain)
                }
                _ => return Err(DocumentError::ComplexKey(line)),
            };
            let (event, value_line) = self.next()?;
            let node = self.node(event, value_line, depth + 1)?;
            if plain && key == "<<" {
                merge(&mut merged, node, line)?;
            } else if !keys.insert(key.clone()) {
                return Err(DocumentError::DuplicateKey { line, key });
            } else {
                own.push(Entry { key, line, node });
            }
        }
        merged.retain(|entry| keys.insert(entry.key.clone()));
        own.extend(merged);
        Ok(own)
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<Node, DocumentError> {
        let (node, size) = self.anchors.get(&id).ok_or(DocumentError::AliasCycle(line))?;
        let (node, size) = (node.clone(), *size);
        self.count(size, line)?;
        Ok(node)
    }

    /// A merge tag where they are read; every other tag is refused.
    fn tag(&self, tag: Option<&Tag>, line: usize) -> Result<Option<MergeTag>, DocumentError> {
        match tag.map(Tag::parts) {
            None => Ok(None),
            Some(("!", "reset")) if self.merge_tags => Ok(Some(MergeTag::Reset)),
            Some(("!", "override")) if self.merge_tags => Ok(Some(MergeTag::Override)),
            Some(_) => Err(DocumentError::Tag(line)),
        }
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), DocumentError> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(DocumentError::TooManyNodes(line));
        }
        Ok(())
    }
}

/// Adds what `<<: node` brings; the caller keeps the first of each key, as of two merged mappings
/// the earlier one wins (YAML merge key draft, 2005).
fn merge(into: &mut Vec<Entry>, node: Node, line: usize) -> Result<(), DocumentError> {
    match node.value {
        Value::Mapping(entries) => {
            into.extend(entries);
            Ok(())
        }
        Value::Sequence(items) => items.into_iter().try_for_each(|item| match item.value {
            Value::Mapping(_) => merge(into, item, line),
            _ => Err(DocumentError::BadMerge(line)),
        }),
        Value::Scalar { .. } => Err(DocumentError::BadMerge(line)),
    }
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

fn syntax(error: &ScanError) -> DocumentError {
    DocumentError::Syntax { line: error.marker().line(), message: error.info() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(node: &Node) -> Vec<(&str, usize)> {
        match &node.value {
            Value::Mapping(entries) => {
                entries.iter().map(|entry| (entry.key.as_str(), entry.line)).collect()
            }
            other => panic!("no mapping: {other:?}"),
        }
    }

    #[test]
    fn keys_carry_their_lines() {
        let root = parse(b"# first\nname: x\n\nservices:\n  web: {}\n").expect("document");
        assert_eq!(keys(&root), [("name", 2), ("services", 4)]);
    }

    #[test]
    fn what_the_usual_parsers_read_is_read() {
        for (text, expected) in [
            ("a: [\n  \"x\",\n  \"y\"\n]\n", "xy"),
            ("a:\n  b: [\n  'x',\n  'y'\n  ]\n", "xy"),
            ("a:\n  b: {\n  'k': 'x',\n  'l': 'y'\n  }\n", "xy"),
            ("a:\n  b: [\n'x', y\n]\n", "xy"),
            ("a:\n  b: \"x\n  y\"\n", "x y"),
            ("\u{feff}a: x\n", "x"),
            ("\u{feff}# comment\r\na: x\r\n", "x"),
            ("a: {k:, l: x}\n", "x"),
            ("a: |\n  x", "x"),
        ] {
            let root = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(texts(&root), expected, "{text:?}");
        }
        let root = parse(b"a:\n  b: [\n    'x'\n  ]\n  c: y\n").expect("document");
        let Value::Mapping(entries) = &root.value else { panic!("mapping") };
        assert_eq!(keys(&entries[0].node), [("b", 2), ("c", 5)]);
    }

    /// All single values, one behind the other.
    fn texts(node: &Node) -> String {
        match &node.value {
            _ if node.is_null() => String::new(),
            Value::Scalar { text, .. } => text.clone(),
            Value::Sequence(items) => items.iter().map(texts).collect(),
            Value::Mapping(entries) => entries.iter().map(|entry| texts(&entry.node)).collect(),
        }
    }

    #[test]
    fn merges_keep_the_nearer_value() {
        let root =
            parse(b"x-a: &a {k: 1, l: 2}\nx-b: &b {k: 3, m: 4}\nc:\n  <<: [*a, *b]\n  l: 9\n")
                .expect("document");
        let Value::Mapping(entries) = root.value else { panic!("mapping") };
        let merged: Vec<_> = match &entries[2].node.value {
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| match &entry.node.value {
                    Value::Scalar { text, .. } => (entry.key.as_str(), text.as_str()),
                    other => panic!("{other:?}"),
                })
                .collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(merged, [("l", "9"), ("k", "1"), ("m", "4")]);
    }

    #[test]
    fn bombs_end_early() {
        let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
        for (name, inner) in ["b", "c", "d", "e", "f"].iter().zip(["a", "b", "c", "d", "e"]) {
            let list = vec![format!("*{inner}"); 9].join(", ");
            laughs.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        assert!(matches!(parse(laughs.as_bytes()), Err(DocumentError::TooManyNodes(_))));
        let deep = format!("a: {}{}", "[".repeat(500), "]".repeat(500));
        assert!(matches!(
            parse(deep.as_bytes()),
            Err(DocumentError::TooDeep(1) | DocumentError::Syntax { .. })
        ));
        assert!(matches!(parse(&vec![b' '; MAX_BYTES + 1]), Err(DocumentError::TooLong { .. })));
    }

    #[test]
    fn what_yaml_allows_and_compose_does_not() {
        let cases: [(&str, DocumentError); 9] = [
            ("", DocumentError::Empty),
            ("~", DocumentError::Empty),
            ("a: 1\n---\nb: 2\n", DocumentError::SecondDocument(2)),
            ("a: 1\na: 2\n", DocumentError::DuplicateKey { line: 2, key: "a".into() }),
            ("? [a]\n: 1\n", DocumentError::ComplexKey(1)),
            ("a: !reset 1\n", DocumentError::Tag(1)),
            ("a: &a [*a]\n", DocumentError::AliasCycle(1)),
            ("a:\n  <<: 1\n", DocumentError::BadMerge(2)),
            ("a:\n  <<: [1]\n", DocumentError::BadMerge(2)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert!(matches!(parse(b"a: [1\nb: 2\n"), Err(DocumentError::Syntax { line: 2.., .. })));
        assert_eq!(parse(b"a: \xff"), Err(DocumentError::NotUtf8(3)));
    }
}
