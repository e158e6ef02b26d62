//! The closed set of packages for a list of wanted names.
//!
//! Smaller than apt's resolver, because the packages are only unpacked: nothing
//! is upgraded, conflicts between services do not matter, and recommendations
//! are never followed. A dependency that cannot be met is an error.

use std::collections::{BTreeMap, HashMap};

use super::index::Package;
use super::relation::{self, Operator, Relation};
use super::version;

/// Packages to choose from: one suite set, with packages taken from others by name.
#[derive(Default)]
pub struct Universe {
    packages: Vec<Package>,
    by_name: HashMap<String, usize>,
    providers: HashMap<String, Vec<(usize, Option<String>)>>,
}

impl Universe {
    /// Adds the packages of an index; of several versions the latest is kept.
    ///
    /// # Errors
    /// If a package's `Provides` is not well formed.
    pub fn add(&mut self, packages: impl IntoIterator<Item = Package>) -> Result<(), ResolveError> {
        for package in packages {
            let known = self.by_name.get(&package.pin.name);
            let older = known.is_some_and(|at| {
                let have = &self.packages[*at].pin.version;
                version::compare(&package.pin.version, have).is_le()
            });
            if !older {
                self.insert(package)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, package: Package) -> Result<(), ResolveError> {
        let at = self.packages.len();
        for clause in parse(&package.pin.name, &package.provides)? {
            for Relation { name, version } in clause {
                let version = version.map(|(_, version)| version);
                self.providers.entry(name).or_default().push((at, version));
            }
        }
        self.by_name.insert(package.pin.name.clone(), at);
        self.packages.push(package);
        Ok(())
    }

    /// A package by its own name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.by_name.get(name).map(|at| &self.packages[*at])
    }

    /// What `wanted` needs, itself included, in the order of names.
    /// Names in `without` count as present and are left out.
    ///
    /// # Errors
    /// If a wanted package does not exist or a dependency cannot be met.
    pub fn closure<'a>(
        &'a self,
        wanted: &[String],
        without: &[String],
    ) -> Result<Vec<&'a Package>, ResolveError> {
        let mut chosen: BTreeMap<&str, &Package> = BTreeMap::new();
        let mut waiting: Vec<&Package> = Vec::new();
        for name in wanted {
            let package = self.get(name).ok_or_else(|| ResolveError::Unknown(name.clone()))?;
            chosen.insert(&package.pin.name, package);
            waiting.push(package);
        }
        while let Some(package) = waiting.pop() {
            for clause in parse(&package.pin.name, &package.depends)? {
                if clause.iter().any(|one| without.contains(&one.name)) {
                    continue;
                }
                let unmet = || ResolveError::Unmet(package.pin.name.clone(), describe(&clause));
                let found = self.choose(&clause, &chosen).ok_or_else(unmet)?;
                if chosen.insert(&found.pin.name, found).is_none() {
                    waiting.push(found);
                }
            }
        }
        Ok(chosen.into_values().collect())
    }

    /// What is chosen already comes first, then the first alternative that exists.
    fn choose<'a>(
        &'a self,
        clause: &[Relation],
        chosen: &BTreeMap<&str, &'a Package>,
    ) -> Option<&'a Package> {
        let candidates = || clause.iter().flat_map(|one| self.candidates(one));
        candidates()
            .find(|package| chosen.contains_key(package.pin.name.as_str()))
            .or_else(|| candidates().next())
    }

    /// The package itself, then its providers by name. A provider that a later
    /// version replaced is passed over.
    fn candidates<'a>(&'a self, relation: &Relation) -> Vec<&'a Package> {
        let real =
            self.get(&relation.name).filter(|package| relation.accepts(&package.pin.version));
        let mut virtual_: Vec<&Package> = self
            .providers
            .get(&relation.name)
            .into_iter()
            .flatten()
            .filter(|(at, version)| self.provides(*at, version.as_deref(), relation))
            .map(|(at, _)| &self.packages[*at])
            .collect();
        virtual_.sort_by(|a, b| a.pin.name.cmp(&b.pin.name));
        real.into_iter().chain(virtual_).collect()
    }

    fn provides(&self, at: usize, version: Option<&str>, relation: &Relation) -> bool {
        let current = self.by_name.get(&self.packages[at].pin.name) == Some(&at);
        let fits = match version {
            Some(version) => relation.accepts(version),
            None => relation.version.is_none(),
        };
        current && fits
    }
}

fn parse(package: &str, field: &str) -> Result<Vec<Vec<Relation>>, ResolveError> {
    let bad = |text| ResolveError::Relation(package.to_owned(), text);
    relation::parse(field).map_err(bad)
}

fn describe(clause: &[Relation]) -> String {
    let one = |relation: &Relation| match &relation.version {
        None => relation.name.clone(),
        Some((operator, version)) => {
            let operator = match operator {
                Operator::Earlier => "<<",
                Operator::EarlierEqual => "<=",
                Operator::Equal => "=",
                Operator::LaterEqual => ">=",
                Operator::Later => ">>",
            };
            format!("{} ({operator} {version})", relation.name)
        }
    };
    clause.iter().map(one).collect::<Vec<_>>().join(" | ")
}

/// Why no closed set was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// no index has a package named {0:?}
    #[error("no index has a package named {0:?}")]
    Unknown(String),
    /// {0} needs {1}, which no index offers
    #[error("{0} needs {1}, which no index offers")]
    Unmet(String, String),
    /// {0} has the malformed relation {1:?}
    #[error("{0} has the malformed relation {1:?}")]
    Relation(String, String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::lock::Pin;

    fn package(name: &str, version: &str, depends: &str, provides: &str) -> Package {
        Package {
            pin: Pin {
                name: name.into(),
                version: version.into(),
                path: format!("pool/{name}.deb"),
                size: 1,
                sha256: Digest::of(name.as_bytes()),
            },
            depends: depends.into(),
            provides: provides.into(),
            essential: false,
        }
    }

    fn universe() -> Universe {
        let mut universe = Universe::default();
        universe
            .add([
                package("app", "1", "lib (>= 2), editor | vi", ""),
                package("lib", "1", "", ""),
                package("lib", "3", "awk", ""),
                package("mawk", "1", "", "awk"),
                package("gawk", "1", "", "awk"),
                package("vi", "1", "", ""),
                package("broken", "1", "lib (<< 2)", ""),
                package("strict", "1", "awk (= 5)", ""),
            ])
            .unwrap();
        universe
    }

    fn names(wanted: &[&str], without: &[&str]) -> Result<Vec<String>, ResolveError> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let universe = universe();
        let all = universe.closure(&owned(wanted), &owned(without))?;
        Ok(all.iter().map(|p| p.pin.name.clone()).collect())
    }

    #[test]
    fn takes_latest_versions_and_prefers_what_is_chosen() {
        assert_eq!(names(&["app"], &[]).unwrap(), ["app", "gawk", "lib", "vi"]);
        assert_eq!(names(&["app", "mawk"], &[]).unwrap(), ["app", "lib", "mawk", "vi"]);
        assert_eq!(names(&["app"], &["awk"]).unwrap(), ["app", "lib", "vi"]);
    }

    #[test]
    fn what_cannot_be_met_is_an_error() {
        assert!(matches!(names(&["broken"], &[]), Err(ResolveError::Unmet(..))));
        assert!(matches!(names(&["strict"], &[]), Err(ResolveError::Unmet(..))));
        assert!(matches!(names(&["none"], &[]), Err(ResolveError::Unknown(_))));
    }
}
