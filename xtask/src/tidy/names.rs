//! Sources name no registry host: mirrors come from the machine's own configuration.

use std::fs;
use std::path::Path;

use super::tracked;

/// Parts of host names, written so that this file does not contain them.
const HOSTS: &[(&str, &str)] = &[
    ("deb.debian", ".org"),
    ("snapshot.debian", ".org"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
];
/// What is looked at; Cargo.lock names its registry by cargo's own rule.
const PATTERNS: &[&str] = &["*.rs", "*.toml", "*.md", "*.sh", "*.lock", "*.yml", "*.json"];

/// Looks for each host in each file.
pub fn check(root: &Path) -> Vec<String> {
    let files = PATTERNS.iter().flat_map(|pattern| tracked(root, pattern).unwrap_or_default());
    files
        .filter(|file| !file.starts_with("tests/vectors"))
        .flat_map(|file| named(root, &file))
        .collect()
}

fn named(root: &Path, file: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let hosts = HOSTS.iter().map(|(name, domain)| format!("{name}{domain}"));
    hosts
        .filter(|host| text.contains(host))
        .map(|host| format!("{}: names the host {host}", file.display()))
        .collect()
}
