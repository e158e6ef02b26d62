//! `dstyx rebuild`: the proof that a second builder gets the same bytes.

use std::process::ExitCode;

use image::recipes::{Recipes, Target};
use reproducible_build::rebuild;
use serde_json::{Value, json};

use crate::args::{Part, Rebuild};
use crate::failure::{Failure, Outcome, chain};
use crate::output::Output;
use crate::{build, paths};

/// Builds every chosen part twice; exit status 0 only if no byte differs.
pub fn run(options: &Rebuild, output: &Output) -> Outcome<ExitCode> {
    let checkout = paths::checkout()?;
    let first = build::open()?;
    let second = build::of_builder(rebuild::second_builder(&first))?;
    let mut parts = Vec::new();
    for target in targets(options.only) {
        for recipe in build::of_image(Recipes::new(&first, &checkout).of_target(target))? {
            output.step(&format!("{}: building {} twice", target.name(), recipe.name));
            let proof = rebuild::prove(&first, &second, &recipe).map_err(|error| {
                Failure::new(chain(&error), error.hint().unwrap_or_else(|| "see the log of the step".to_owned()))
            })?;
            parts.push(json!({
                "part": target.name(),
                "recipe": recipe.name,
                "equal": proof.difference.is_none(),
                "difference": proof.difference.map(|difference| difference.to_string()),
                "logs": [proof.first_log, proof.second_log],
            }));
        }
    }
    let equal = parts.iter().all(|part| part["equal"] == json!(true));
    output.result(&json!({ "equal": equal, "parts": parts }), || text(&parts));
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn targets(only: Option<Part>) -> Vec<Target> {
    match only {
        None => Target::ALL.to_vec(),
        Some(Part::Kernel) => vec![Target::Kernel],
        Some(Part::Firmware) => vec![Target::Firmware],
        Some(Part::Initrd) => vec![Target::Initrd],
        Some(Part::Examples) => vec![Target::Examples],
    }
}

fn text(parts: &[Value]) -> String {
    let line = |part: &Value| {
        let name = part["recipe"].as_str().unwrap_or_default();
        match part["difference"].as_str() {
            None => format!("{name}: equal\n"),
            Some(difference) => format!("{name}: DIFFERENT: {difference}\n  logs: {}\n", part["logs"]),
        }
    };
    parts.iter().map(line).collect()
}
