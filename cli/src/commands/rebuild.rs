//! `dstyx rebuild`: the proof that a second builder gets the same bytes.

use std::path::Path;
use std::process::ExitCode;

use image::recipes::{Recipes, Target};
use protocol::digest::Sha256Digest;
use protocol::error::chain;
use protocol::image::{Artefact, ImageManifest};
use reproducible_build::{compare, rebuild};
use serde_json::{Value, json};

use crate::args::{Part, Rebuild};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::{build, files, paths, printable};

/// Largest artefact that is compared byte by byte: far above any real one, far below memory.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Exit status 0 only if no byte differs.
pub fn run(options: &Rebuild, output: &Output) -> Outcome<ExitCode> {
    let (document, text) = match &options.against {
        Some(file) => against(file)?,
        None => twice(options.only, output)?,
    };
    output.result(&document, || text);
    Ok(if document["equal"] == json!(true) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Builds every chosen part twice.
fn twice(only: Option<Part>, output: &Output) -> Outcome<(Value, String)> {
    let checkout = paths::checkout()?;
    let first = build::open()?;
    let second = build::of_builder(rebuild::second_builder(&first))?;
    let mut parts = Vec::new();
    for target in targets(only) {
        for recipe in build::of_image(Recipes::new(&first, &checkout).of_target(target))? {
            output.step(&format!("{}: building {} twice", target.name(), recipe.name));
            let proof = rebuild::prove(&first, &second, &recipe).map_err(|error| {
                Failure::new(
                    chain(&error),
                    error.hint().unwrap_or_else(|| "see the log of the step".to_owned()),
                )
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
    let text = parts.iter().map(part_text).collect();
    Ok((json!({ "equal": all_equal(&parts), "parts": parts }), text))
}

/// Builds the image that an image.json describes, and compares.
fn against(file: &Path) -> Outcome<(Value, String)> {
    const HINT: &str = "name the image.json of a release, as it was published";
    let json = files::read_bounded(file, protocol::image::MAX_BYTES as u64)?;
    let theirs = ImageManifest::parse(&json).hint(file.display(), HINT)?;
    let built = build::image(&build::open()?, theirs.flavour)?;
    let beside = file.parent().unwrap_or(Path::new("."));
    let ours = &built.manifest;
    let pairs = [
        (&theirs.firmware, &ours.firmware),
        (&theirs.kernel, &ours.kernel),
        (&theirs.initrd, &ours.initrd),
    ];
    let mut parts = Vec::new();
    for (theirs, ours) in pairs {
        parts.push(artefact(theirs, ours, beside, &built.directory)?);
    }
    let ours = ours.to_json();
    parts.push(compared("image.json", compare::contents(&json, &ours), true));
    let text = parts.iter().map(file_text).collect();
    let document = json!({
        "equal": all_equal(&parts),
        "os_image_hash": { "theirs": theirs.os_image_hash(), "built": built.os_image_hash },
        "files": parts,
    });
    Ok((document, text))
}

/// One artefact: by its bytes where they lie beside the image.json, otherwise by its digest alone.
fn artefact(theirs: &Artefact, ours: &Artefact, beside: &Path, built: &Path) -> Outcome<Value> {
    let path = beside.join(&theirs.file);
    if !path.is_file() {
        let difference = (theirs.sha256 != ours.sha256).then(|| {
            format!(
                "SHA-256 {}, built now {}; its bytes are not at hand",
                theirs.sha256, ours.sha256
            )
        });
        return Ok(compared(&theirs.file, difference, false));
    }
    let (theirs_bytes, ours_bytes) = (
        files::read_bounded(&path, MAX_FILE_BYTES)?,
        files::read_bounded(&built.join(&ours.file), MAX_FILE_BYTES)?,
    );
    let mut difference =
        compare::contents(&theirs_bytes, &ours_bytes).map(|content| content.to_string());
    if let Some(text) = &mut difference
        && Sha256Digest::of(&theirs_bytes) != theirs.sha256
    {
        text.push_str("\n  the file is not the one that image.json names");
    }
    Ok(compared(&theirs.file, difference, true))
}

fn compared(file: &str, difference: Option<impl ToString>, bytes: bool) -> Value {
    json!({
        "file": file,
        "equal": difference.is_none(),
        "compared": if bytes { "bytes" } else { "digest" },
        "difference": difference.map(|difference| difference.to_string()),
    })
}

fn targets(only: Option<Part>) -> Vec<Target> {
    match only {
        None => Target::ALL.to_vec(),
        Some(Part::Kernel) => vec![Target::Kernel],
        Some(Part::Firmware) => vec![Target::Firmware],
        Some(Part::Initrd) => vec![Target::Initrd],
        Some(Part::Examples) => vec![Target::Examples],
        Some(Part::Kms) => vec![Target::Kms],
        Some(Part::Gateway) => vec![Target::Gateway],
        Some(Part::Pads) => vec![Target::Pads],
    }
}

fn all_equal(parts: &[Value]) -> bool {
    parts.iter().all(|part| part["equal"] == json!(true))
}

fn part_text(part: &Value) -> String {
    let name = part["recipe"].as_str().unwrap_or_default();
    match part["difference"].as_str() {
        None => format!("{name}: equal\n"),
        Some(difference) => format!("{name}: DIFFERENT: {difference}\n  logs: {}\n", part["logs"]),
    }
}

fn file_text(part: &Value) -> String {
    let file = printable::line(part["file"].as_str().unwrap_or_default());
    match (part["difference"].as_str(), part["compared"].as_str()) {
        (None, Some("bytes")) => format!("{file}: byte-equal\n"),
        (None, _) => format!("{file}: equal by its SHA-256\n"),
        (Some(difference), _) => {
            format!("{file}: DIFFERENT (first: published, second: built now): {difference}\n")
        }
    }
}
