//! Several compose files as the one that is measured: overrides, `extends` and `include`.
//!
//! A guest reads one plain file. What people spread over files is joined before it is measured, as
//! Docker Compose joins it, and every line of the result knows the file and line that it comes
//! from. Nothing here opens a file: the caller reads, and decides which files may be read. A single
//! file that asks for nothing of this stays as it is, byte for byte.

use std::collections::BTreeSet;

use crate::document::{self, DocumentError, MAX_BYTES};

mod emit;
mod identity;
mod merge;
mod paths;
mod tree;

use merge::{Mismatch, merge};
use paths::{directory_of, join, rebase};
use tree::{Content, Item, Origin, Tree};

/// More files than any app in the field is spread over.
const MAX_FILES: usize = 64;
/// `include` in included files, and services that extend services that extend.
const MAX_DEPTH: usize = 16;
/// Includes altogether, so that files that include each other's includes twice end early.
const MAX_INCLUDES: usize = 64;
/// First line of a text that was made of several files.
const MADE: &str = "# Made by dstyx of these files, in this order. Edit them, not this text.";
/// Begins the line of each of those files.
const MADE_OF: &str = "# - ";
/// Kinds of things that an included file brings in.
const RESOURCES: [&str; 5] = ["services", "networks", "volumes", "configs", "secrets"];

/// One compose file made of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flattened {
    /// The text that is measured.
    pub text: String,
    /// The files that it was made of, `extends` and `include` among them, in the order of reading.
    pub files: Vec<String>,
    /// File and line of each line of the text; none where the text is the only file's own.
    origins: Vec<(usize, usize)>,
}

impl Flattened {
    /// The file and line that line `line` of the text comes from.
    #[must_use]
    pub fn origin(&self, line: usize) -> (&str, usize) {
        let (file, line) = self.origins.get(line.saturating_sub(1)).copied().unwrap_or((0, line));
        (self.files.get(file).map_or("", String::as_str), line)
    }

    /// Every file once, in the order of reading.
    #[must_use]
    pub fn distinct_files(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let files = self.files.iter().map(String::as_str);
        files.filter(|file| seen.insert(*file)).collect()
    }

    /// Whether the text is other than that of the only file.
    #[must_use]
    pub fn is_made(&self) -> bool {
        !self.origins.is_empty()
    }
}

/// Joins `files`, paths relative to the app directory, the later ones over the earlier. `read`
/// gives the text of a file, `None` if there is none that may be read.
pub fn flatten(
    files: &[String],
    read: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<Flattened, FlattenError> {
    let mut reader = Reader { read, files: Vec::new(), includes: 0 };
    if let [file] = files {
        let text = (reader.read)(file).ok_or_else(|| FlattenError::NoFile(file.clone()))?;
        if is_whole(&text) {
            return Ok(Flattened { text, files: vec![file.clone()], origins: Vec::new() });
        }
    }
    let root = reader.project(files, "", &mut Vec::new())?;
    reader.write(root, files)
}

/// The files that a text says it was made of; none for a text that a person wrote.
#[must_use]
pub fn made_of(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    if lines.next() != Some(MADE) {
        return Vec::new();
    }
    lines.map_while(|line| line.strip_prefix(MADE_OF)).map(str::to_owned).collect()
}

/// Whether a text asks for no other file and holds no merge tag; what is no document is left to the
/// reader to refuse.
fn is_whole(text: &str) -> bool {
    let Ok(node) = document::parse_with_merge_tags(text.as_bytes()) else { return true };
    let root = Tree::of(node, 0);
    let extends = |service: &Item| service.tree.get("extends").is_some();
    let services = root.get("services").map(Tree::items).unwrap_or_default();
    root.get("include").is_none() && !services.iter().any(extends) && !root.has_tags()
}

/// A file as it was read.
#[derive(Debug)]
struct File {
    path: String,
    /// To which its relative paths are relative.
    directory: String,
    root: Tree,
}

/// Reads files, each once for each directory that its paths are relative to.
struct Reader<'r> {
    read: &'r mut dyn FnMut(&str) -> Option<String>,
    files: Vec<File>,
    includes: usize,
}

