//! Every crate in the tree has a permissive licence.

use cargo_metadata::{Metadata, Package};

/// Licences that may be linked into what we ship; MPL-2.0 is per file and stays as it stands.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that state no licence in their manifest, and the licence that their own LICENSE file
/// gives.
const STATED_ELSEWHERE: &[(&str, &str)] = &[("rust-criu", "MIT")];

/// One of the alternatives must be permissive, and of a conjunction every part.
pub fn check() -> Vec<String> {
    match super::workspaces() {
        Ok(workspaces) => workspaces.iter().flat_map(check_workspace).collect(),
        Err(error) => vec![error],
    }
}

fn check_workspace(metadata: &Metadata) -> Vec<String> {
    let stated = |package: &Package| {
        let elsewhere = STATED_ELSEWHERE.iter().find(|(name, _)| *name == package.name.as_str());
        package.license.clone().or(elsewhere.map(|(_, licence)| (*licence).to_owned()))
    };
    let refused = metadata
        .packages
        .iter()
        .filter(|package| !stated(package).is_some_and(|text| permissive(&text)));
    refused
        .map(|package| format!("crate {} has licence {:?}", package.name, package.license))
        .collect()
}

fn permissive(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    // AND binds stronger than OR; a parenthesised OR inside an AND is checked part by part, which
    // only refuses more.
    flat.split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(|part| PERMISSIVE.contains(&part.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_and_conjunctions() {
        assert!(permissive("MIT OR GPL-3.0"));
        assert!(permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!permissive("GPL-3.0-only"));
        assert!(!permissive("MIT AND AGPL-3.0"));
    }
}
