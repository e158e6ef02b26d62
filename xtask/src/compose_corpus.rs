//! `cargo xtask compose-corpus DIR`: how many of the compose files that people have would start,
//! and what keeps the others from it.
//!
//! The checks are those of `dstyx up`, made by `dstyx check-apps`; here reasons are counted. What
//! is special to one file (names of services, quoted values) is left out of a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;

/// Mappings whose keys are names that people choose.
const NAMED: [&str; 12] = [
    "services",
    "networks",
    "volumes",
    "configs",
    "secrets",
    "environment",
    "labels",
    "depends_on",
    "extra_hosts",
    "sysctls",
    "ulimits",
    "args",
];

/// Files by one of which an app directory is known.
const COMPOSE_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// In how many files a reason occurs, and in how many it is the only one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    files: usize,
    alone: usize,
}

/// Prints the measurement; the number of apps that pass.
pub fn run(directory: &Path) -> Result<usize, String> {
    let apps = apps(directory)?;
    let mut dstyx = command::cargo(&["run", "--quiet", "--package", "cli", "--bin", "dstyx", "--"]);
    dstyx.args(["check-apps", "--json"]).args(&apps);
    let output = command::capture(&mut dstyx)?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the answer of dstyx check-apps: {error}"))?;
    let (passing, counts) = count(&rows);
    for row in rows.iter().filter(|row| !reasons(row).is_empty()) {
        let name = Path::new(row["directory"].as_str().unwrap_or_default()).file_name();
        println!("{}:", name.unwrap_or_default().to_string_lossy());
        reasons(row).iter().for_each(|reason| println!("    {reason}"));
    }
    println!("\n  in  alone  reason");
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse((count.alone, count.files)));
    for (reason, Count { files, alone }) in counts {
        println!("{files:>4}  {alone:>5}  {reason}");
    }
    println!("\n{passing} of {} pass", rows.len());
    Ok(passing)
}

/// The app directories in `directory`, sorted, as absolute paths.
fn apps(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error| format!("{}: {error}", directory.display());
    let directory = directory.canonicalize().map_err(told)?;
    let entries = fs::read_dir(&directory).map_err(told)?;
    let mut apps: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| COMPOSE_FILES.iter().any(|name| path.join(name).is_file()))
        .collect();
    apps.sort();
    if apps.is_empty() {
        return Err(format!("{}: no directory in it has a compose file", directory.display()));
    }
    Ok(apps)
}

fn count(rows: &[Value]) -> (usize, BTreeMap<String, Count>) {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut passing = 0;
    for row in rows {
        let reasons = reasons(row);
        passing += usize::from(reasons.is_empty());
        let alone = usize::from(reasons.len() == 1);
        for reason in reasons {
            let count = counts.entry(reason).or_default();
            count.files += 1;
            count.alone += alone;
        }
    }
    (passing, counts)
}

/// The reasons why one app is refused, each once.
fn reasons(row: &Value) -> BTreeSet<String> {
    let refusals = row["refusals"].as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reason = |refusal: &Value| {
        let (path, cause) =
            (general_path(&word(&refusal["path"])), general(&word(&refusal["cause"])));
        if path.is_empty() { cause } else { format!("{path}: {cause}") }
    };
    refusals.iter().map(reason).collect()
}

/// `services.web.ports[0]` → `services.*.ports[]`
fn general_path(path: &str) -> String {
    let mut after_named = false;
    let part = |part: &str| {
        let (name, index) = part.split_once('[').map_or((part, ""), |(name, _)| (name, "[]"));
        let chosen = std::mem::replace(&mut after_named, NAMED.contains(&name) && index.is_empty());
        if chosen {
            after_named = false;
        }
        if chosen { format!("*{index}") } else { format!("{name}{index}") }
    };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// The text without what is quoted in it and without numbers.
fn general(text: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for c in text.lines().next().unwrap_or_default().chars() {
        match c {
            '"' if !escaped => {
                quoted = !quoted;
                out.push_str(if quoted { "\"…" } else { "\"" });
            }
            '0'..='9' if !quoted && !out.ends_with('N') => out.push('N'),
            '0'..='9' => {}
            c if !quoted => out.push(c),
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_to_a_file_is_no_reason_of_its_own() {
        assert_eq!(general_path("services.networks.ports[0].target"), "services.*.ports[].target");
        assert_eq!(general_path("services.web.networks.front.x"), "services.*.networks.*.x");
        assert_eq!(general_path("name"), "name");
        assert_eq!(general(r#""a \" b" is no port 80: x"#), r#""…" is no port N: x"#);
    }

    #[test]
    fn reasons_are_counted_once_a_file() {
        let refusal = |path: &str| serde_json::json!({ "path": path, "cause": "no" });
        let row = |paths: &[&str]| serde_json::json!({ "refusals": paths.iter().map(|path| refusal(path)).collect::<Vec<_>>() });
        let rows = [
            row(&["services.a.build", "services.b.build"]),
            row(&["services.a.build", "services.a.gpus"]),
            row(&[]),
        ];
        let (passing, counts) = count(&rows);
        assert_eq!(passing, 1);
        assert_eq!(counts["services.*.build: no"], Count { files: 2, alone: 1 });
        assert_eq!(counts["services.*.gpus: no"], Count { files: 1, alone: 0 });
    }
}
