//! `dstyx pad sign` and `dstyx pad result`: what the owner of a program does for a run in a guest.

use std::process::ExitCode;

use pad_format::run::RunId;
use protocol::digest::decode_hex;
use serde_json::json;

use super::shown;
use crate::args::{PadResult, PadRunOwner, PadSign};
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::{Output, named};
use crate::pad::run_owner::{RunOwner, run_on};
use crate::{files, new_file, private};

/// Largest sealed result: what a run may put out, and what sealing adds.
const MAX_SEALED_BYTES: u64 = 65 << 20;
/// A signature is no secret.
const FILE_MODE: u32 = 0o644;
/// Longest result that is printed.
const MAX_SHOWN_BYTES: usize = 4096;

/// Signs one run.
pub fn sign(options: &PadSign, output: &Output) -> Outcome<ExitCode> {
    let owner = owner(&options.owner)?;
    let id = run_id(&options.run)?;
    let exporter = decode_hex(&options.exporter)
        .hint("--exporter", "64 lower-case hexadecimal digits, as POST /draw answers it")?;
    let plain = options.plain.as_deref();
    let (run, _) = run_on(id, exporter, &options.program, &options.pad, plain)?;
    new_file::write_new(&options.out, FILE_MODE, &owner.signed(&run, now_secs()?))?;
    let id = owner.custodian.id();
    let document = json!({ "file": options.out, "owner": id.0, "program": run.program });
    output.result(&document, || {
        let program = run.program.to_string();
        named(vec![
            ("owner", shown(&id)),
            ("program", program),
            ("pads", run.pads.len().to_string()),
        ])
    });
    Ok(ExitCode::SUCCESS)
}

/// Opens a result.
pub fn result(options: &PadResult, output: &Output) -> Outcome<ExitCode> {
    let owner = owner(&options.owner)?;
    let bytes = files::read_bounded(&options.file, MAX_SEALED_BYTES)?;
    let plain = owner.opened(&run_id(&options.run)?, &bytes).ok_or_else(|| {
        let what = format!("{} is not sealed for this owner and run", options.file.display());
        Failure::new(what, "name the key of the enrolment that the run had, and the run's id")
    })?;
    new_file::write_new(&options.out, private::FILE_MODE, &plain)?;
    let text = std::str::from_utf8(&plain).ok().filter(|text| text.len() <= MAX_SHOWN_BYTES);
    let document = json!({ "file": options.out, "bytes": plain.len(), "text": text });
    output.result(&document, || format!("{}: {} bytes\n", options.out.display(), plain.len()));
    Ok(ExitCode::SUCCESS)
}

fn owner(named: &PadRunOwner) -> Outcome<RunOwner> {
    RunOwner::load(&named.keys, named.custodian.as_ref())?
        .ok_or_else(|| Failure::new("nobody owns the run", "name the owner's keys with --owner"))
}

fn run_id(hex: &str) -> Outcome<RunId> {
    decode_hex(hex)
        .map(RunId)
        .hint("--run", "32 lower-case hexadecimal digits, as POST /draw answers it")
}
