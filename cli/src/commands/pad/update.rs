//! `dstyx pad update` and `dstyx pad agree`: other policies for a Pad, if its owners and its
//! engines agree.
//!
//! The same data are sealed again, under the same id and another key. Engines decide as they do in
//! a guest, on this machine: it is for whoever has the Pad's key anyway. The old Pad opens with its
//! old key as long as somebody has that; a delegator erases it, files do not.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pad_format::enrolment;
use pad_format::run::RunId;
use pad_format::update::{SignedUpdate, Update};
use pad_format::{Contents, Metadata, PadDigest, Policy, SealedPad};
use pad_supervisor::{Outcome as Ended, Replacement};
use serde_json::json;

use super::members;
use crate::args::{PadAgree, PadUpdate};
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::new_file::{self, NewFile};
use crate::output::{Output, named, note};
use crate::pad::data_key::DataKeyFile;
use crate::pad::keys::{MemberKeys, signed_by};
use crate::pad::local::{Kept, LocalDelegator};
use crate::pad::quotas::Quotas;
use crate::pad::{policies, runner, sealed};

/// Who may read a Pad: everybody.
const MODE: u32 = 0o644;

/// What is asked of the engines, and what comes of it.
struct Wanted {
    policies: Vec<Policy>,
    version: u64,
    signed: SignedUpdate,
}

