//! Names of custodians and programs in a policy file; rules have their digests.

use std::collections::BTreeMap;

use pad_rules::{OwnerId, ProgramDigest};
use protocol::digest::Sha256Digest;

/// Longest name.
const MAX_NAME_BYTES: usize = 64;

/// What a file calls custodians and programs. Each has one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    custodians: Named,
    programs: Named,
}

/// Names of one kind, to be found from both sides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named {
    by_digest: BTreeMap<Sha256Digest, String>,
    by_name: BTreeMap<String, Sha256Digest>,
}

/// One of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Custodian,
    Program,
}

impl Kind {
    /// The table that defines names of this kind.
    pub fn table(self) -> &'static str {
        match self {
            Self::Custodian => "custodians",
            Self::Program => "programs",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Custodian => "custodian",
            Self::Program => "program",
        }
    }
}

impl Named {
    /// Adds a name, or says which name the digest has already.
    pub fn add(&mut self, name: &str, digest: Sha256Digest) -> Result<(), String> {
        if let Some(other) = self.by_digest.insert(digest, name.to_owned()) {
            return Err(other);
        }
        self.by_name.insert(name.to_owned(), digest);
        Ok(())
    }

    /// The digest behind a name.
    pub fn digest(&self, name: &str) -> Option<Sha256Digest> {
        self.by_name.get(name).copied()
    }

    /// The name of a digest.
    pub fn name(&self, digest: &Sha256Digest) -> Option<&str> {
        self.by_digest.get(digest).map(String::as_str)
    }
}

impl Names {
    /// What a custodian is called.
    pub fn custodian(&self, id: &OwnerId) -> Option<&str> {
        self.custodians.name(&Sha256Digest(id.0))
    }

    /// What a program is called.
    pub fn program(&self, digest: &ProgramDigest) -> Option<&str> {
        self.programs.name(&Sha256Digest(digest.0))
    }

    pub(crate) fn of(&self, kind: Kind) -> &Named {
        match kind {
            Kind::Custodian => &self.custodians,
            Kind::Program => &self.programs,
        }
    }

    pub(crate) fn of_mut(&mut self, kind: Kind) -> &mut Named {
        match kind {
            Kind::Custodian => &mut self.custodians,
            Kind::Program => &mut self.programs,
        }
    }

    /// The name of a digest; it is given one if it has none.
    pub(crate) fn ensured(&mut self, kind: Kind, digest: Sha256Digest) -> String {
        let names = self.of_mut(kind);
        if let Some(name) = names.name(&digest) {
            return name.to_owned();
        }
        let mut number = names.by_name.len() + 1;
        let mut name = format!("{}-{number}", kind.prefix());
        while names.by_name.contains_key(&name) {
            number += 1;
            name = format!("{}-{number}", kind.prefix());
        }
        names.by_digest.insert(digest, name.clone());
        names.by_name.insert(name.clone(), digest);
        name
    }
}

/// A key of TOML that needs no quotes: a letter, and behind it letters, digits, `_` and `-`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        })
}
