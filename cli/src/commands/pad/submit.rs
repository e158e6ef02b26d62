//! `dstyx pad run` and `update` with `--guest`: the middleware is that of a guest, reached through
//! a service of its app, and delegators have the keys.
//!
//! Neither the service nor the way to it is believed. The owner signs for the guest that it
//! verified, and delegators verify that guest again before they release a key.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pad_format::enrolment::{self, SignedEnrolment};
use pad_format::run::RunId;
use protocol::digest::{Sha256Digest, decode_hex};
use protocol::pad_calls::{
    self, Output as Left, OutputKind, Party, Program, RunLimits, RunRequest, UpdateRequest,
};
use serde_json::{Value, json};

use super::members;
use super::report::{Report, write_result};
use super::update::agreed;
use crate::args::{PadRun, PadUpdate};
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::new_file::{self, NewFile};
use crate::output::Output;
use crate::pad::calls::Calls;
use crate::pad::run_owner::{RunOwner, run_on};
use crate::pad::{policies, sealed};
use crate::{files, private};

/// Largest plain input that a guest takes.
const MAX_PLAIN_BYTES: usize = 1 << 20;
/// Largest sealed result: what a run may put out, and what sealing adds.
const MAX_SEALED_BYTES: u64 = 65 << 20;
/// Who may read Pads: everybody.
const MODE: u32 = 0o644;

/// Has the guest at an address, for which the exporter stands, run a program.
pub fn run(options: &PadRun, guest: (&str, &str), output: &Output) -> Outcome<ExitCode> {
    let (url, exporter) = guest;
    let exporter = decode_hex(exporter).hint(
        "--exporter",
        "64 lower-case hexadecimal digits, as `dstyx pad exporter` prints it",
    )?;
    let owner = RunOwner::load(&options.owner, options.owner_custodian.as_ref())?;
    let addresses = addresses(&options.pad)?;
    let parties = options.enrolment.iter().map(|file| party(file, &addresses));
    let parties = parties.collect::<Outcome<_>>()?;
    let calls = Calls::at(url);
    let id = drawn(&calls, Some(exporter))?;
    let (run, plain) =
        run_on(id, exporter, &options.program, &options.pad, options.plain.as_deref())?;
    let plain = plain.map(|plain| taken(&plain)).transpose()?.unwrap_or_default();
    let (program, here) = match &options.service {
        Some(name) => (Program::Service(name.clone()), &[][..]),
        None => (Program::File(run.program), std::slice::from_ref(&options.program)),
    };
    let [_, engines, pads] = put(&calls, [here, &options.engine, &options.pad], output)?;
    let now = now_secs()?;
    let request = RunRequest {
        run: id.0.to_vec(),
        program,
        engines,
        pads,
        plain,
        signed: owner.as_ref().map(|owner| owner.signed(&run, now)).unwrap_or_default(),
        parties,
        limits: RunLimits::default(),
    };
    DirBuilder::new().mode(private::DIRECTORY_MODE).create(&options.out).hint(
        options.out.display(),
        "name a directory that is not there yet: it is made for the outputs",
    )?;
    let ended = calls.run(&request).inspect_err(|_| {
        // It is empty; the error of the run is the one to tell.
        let _ = std::fs::remove_dir(&options.out);
    })?;
    let mut written = Vec::new();
    for (index, left) in ended.outputs.iter().enumerate() {
        written.push(fetched(&calls, index + 1, left, &options.out, owner.as_ref(), &id)?);
    }
    Ok(reported(url, &id, owner.as_ref(), &ended, &written).print(output))
}

/// Has the guest at an address replace the policies of a Pad.
pub fn update(options: &PadUpdate, url: &str, output: &Output) -> Outcome<ExitCode> {
    new_file::refuse_existing(&options.out)?;
    let members = members(&options.approve)?;
    let (policies, signed) = agreed(&options.file, &options.policy, options.number, &members)?;
    let addresses = addresses(std::slice::from_ref(&options.file))?;
    let party = party(&options.enrolment, &addresses)?;
    let calls = Calls::at(url);
    let pad = std::slice::from_ref(&options.file);
    let [engines, pad] = put(&calls, [&options.engine, pad], output)?;
    let id = drawn(&calls, None)?;
    let request = UpdateRequest {
        run: id.0.to_vec(),
        engines,
        pad: pad[0],
        policies: policies.iter().map(|policy| policy.to_bytes()).collect(),
        signed: signed.to_bytes(),
        party,
    };
    let ended = calls.update(&request)?;
    let written = match &ended.outputs[..] {
        [left] => vec![fetched_pad(&calls, left, &options.out)?],
        _ => Vec::new(),
    };
    Ok(reported(url, &id, None, &ended, &written).print(output))
}

