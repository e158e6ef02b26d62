//! The part of a workspace that some of its packages need.
//!
//! Development dependencies, tests and the other members are left out, in the
//! manifests and in the lock; cargo then resolves offline to what is there.
//!
//! A package that is a workspace of its own inside the other one has its own lock. It takes members
//! of the other one by their paths, and these inherit from the manifest at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;
use toml::{Table, Value};

use super::RustError;
use crate::digest::Digest;

/// A crate of the registry, as the lock names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pinned {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) checksum: Digest,
}

/// What is left of a workspace.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The manifest at the top.
    pub(super) manifest: String,
    /// The lock, of the workspace that is built.
    pub(super) lock: String,
    /// Directory of each package, with its manifest.
    pub(super) members: BTreeMap<String, String>,
    /// Crates of the registry.
    pub(super) crates: BTreeSet<Pinned>,
}

impl Workspace {
    /// What `packages` need, members of the workspace at `workspace`.
    pub(super) fn read(workspace: &Path, packages: &[&str]) -> Result<Self, RustError> {
        let manifest = read(&workspace.join("Cargo.toml"))?;
        let all = all_members(workspace, &manifest)?;
        let members = reachable_members(&all, packages)?;
        Self::of(workspace, manifest, &members, Path::new(""), &members)
    }

    /// What the package in `directory` needs, which is a workspace of its own.
    pub(super) fn read_nested(workspace: &Path, directory: &str) -> Result<Self, RustError> {
        let manifest = read(&workspace.join("Cargo.toml"))?;
        let (name, nested) = member(workspace, directory)?;
        let all = all_members(workspace, &manifest)?;
        let wanted: Vec<&str> = nested.dependencies().into_iter().collect();
        let outer: Vec<&str> = wanted.into_iter().filter(|name| all.contains_key(*name)).collect();
        let members = reachable_members(&all, &outer)?;
        let mut packages = members.clone();
        packages.insert(&name, &nested);
        Self::of(workspace, manifest, &members, Path::new(directory), &packages)
    }

    /// `members` of the workspace whose manifest is at the top; `packages` of the lock that lies in
    /// `directory`.
    fn of(
        workspace: &Path,
        mut manifest: Table,
        members: &Members<'_>,
        directory: &Path,
        packages: &Members<'_>,
    ) -> Result<Self, RustError> {
        let lock_file = directory.join("Cargo.lock");
        let mut lock = read(&workspace.join(&lock_file))?;
        let crates = prune_lock(&mut lock, packages)
            .map_err(|what| RustError::Shape(workspace.join(&lock_file), what))?;
        prune_manifest(&mut manifest, members)
            .map_err(|what| RustError::Shape(workspace.join("Cargo.toml"), what))?;
        Ok(Self {
            manifest: manifest.to_string(),
            lock: lock.to_string(),
            members: packages
                .values()
                .map(|m| (m.directory.clone(), m.manifest.to_string()))
                .collect(),
            crates: crates.into_iter().map(pinned).collect::<Result<_, _>>()?,
        })
    }
}

/// Every crate of the registry that the lock of a whole workspace names.
pub(super) fn locked(workspace: &Path) -> Result<BTreeSet<Pinned>, RustError> {
    let lock = read(&workspace.join("Cargo.lock"))?;
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let foreign = packages.filter_map(Value::as_table).filter(|table| table.contains_key("source"));
    foreign.cloned().map(pinned).collect()
}

struct Member {
    directory: String,
    manifest: Table,
}

type Members<'a> = BTreeMap<&'a str, &'a Member>;

impl Member {
    /// Names under which a `Cargo.lock` lists what this member needs to be built.
    fn dependencies(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for (name, value) in dependency_tables(&self.manifest).flatten() {
            let renamed = value.get("package").and_then(Value::as_str);
            names.insert(renamed.unwrap_or(name));
        }
        names
    }
}

/// The tables `dependencies` and `build-dependencies`, also those of a target.
fn dependency_tables(manifest: &Table) -> impl Iterator<Item = &Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    [manifest].into_iter().chain(targets).flat_map(|table| {
        ["dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|key| table.get(key)?.as_table())
    })
}

fn read(path: &Path) -> Result<Table, RustError> {
    let text = fs::read_to_string(path)?;
    text.parse().map_err(|error| RustError::Syntax(path.into(), Box::new(error)))
}

