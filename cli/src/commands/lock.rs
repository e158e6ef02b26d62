//! `dstyx lock`: are the pinned inputs still to be had, and what would be pinned now?

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use protocol::error::chain;
use reproducible_build::cache::Cache;
use reproducible_build::fetch::{Fetcher, Locations};
use reproducible_build::lock::{INPUTS, Lock as Pins, LockFile, TESTS, diff};
use reproducible_build::progress::{self, Progress};
use reproducible_build::update::{self, Standing, Wanted};
use serde_json::{Value, json};

use crate::args::{Lock, LockName};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::paths;

const INDEX_HINT: &str = "is the mirror reachable? name one with DSTYX_DEBIAN_MIRROR";
const RESTORE_HINT: &str = "restore the file from version control";

/// `--update` rewrites the locks; otherwise they are checked.
pub fn run(options: &Lock, output: &Output) -> Outcome<ExitCode> {
    let directory = paths::checkout()?.join("reproducible-build");
    let progress = progress::for_stderr();
    let cache = Cache::open().hint("the cache", "is the cache directory writable?")?;
    let locations = Locations::from_environment().hint("the mirrors", INDEX_HINT)?;
    let fetcher = Fetcher::new(cache, locations, progress.clone());
    let archive = ArchiveClient { fetcher: &fetcher, progress: &*progress };
    let files = match options.only {
        None => vec![INPUTS, TESTS],
        Some(LockName::Inputs) => vec![INPUTS],
        Some(LockName::Tests) => vec![TESTS],
    };
    let results = if options.update {
        files.iter().map(|file| update(&directory, file, &archive)).collect::<Outcome<Vec<_>>>()?
    } else {
        files.iter().map(|file| check(&directory, file, &archive)).collect::<Outcome<Vec<_>>>()?
    };
    let documents: Vec<&Value> = results.iter().map(|result| &result.document).collect();
    output.result(&documents, || results.iter().map(|result| result.text.as_str()).collect());
    let gone: usize = results.iter().map(|result| result.gone).sum();
    if gone > 0 {
        return Err(Failure::new(
            format!("{gone} pinned files are gone from the mirror"),
            "name a snapshot archive with DSTYX_DEBIAN_SNAPSHOT, or `dstyx lock --update` and review the difference",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the archive is asked through.
struct ArchiveClient<'a> {
    fetcher: &'a Fetcher,
    progress: &'a dyn Progress,
}

/// What one lock file came to.
struct Done {
    document: Value,
    text: String,
    /// Pinned files that no mirror has any more.
    gone: usize,
}

fn update(directory: &Path, file: &LockFile, archive: &ArchiveClient<'_>) -> Outcome<Done> {
    let path = directory.join(file.lock);
    // The first lock of a new list has none before it.
    let old = path.exists().then(|| read(&path)).transpose()?;
    let new = resolve(directory, file, old.as_ref(), archive)?;
    let changes = old.as_ref().map_or_else(Vec::new, |old| diff::diff(old, &new));
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    fs::write(&path, new.render(file)).hint(path.display(), "is the checkout writable?")?;
    let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    let text = match (&old, changes.len()) {
        (None, _) => {
            format!("{}: written for the first time; review it, then commit it\n", file.lock)
        }
        (Some(_), 0) => format!("{}: nothing has changed\n", file.lock),
        (Some(_), count) => {
            format!("{lines}{}: {count} changes; review them, then commit them\n", file.lock)
        }
    };
    let document =
        json!({ "lock": file.lock, "updated": old.as_ref() != Some(&new), "changes": changes });
    Ok(Done { document, text, gone: 0 })
}

fn check(directory: &Path, file: &LockFile, archive: &ArchiveClient<'_>) -> Outcome<Done> {
    let old = read(&directory.join(file.lock))?;
    let new = resolve(directory, file, Some(&old), archive)?;
    let standing = update::standing(&old, &new, archive.fetcher, archive.progress);
    let standing = standing.hint("asking the mirror", INDEX_HINT)?;
    let gone = standing.iter().filter(|standing| !standing.reachable).count();
    let files: Vec<_> = standing.iter().map(entry).collect();
    let document =
        json!({ "lock": file.lock, "superseded": standing.len(), "gone": gone, "files": files });
    Ok(Done { document, text: text(file, &standing), gone })
}

fn read(path: &Path) -> Outcome<Pins> {
    Pins::read(path).hint(path.display(), RESTORE_HINT)
}

fn resolve(
    directory: &Path,
    file: &LockFile,
    old: Option<&Pins>,
    archive: &ArchiveClient<'_>,
) -> Outcome<Pins> {
    let wanted = Wanted::read(&directory.join(file.wanted)).hint(file.wanted, RESTORE_HINT)?;
    let new = wanted.resolve(old, archive.fetcher, archive.progress);
    new.map_err(|error| {
        let hint = error.hint().unwrap_or_else(|| INDEX_HINT.to_owned());
        Failure::new(format!("{}: {}", file.wanted, chain(&error)), hint)
    })
}

fn entry(standing: &Standing) -> Value {
    json!({
        "section": standing.section, "name": standing.pin.name, "version": standing.pin.version,
        "newer": standing.newer, "reachable": standing.reachable,
    })
}

fn text(file: &LockFile, standing: &[Standing]) -> String {
    if standing.is_empty() {
        return format!("{}: every pinned file is the archive's current one\n", file.lock);
    }
    let line = |standing: &Standing| {
        let reachable = if standing.reachable { "still to be had" } else { "GONE" };
        let newer = standing.newer.as_deref().unwrap_or("none");
        let Standing { section, pin, .. } = standing;
        format!(
            "{}: {section}: {} {}: {reachable}; newer: {newer}\n",
            file.lock, pin.name, pin.version
        )
    };
    standing.iter().map(line).collect()
}
