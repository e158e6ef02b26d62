//! `dstyx pad keygen`, `joint` and `enrol-file`: who a custodian is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pad_format::Custodian;
use pad_format::custodian::{SignatureError, Signatures};
use pad_format::enrolment::{self, Enrolment, EnrolmentError, SignedEnrolment};
use serde_json::{Value, json};

use super::{deciding, delegator, members, shown};
use crate::args::{PadEnrolFile, PadJoint, PadKeygen};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::{Output, named};
use crate::pad::custodian::Public;
use crate::pad::keys::MemberKeys;
use crate::{files, new_file, private};

/// Ending of a public file.
const PUBLIC: &str = "custodian";
/// Who may read an enrolment: everybody.
const MODE: u32 = 0o644;

/// Makes the keys of a custodian, and its public file.
pub fn keygen(options: &PadKeygen, output: &Output) -> Outcome<ExitCode> {
    let file = &options.file;
    let public_file = file.with_extension(PUBLIC);
    if public_file == *file {
        let what = format!("{}: the ending is that of the public file", file.display());
        return Err(Failure::new(what, "name the file of the private keys, such as a.key"));
    }
    new_file::refuse_existing(&public_file)?;
    let keys = MemberKeys::generate()?;
    new_file::write_new(file, private::FILE_MODE, keys.to_pem()?.as_bytes())?;
    let public = Public::single(&keys);
    public.save(&public_file)?;
    output.result(&document(&public, &public_file, Some(file)), || {
        let mut rows = rows(&public, &public_file);
        rows.insert(0, ("private keys", format!("{} (for this user alone)", file.display())));
        named(rows)
            + "keep a copy of the private keys: without them nothing can be signed or opened\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes the public file of a custodian of several.
pub fn joint(options: &PadJoint, output: &Output) -> Outcome<ExitCode> {
    let mut keys = Vec::new();
    let mut result_key = None;
    for file in &options.member {
        let Public { custodian, result_key: own } = Public::load(file)?;
        let [key] = custodian.members() else {
            let what = format!("{}: a custodian of several is no member", file.display());
            return Err(Failure::new(what, "name the public files of its members instead"));
        };
        keys.push(*key);
        result_key.get_or_insert(own);
    }
    let custodian = Custodian::joint(keys, options.threshold)
        .hint("the custodian", "name each member once, and a threshold up to their number")?;
    let result_key =
        result_key.ok_or_else(|| Failure::new("there are no members", "name their files"))?;
    let public = Public { custodian, result_key };
    public.save(&options.out)?;
    output.result(&document(&public, &options.out, None), || named(rows(&public, &options.out)));
    Ok(ExitCode::SUCCESS)
}

/// Writes an enrolment with the signatures of these members, and of those that signed before.
pub fn enrol_file(options: &PadEnrolFile, output: &Output) -> Outcome<ExitCode> {
    let members = members(&options.key)?;
    let mut signed = to_sign(options)?;
    let custodian = signed.claimed().custodian.clone();
    let message = signed.claimed().signed_bytes();
    for member in &members {
        if !custodian.members().contains(&member.public()) {
            let what = format!("the key {} is no member of the custodian", member.public());
            return Err(Failure::new(what, "give the keys of its members"));
        }
        signed.add(member.public(), member.sign(&message));
    }
    let is_complete = match signed.clone().verify(&custodian.id()) {
        Ok(_) => true,
        Err(EnrolmentError::Signature(SignatureError::TooFew { .. })) => false,
        Err(error) => return Err(error).hint(options.file.display(), "begin a new enrolment"),
    };
    new_file::write_new(&options.out, MODE, &signed.to_bytes())?;
    let Enrolment { key_provider_id, version, .. } = signed.claimed();
    let document = json!({
        "file": options.out, "custodian": custodian.id().0, "key_provider_id": key_provider_id,
        "version": version, "complete": is_complete,
    });
    output.result(&document, || {
        let state = if is_complete {
            "enough members signed; hand it over with `dstyx pad enrol`"
        } else {
            "more members have to sign: `dstyx pad enrol-file` with this file and their keys"
        };
        named([
            ("enrolment", options.out.display().to_string()),
            ("custodian", shown(&custodian.id())),
            ("delegator", key_provider_id.to_string()),
            ("version", version.to_string()),
            ("state", state.to_owned()),
        ])
    });
    Ok(ExitCode::SUCCESS)
}

/// A new enrolment of the custodian in the file, or the one that it is.
fn to_sign(options: &PadEnrolFile) -> Outcome<SignedEnrolment> {
    let file = &options.file;
    let bytes = files::read_bounded(file, enrolment::MAX_BYTES as u64)?;
    if bytes.first() == Some(&b'{') {
        let Public { custodian, result_key } = Public::parse(&bytes, file)?;
        let key_provider_id = delegator(options.delegator.as_deref())?;
        let version = options.number.unwrap_or(1);
        if version == 0 {
            return Err(Failure::new("versions count from 1", "leave --number out for the first"));
        }
        let enrolment = Enrolment { custodian, key_provider_id, version, result_key };
        return Ok(enrolment.signed(Signatures::default()));
    }
    let hint = "give a custodian's public file, or an enrolment that waits for signatures";
    if options.delegator.is_some() || options.number.is_some() {
        let what = format!("{}: delegator and version stand in the enrolment", file.display());
        return Err(Failure::new(what, "leave --delegator and --number out"));
    }
    SignedEnrolment::parse(&bytes).hint(file.display(), hint)
}

fn document(public: &Public, file: &Path, private: Option<&PathBuf>) -> Value {
    let Public { custodian, result_key } = public;
    let id = custodian.id();
    json!({
        "custodian": id.0, "shown": id.shown().to_string(), "threshold": custodian.threshold(),
        "members": custodian.members(), "result_key": hex::encode(result_key.0), "file": file,
        "private_keys": private,
    })
}

fn rows(public: &Public, file: &Path) -> Vec<(&'static str, String)> {
    let id = public.custodian.id();
    vec![
        ("public file", file.display().to_string()),
        ("custodian", id.to_string()),
        ("shown as", id.shown().to_string()),
        ("decided by", deciding(&public.custodian)),
    ]
}
