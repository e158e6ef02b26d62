//! The modules of a crate and the paths by which one names another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tidy::{Source, test_code};

/// A module's names from the crate's root, which has none.
type ModulePath = Vec<String>;

/// One place where a module names something of another.
#[derive(Debug)]
pub struct Reference {
    pub from: ModulePath,
    pub to: ModulePath,
    pub file: PathBuf,
    pub line: usize,
}

/// What is known of a crate: every use of one module by another.
#[derive(Debug)]
pub struct Crate {
    pub references: Vec<Reference>,
}

/// A path as it is written, in the module that holds it.
struct Written<'a> {
    module: ModulePath,
    names: Vec<String>,
    file: &'a Path,
    line: usize,
}

/// Re-exports followed before a path is given up as circular.
const MAX_REEXPORTS: usize = 8;

impl Crate {
    /// Reads the files below `root`; a file that does not parse is another rule's finding.
    pub fn read(root: &Path, sources: &[Source]) -> Self {
        let mut modules = BTreeSet::from([ModulePath::new()]);
        let mut written = Vec::new();
        let mut imports = BTreeMap::new();
        for source in sources {
            let Some(module) = module_of(root, &source.path) else { continue };
            let Ok(file) = syn::parse_file(&source.text) else { continue };
            if file.attrs.iter().any(test_code::is_attribute) {
                continue;
            }
            modules.insert(module.clone());
            let mut reader =
                Reader { module, file: &source.path, written: &mut written, imports: &mut imports };
            reader.visit_file(&file);
        }
        let names = Names { modules, imports };
        let resolved = written.into_iter().filter_map(|path| {
            let to = names.resolve(&path.module, &path.names, 0)?;
            Some(Reference { from: path.module, to, file: path.file.to_owned(), line: path.line })
        });
        Self { references: resolved.collect() }
    }
}

/// The module that a file holds; programs in `src/bin` and files called `tests.rs` are left out.
fn module_of(root: &Path, path: &Path) -> Option<ModulePath> {
    let inside = path.strip_prefix(root).ok()?;
    let mut names: ModulePath =
        inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.first().is_some_and(|first| first == "bin") || names.iter().any(|name| name == "tests")
    {
        return None;
    }
    if matches!(names.as_slice(), [only] if only == "lib" || only == "main") {
        names.clear();
    }
    Some(names)
}

/// What names mean in a crate.
struct Names {
    modules: BTreeSet<ModulePath>,
    /// What a module imports, by the name under which it has it.
    imports: BTreeMap<(ModulePath, String), Vec<String>>,
}

impl Names {
    /// The innermost module that holds what a path names; none for another crate's.
    fn resolve(&self, module: &[String], names: &[String], depth: usize) -> Option<ModulePath> {
        let (mut at, mut rest) = self.start(module, names)?;
        while let Some((name, behind)) = rest.split_first() {
            let mut child = at.clone();
            child.push(name.clone());
            if self.modules.contains(&child) {
                (at, rest) = (child, behind);
                continue;
            }
            return match self.imports.get(&(at.clone(), name.clone())) {
                Some(import) if depth < MAX_REEXPORTS => {
                    let whole = [import, behind].concat();
                    self.resolve(&at, &whole, depth + 1).or(Some(at))
                }
                _ => Some(at),
            };
        }
        Some(at)
    }

    /// Where a path begins, and what is left of it.
    fn start<'a>(
        &self,
        module: &[String],
        names: &'a [String],
    ) -> Option<(ModulePath, &'a [String])> {
        let (first, rest) = names.split_first()?;
        match first.as_str() {
            "crate" => Some((ModulePath::new(), rest)),
            "self" => Some((module.to_vec(), rest)),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first() {
                    Some(next) if next == "super" => self.start(parent, rest),
                    _ => Some((parent.to_vec(), rest)),
                }
            }
            _ => {
                let child = [module, std::slice::from_ref(first)].concat();
                self.modules.contains(&child).then(|| (module.to_vec(), names))
            }
        }
    }
}

/// Collects the paths of one file, without its tests.
struct Reader<'a, 'b> {
    module: ModulePath,
    file: &'a Path,
    written: &'b mut Vec<Written<'a>>,
    imports: &'b mut BTreeMap<(ModulePath, String), Vec<String>>,
}

impl Reader<'_, '_> {
    fn found(&mut self, names: Vec<String>, line: usize) {
        self.written.push(Written { module: self.module.clone(), names, file: self.file, line });
    }

    fn imported(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.imported(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.import(prefix.to_vec(), prefix.last().cloned(), name.ident.span());
            }
            syn::UseTree::Name(name) => {
                self.import(with(&name.ident), Some(name.ident.to_string()), name.ident.span());
            }
            syn::UseTree::Rename(rename) => {
                let alias = rename.rename.to_string();
                self.import(with(&rename.ident), Some(alias), rename.ident.span());
            }
            syn::UseTree::Glob(glob) => {
                self.import(prefix.to_vec(), None, glob.star_token.spans[0]);
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.imported(item, prefix));
            }
        }
    }

    fn import(&mut self, names: Vec<String>, alias: Option<String>, span: proc_macro2::Span) {
        if let Some(alias) = alias {
            self.imports.insert((self.module.clone(), alias), names.clone());
        }
        self.found(names, span.start().line);
    }

    /// Paths in a macro's arguments, which are tokens only.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut names = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.finish(&mut names, line);
                    }
                    line = ident.span().start().line;
                    names.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.finish(&mut names, line);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.finish(&mut names, line),
            }
        }
        self.finish(&mut names, line);
    }

    fn finish(&mut self, names: &mut Vec<String>, line: usize) {
        if names.len() > 1 {
            self.found(std::mem::take(names), line);
        }
        names.clear();
    }
}

impl<'ast> Visit<'ast> for Reader<'_, '_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !test_code::is_item(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !function.attrs.iter().any(test_code::is_attribute) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.imported(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.found(names, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}