/// Every member by its package name, without what only tests need.
fn all_members(workspace: &Path, manifest: &Table) -> Result<BTreeMap<String, Member>, RustError> {
    let listed = manifest.get("workspace").and_then(|w| w.get("members")).and_then(Value::as_array);
    let listed = listed.ok_or_else(|| {
        RustError::Shape(workspace.join("Cargo.toml"), "workspace.members".into())
    })?;
    listed.iter().filter_map(Value::as_str).map(|at| member(workspace, at)).collect()
}

/// The package in `directory` with its name, without what only tests need.
fn member(workspace: &Path, directory: &str) -> Result<(String, Member), RustError> {
    let path = workspace.join(directory).join("Cargo.toml");
    let mut manifest = read(&path)?;
    for key in ["dev-dependencies", "test", "bench", "example"] {
        manifest.remove(key);
    }
    let name = manifest.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
    let name = name.ok_or_else(|| RustError::Shape(path, "package.name".into()))?.to_owned();
    Ok((name, Member { directory: directory.to_owned(), manifest }))
}

fn reachable_members<'a>(
    all: &'a BTreeMap<String, Member>,
    packages: &[&str],
) -> Result<Members<'a>, RustError> {
    let mut found = Members::new();
    let mut waiting: Vec<&str> = packages.to_vec();
    while let Some(name) = waiting.pop() {
        let (name, member) =
            all.get_key_value(name).ok_or_else(|| RustError::NoPackage(name.into()))?;
        if found.insert(name, member).is_none() {
            waiting
                .extend(member.dependencies().into_iter().filter(|name| all.contains_key(*name)));
        }
    }
    Ok(found)
}

/// Leaves the members and what they inherit.
fn prune_manifest(manifest: &mut Table, members: &Members<'_>) -> Result<(), String> {
    let workspace =
        manifest.get_mut("workspace").and_then(Value::as_table_mut).ok_or("workspace")?;
    let directories = members.values().map(|member| Value::from(member.directory.as_str()));
    workspace.insert("members".into(), Value::Array(directories.collect()));
    workspace.remove("exclude");
    workspace.remove("default-members");
    let inherited: BTreeSet<&str> = members
        .values()
        .flat_map(|member| dependency_tables(&member.manifest).flatten())
        .filter(|(_, value)| value.get("workspace").is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    if let Some(shared) = workspace.get_mut("dependencies").and_then(Value::as_table_mut) {
        shared.retain(|name, _| inherited.contains(name));
    }
    Ok(())
}

/// Leaves the packages that the members reach; returns those that are no members.
fn prune_lock(lock: &mut Table, members: &Members<'_>) -> Result<Vec<Table>, String> {
    let packages = lock.get_mut("package").and_then(Value::as_array_mut).ok_or("package")?;
    let mut tables: Vec<Table> = Vec::new();
    for value in std::mem::take(packages) {
        tables.push(value.as_table().cloned().ok_or("package")?);
    }
    let kept = reachable_packages(&mut tables, members)?;
    let mut position = 0..;
    tables.retain(|_| position.next().is_some_and(|at| kept.contains(&at)));
    packages.extend(tables.iter().cloned().map(Value::Table));
    tables.retain(|table| table.contains_key("source"));
    Ok(tables)
}

fn reachable_packages(
    tables: &mut [Table],
    members: &Members<'_>,
) -> Result<BTreeSet<usize>, String> {
    let mut kept = BTreeSet::new();
    let mut waiting = Vec::new();
    for (at, table) in tables.iter_mut().enumerate() {
        let Some(member) = member_of(table, members) else { continue };
        let wanted = member.dependencies();
        if let Some(list) = table.get_mut("dependencies").and_then(Value::as_array_mut) {
            list.retain(|entry| {
                entry.as_str().is_some_and(|entry| wanted.contains(first_word(entry)))
            });
        }
        waiting.push(at);
    }
    while let Some(at) = waiting.pop() {
        if kept.insert(at) {
            for entry in dependencies(&tables[at]) {
                let found = tables.iter().position(|table| is_meant(table, entry));
                waiting.push(found.ok_or_else(|| format!("the package {entry:?}"))?);
            }
        }
    }
    Ok(kept)
}

fn member_of<'a>(table: &Table, members: &Members<'a>) -> Option<&'a Member> {
    let local = !table.contains_key("source");
    let name = table.get("name").and_then(Value::as_str).filter(|_| local)?;
    members.get(name).copied()
}

