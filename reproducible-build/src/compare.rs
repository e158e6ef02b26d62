//! Two builds' outputs compared byte by byte, and the first difference explained.
//!
//! Equality is decided on whole files; the formats of [`place`] are read only to say
//! where a difference lies, so a parser that misreads can spoil an explanation, never
//! a verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fs_err as fs;

mod cpio;
mod firmware;
mod object;
mod part;
pub mod place;

pub use place::Place;

/// Bytes shown from each side at the first difference.
const SHOWN_BYTES: usize = 16;

/// The first difference between two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to both directories.
    pub file: String,
    /// What differs.
    pub what: What,
}

/// What differs about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Only one build has it.
    Missing {
        /// Whether it is the first build that has it.
        only_in_first: bool,
    },
    /// File, directory or link.
    Kind,
    /// Permission bits, of the first and the second.
    Mode(u32, u32),
    /// Content.
    Content(Content),
}

/// Where two contents differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Of the first byte that differs, in the file.
    pub offset: u64,
    /// Sizes in bytes, of the first and the second.
    pub sizes: (u64, u64),
    /// What contains it, from the outside inwards: sections, archive members.
    pub nested: Vec<Place>,
    /// The bytes from there on, of the first and the second.
    pub bytes: (Vec<u8>, Vec<u8>),
}

/// Compares two directories; nothing if they are equal.
///
/// # Errors
/// If one cannot be read.
pub fn directories(first: &Path, second: &Path) -> io::Result<Option<Difference>> {
    compare_directories(first, second, "")
}

/// Compares two contents; nothing if they are equal.
#[must_use]
pub fn contents(first: &[u8], second: &[u8]) -> Option<Content> {
    let offset = first_difference(first, second)?;
    let from = |bytes: &[u8]| bytes[offset..].iter().take(SHOWN_BYTES).copied().collect();
    Some(Content {
        offset: offset as u64,
        sizes: (first.len() as u64, second.len() as u64),
        nested: place::explain(first, second),
        bytes: (from(first), from(second)),
    })
}

/// The first position at which two slices differ; where one ends counts.
fn first_difference(first: &[u8], second: &[u8]) -> Option<usize> {
    let at = first.iter().zip(second).position(|(a, b)| a != b);
    at.or_else(|| (first.len() != second.len()).then(|| first.len().min(second.len())))
}

fn compare_directories(
    first: &Path,
    second: &Path,
    prefix: &str,
) -> io::Result<Option<Difference>> {
    let (in_first, in_second) = (names(first)?, names(second)?);
    for name in in_first.union(&in_second) {
        let file = format!("{prefix}{name}");
        let only_in_first = !in_second.contains(name);
        if only_in_first || !in_first.contains(name) {
            return Ok(Some(Difference { file, what: What::Missing { only_in_first } }));
        }
        let found = compare_entries(&first.join(name), &second.join(name), &file)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    fs::read_dir(dir)?.map(name).collect()
}

fn compare_entries(first: &Path, second: &Path, file: &str) -> io::Result<Option<Difference>> {
    let (one, two) = (fs::symlink_metadata(first)?, fs::symlink_metadata(second)?);
    let differs = |what| Ok(Some(Difference { file: file.to_owned(), what }));
    if one.file_type() != two.file_type() {
        return differs(What::Kind);
    }
    let modes = (one.permissions().mode() & 0o7777, two.permissions().mode() & 0o7777);
    if one.is_dir() {
        // A directory's mode follows the umask, and no format that we write stores it.
        return compare_directories(first, second, &format!("{file}/"));
    }
    let (a, b) = match one.is_symlink() {
        true => (target(first)?, target(second)?),
        false => (fs::read(first)?, fs::read(second)?),
    };
    match contents(&a, &b) {
        Some(content) => differs(What::Content(content)),
        None if executable(modes.0) != executable(modes.1) => differs(What::Mode(modes.0, modes.1)),
        None => Ok(None),
    }
}

fn target(link: &Path) -> io::Result<Vec<u8>> {
    Ok(fs::read_link(link)?.into_os_string().into_encoded_bytes())
}

/// Of a mode only what the umask does not decide.
fn executable(mode: u32) -> bool {
    mode & 0o100 != 0
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Missing { only_in_first: true } => {
                write!(f, "{}: only the first build has it", self.file)
            }
            What::Missing { only_in_first: false } => {
                write!(f, "{}: only the second build has it", self.file)
            }
            What::Kind => write!(f, "{}: not the same kind of file", self.file),
            What::Mode(one, two) => write!(f, "{}: mode {one:o} and {two:o}", self.file),
            What::Content(content) => write!(f, "{}: {content}", self.file),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first difference at offset {:#x}", self.offset)?;
        if self.sizes.0 != self.sizes.1 {
            write!(f, " (sizes {} and {})", self.sizes.0, self.sizes.1)?;
        }
        for place in &self.nested {
            write!(f, "\n  in {place}")?;
        }
        for (build, bytes) in [("first ", &self.bytes.0), ("second", &self.bytes.1)] {
            write!(f, "\n  {build} {}", shown(bytes))?;
        }
        Ok(())
    }
}

fn shown(bytes: &[u8]) -> String {
    let text =
        bytes.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' });
    format!("{:<32}  {}", hex::encode(bytes), text.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn compare(change: impl FnOnce(&Path)) -> Option<Difference> {
        let dir = tempfile::tempdir().unwrap();
        let sides = ["one", "two"].map(|name| dir.path().join(name));
        for side in &sides {
            fs::create_dir_all(side.join("sub")).unwrap();
            fs::write(side.join("sub/a"), "content").unwrap();
            fs::write(side.join("b"), "b").unwrap();
            symlink("b", side.join("link")).unwrap();
        }
        change(&sides[1]);
        directories(&sides[0], &sides[1]).unwrap()
    }

    #[test]
    fn equal_directories_are_equal_whatever_the_umask() {
        let loose = |dir: &Path| {
            fs::set_permissions(dir.join("b"), std::fs::Permissions::from_mode(0o664)).unwrap()
        };
        assert_eq!(compare(|_| ()), None);
        assert_eq!(compare(loose), None);
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let found = compare(|dir| fs::write(dir.join("sub/a"), "conTent").unwrap()).unwrap();
        assert_eq!(found.file, "sub/a");
        assert!(found.to_string().contains("offset 0x3"), "{found}");
        let longer = compare(|dir| fs::write(dir.join("b"), "bb").unwrap()).unwrap();
        assert!(matches!(&longer.what, What::Content(c) if c.offset == 1 && c.sizes == (1, 2)));
        let gone = compare(|dir| fs::remove_file(dir.join("b")).unwrap()).unwrap();
        assert_eq!(gone.what, What::Missing { only_in_first: true });
        let added = compare(|dir| fs::write(dir.join("c"), "").unwrap()).unwrap();
        assert_eq!(added.what, What::Missing { only_in_first: false });
        let kind = compare(|dir| {
            fs::remove_file(dir.join("b")).unwrap();
            fs::create_dir(dir.join("b")).unwrap();
        });
        assert_eq!(kind.unwrap().what, What::Kind);
        let link = compare(|dir| {
            fs::remove_file(dir.join("link")).unwrap();
            symlink("c", dir.join("link")).unwrap();
        });
        assert_eq!(link.unwrap().file, "link");
        let mode = compare(|dir| {
            fs::set_permissions(dir.join("b"), std::fs::Permissions::from_mode(0o755)).unwrap();
        });
        assert!(matches!(mode.unwrap().what, What::Mode(_, 0o755)));
    }
}
