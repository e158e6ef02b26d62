//! What changed between two locks, for the person who reviews it.

use std::collections::BTreeMap;
use std::fmt;

use super::{Lock, Pin};

/// One line of the difference; `section` is the group's or source's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the new lock has it.
    Added {
        /// The group's or source's name.
        section: String,
        /// What was added.
        pin: Pin,
    },
    /// Only the old lock has it.
    Removed {
        /// The group's or source's name.
        section: String,
        /// What was removed.
        pin: Pin,
    },
    /// Both have a file for the same package, and it is another.
    Changed {
        /// The group's or source's name.
        section: String,
        /// The old one.
        old: Pin,
        /// The new one.
        new: Pin,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { section, pin } => write!(f, "+ {section}: {} {}", pin.name, pin.version),
            Self::Removed { section, pin } => {
                write!(f, "- {section}: {} {}", pin.name, pin.version)
            }
            Self::Changed { section, old, new }
                if old.sha256 == new.sha256 && old.version == new.version =>
            {
                write!(
                    f,
                    "~ {section}: {} {}: same bytes, path {} → {}",
                    old.name, old.version, old.path, new.path
                )
            }
            Self::Changed { section, old, new } if old.version == new.version => {
                let (was, is) = (old.sha256, new.sha256);
                write!(
                    f,
                    "! {section}: {} {}: same version, other bytes: {was} → {is}",
                    old.name, old.version
                )
            }
            Self::Changed { section, old, new } => {
                write!(f, "~ {section}: {} {} → {}", old.name, old.version, new.version)
            }
        }
    }
}

/// Every change from `old` to `new`, in the order of sections and names.
#[must_use]
pub fn diff(old: &Lock, new: &Lock) -> Vec<Change> {
    let (old, new) = (by_key(old), by_key(new));
    let mut changes = Vec::new();
    for (key, was) in &old {
        let section = key.0.to_owned();
        match new.get(key) {
            None => changes.push(Change::Removed { section, pin: (*was).clone() }),
            Some(is) if is != was => {
                changes.push(Change::Changed { section, old: (*was).clone(), new: (*is).clone() })
            }
            Some(_) => {}
        }
    }
    let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
    changes.extend(
        added.map(|(key, pin)| Change::Added { section: key.0.to_owned(), pin: (*pin).clone() }),
    );
    changes
}

/// Files are matched by section, package and, in a source of several files,
/// their position: file names hold versions.
fn by_key(lock: &Lock) -> BTreeMap<(&str, &str, usize), &Pin> {
    let mut map = BTreeMap::new();
    for (section, pin) in lock.pins() {
        let mut nth = 0;
        while map.contains_key(&(section, pin.name.as_str(), nth)) {
            nth += 1;
        }
        map.insert((section, pin.name.as_str(), nth), pin);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
version = 1
release = "trixie"
resolved = "20260101T000000Z"
[group.build]
packages = [
  { name = "a", version = "1", path = "p/a_1.deb", size = 1, sha256 = "0000000000000000000000000000000000000000000000000000000000000001" },
  { name = "b", version = "1", path = "p/b_1.deb", size = 1, sha256 = "0000000000000000000000000000000000000000000000000000000000000002" },
  { name = "c", version = "1", path = "p/c_1.deb", size = 1, sha256 = "0000000000000000000000000000000000000000000000000000000000000003" },
  { name = "d", version = "1", path = "p/d_1.deb", size = 1, sha256 = "0000000000000000000000000000000000000000000000000000000000000005" },
]
[source]
"#;

    #[test]
    fn names_what_changed() {
        let old = Lock::parse(OLD).unwrap();
        let text = OLD
            .replace(
                "\"b\", version = \"1\", path = \"p/b_1",
                "\"bb\", version = \"1\", path = \"p/b_1",
            )
            .replace("\"a\", version = \"1\"", "\"a\", version = \"2\"")
            .replace("0000003", "0000004")
            .replace("p/d_1", "q/d_1");
        let new = Lock::parse(&text).unwrap();
        let lines: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "~ build: a 1 → 2");
        assert_eq!(lines[1], "- build: b 1");
        assert!(lines[2].starts_with("! build: c 1: same version, other bytes"));
        assert_eq!(lines[3], "~ build: d 1: same bytes, path p/d_1.deb → q/d_1.deb");
        assert_eq!(lines[4], "+ build: bb 1");
    }
}
