//! The stand-in for compose-spec's conformance images, compiled by the locked compiler, and the
//! names of busybox.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::source::Tree;

use crate::lab;

/// One file without a dependency; cargo compiles it too, for the lints.
pub const SOURCE: &str = include_str!("../../examples/conformance.rs");

/// The names under which images call busybox.
pub const APPLETS: &[&str] = &[
    "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "dirname", "du", "echo",
    "env", "expr", "false", "find", "grep", "head", "hostname", "httpd", "id", "ip", "kill", "ln",
    "ls", "mkdir", "mount", "mv", "nc", "nslookup", "ps", "rm", "sed", "sh", "sleep", "stat",
    "sync", "tail", "touch", "true", "uname", "wc", "wget",
];

/// The static program, made if it is not in the cache. That is done in a sandbox, so only tests
/// with a `main` of their own can ask first.
pub fn built() -> PathBuf {
    let builder = lab::builder();
    let files = BTreeMap::from([("conformance.rs".to_owned(), SOURCE.as_bytes().to_vec())]);
    let source = Tree::of_files(builder.cache(), &files).unwrap();
    let compile = [
        "rustc",
        "--edition=2024",
        "-Copt-level=s",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
        "-o",
        "{out}/conformance",
        "{src}/stand-in/conformance.rs",
    ];
    let recipe = Recipe {
        name: "conformance".to_owned(),
        root: "build".to_owned(),
        sources: BTreeMap::from([("stand-in".to_owned(), Input::Tree(source))]),
        base: None,
        steps: vec![Command::new(compile)],
        env: BTreeMap::new(),
        keep_work: false,
        outputs: vec!["conformance".to_owned()],
    };
    builder.build(&recipe).unwrap().path.join("conformance")
}
