//! `dstyx gateway`: owners' calls to a running gateway, each signed by this user's key.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use gateway_rules::admin::{NONCE_HOLDS, PAYLOAD_TYPE, RawCall, RawWish};
use protocol::digest::{InstanceId, Sha256Digest};
use protocol::strict_json;
use serde::Deserialize;
use serde_json::Value;

use crate::args::{Gateway, GatewayCall};
use crate::clock::now_secs;
use crate::endpoint::{self, address, bounded, open};
use crate::failure::{Hint as _, Outcome};
use crate::files;
use crate::output::Output;
use crate::owner::Owner;

/// Largest answer: a status of 32 base domains.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Largest file of a call.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What a gateway gives out before a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nonce {
    gateway: InstanceId,
    nonce: Sha256Digest,
}

/// Does what was asked for.
pub fn run(verb: &Gateway, output: &Output) -> Outcome<ExitCode> {
    match verb {
        Gateway::Status(call) => make(call, RawWish::Status, output),
        Gateway::Renew(about) => {
            make(&about.call, RawWish::Renew { base: about.base.clone() }, output)
        }
        Gateway::ForgetAccount(about) => {
            make(&about.call, RawWish::ForgetAccount { base: about.base.clone() }, output)
        }
        Gateway::Sign { file } => {
            let envelope = files::read_bounded(file, MAX_FILE_BYTES)?;
            let signed = Owner::expect()?.sign_envelope(&envelope, PAYLOAD_TYPE)?;
            write(file, &signed)?;
            output.step("this user's key signed the call");
            Ok(ExitCode::SUCCESS)
        }
        Gateway::Send { url, file } => {
            let envelope = files::read_bounded(file, MAX_FILE_BYTES)?;
            send(url, &envelope, output)
        }
    }
}

fn make(to: &GatewayCall, call: RawWish, output: &Output) -> Outcome<ExitCode> {
    let at = address(&to.url, "/nonce");
    let answer = bounded(open(&at, Some(endpoint::TIMEOUT))?.into_reader(), &at, MAX_ANSWER_BYTES)?;
    let nonce: Nonce = strict_json::parse(&answer, MAX_ANSWER_BYTES)
        .hint(&at, "is this a gateway's port for owners?")?;
    let Nonce { gateway, nonce } = nonce;
    let not_after_secs = now_secs()? + NONCE_HOLDS.as_secs();
    let call = RawCall { gateway, nonce, not_after_secs, call };
    let envelope = Owner::expect()?.sign_document(PAYLOAD_TYPE, &call);
    match &to.out {
        Some(file) => {
            write(file, &envelope)?;
            output.step(&format!(
                "signed; others sign it with `dstyx gateway sign {}`",
                file.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        None => send(&to.url, envelope.as_bytes(), output),
    }
}

fn send(url: &str, envelope: &[u8], output: &Output) -> Outcome<ExitCode> {
    let at = address(url, "/call");
    let answer = endpoint::post(&at, envelope, MAX_ANSWER_BYTES)?;
    let answer: Value =
        strict_json::parse(&answer, MAX_ANSWER_BYTES).hint(&at, "is this a gateway?")?;
    output.result(&answer, || format!("{answer:#}\n"));
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, envelope: &str) -> Outcome<()> {
    fs::write(file, envelope).hint(file.display(), "is the directory writable?")
}