impl Reader<'_> {
    /// The files `paths` as one document; `outer` are the files that include them.
    fn project(
        &mut self,
        paths: &[String],
        directory: &str,
        outer: &mut Vec<String>,
    ) -> Result<Tree, FlattenError> {
        let mut joined: Option<Tree> = None;
        for path in paths {
            let file = self.load(path, directory)?;
            let mut root = self.files[file].root.clone();
            self.extend_all(file, &mut root)?;
            if let Some(include) = root.take("include") {
                if outer.contains(path) || outer.len() == MAX_DEPTH {
                    return Err(self.fault(include.origin, Fault::Circle(path.clone())));
                }
                outer.push(path.clone());
                self.include(&include, directory, &mut root, outer)?;
                outer.pop();
            }
            joined = Some(match joined {
                None => root,
                Some(base) => merge(base, root, &[]).map_err(|mismatch| self.mismatch(mismatch))?,
            });
        }
        joined.ok_or_else(|| FlattenError::NoFile(String::new()))
    }

    /// Reads and remembers a file; its paths are written as from the app directory.
    fn load(&mut self, path: &str, directory: &str) -> Result<usize, FlattenError> {
        let known = |file: &File| file.path == path && file.directory == directory;
        if let Some(at) = self.files.iter().position(known) {
            return Ok(at);
        }
        if self.files.len() == MAX_FILES {
            return Err(FlattenError::TooManyFiles);
        }
        let text = (self.read)(path).ok_or_else(|| FlattenError::NoFile(path.to_owned()))?;
        let node = document::parse_with_merge_tags(text.as_bytes())
            .map_err(|cause| FlattenError::Document { file: path.to_owned(), cause })?;
        let at = self.files.len();
        let root = Tree::of(node, at);
        let (origin, kind) = (root.origin, root.kind());
        let mapping = matches!(root.content, Content::Mapping(_));
        self.files.push(File { path: path.to_owned(), directory: directory.to_owned(), root });
        if !mapping {
            return Err(self.fault(origin, Fault::Kind { expected: "a mapping", found: kind }));
        }
        let mut root = self.files[at].root.clone();
        rebase(&mut root, directory).map_err(|(origin, fault)| self.fault(origin, fault))?;
        self.files[at].root = root;
        Ok(at)
    }

    /// Fills in the services of `root`, read from `file`, that extend others.
    fn extend_all(&mut self, file: usize, root: &mut Tree) -> Result<(), FlattenError> {
        let Some(services) = root.get_mut("services").and_then(Tree::items_mut) else {
            return Ok(());
        };
        for service in services {
            if service.tree.get("extends").is_some() {
                let name = service.key.clone();
                service.tree = self.service(file, &name, service.origin, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    /// The service `name` of a file, over those that it extends; `by` names it.
    fn service(
        &mut self,
        file: usize,
        name: &str,
        by: Origin,
        outer: &mut Vec<(usize, String)>,
    ) -> Result<Tree, FlattenError> {
        let this = (file, name.to_owned());
        if outer.contains(&this) || outer.len() == MAX_DEPTH {
            return Err(self.fault(by, Fault::Circle(name.to_owned())));
        }
        let services = self.files[file].root.get("services");
        let Some(mut service) = services.and_then(|services| services.get(name)).cloned() else {
            let file = self.files[file].path.clone();
            return Err(self.fault(by, Fault::NoService { name: name.to_owned(), file }));
        };
        let Some(extends) = service.take("extends") else { return Ok(service) };
        let (base_name, base_file) = self.extended(&extends)?;
        let base_file = match base_file {
            None => file,
            Some(path) => {
                let path = self.inside(extends.origin, &self.files[file].directory, &path)?;
                self.load(&path, directory_of(&path))?
            }
        };
        outer.push(this);
        let base = self.service(base_file, &base_name, extends.origin, outer)?;
        outer.pop();
        merge(base, service, &["services", name]).map_err(|mismatch| self.mismatch(mismatch))
    }

    /// The service and the file that `extends` names.
    fn extended(&self, extends: &Item) -> Result<(String, Option<String>), FlattenError> {
        let tree = &extends.tree;
        if let Some(name) = tree.text() {
            return Ok((name.to_owned(), None));
        }
        self.only(tree, extends.origin, &["service", "file"])?;
        let text = |key: &str| tree.get(key).and_then(Tree::text).map(str::to_owned);
        let expected = "the name of a service, or a mapping with service and, if need be, file";
        let fault = || self.fault(extends.origin, Fault::Kind { expected, found: tree.kind() });
        Ok((text("service").ok_or_else(fault)?, text("file")))
    }

    /// Adds what the files under `include` define to `root`.
    fn include(
        &mut self,
        include: &Item,
        directory: &str,
        root: &mut Tree,
        outer: &mut Vec<String>,
    ) -> Result<(), FlattenError> {
        let Content::Sequence(entries) = &include.tree.content else {
            let fault = Fault::Kind { expected: "a list of files", found: include.tree.kind() };
            return Err(self.fault(include.origin, fault));
        };
        for entry in entries {
            self.includes += 1;
            if self.includes > MAX_INCLUDES {
                return Err(FlattenError::TooManyFiles);
            }
            let (files, directory) = self.included(entry, directory)?;
            let theirs = self.project(&files, &directory, outer)?;
            let environment = join(&directory, ".env");
            if !directory.is_empty() && (self.read)(&environment).is_some() {
                return Err(self.fault(entry.origin, Fault::Environment(environment)));
            }
            self.import(entry, theirs, root)?;
        }
        Ok(())
    }

    /// The files of one entry of `include`, and the directory that their paths are relative to.
    fn included(
        &self,
        entry: &Tree,
        directory: &str,
    ) -> Result<(Vec<String>, String), FlattenError> {
        let written = match &entry.content {
            Content::Mapping(_) => {
                self.only(entry, entry.origin, &["path", "project_directory", "env_file"])?;
                if entry.get("env_file").is_some() {
                    let file = "env_file".to_owned();
                    return Err(self.fault(entry.origin, Fault::Environment(file)));
                }
                entry.get("path")
            }
            _ => Some(entry),
        };
        let texts: Option<Vec<&str>> = match written.map(|tree| (tree, &tree.content)) {
            Some((_, Content::Sequence(trees))) => trees.iter().map(Tree::text).collect(),
            Some((tree, _)) => tree.text().map(|text| vec![text]),
            None => None,
        };
        let texts = texts.filter(|texts| !texts.is_empty()).ok_or_else(|| {
            let expected = "a file, or a mapping with path";
            self.fault(entry.origin, Fault::Kind { expected, found: entry.kind() })
        })?;
        let inside = |text: &&str| self.inside(entry.origin, directory, text);
        let files = texts.iter().map(inside).collect::<Result<Vec<_>, _>>()?;
        let project = match entry.get("project_directory").and_then(Tree::text) {
            Some(text) => self.inside(entry.origin, directory, text)?,
            None => directory_of(&files[0]).to_owned(),
        };
        Ok((files, project))
    }

    /// Copies what `theirs` defines into `root`; two things of one name must be the same.
    fn import(&self, entry: &Tree, theirs: Tree, root: &mut Tree) -> Result<(), FlattenError> {
        let mut theirs = theirs;
        for kind in RESOURCES {
            let Some(more) = theirs.take(kind) else { continue };
            let Content::Mapping(items) = more.tree.content else { continue };
            if root.get(kind).is_none()
                && let Some(top) = root.items_mut()
            {
                let (content, origin) = (Content::Mapping(Vec::new()), more.origin);
                let tree = Tree { content, origin, tag: None };
                top.push(Item { key: kind.to_owned(), origin, tree });
            }
            for item in items {
                let conflict = Fault::Included { kind, name: item.key.clone() };
                let Some(ours) = root.get_mut(kind).and_then(Tree::items_mut) else { continue };
                match ours.iter().find(|known| known.key == item.key) {
                    None => ours.push(item),
                    Some(known) if known.tree.says(&item.tree) => {}
                    Some(_) => return Err(self.fault(entry.origin, conflict)),
                }
            }
        }
        Ok(())
    }

    /// `path`, written in a file of `directory`, as from the app directory; it lies inside that.
    fn inside(&self, by: Origin, directory: &str, path: &str) -> Result<String, FlattenError> {
        if path.contains('$') {
            return Err(self.fault(by, Fault::VariablePath(path.to_owned())));
        }
        let remote = path.contains("://") || path.starts_with("git@");
        let joined = join(directory, path);
        if remote || path.starts_with(['/', '~']) || joined.starts_with("..") {
            return Err(self.fault(by, Fault::Outside(path.to_owned())));
        }
        Ok(joined)
    }

    /// Refuses keys of a mapping that are none of `known`.
    fn only(&self, tree: &Tree, by: Origin, known: &[&str]) -> Result<(), FlattenError> {
        match tree.items().iter().find(|item| !known.contains(&item.key.as_str())) {
            Some(item) => Err(self.fault(by, Fault::Key(item.key.clone()))),
            None => Ok(()),
        }
    }

    /// The document as text, with a comment that names the files that a person listed.
    fn write(self, mut root: Tree, listed: &[String]) -> Result<Flattened, FlattenError> {
        root.settle();
        let mut text = format!("{MADE}\n");
        let mut origins = vec![(0, 1)];
        for file in listed {
            text.push_str(&format!("{MADE_OF}{file}\n"));
            origins.push((0, 1));
        }
        for (line, origin) in emit::lines(&root).ok_or(FlattenError::Unwritable)? {
            text.push_str(&line);
            text.push('\n');
            origins.push((origin.file, origin.line));
        }
        if text.len() > MAX_BYTES {
            return Err(FlattenError::TooLong { found: text.len() });
        }
        Ok(Flattened {
            text,
            files: self.files.into_iter().map(|file| file.path).collect(),
            origins,
        })
    }

    fn mismatch(&self, mismatch: Mismatch) -> FlattenError {
        let Mismatch { origin, path, before, found } = mismatch;
        self.fault(origin, Fault::Mismatch { path, before, found })
    }

    fn fault(&self, origin: Origin, fault: Fault) -> FlattenError {
        let file = self.files.get(origin.file).map(|file| file.path.clone()).unwrap_or_default();
        FlattenError::Fault { file, line: origin.line, fault }
    }
}

/// Why several files do not make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlattenError {
    /// a file is not there, or may not be read
    #[error("there is no file {0:?}")]
    NoFile(String),
    /// a file is no document
    #[error("{file}: {cause}")]
    Document {
        /// The file.
        file: String,
        /// Why not.
        cause: DocumentError,
    },
    /// what a file says cannot be joined
    #[error("{file}, line {line}: {fault}")]
    Fault {
        /// The file.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        fault: Fault,
    },
    /// there are too many files
    #[error("more than {MAX_FILES} files, or {MAX_INCLUDES} includes")]
    TooManyFiles,
    /// all files together are too large
    #[error("the files make one of {found} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// Its size.
        found: usize,
    },
    /// the joined document cannot be written as text that is read as the same
    #[error("the files make a document that cannot be written")]
    Unwritable,
}

/// What one place of a file has wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// a value is of another kind
    #[error("expected {expected}, found {found}")]
    Kind {
        /// The kind allowed.
        expected: &'static str,
        /// The kind present.
        found: &'static str,
    },
    /// a value is of another kind than that of an earlier file
    #[error("{path}: {found} cannot be merged into {before} of a file before")]
    Mismatch {
        /// The key path.
        path: String,
        /// The earlier kind.
        before: &'static str,
        /// The later kind.
        found: &'static str,
    },
    /// a key of `extends` or `include` that is not read
    #[error("the key {0:?} is not supported here")]
    Key(String),
    /// a service extends one that is not there
    #[error("{file} has no service {name:?}")]
    NoService {
        /// The service.
        name: String,
        /// The file that should have it.
        file: String,
    },
    /// services extend each other, or files include each other
    #[error("{0:?} needs itself, or more than {MAX_DEPTH} others in a row")]
    Circle(String),
    /// a path leads out of the app directory
    #[error("{0:?} is no file of the app directory")]
    Outside(String),
    /// a path has a variable in it
    #[error("{0:?} has a variable where a path is needed")]
    VariablePath(String),
    /// an included file would be read with other variables
    #[error("{0} would give the included file variables of its own")]
    Environment(String),
    /// an included file defines what the including one does, differently
    #[error("the included file defines {name:?} under {kind} too, differently")]
    Included {
        /// The kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl FlattenError {
    /// What to do instead, where there is an alternative.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoFile(_) => "is the name right, and does it lie in the app directory?",
            Self::Document { .. } => "a compose file is one YAML document",
            Self::TooManyFiles | Self::TooLong { .. } => "put large data into images",
            Self::Unwritable => "this is an error of dstyx, please report it",
            Self::Fault { fault, .. } => match fault {
                Fault::Kind { .. } | Fault::Key(_) => "docs/compose.md says what is read there",
                Fault::Mismatch { .. } => "write both alike, or !override before the later one",
                Fault::NoService { .. } => "is the name of the service right?",
                Fault::Circle(_) => "leave one extends or include out",
                Fault::Outside(_) => "copy the file into the app directory",
                Fault::VariablePath(_) => "write the path out",
                Fault::Environment(_) => "move the variables into .env of the app directory",
                Fault::Included { .. } => "rename one, or change it in an override file",
            },
        }
    }
}

#[cfg(test)]
mod tests;
