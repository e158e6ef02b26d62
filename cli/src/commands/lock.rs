//! `dstyx lock`: are the pinned inputs still to be had, and what would be pinned now?

use std::fs;
use std::process::ExitCode;

use reproducible_build::cache::Cache;
use reproducible_build::fetch::{Fetcher, Locations};
use reproducible_build::lock::{Lock as Pins, diff};
use reproducible_build::progress;
use reproducible_build::update::{self, Standing, Wanted};
use serde_json::json;

use crate::args::Lock;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::paths;

const INDEX_HINT: &str = "is the mirror reachable? name one with DSTYX_DEBIAN_MIRROR";

/// `--update` rewrites the lock; otherwise it is checked.
pub fn run(options: &Lock, output: &Output) -> Outcome<ExitCode> {
    let folder = paths::checkout()?.join("reproducible-build");
    let file = folder.join("inputs.lock");
    let old = Pins::read(&file).hint(file.display(), "restore the file from version control")?;
    let progress = progress::for_stderr();
    let cache = Cache::open().hint("the cache", "is the cache folder writable?")?;
    let locations = Locations::from_environment().hint("the mirrors", INDEX_HINT)?;
    let fetcher = Fetcher::new(cache, locations, progress.clone());
    let wanted =
        Wanted::read(&folder.join("packages.toml")).hint("packages.toml", "restore it from version control")?;
    let new = wanted.resolve(Some(&old), &fetcher, &*progress).hint("reading the archive's indices", INDEX_HINT)?;
    if options.update {
        let changes: Vec<_> = diff::diff(&old, &new).iter().map(ToString::to_string).collect();
        fs::write(&file, new.render()).hint(file.display(), "is the checkout writable?")?;
        output.result(&json!({ "updated": true, "changes": changes }), || {
            format!("{}\n{} changes; review them, then commit {}\n", changes.join("\n"), changes.len(), file.display())
        });
        return Ok(ExitCode::SUCCESS);
    }
    let standing = update::standing(&old, &new, &fetcher, &*progress).hint("asking the mirror", INDEX_HINT)?;
    let gone = standing.iter().filter(|standing| !standing.reachable).count();
    output
        .result(&json!({ "superseded": standing.len(), "gone": gone, "files": files(&standing) }), || text(&standing));
    if gone > 0 {
        return Err(Failure::new(
            format!("{gone} pinned files are gone from the mirror"),
            "name a snapshot archive with DSTYX_DEBIAN_SNAPSHOT, or `dstyx lock --update` and review the difference",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn files(standing: &[Standing]) -> Vec<serde_json::Value> {
    let file = |standing: &Standing| {
        json!({
            "section": standing.section, "name": standing.pin.name, "version": standing.pin.version,
            "newer": standing.newer, "reachable": standing.reachable,
        })
    };
    standing.iter().map(file).collect()
}

fn text(standing: &[Standing]) -> String {
    if standing.is_empty() {
        return "every pinned file is the archive's current one\n".to_owned();
    }
    let line = |standing: &Standing| {
        let reachable = if standing.reachable { "still to be had" } else { "GONE" };
        let newer = standing.newer.as_deref().unwrap_or("none");
        let Standing { section, pin, .. } = standing;
        format!("{section}: {} {}: {reachable}; newer: {newer}\n", pin.name, pin.version)
    };
    standing.iter().map(line).collect()
}
