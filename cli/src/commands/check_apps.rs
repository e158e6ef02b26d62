//! `dstyx check-apps`: which of many app directories pass the checks before a boot, and why the
//! others do not.
//!
//! Whoever measures a corpus of compose files has neither the registries' digests nor the values of
//! variables. Placeholders take their places, so that only what the files themselves ask for
//! counts.

use std::path::Path;
use std::process::ExitCode;

use compose::digest::ContentDigest;
use compose::pinning;
use compose::{Cause, ComposeError, MissingVariable, Refusals};
use protocol::app_compose::ENVIRONMENT_FILE;
use serde_json::{Value, json};

use crate::app::{Asked, NoApp, Sources};
use crate::args::CheckApps;
use crate::failure::Outcome;
use crate::output::Output;

/// Rounds of filling in variables: a value that is filled in can show that another is missing.
const MAX_ROUNDS: usize = 16;
/// The first number that stands for a variable's value; a port of its own for each variable.
const FIRST_VALUE: usize = 20_001;

/// Checks every directory; nothing is written.
pub fn run(options: &CheckApps, output: &Output) -> Outcome<ExitCode> {
    let rows: Vec<Value> = options.dir.iter().map(|directory| row(directory)).collect();
    output.result(&rows, || rows.iter().map(text).collect());
    Ok(ExitCode::SUCCESS)
}

fn row(directory: &Path) -> Value {
    let refusals = match check(directory) {
        Ok(()) => Vec::new(),
        Err(NoApp::Compose(ComposeError::Refused(refusals))) => refusals
            .iter()
            .map(|refusal| {
                json!({
                    "path": refusal.path.to_string(),
                    "line": refusal.line,
                    "cause": refusal.cause.to_string(),
                })
            })
            .collect(),
        Err(NoApp::Compose(error)) => vec![whole(&error.to_string())],
        Err(NoApp::Other(failure)) => vec![whole(&failure.to_string())],
    };
    json!({ "directory": directory, "refusals": refusals })
}

/// A refusal that belongs to no key.
fn whole(cause: &str) -> Value {
    json!({ "path": "", "line": null, "cause": cause })
}

fn text(row: &Value) -> String {
    let refusals = row["refusals"].as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = refusals.iter().map(|refusal| {
        format!(
            "  {} (line {}): {}\n",
            word(&refusal["path"]),
            refusal["line"],
            word(&refusal["cause"])
        )
    });
    let verdict = if refusals.is_empty() { "passes" } else { "is refused" };
    format!("{} {verdict}\n{}", word(&row["directory"]), lines.collect::<String>())
}

/// The checks of `up`, over sources with placeholders.
fn check(directory: &Path) -> Result<(), NoApp> {
    let mut sources = Sources::read(directory, Asked::default()).map_err(NoApp::Other)?;
    let digest = ContentDigest::from_bytes([0; 32]);
    if let Ok(text) = pinning::with_placeholder(&sources.compose.text, digest) {
        sources.compose.text = text;
    }
    for _ in 0..MAX_ROUNDS {
        match sources.make(Asked::default()) {
            Err(NoApp::Compose(ComposeError::Refused(refusals))) => {
                if !fill(&mut sources, &missing(&refusals)) {
                    return Err(NoApp::Compose(ComposeError::Refused(refusals)));
                }
            }
            other => return other.map(drop),
        }
    }
    sources.make(Asked::default()).map(drop)
}

/// The variables without which something was refused.
fn missing(refusals: &Refusals) -> Vec<MissingVariable> {
    let names = refusals.iter().filter_map(|refusal| match &refusal.cause {
        Cause::MissingVariables(missing) => Some(missing),
        _ => None,
    });
    names.flatten().cloned().collect()
}

/// Gives each of them a value in the file of variables; whether there was one that had none.
fn fill(sources: &mut Sources, missing: &[MissingVariable]) -> bool {
    let variables = sources.files.entry(ENVIRONMENT_FILE.to_owned()).or_default();
    let mut filled = false;
    for variable in missing {
        let name = &variable.name;
        let text = String::from_utf8_lossy(variables).into_owned();
        let line = format!("{name}={}", value(variable, FIRST_VALUE + text.lines().count()));
        if text.lines().any(|known| known == line || known.starts_with(&format!("{name}="))) {
            continue;
        }
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        variables.extend_from_slice(format!("{gap}{line}\n").as_bytes());
        filled = true;
    }
    filled
}

/// A number is at home nearly everywhere: as a port, a tag, a password; a bind begins with a path.
fn value(variable: &MissingVariable, number: usize) -> String {
    match variable.relative_path {
        true => format!("./placeholder-{number}"),
        false => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn refusals(compose: &str) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("docker-compose.yml"), compose).unwrap();
        let row = row(directory.path());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was written");
        let pair = |refusal: &Value| {
            let word = |key: &str| refusal[key].as_str().unwrap().to_owned();
            (word("path"), word("cause"))
        };
        row["refusals"].as_array().unwrap().iter().map(pair).collect()
    }

    #[test]
    fn what_only_lacks_digests_and_values_passes() {
        for image in ["nginx:1", "a/b:${TAG}", "${IMAGE:?say which}"] {
            let compose = format!(
                "services:\n  a:\n    image: {image}\n    ports: [\"${{ONE}}:80\", \"${{TWO}}:81\"]\n    environment: [THREE]\n"
            );
            assert_eq!(refusals(&compose), [], "{image}");
        }
    }

    #[test]
    fn what_a_file_itself_asks_for_is_told() {
        let compose = "services:\n  a:\n    image: nginx\n    colour: $RED\n    gpus: all\n";
        let paths: Vec<String> = refusals(compose).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["services.a.colour", "services.a.gpus"]);
        assert!(refusals("services: [")[0].1.contains("not YAML"));
    }
}
