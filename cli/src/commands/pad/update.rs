//! `dstyx pad update`: other policies for a Pad, if owners of a large enough share agree.
//!
//! The same data are sealed again, under the same id and another key. The old Pad opens with its
//! old key as long as somebody has that; a delegator erases it, files do not.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::process::ExitCode;

use pad_format::metadata::KeyId;
use pad_format::update::{Update, VerifiedOwners};
use pad_format::{Contents, DataKey, Metadata, OpenedPad, Packing, PadWriter, Policy};
use pad_policy_file::rules;
use pad_rules::{OwnerId, check_update};
use serde_json::json;
use zeroize::Zeroizing;

use super::members;
use crate::args::PadUpdate;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::new_file::{self, NewFile};
use crate::output::{Output, named};
use crate::pad::data_key::DataKeyFile;
use crate::pad::keys::{MemberKeys, signed_by};
use crate::pad::progress::Progress;
use crate::pad::{policies, sealed};

/// Who may read a Pad: everybody.
const MODE: u32 = 0o644;
/// Bytes of data that are sealed at once.
const PIECE_BYTES: usize = 1 << 20;

/// Does what was asked for.
pub fn run(options: &PadUpdate, output: &Output) -> Outcome<ExitCode> {
    let key_file = DataKeyFile::beside(&options.out);
    new_file::refuse_existing(&key_file)?;
    let members = members(&options.approve)?;
    let new = options.policy.iter().map(|file| policies::load(file).map(|read| read.policy));
    let new = new.collect::<Outcome<Vec<_>>>()?;
    let opened = sealed::opened(&options.file, &DataKeyFile::load(&options.key)?)?;
    let contents = agreed(&opened, new, &members)?;
    let metadata = opened.metadata().clone();
    let (pad, key) = resealed(options, opened, &metadata, &contents, output)?;
    key.save(&key_file)?;
    pad.commit().inspect_err(|_| {
        // The key of a Pad that is not there opens nothing; the first error is the one to tell.
        let _ = std::fs::remove_file(&key_file);
    })?;
    let document = json!({
        "pad": options.out, "key": key_file, "pad_id": metadata.pad_id.to_string(),
        "digest": key.pad.0, "policy_version": contents.policy_version,
    });
    output.result(&document, || {
        named([
            ("Pad", options.out.display().to_string()),
            ("its key", format!("{} (for this user alone)", key_file.display())),
            ("policies", format!("version {}", contents.policy_version)),
        ]) + "the old key opens the old Pad: let its delegator erase it, and remove its file\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// The contents with the new policies, if each old policy lets these owners agree on others.
fn agreed<R: std::io::Read + std::io::Seek>(
    opened: &OpenedPad<R>,
    new: Vec<Policy>,
    members: &[MemberKeys],
) -> Outcome<Contents> {
    let old = opened.contents();
    let policy_version = old.policy_version.checked_add(1).ok_or_else(|| {
        Failure::new("the policies have the last version that there is", "pack the data anew")
    })?;
    let contents = Contents { policy_version, policies: new, ..old.clone() };
    let update = Update {
        pad_id: opened.metadata().pad_id,
        policies: contents.policies_digest(),
        version: policy_version,
    };
    let owners = owners(&update, old.policy_version, members)?;
    let ids: Vec<_> = owners.ids().iter().map(|id| OwnerId(id.0.0)).collect();
    for policy in &old.policies {
        let rules = rules(policy)
            .hint("the Pad's policy", "only policies of the engine `share` are changed here")?;
        check_update(&rules, &ids)
            .hint("other policies", "let owners of a larger share agree: --approve for each")?;
    }
    Ok(contents)
}

fn owners(update: &Update, in_force: u64, members: &[MemberKeys]) -> Outcome<VerifiedOwners> {
    let approvals = members.iter().map(|member| {
        let owner = member.custodian();
        let message = update.signed_bytes(&owner.id());
        (owner, signed_by(std::slice::from_ref(member), &message))
    });
    let signed = update.signed(approvals.collect());
    signed.verify(update, in_force).hint("the owners' agreement", "give the owners' private keys")
}

/// Seals the same data under a new key.
fn resealed(
    options: &PadUpdate,
    opened: OpenedPad<BufReader<File>>,
    metadata: &Metadata,
    contents: &Contents,
    output: &Output,
) -> Outcome<(NewFile, DataKeyFile)> {
    let room = "is there room on the disk?";
    let key = DataKey::generate()
        .map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
    // Another key has another name at the delegator.
    let version = contents.policy_version.to_be_bytes();
    let key_id = [&metadata.pad_id.uuid().as_bytes()[..], &version].concat();
    let packing = Packing {
        pad_id: metadata.pad_id,
        delegator: metadata.delegator.clone(),
        algorithm: metadata.crypto.algorithm,
        key_id: KeyId::new(&key_id).hint("the key's id", "try again")?,
        chunk: metadata.crypto.chunk,
        contents,
    };
    let refused = |error| sealed::refused(&options.file, &error);
    let mut data = opened.into_data().map_err(refused)?;
    let bytes = data.data_bytes();
    let new = BufWriter::new(NewFile::begin(&options.out, MODE)?);
    let mut writer = PadWriter::new(new, &packing, &key).hint(options.out.display(), room)?;
    let mut progress = Progress::new(output, "sealed", bytes);
    let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
    let mut offset = 0;
    while offset < bytes {
        let read = data.read_at(offset, &mut piece).map_err(refused)?;
        writer.write(&piece[..read]).hint(options.out.display(), room)?;
        offset += read as u64;
        progress.advance(read);
    }
    let metadata = writer.metadata().clone();
    let (mut out, digest) = writer.finish().hint(options.out.display(), room)?;
    out.flush().hint(options.out.display(), room)?;
    let new = out.into_inner().map_err(|error| Failure::new(error.error(), room))?;
    let engines = contents.policies.iter().map(|policy| policy.engine).collect();
    Ok((new, DataKeyFile::of(&metadata, digest, engines, key)))
}
