//! The archive's indices: `InRelease`, `Packages.xz` and `Sources.xz`.
//!
//! An index is bound to `InRelease` by size and SHA-256. The signature on
//! `InRelease` is not checked: what comes out of an index goes into the lock, and
//! the lock's difference is reviewed by people before it counts.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::lock::Pin;

/// A package of an index, with what resolving needs.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the lock pins.
    pub pin: Pin,
    /// The fields `Pre-Depends` and `Depends`, joined.
    pub depends: String,
    /// The field `Provides`.
    pub provides: String,
    /// Whether Debian assumes it on every system.
    pub essential: bool,
}

/// The SHA-256 and size that an `InRelease` states for the index `name`
/// (such as `main/binary-amd64/Packages.xz`).
///
/// # Errors
/// If the file does not name the index.
pub fn stated_digest(in_release: &str, name: &str) -> Result<(Digest, u64), IndexError> {
    let mut lines = in_release.lines().skip_while(|line| *line != "SHA256:");
    lines.next();
    lines
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| {
            let mut fields = line.split_whitespace();
            let (digest, size, path) = (fields.next()?, fields.next()?, fields.next()?);
            let found = path == name && fields.next().is_none();
            found.then_some((digest.parse().ok()?, size.parse().ok()?))
        })
        .ok_or_else(|| IndexError::NotStated(name.into()))
}

/// The packages of a `Packages` file.
///
/// # Errors
/// If a stanza lacks a field or holds a malformed one.
pub fn packages(text: &str) -> Result<Vec<Package>, IndexError> {
    stanzas(text).map(|stanza| package(&stanza)).collect()
}

/// The tarballs of the newest version of `name` in a `Sources` file.
///
/// # Errors
/// If a stanza of that name lacks a field or holds a malformed one.
pub fn source_files(text: &str, name: &str) -> Result<Vec<Pin>, IndexError> {
    let mut newest: Vec<Pin> = Vec::new();
    for stanza in stanzas(text).filter(|s| s.get("Package").is_some_and(|p| p == name)) {
        let pins = source_pins(&stanza)?;
        let later = match (newest.first(), pins.first()) {
            (Some(old), Some(new)) => super::version::compare(&new.version, &old.version).is_gt(),
            _ => true,
        };
        if later {
            newest = pins;
        }
    }
    Ok(newest)
}

type Stanza<'a> = HashMap<&'a str, String>;

fn package(stanza: &Stanza<'_>) -> Result<Package, IndexError> {
    let optional = |key: &str| stanza.get(key).cloned().unwrap_or_default();
    Ok(Package {
        pin: Pin {
            name: field(stanza, "Package")?.into(),
            version: field(stanza, "Version")?.into(),
            path: field(stanza, "Filename")?.into(),
            size: number(stanza, field(stanza, "Size")?)?,
            sha256: digest(stanza, field(stanza, "SHA256")?)?,
        },
        depends: format!("{}, {}", optional("Pre-Depends"), optional("Depends")),
        provides: optional("Provides"),
        essential: optional("Essential") == "yes",
    })
}

fn source_pins(stanza: &Stanza<'_>) -> Result<Vec<Pin>, IndexError> {
    let (name, version) = (field(stanza, "Package")?, field(stanza, "Version")?);
    let directory = field(stanza, "Directory")?;
    let mut pins = Vec::new();
    for line in field(stanza, "Checksums-Sha256")?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [hash, size, file] = fields[..] else {
            continue;
        };
        if file.contains(".tar.") && !file.ends_with(".asc") {
            pins.push(Pin {
                name: name.into(),
                version: version.into(),
                path: format!("{directory}/{file}"),
                size: number(stanza, size)?,
                sha256: digest(stanza, hash)?,
            });
        }
    }
    // The upstream tarball before Debian's additions.
    pins.sort_by_key(|pin| !pin.path.contains(".orig"));
    Ok(pins)
}

fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(stanza)
}

fn stanza(block: &str) -> Stanza<'_> {
    let mut fields = Stanza::new();
    let mut current = "";
    for line in block.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(current) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            current = key;
            fields.insert(key, value.trim().to_owned());
        }
    }
    fields
}

fn field<'a>(stanza: &'a Stanza<'_>, key: &'static str) -> Result<&'a str, IndexError> {
    let missing = || IndexError::NoField(title(stanza), key);
    stanza.get(key).map(String::as_str).ok_or_else(missing)
}

fn number(stanza: &Stanza<'_>, text: &str) -> Result<u64, IndexError> {
    let bad = |_| IndexError::BadField(title(stanza), text.into());
    text.parse().map_err(bad)
}

fn digest(stanza: &Stanza<'_>, text: &str) -> Result<Digest, IndexError> {
    let bad = |_| IndexError::BadField(title(stanza), text.into());
    text.parse().map_err(bad)
}

fn title(stanza: &Stanza<'_>) -> String {
    stanza.get("Package").cloned().unwrap_or_default()
}

/// Why an index was refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// the archive's InRelease does not state a SHA-256 for {0}
    #[error("the archive's InRelease does not state a SHA-256 for {0}")]
    NotStated(String),
    /// the index's entry {0:?} has no field {1}
    #[error("the index's entry {0:?} has no field {1}")]
    NoField(String, &'static str),
    /// the index's entry {0:?} has the malformed value {1:?}
    #[error("the index's entry {0:?} has the malformed value {1:?}")]
    BadField(String, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_packages() {
        let text = format!(
            "Package: a\nEssential: yes\nVersion: 1\nDescription: x\n long: text\nDepends: b\nFilename: pool/a.deb\nSize: 3\nSHA256: {HASH}\n\n"
        );
        let all = packages(&text).unwrap();
        assert!(all[0].essential && all[0].pin.size == 3);
        assert!(all[0].depends.contains('b'));
        let broken = text.replace("Size: 3", "Size: x");
        assert!(matches!(packages(&broken), Err(IndexError::BadField(..))));
    }

    #[test]
    fn reads_the_newest_source() {
        let one = |v: &str| {
            format!(
                "Package: s\nVersion: {v}\nDirectory: pool/s\nChecksums-Sha256:\n {HASH} 9 s_{v}.dsc\n {HASH} 1 s_{v}.debian.tar.xz\n {HASH} 2 s_{v}.orig.tar.xz\n\n"
            )
        };
        let pins = source_files(&format!("{}{}", one("1.10"), one("1.9")), "s").unwrap();
        let paths: Vec<&str> = pins.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["pool/s/s_1.10.orig.tar.xz", "pool/s/s_1.10.debian.tar.xz"]);
    }

    #[test]
    fn reads_only_the_sha256_list() {
        let text = format!("MD5Sum:\n 00 5 m/P.xz\nSHA256:\n {HASH} 7 m/P.xz\nOther: x\n");
        assert_eq!(stated_digest(&text, "m/P.xz").unwrap().1, 7);
        assert!(stated_digest(&text, "m/Q.xz").is_err());
    }
}
