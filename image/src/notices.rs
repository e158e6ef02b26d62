//! The licence files of the image: what is in it, of whom, under which terms.
//!
//! The crate list comes from cargo, inside the hermetic root, so it names exactly what was linked;
//! the rest is short enough to write here. A crate without a licence, or under one that the project
//! keeps out, ends the build.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is not a crate.
pub const NOTICES: &str = "\
This image consists of the following parts. Sources of all of them are named, with digests, in
reproducible-build/inputs.lock and Cargo.lock of the dstyx repository; the builder there makes the same bytes again.

dstyx          the programs in /init and /bin, and pad-runner in /usr/share/dstyx. Apache-2.0:
               dstyx/Apache-2.0.txt
crates         linked into these programs: names and licences in crates.txt
Linux          the kernel beside this initramfs. GPL-2.0-only WITH Linux-syscall-note, with the patches in
               image/kernel/patches, which are GPL-2.0-only; development images also carry the driver in
               tdx-emulator/kernel, GPL-2.0-only
GNU C Library  linked statically into the programs. LGPL-2.1-or-later; to link them with another version, build
               the repository with another one in inputs.lock
Rust           the standard library in the programs. MIT OR Apache-2.0
EDK II         the firmware beside this initramfs. BSD-2-Clause-Patent, with OpenSSL's libcrypto, Apache-2.0
Mozilla        the certificate authorities in /etc/ssl/certs, as Debian packages them. MPL-2.0
";

/// Licences that no program of the image may carry, whatever else a crate offers with `AND`.
const KEPT_OUT: [&str; 3] = ["GPL-", "AGPL-", "SSPL-"];

/// Crates whose manifest names only a file, and the licence that this file is.
const STATED_IN_A_FILE: [(&str, &str); 1] = [("rust-criu", "MIT")];

/// The crate list from cargo's lines `name vVERSION (where)|licence`, each crate once, in order.
///
/// # Errors
/// If a line has no licence, or only one that is kept out.
pub fn crates(lines: &str) -> Result<String, NoticesError> {
    let mut list = BTreeSet::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let malformed = || NoticesError::Line(line.chars().take(128).collect());
        let (package, licence) = line.split_once('|').ok_or_else(malformed)?;
        let mut parts = package.split(' ');
        let name = parts.next().filter(|name| !name.is_empty()).ok_or_else(malformed)?;
        let version = parts.next().and_then(|word| word.strip_prefix('v')).ok_or_else(malformed)?;
        let in_a_file = || {
            STATED_IN_A_FILE.iter().find(|(known, _)| *known == name).map(|(_, licence)| *licence)
        };
        let licence =
            Some(licence.trim().trim_end_matches(" (*)")).filter(|licence| !licence.is_empty());
        let licence = licence.or_else(in_a_file).unwrap_or_default();
        if !acceptable(licence) {
            return Err(NoticesError::Licence { package: name.into(), licence: licence.into() });
        }
        list.insert((name, version, licence));
    }
    let mut text =
        String::from("Crates in the programs of this image: name, version, licence (SPDX).\n\n");
    for (name, version, licence) in list {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name} {version}: {licence}");
    }
    Ok(text)
}

/// Whether some choice of the expression has nothing that is kept out.
fn acceptable(licence: &str) -> bool {
    let kept_out = |choice: &str| {
        let mut parts = choice.split(|c: char| c.is_whitespace() || "()".contains(c));
        parts.any(|word| KEPT_OUT.iter().any(|prefix| word.starts_with(prefix)))
    };
    // Old manifests write a slash for OR.
    !licence.is_empty()
        && licence.replace('/', " OR ").split(" OR ").any(|choice| !kept_out(choice))
}

/// Why there is no crate list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticesError {
    /// not a line of the form `name vVERSION|licence`
    #[error("{0:?} is not a line of the form 'name vVERSION|licence'")]
    Line(String),
    /// a crate without a licence, or with one that is kept out
    #[error(
        "the crate {package} has the licence {licence:?}; the image carries none without, and no GPL, AGPL or SSPL"
    )]
    Licence {
        /// Its name.
        package: String,
        /// As its manifest says.
        licence: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_is_listed_once_without_a_path() {
        let lines = "serde v1.0.0|MIT OR Apache-2.0\ninit v0.1.0 (/elsewhere/init)|Apache-2.0\nserde v1.0.0|MIT OR Apache-2.0 (*)\n";
        let list = crates(lines).unwrap();
        let rows: Vec<_> = list.lines().skip(2).collect();
        assert_eq!(rows, ["init 0.1.0: Apache-2.0", "serde 1.0.0: MIT OR Apache-2.0"]);
    }

    #[test]
    fn foreign_licences_are_refused_by_name() {
        for licence in ["GPL-3.0-only", "", "MIT AND AGPL-3.0-or-later"] {
            let refused = crates(&format!("bad v1.0.0|{licence}\n"));
            let expected = NoticesError::Licence { package: "bad".into(), licence: licence.into() };
            assert_eq!(refused, Err(expected), "{licence}");
        }
        assert!(crates("choice v1.0.0|GPL-2.0-only OR MIT\n").is_ok());
        assert!(crates("old v1.0.0|MIT/GPL-2.0-only\n").is_ok());
        assert!(crates("rust-criu v0.6.1|\n").unwrap().ends_with("rust-criu 0.6.1: MIT\n"));
        assert!(crates("lesser v1.0.0|LGPL-2.1-or-later\n").is_ok());
    }
}
