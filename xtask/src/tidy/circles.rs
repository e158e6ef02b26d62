//! No circle between the modules of a crate.
//!
//! A module and its submodules count as one when they are compared with their siblings, so each
//! level of a crate has a graph of its own: an edge where a path in one sibling's code names
//! something of another's. A use of the parent, or of a child, is no edge. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Source;
use modules::{Crate, Reference};

mod modules;

/// A dependency between two siblings of one level, with the first line that makes it.
type Edges<'a> = BTreeMap<(String, String), &'a Reference>;

/// Checks every crate that has a `src` directory.
pub fn check(sources: &[Source]) -> Vec<String> {
    let roots: BTreeSet<&Path> = sources.iter().filter_map(|source| root(&source.path)).collect();
    roots.into_iter().flat_map(|root| check_crate(&Crate::read(root, sources))).collect()
}

/// `x/src` for every file below it.
fn root(path: &Path) -> Option<&Path> {
    path.ancestors().find(|directory| directory.ends_with("src"))
}

fn check_crate(read: &Crate) -> Vec<String> {
    let mut levels: BTreeMap<&[String], Edges> = BTreeMap::new();
    for reference in &read.references {
        let (from, to) = (&reference.from, &reference.to);
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(user), Some(used)) = (from.get(shared), to.get(shared)) {
            let edges = levels.entry(&from[..shared]).or_default();
            edges.entry((user.clone(), used.clone())).or_insert(reference);
        }
    }
    let circles = levels.values().flat_map(circles);
    circles.map(|edges| described(&edges)).collect()
}

/// The edges of each strongly connected part: those whose two ends reach each other.
fn circles<'a>(edges: &Edges<'a>) -> Vec<Vec<(String, String, &'a Reference)>> {
    let mut parts: BTreeMap<BTreeSet<String>, Vec<_>> = BTreeMap::new();
    for ((user, used), reference) in edges {
        let behind = reached(edges, used);
        if behind.contains(user) {
            let part = behind.into_iter().filter(|name| reached(edges, name).contains(user));
            let circle = parts.entry(part.collect()).or_default();
            circle.push((user.clone(), used.clone(), *reference));
        }
    }
    parts.into_values().collect()
}

/// Every module that `from` uses, directly or through others.
fn reached(edges: &Edges, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        let next = edges.keys().filter(|(user, _)| *user == name).map(|(_, used)| used.clone());
        for used in next {
            if found.insert(used.clone()) {
                open.push(used);
            }
        }
    }
    found
}

fn described(circle: &[(String, String, &Reference)]) -> String {
    let edges = circle.iter().map(|(user, used, reference)| {
        format!("{user} uses {used} ({}:{})", reference.file.display(), reference.line)
    });
    format!("modules in a circle: {}", edges.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: Path::new("demo/src").join(path),
            text: (*text).to_owned(),
        };
        check(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn two_modules_that_use_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B;\nfn f() { let _ = super::a::A; }"),
        ];
        assert_eq!(
            found(&files),
            ["modules in a circle: a uses b (demo/src/a.rs:1), b uses a (demo/src/b.rs:2)"]
        );
    }

    #[test]
    fn a_circle_may_pass_through_a_reexport_a_submodule_and_a_macro() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub use c::C;"),
            ("a.rs", "mod inner;"),
            ("a/inner.rs", "pub fn f() { println!(\"{}\", crate::b::G); }"),
            ("b.rs", "use crate::C; pub const G: u8 = 0;"),
            ("c.rs", "use super::a; pub struct C;"),
        ];
        assert_eq!(found(&files).len(), 1, "{:?}", found(&files));
        assert!(found(&files)[0].contains("b uses c (demo/src/b.rs:1)"));
    }

    #[test]
    fn parents_children_and_tests_are_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; pub struct Root;"),
            ("a.rs", "mod inner; use inner::I; pub struct A; use crate::Root;"),
            ("a/inner.rs", "use super::A; pub struct I;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
            ("a/other.rs", "#[cfg(test)] mod tests { use crate::b::B; }"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