fn reported<'a>(
    url: &'a str,
    run: &'a RunId,
    owner: Option<&'a RunOwner>,
    ended: &'a pad_calls::Outcome,
    written: &'a [Value],
) -> Report<'a> {
    let refusals = &ended.refusals;
    Report { guest: Some(url), run, owner, ended: ended.ended.as_deref(), refusals, written }
}

/// Where the delegators of Pads may be, as the Pads' metadata claim it.
fn addresses(pads: &[PathBuf]) -> Outcome<BTreeMap<Sha256Digest, String>> {
    let mut addresses = BTreeMap::new();
    for file in pads {
        let pad = sealed::claimed(file)?;
        let delegator = &pad.claimed().delegator;
        let uri = delegator.uri.as_str();
        if uri.starts_with("https://") {
            addresses.insert(delegator.key_provider_id, uri.to_owned());
        }
    }
    Ok(addresses)
}

/// A plain input, if a guest takes it.
fn taken(plain: &[u8]) -> Outcome<Vec<u8>> {
    if (1..=MAX_PLAIN_BYTES).contains(&plain.len()) {
        return Ok(plain.to_vec());
    }
    let found = plain.len();
    Err(Failure::new(
        format!("the plain input has {found} bytes, expected 1 to {MAX_PLAIN_BYTES}"),
        "put what is larger into a Pad, and leave out what is empty",
    ))
}

/// A custodian of the run; its delegator may be where one of its Pads says.
fn party(file: &Path, addresses: &BTreeMap<Sha256Digest, String>) -> Outcome<Party> {
    let enrolment = files::read_bounded(file, enrolment::MAX_BYTES as u64)?;
    let what = "`dstyx pad enrol-file` writes such files";
    let signed = SignedEnrolment::parse(&enrolment).hint(file.display(), what)?;
    let address = addresses.get(&signed.claimed().key_provider_id).cloned();
    Ok(Party { enrolment, address })
}

/// Has the guest keep files that its service has not; their digests, list by list.
fn put<const N: usize>(
    calls: &Calls,
    lists: [&[PathBuf]; N],
    output: &Output,
) -> Outcome<[Vec<Sha256Digest>; N]> {
    let mut held = calls.held()?;
    let mut digests = [(); N].map(|()| Vec::new());
    for (files, digests) in lists.into_iter().zip(&mut digests) {
        for file in files {
            let digest = policies::sha256_of_file(file)
                .hint(file.display(), "does the file exist, and is it one?")?;
            if held.insert(digest) {
                output.step(&format!("{} goes to the guest", file.display()));
                calls.put(&digest, sealed::open_file(file)?)?;
            }
            digests.push(digest);
        }
    }
    Ok(digests)
}

/// A run id of the guest, which has to be the one that the owner verified.
fn drawn(calls: &Calls, expected: Option<[u8; 32]>) -> Outcome<RunId> {
    let drawn = calls.draw()?;
    if let Some(expected) = expected
        && drawn.exporter != expected
    {
        let found = hex::encode(&drawn.exporter);
        return Err(Failure::new(
            format!(
                "the service is of another guest: it says {found}, expected {}",
                hex::encode(expected)
            ),
            "nothing was signed; verify the guest that the service is of: `dstyx pad exporter`",
        ));
    }
    let what = "this is no service for Pads of this version of dstyx";
    let run =
        drawn.run.try_into().map_err(|_| Failure::new("the run id has not 16 bytes", what))?;
    Ok(RunId(run))
}

/// Writes what left, and has the guest forget results: they are sealed for this owner alone.
fn fetched(
    calls: &Calls,
    number: usize,
    left: &Left,
    out: &Path,
    owner: Option<&RunOwner>,
    run: &RunId,
) -> Outcome<Value> {
    if left.kind == OutputKind::Pad {
        return fetched_pad(calls, left, &out.join(format!("output-{number}.pad")));
    }
    if left.bytes > MAX_SEALED_BYTES {
        let what = format!("a result of {} bytes, at most {MAX_SEALED_BYTES} are one", left.bytes);
        return Err(Failure::new(what, "is this a guest of this version of dstyx?"));
    }
    let mut sealed = Vec::new();
    calls.fetch(left, &mut sealed)?;
    let written = write_result(out, number, &sealed, owner, run)?;
    calls.forget(&left.sha256)?;
    Ok(written)
}

/// A Pad, whose key the delegator of its custodian has.
fn fetched_pad(calls: &Calls, left: &Left, file: &Path) -> Outcome<Value> {
    let mut new = NewFile::begin(file, MODE)?;
    calls.fetch(left, &mut new)?;
    new.flush().hint(file.display(), "is there room on the disk?")?;
    new.commit()?;
    let pad = sealed::claimed(file)?;
    let metadata = pad.claimed();
    Ok(json!({
        "kind": "Pad", "file": file, "pad_id": metadata.pad_id.to_string(),
        "digest": pad.digest().0, "custodian": metadata.custodian.0,
    }))
}
