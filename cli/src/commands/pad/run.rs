//! `dstyx pad run`: a program on Pads, on this machine, for the author of a program or policy.
//!
//! Engines and the program run as they do in a guest. Nothing is proved by it: whoever runs it has
//! all the keys, and everything that it writes says that it was local.

use std::fs::{DirBuilder, File};
use std::io::Cursor;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pad_format::SealedPad;
use pad_format::enrolment::{self, SignedEnrolment};
use pad_format::run::RunId;
use pad_run::Limits;
use pad_supervisor::{Job, Output as Left};
use serde_json::{Value, json};

use super::report::{Report, write_result};
use crate::args::PadRun;
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::{Output, note};
use crate::pad::data_key::DataKeyFile;
use crate::pad::local::{Kept, LocalDelegator};
use crate::pad::quotas::Quotas;
use crate::pad::run_owner::{RunOwner, run_on};
use crate::pad::{runner, sealed};
use crate::{files, new_file, private};

/// In place of the keying material of an owner's channel, so that no signature for a local run is
/// one for a channel.
const EXPORTER: [u8; 32] = *b"dstyx pad run: there is no chann";
/// Who may read Pads: everybody.
const MODE: u32 = 0o644;

/// Does what was asked for.
pub fn run(options: &PadRun, output: &Output) -> Outcome<ExitCode> {
    note("a local run proves nothing: no guest, no attested delegator; it is for authors");
    let now = options.at.map_or_else(now_secs, Ok)?;
    let owner = RunOwner::load(&options.owner, options.owner_custodian.as_ref())?;
    let keys = options.pad.iter().map(|pad| DataKeyFile::load(&DataKeyFile::beside(pad)));
    let keys = keys.collect::<Outcome<Vec<_>>>()?;
    let mut supervisor = runner::start(options.runner.as_deref())?;
    let id = supervisor.draw(now).hint("pad-runner", runner::FAILED)?;
    let job = job(options, owner.as_ref(), id, now)?;
    let out = &options.out;
    DirBuilder::new().mode(private::DIRECTORY_MODE).create(out).hint(
        out.display(),
        "name a directory that is not there yet: it is made for the outputs",
    )?;
    let quotas = Quotas::load()?;
    let records = out.join("");
    let mut delegator = LocalDelegator { now, keys, quotas, records: &records, kept: Vec::new() };
    let outcome = supervisor.run(job, &mut delegator).hint("pad-runner", runner::FAILED)?;
    let mut written = Vec::new();
    for (index, left) in outcome.outputs.iter().enumerate() {
        written.push(write(index + 1, left, out, &mut delegator.kept, owner.as_ref(), &id)?);
    }
    let report = Report {
        guest: None,
        run: &id,
        owner: owner.as_ref(),
        ended: outcome.ended.as_ref().err().map(String::as_str),
        refusals: &outcome.refusals,
        written: &written,
    };
    Ok(report.print(output))
}

/// Everything that the run is made of, with the owner's signature over it.
fn job(options: &PadRun, owner: Option<&RunOwner>, id: RunId, now: u64) -> Outcome<Job> {
    let plain = options.plain.as_deref();
    let (run, plain) = run_on(id, EXPORTER, &options.program, &options.pad, plain)?;
    let signed = owner.map(|owner| owner.signed(&run, now));
    let opened = |files: &[PathBuf]| -> Outcome<Vec<File>> {
        files.iter().map(|file| sealed::open_file(file)).collect()
    };
    let parties = options.enrolment.iter().map(|file| {
        let bytes = files::read_bounded(file, enrolment::MAX_BYTES as u64)?;
        let what = "`dstyx pad enrol-file` writes such files";
        SignedEnrolment::parse(&bytes).hint(file.display(), what)?;
        Ok((bytes, "unknown".to_owned()))
    });
    Ok(Job {
        run: id,
        exporter: EXPORTER,
        now,
        program: sealed::open_file(&options.program)?,
        engines: opened(&options.engine)?,
        pads: opened(&options.pad)?,
        plain,
        signed,
        parties: parties.collect::<Outcome<_>>()?,
        limits: Limits::default(),
    })
}

/// Writes what left, a Pad with its key; says what it is.
fn write(
    number: usize,
    left: &Left,
    out: &Path,
    kept: &mut Vec<Kept>,
    owner: Option<&RunOwner>,
    run: &RunId,
) -> Outcome<Value> {
    match left {
        Left::Pad(bytes) => write_pad(&out.join(format!("output-{number}.pad")), bytes, kept),
        Left::Plain(sealed) => write_result(out, number, sealed, owner, run),
    }
}

fn write_pad(file: &Path, bytes: &[u8], kept: &mut Vec<Kept>) -> Outcome<Value> {
    let hint = "is pad-runner of this version of dstyx?";
    let pad = SealedPad::read(Cursor::new(bytes)).hint(file.display(), hint)?;
    let (metadata, digest) = (pad.claimed(), pad.digest());
    let place = kept.iter().position(|kept| kept.pad_id == metadata.pad_id);
    let place = place.ok_or_else(|| {
        Failure::new(format!("the key of the Pad {} was not kept", metadata.pad_id), hint)
    })?;
    let Kept { engines, key, .. } = kept.swap_remove(place);
    let key_file = DataKeyFile::beside(file);
    DataKeyFile::of(metadata, digest, engines, key).save(&key_file)?;
    new_file::write_new(file, MODE, bytes)?;
    Ok(json!({
        "kind": "Pad", "file": file, "key": key_file, "pad_id": metadata.pad_id.to_string(),
        "digest": digest.0, "custodian": metadata.custodian.0,
    }))
}