/// Does what was asked for.
pub fn run(options: &PadUpdate, key: &Path, output: &Output) -> Outcome<ExitCode> {
    let key_file = DataKeyFile::beside(&options.out);
    new_file::refuse_existing(&key_file)?;
    let members = members(&options.approve)?;
    let new = loaded(&options.policy)?;
    let old_key = DataKeyFile::load(key)?;
    let wanted = wanted(options, &old_key, new, &members)?;
    let now = now_secs()?;
    let mut supervisor = runner::start(options.runner.as_deref())?;
    let id = supervisor.draw(now).hint("pad-runner", runner::FAILED)?;
    let pad = NewFile::begin(&options.out, MODE)?;
    let replacement = replacement(options, &wanted, id, now, pad.handle()?)?;
    let records = records(options, &id);
    let (keys, quotas) = (vec![old_key], Quotas::load()?);
    let mut delegator = LocalDelegator { now, keys, quotas, records: &records, kept: Vec::new() };
    note("the Pad's engines decide, and its data are sealed again");
    let ended = supervisor.update(replacement, &mut delegator);
    let ended = ended.hint("pad-runner", runner::FAILED)?;
    let (metadata, digest, kept) = replaced(ended, &pad, delegator.kept)?;
    let engines = wanted.policies.iter().map(|policy| policy.engine).collect();
    DataKeyFile::of(&metadata, digest, engines, kept.key).save(&key_file)?;
    pad.commit().inspect_err(|_| {
        // The key of a Pad that is not there opens nothing; the first error is the one to tell.
        let _ = std::fs::remove_file(&key_file);
    })?;
    let document = json!({
        "pad": options.out, "key": key_file, "pad_id": metadata.pad_id.to_string(),
        "digest": digest.0, "policy_version": wanted.version,
    });
    output.result(&document, || {
        named([
            ("Pad", options.out.display().to_string()),
            ("its key", format!("{} (for this user alone)", key_file.display())),
            ("policies", format!("version {}", wanted.version)),
        ]) + "the old key opens the old Pad: let its delegator erase it, and remove its file\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// Signs other policies for a Pad of which nobody here has the key.
pub fn agree(options: &PadAgree, output: &Output) -> Outcome<ExitCode> {
    let members = members(&options.approve)?;
    let version = options.number;
    let (_, signed) = agreed(&options.file, &options.policy, version, &members)?;
    let pad_id = signed.claimed().pad_id;
    new_file::write_new(&options.out, MODE, &signed.to_bytes())?;
    let document = json!({
        "file": options.out, "pad_id": pad_id.to_string(), "policy_version": version,
        "owners": members.len(),
    });
    output.result(&document, || {
        named([
            ("Pad", pad_id.to_string()),
            ("policies", format!("version {version}")),
            ("owners who agree", members.len().to_string()),
        ]) + "whether they are enough, the engines of the policies in force say\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// The policies of these files, and what owners sign who agree on them for a Pad.
pub(super) fn agreed(
    pad: &Path,
    policies: &[PathBuf],
    version: u64,
    members: &[MemberKeys],
) -> Outcome<(Vec<Policy>, SignedUpdate)> {
    let policies = loaded(policies)?;
    let pad_id = sealed::claimed(pad)?.claimed().pad_id;
    let custodian = members.first().map(MemberKeys::custodian);
    let custodian = custodian.ok_or_else(|| Failure::new("nobody agrees", "give --approve"))?;
    // The digest that is signed is of the policies alone.
    let contents =
        Contents { policy_version: version, custodian, policies, attributes: Vec::new() };
    let update = Update { pad_id, policies: contents.policies_digest(), version };
    Ok((contents.policies, approved(&update, members)))
}

fn loaded(files: &[PathBuf]) -> Outcome<Vec<Policy>> {
    files.iter().map(|file| policies::load(file).map(|read| read.policy)).collect()
}

/// The next version of the policies, signed by these owners.
fn wanted(
    options: &PadUpdate,
    key: &DataKeyFile,
    policies: Vec<Policy>,
    members: &[MemberKeys],
) -> Outcome<Wanted> {
    let opened = sealed::opened(&options.file, key)?;
    let version = opened.contents().policy_version.checked_add(1).ok_or_else(|| {
        Failure::new("the policies have the last version that there is", "pack the data anew")
    })?;
    let contents = Contents { policy_version: version, policies, ..opened.contents().clone() };
    let pad_id = opened.metadata().pad_id;
    let update = Update { pad_id, policies: contents.policies_digest(), version };
    let signed = approved(&update, members);
    Ok(Wanted { policies: contents.policies, version, signed })
}

/// What owners say who agree, each with the key of one member.
fn approved(update: &Update, members: &[MemberKeys]) -> SignedUpdate {
    let approvals = members.iter().map(|member| {
        let owner = member.custodian();
        let message = update.signed_bytes(&owner.id());
        (owner, signed_by(std::slice::from_ref(member), &message))
    });
    update.signed(approvals.collect())
}

fn replacement(
    options: &PadUpdate,
    wanted: &Wanted,
    run: RunId,
    now: u64,
    out: File,
) -> Outcome<Replacement> {
    let engines = options.engine.iter().map(|file| sealed::open_file(file));
    let party = files::read_bounded(&options.enrolment, enrolment::MAX_BYTES as u64)?;
    Ok(Replacement {
        run,
        now,
        engines: engines.collect::<Outcome<_>>()?,
        pad: sealed::open_file(&options.file)?,
        out,
        policies: wanted.policies.clone(),
        signed: wanted.signed.to_bytes(),
        party: (party, "unknown".to_owned()),
    })
}

/// What the files of records begin with: each attempt has its own.
fn records(options: &PadUpdate, run: &RunId) -> PathBuf {
    let mut beginning = OsString::from(&options.out);
    beginning.push(format!(".{}.", hex::encode(&run.0[..4])));
    beginning.into()
}

/// The new Pad as it was written, and its key.
fn replaced(
    ended: Ended,
    pad: &NewFile,
    mut kept: Vec<Kept>,
) -> Outcome<(Metadata, PadDigest, Kept)> {
    if let Err(reason) = ended.ended {
        let refusals = ended.refusals.join("; ");
        let what = if refusals.is_empty() { reason } else { format!("{reason}: {refusals}") };
        return Err(Failure::new(what, "let owners of a larger share agree: --approve for each"));
    }
    let kept = kept.pop().ok_or_else(|| Failure::new("no key was kept", runner::FAILED))?;
    let sealed = SealedPad::read(pad.reader()?).hint("the new Pad", runner::FAILED)?;
    Ok((sealed.claimed().clone(), sealed.digest(), kept))
}
