//! Where in a compose file something stands, as a person writes it.

use std::fmt;

/// Where in the file a key stands, such as `services.web.ports[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPath(String);

impl KeyPath {
    /// The file itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The key `name` below this path; a name that is no plain word is quoted.
    pub fn key(&self, name: &str) -> Self {
        let plain = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let name = if plain { name.to_owned() } else { format!("{name:?}") };
        if self.0.is_empty() {
            return Self(name);
        }
        Self(format!("{}.{name}", self.0))
    }

    /// Whether it is a mount of a service, or a part of one.
    pub(super) fn is_mount(&self) -> bool {
        self.0.starts_with("services.") && self.0.contains(".volumes[")
    }

    /// Item `index` (from 0) of the list at this path.
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the file" } else { &self.0 })
    }
}
