//! `dstyx pad`: data that is sealed together with its policies, one act a verb.

use std::path::Path;
use std::process::ExitCode;

use pad_format::{Custodian, CustodianId};
use protocol::digest::Sha256Digest;

use crate::args::Pad;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::owner::Owner;
use crate::pad::keys::MemberKeys;

mod component;
mod custodians;
mod delegated;
mod exporter;
mod guest;
mod inspect;
mod open;
mod pack;
mod policy;
mod record;
mod report;
mod run;
mod submit;
#[cfg(test)]
mod tests;
mod update;

/// Does what was asked for.
pub fn run(verb: &Pad, output: &Output) -> Outcome<ExitCode> {
    match verb {
        Pad::Keygen(options) => custodians::keygen(options, output),
        Pad::Joint(options) => custodians::joint(options, output),
        Pad::EnrolFile(options) => custodians::enrol_file(options, output),
        Pad::Enrol(options) => delegated::enrol(options, output),
        Pad::Push(options) => delegated::push(options, output),
        Pad::Revoke(options) => delegated::revoke(options, output),
        Pad::Audit(options) => delegated::audit(options, output),
        Pad::Pack(options) => pack::run(options, output),
        Pad::Inspect(options) => inspect::run(options, output),
        Pad::Open(options) => open::run(options, output),
        Pad::Update(options) => match (&options.guest, &options.key) {
            (Some(guest), _) => submit::update(options, guest, output),
            (None, Some(key)) => update::run(options, key, output),
            (None, None) => Err(Failure::new("the Pad's key is not named", "give it with --key")),
        },
        Pad::Run(options) => match options.guest.as_deref().zip(options.exporter.as_deref()) {
            Some(guest) => submit::run(options, guest, output),
            None => run::run(options, output),
        },
        Pad::Exporter(options) => exporter::run(options, output),
        Pad::Sign(options) => guest::sign(options, output),
        Pad::Result(options) => guest::result(options, output),
        Pad::Agree(options) => update::agree(options, output),
        Pad::Record(options) => record::run(options, output),
        Pad::Component(options) => component::run(options, output),
        Pad::Engine(options) => component::engine(options, output),
        Pad::Policy(verb) => policy::run(verb, output),
    }
}

/// The delegator that is stated, or this user's own KMS.
fn delegator(stated: Option<&str>) -> Outcome<Sha256Digest> {
    match stated {
        Some(id) => Sha256Digest::from_hex(id).hint(
            "--delegator",
            "64 lower-case hexadecimal digits, as `dstyx kms status` shows it",
        ),
        None => Ok(Owner::expect()?.key_provider_id()),
    }
}

/// The private keys in these files.
fn members(files: &[impl AsRef<Path>]) -> Outcome<Vec<MemberKeys>> {
    files.iter().map(|file| MemberKeys::load(file.as_ref())).collect()
}

/// What a person sees of who a custodian is.
fn shown(id: &CustodianId) -> String {
    format!("{id} (shown as {})", id.shown())
}

/// How a custodian decides.
fn deciding(custodian: &Custodian) -> String {
    match custodian.members().len() {
        1 => "1 member".to_owned(),
        count => format!("{} of {count} members", custodian.threshold()),
    }
}
