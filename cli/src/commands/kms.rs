//! `dstyx kms`: what an owner does with a KMS, one act a verb.

use std::path::Path;
use std::process::ExitCode;

use protocol::kms::StatusResponse;
use protocol::prpc::Empty;
use serde_json::json;
use vmm_configs::spec::Accelerator;

use crate::args::{Accel, Kms, KmsImageVerb, KmsStart};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::kms::ceremony::{Ceremony, Step};
use crate::kms::channel::{Calls as _, Connection};
use crate::kms::image::put_image as upload;
use crate::kms::local::{Local, Start};
use crate::output::{Output, columns};
use crate::owner::{self, Owner};
use crate::parts::Overrides;
use crate::platform;

mod ledger;
mod policy;

/// Does what was asked for.
pub fn run(verb: &Kms, output: &Output) -> Outcome<ExitCode> {
    match verb {
        Kms::Init => init(output),
        Kms::Start(options) => start(options, output),
        Kms::Status => status(output),
        Kms::Bootstrap => act(output, Step::Bootstrap, |ceremony, kms, _| {
            ceremony.bootstrap(kms)?;
            ceremony.lead(kms).map(drop)
        }),
        Kms::Share => share(output),
        Kms::Recover => act(output, Step::GiveShare, |ceremony, kms, _| ceremony.give_share(kms)),
        Kms::Resume => {
            act(output, Step::Resume, |ceremony, kms, status| ceremony.resume(kms, status))
        }
        Kms::List => list(output),
        Kms::Policy(verb) => policy::run(verb, output),
        Kms::Ledger(verb) => ledger::run(verb, output),
        Kms::Image(KmsImageVerb::Put { dir }) => put_image(dir, output),
    }
}

fn init(output: &Output) -> Outcome<ExitCode> {
    let (owner, made) = Owner::load_or_make()?;
    let (public, id, file) = (owner.public(), owner.key_provider_id(), owner::file()?);
    let document = json!({
        "made": made, "owner": public, "file": file, "key_provider_id": id,
        "cluster": owner.local_cluster(),
    });
    output.result(&document, || {
        let word = if made { "made" } else { "was there already" };
        let rows = [
            ["owner's key".to_owned(), format!("{public} ({word})")],
            ["file".to_owned(), file.display().to_string()],
            ["key_provider_id".to_owned(), id.to_string()],
        ];
        columns(&rows.map(Vec::from))
            + "keep a copy of the file: without it nothing of this owner can be signed\n"
    });
    Ok(ExitCode::SUCCESS)
}

fn start(options: &KmsStart, output: &Output) -> Outcome<ExitCode> {
    let choice = platform::choose(platform::asked(options.tdx, options.emulate))?;
    output.step(choice.announcement());
    let start = Start {
        overrides: Overrides { image: options.image.as_deref(), qemu: options.qemu.as_deref() },
        choice,
        accelerator: accelerator(options.accel),
    };
    let mut local = Local::serving(start, output)?;
    let status = local.connection.call("Status", &Empty {})?;
    shown(&local, &status, output);
    Ok(ExitCode::SUCCESS)
}

/// How an emulated guest's CPU is provided.
pub fn accelerator(accel: Accel) -> Accelerator {
    match accel {
        Accel::Tcg => Accelerator::Tcg,
        Accel::Kvm => Accelerator::Kvm,
    }
}

fn status(output: &Output) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let status = local.connection.call("Status", &Empty {})?;
    shown(&local, &status, output);
    Ok(ExitCode::SUCCESS)
}

fn shown(local: &Local, status: &StatusResponse, output: &Output) {
    let platform = if local.vm.emulated { "emulated: nothing is proved" } else { "tdx" };
    let cluster = local.connection.peer().cluster();
    let document = json!({
        "verified": true, "platform": platform, "status": status, "image": local.image,
        "cluster": cluster,
        "seen": local.memory.seen,
    });
    output.result(&document, || {
        let rows = [
            ("state", sentence(&status.state).to_owned()),
            ("cluster", cluster.name.clone()),
            ("key_provider_id", status.key_provider_id.clone()),
            ("platform", platform.to_owned()),
            ("image", local.image.os_image_hash.to_string()),
            ("measured file", local.image.compose_hash.to_string()),
            ("epoch", status.epoch.to_string()),
            ("ledger", format!("{} entries, head {}", status.entries, hex::encode(&status.head))),
            ("policy", format!("version {}", status.policy_version)),
            ("list", format!("version {}", status.list_version)),
        ];
        let rows: Vec<_> =
            rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        columns(&rows)
    });
}

/// A state in a sentence.
fn sentence(state: &str) -> &str {
    match state {
        "unborn" => "unborn: it never had a root; `dstyx kms bootstrap`",
        "uncertified" => "uncertified: its root waits for the owner's word; `dstyx kms start`",
        "locked" => "locked: it waits for the share of its root; `dstyx kms recover`",
        "waiting" => "waiting: it waits for the word that it may go on; `dstyx kms resume`",
        "serving" => "serving",
        other => other,
    }
}

/// One act of the ceremony, where the KMS waits for it.
fn act(
    output: &Output,
    wanted: Step,
    done: impl FnOnce(&mut Ceremony<'_>, &mut Connection, &StatusResponse) -> Outcome<()>,
) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = local.ceremony(&say);
    let before: StatusResponse = kms.call("Status", &Empty {})?;
    let next = ceremony.next(&before)?;
    if next != wanted {
        return Err(Failure::new(
            format!("the KMS is {}: it waits for something else", before.state),
            "`dstyx kms status` says for what",
        ));
    }
    done(&mut ceremony, kms, &before)?;
    let after: StatusResponse = kms.call("Status", &Empty {})?;
    shown(&local, &after, output);
    Ok(ExitCode::SUCCESS)
}

fn share(output: &Output) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = local.ceremony(&say);
    ceremony.take_share(kms)?;
    let epoch = local.memory.share()?.map(|share| share.epoch);
    output.result(&json!({ "kept": true, "epoch": epoch }), || {
        "this owner's share of the root is kept, for its user alone\n".to_owned()
    });
    Ok(ExitCode::SUCCESS)
}

fn list(output: &Output) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = local.ceremony(&say);
    let status: StatusResponse = kms.call("Status", &Empty {})?;
    ceremony.list(kms, &status)?;
    let list = local.memory.seen.list.clone();
    output.result(&list, || {
        let version = list.as_ref().map_or(0, |list| list.version);
        format!("list {version} names what runs as the KMS\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn put_image(directory: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let json = files::read_image_json(directory)?;
    upload(&mut local.connection, &json, output)?;
    let hash = protocol::digest::OsImageHash::of(&json);
    output.result(&json!({ "os_image_hash": hash }), || format!("{hash}\n"));
    Ok(ExitCode::SUCCESS)
}