fn dependencies(table: &Table) -> impl Iterator<Item = &str> {
    let list = table.get("dependencies").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// A lock names a dependency as `name`, `name version` or `name version (source)`.
fn is_meant(table: &Table, entry: &str) -> bool {
    let text = |key| table.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut fields = entry.split(' ');
    fields.next() == Some(text("name"))
        && fields.next().is_none_or(|version| version == text("version"))
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn pinned(table: Table) -> Result<Pinned, RustError> {
    let text = |key| table.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, version) = (text("name").to_owned(), text("version").to_owned());
    match text("checksum").parse() {
        Ok(checksum) if text("source").starts_with("registry+") => {
            Ok(Pinned { name, version, checksum })
        }
        _ => Err(RustError::Foreign(name, text("source").to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"a\", \"b\", \"c\"]\nexclude = [\"x\"]\n[workspace.dependencies]\nb = { path = \"b\" }\nserde = \"1\"\ntokio = \"1\"\n",
        );
        write(
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n[dev-dependencies]\ntokio.workspace = true\n[[test]]\nname = \"t\"\n",
        );
        write(
            "b/Cargo.toml",
            "[package]\nname = \"b\"\n[target.'cfg(unix)'.dependencies]\nserde.workspace = true\n",
        );
        write("c/Cargo.toml", "[package]\nname = \"c\"\n[dependencies]\ntokio.workspace = true\n");
        let registry = |name: &str, version: &str, dependencies: &str| {
            let source = "registry+https://registry.test/index";
            let checksum = Digest::of(name.as_bytes());
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\nchecksum = \"{checksum}\"\ndependencies = [{dependencies}]\n"
            )
        };
        let lock = [
            "version = 4\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\ndependencies = [\"b\", \"tokio\"]\n"
                .to_owned(),
            "[[package]]\nname = \"b\"\nversion = \"0.1.0\"\ndependencies = [\"serde\"]\n".to_owned(),
            "[[package]]\nname = \"c\"\nversion = \"0.1.0\"\ndependencies = [\"tokio\"]\n".to_owned(),
            registry("serde", "1.0.0", "\"dep 2.0.0\""),
            registry("dep", "1.0.0", ""),
            registry("dep", "2.0.0", ""),
            registry("tokio", "1.0.0", "\"dep 1.0.0\""),
        ];
        write("Cargo.lock", &lock.concat());
        dir
    }

    #[test]
    fn only_what_is_reached_is_left() {
        let dir = workspace();
        let pruned = Workspace::read(dir.path(), &["a"]).unwrap();
        assert_eq!(pruned.members.keys().collect::<Vec<_>>(), ["a", "b"]);
        let crates: Vec<_> =
            pruned.crates.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        assert_eq!(crates, ["dep 2.0.0", "serde 1.0.0"]);
        assert!(!pruned.lock.contains("tokio") && !pruned.manifest.contains("tokio"));
        assert!(!pruned.members["a"].contains("tokio") && !pruned.members["a"].contains("test"));
    }

    #[test]
    fn a_workspace_inside_has_its_own_lock_and_members_of_the_other() {
        let dir = workspace();
        let nested = dir.path().join("n");
        fs::create_dir(&nested).unwrap();
        let manifest = "[workspace]\n[package]\nname = \"n\"\n[dependencies]\nb = { path = \"../b\" }\n[dev-dependencies]\ntokio = \"1\"\n";
        fs::write(nested.join("Cargo.toml"), manifest).unwrap();
        let lock = fs::read_to_string(dir.path().join("Cargo.lock")).unwrap();
        let lock = lock.replace("name = \"a\"", "name = \"n\"");
        fs::write(
            nested.join("Cargo.lock"),
            lock.replace("serde\"\nversion = \"1.0.0", "serde\"\nversion = \"1.2.0"),
        )
        .unwrap();
        let pruned = Workspace::read_nested(dir.path(), "n").unwrap();
        assert_eq!(pruned.members.keys().collect::<Vec<_>>(), ["b", "n"]);
        assert!(pruned.manifest.contains("members = [\"b\"]"), "{}", pruned.manifest);
        assert!(!pruned.members["n"].contains("tokio") && !pruned.lock.contains("tokio"));
        assert!(pruned.crates.iter().any(|c| (&*c.name, &*c.version) == ("serde", "1.2.0")));
    }

    #[test]
    fn what_no_checksum_pins_is_refused() {
        let dir = workspace();
        let path = dir.path().join("Cargo.lock");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("registry+https", "git+https")).unwrap();
        assert!(matches!(Workspace::read(dir.path(), &["a"]), Err(RustError::Foreign(..))));
        assert!(matches!(Workspace::read(dir.path(), &["zz"]), Err(RustError::NoPackage(_))));
    }
}
