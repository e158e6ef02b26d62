//! What `dstyx pad run` says of a run on this machine or in a guest, and what it writes of a
//! result.

use std::path::Path;
use std::process::ExitCode;

use pad_format::run::RunId;
use serde_json::{Value, json};

use super::shown;
use crate::failure::Outcome;
use crate::output::{Output, named};
use crate::pad::run_owner::RunOwner;
use crate::{new_file, private};

/// Largest result that is printed.
const MAX_SHOWN_BYTES: usize = 4096;
/// A sealed result tells nobody anything.
const MODE: u32 = 0o644;
/// Exit status of a run of which something was refused.
const REFUSED: u8 = 1;

/// A run that ended.
pub struct Report<'a> {
    /// Where it ran; nothing for this machine.
    pub guest: Option<&'a str>,
    /// Its id.
    pub run: &'a RunId,
    /// Who signed it.
    pub owner: Option<&'a RunOwner>,
    /// Why the program did not end well.
    pub ended: Option<&'a str>,
    /// What was refused.
    pub refusals: &'a [String],
    /// What left, as it was written.
    pub written: &'a [Value],
}

impl Report<'_> {
    /// Prints it; the exit status says whether anything was refused.
    pub fn print(&self, output: &Output) -> ExitCode {
        let run = hex::encode(self.run.0);
        let document = json!({
            "local": self.guest.is_none(), "guest": self.guest, "run": run,
            "owner": self.owner.map(|owner| owner.custodian.id().0), "ended": self.ended,
            "outputs": self.written, "refusals": self.refusals,
        });
        output.result(&document, || self.text(&run));
        match self.ended.is_some() || !self.refusals.is_empty() {
            true => ExitCode::from(REFUSED),
            false => ExitCode::SUCCESS,
        }
    }

    fn text(&self, run: &str) -> String {
        let run = match self.guest {
            None => format!("{run} (local: nothing is proved)"),
            Some(guest) => format!("{run} (in the guest at {guest})"),
        };
        let nobody = || "nobody is proved".to_owned();
        let owner = self.owner.map_or_else(nobody, |owner| shown(&owner.custodian.id()));
        let ended = self.ended.unwrap_or("well").to_owned();
        let mut rows = vec![("run", run), ("owner", owner), ("ended", ended)];
        rows.extend(self.refusals.iter().map(|refusal| ("refused", refusal.clone())));
        rows.extend(self.written.iter().map(|left| ("output", left_text(left))));
        named(rows)
    }
}

/// Writes a result into the directory of outputs: in plain, if the owner's key opens it.
pub fn write_result(
    out: &Path,
    number: usize,
    sealed: &[u8],
    owner: Option<&RunOwner>,
    run: &RunId,
) -> Outcome<Value> {
    let Some(plain) = owner.and_then(|owner| owner.opened(run, sealed)) else {
        let file = out.join(format!("output-{number}.sealed"));
        new_file::write_new(&file, MODE, sealed)?;
        return Ok(json!({ "kind": "sealed result", "file": file }));
    };
    let file = out.join(format!("output-{number}.result"));
    new_file::write_new(&file, private::FILE_MODE, &plain)?;
    let text = std::str::from_utf8(&plain).ok().filter(|text| text.len() <= MAX_SHOWN_BYTES);
    Ok(json!({ "kind": "result", "file": file, "bytes": plain.len(), "text": text }))
}

fn left_text(left: &Value) -> String {
    let word = |key: &str| left[key].as_str().unwrap_or_default().to_owned();
    match left["text"].as_str() {
        Some(text) => format!("{}: {text}", word("file")),
        None => format!("{}: {} {}", word("file"), word("kind"), word("pad_id")),
    }
}
