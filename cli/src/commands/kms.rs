//! `dstyx kms`: what an owner does with a KMS, one act a verb.

use std::path::Path;
use std::process::ExitCode;

use kms_rules::heads::SignedHead;
use kms_rules::state::Signed;
use protocol::kms::{GetTimeResponse, StatusResponse, TimeSource};
use protocol::prpc::Empty;
use serde_json::json;
use vmm_configs::spec::Accelerator;

use crate::args::{Accel, Kms, KmsAt, KmsCommand, KmsImageVerb};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::kms::ceremony::{Ceremony, Step};
use crate::kms::channel::{Calls as _, Connection};
use crate::kms::heads;
use crate::kms::image::put_image as upload;
use crate::kms::reached::Reached;
use crate::kms::sealing;
use crate::output::{Output, named};
use crate::owner::{self, Owner};
use crate::report::text;

mod epoch;
mod ledger;
mod policy;
mod start;
mod statement;

/// Does what was asked for.
pub fn run(KmsCommand { at, verb }: &KmsCommand, output: &Output) -> Outcome<ExitCode> {
    let own_only = matches!(verb, Kms::Init { .. } | Kms::Start(_));
    if own_only && at.kms.is_some() {
        return Err(Failure::new(
            "--kms names a KMS that runs already",
            "`init` and `start` are about this user's key and this host's machines: leave it out",
        ));
    }
    match verb {
        Kms::Init { age_recipient } => init(age_recipient.as_deref(), output),
        Kms::Start(options) => start::run(options, output),
        Kms::Status => status(at, output),
        Kms::Next => next(at, output),
        Kms::Bootstrap => act(at, output, Step::Bootstrap, |ceremony, kms, _| {
            ceremony.bootstrap(kms)?;
            ceremony.lead(kms).map(drop)
        }),
        Kms::Share => share(at, output),
        Kms::Recover => act(at, output, Step::GiveShare, |ceremony, kms, status| {
            ceremony.give_share(kms, status)
        }),
        Kms::Resume { danger_again } => act(at, output, Step::Resume, |ceremony, kms, status| {
            ceremony.resume(kms, status, *danger_again)
        }),
        Kms::List => list(at, output),
        Kms::Policy(verb) => policy::run(verb, at, output),
        Kms::Epoch(verb) => epoch::run(verb, at, output),
        Kms::Ledger(verb) => ledger::run(verb, at, output),
        Kms::Statement(options) => statement::run(options, output),
        Kms::Image(KmsImageVerb::Put { dir }) => put_image(at, dir, output),
    }
}

fn init(age_recipient: Option<&str>, output: &Output) -> Outcome<ExitCode> {
    age_recipient.map(sealing::set_recipient).transpose()?;
    let recipient = sealing::recipient()?.map(|recipient| recipient.to_string());
    let (owner, made) = Owner::load_or_make()?;
    let (public, id, file) = (owner.public(), owner.key_provider_id(), owner::file()?);
    let document = json!({
        "made": made, "owner": public, "file": file, "key_provider_id": id,
        "cluster": owner.local_cluster(), "age_recipient": recipient,
    });
    output.result(&document, || {
        let word = if made { "made" } else { "was there already" };
        let mut rows = vec![
            ("owner's key", format!("{public} ({word})")),
            ("file", file.display().to_string()),
            ("key_provider_id", id.to_string()),
        ];
        rows.extend(recipient.map(|key| ("shares sealed to", key)));
        named(rows) + "keep a copy of the file: without it nothing of this owner can be signed\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// How an emulated guest's CPU is provided.
pub fn accelerator(accel: Accel) -> Accelerator {
    match accel {
        Accel::Tcg => Accelerator::Tcg,
        Accel::Kvm => Accelerator::Kvm,
    }
}

fn status(at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let status = kms.connection.call("Status", &Empty {})?;
    let heads = heads::agreeing(&mut kms.connection, &status, kms.cluster.id())?;
    shown_with(&kms, &status, &heads, output);
    Ok(ExitCode::SUCCESS)
}

fn next(at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let status = kms.lead(output)?;
    if status.state == "serving" {
        // Guests and other processes judge the KMS by the text that it states.
        upload(&mut kms.connection, &kms.image_json, output)?;
    }
    shown(&kms, &status, output);
    Ok(ExitCode::SUCCESS)
}

/// Prints how a KMS is.
fn shown(kms: &Reached, status: &StatusResponse, output: &Output) {
    shown_with(kms, status, &[], output);
}

/// Prints how a KMS is, and its members' heads, which were compared.
fn shown_with(kms: &Reached, status: &StatusResponse, heads: &[SignedHead], output: &Output) {
    let platform = if kms.emulated { "emulated: nothing is proved" } else { "tdx" };
    let cluster = &kms.cluster;
    let document = json!({
        "verified": true, "platform": platform, "status": status, "image": kms.image,
        "cluster": cluster,
        "seen": kms.memory.seen,
    });
    output.result(&document, || {
        let deciding = format!("{} of {} owners", cluster.threshold, cluster.owners.len());
        let head = hex::encode(&status.head);
        let mut rows = vec![
            ("state", sentence(&status.state).to_owned()),
            ("cluster", format!("{}, {deciding} decide", cluster.name)),
            ("key_provider_id", status.key_provider_id.clone()),
            ("platform", platform.to_owned()),
            ("image", kms.image.os_image_hash.to_string()),
            ("measured file", kms.image.compose_hash.to_string()),
            ("epoch", status.epoch.to_string()),
            ("time", time_of(status.time.as_ref())),
            ("ledger", format!("{} entries, head {head}", status.entries)),
            ("policy", format!("version {}", status.policy_version)),
            ("list", format!("version {}", status.list_version)),
        ];
        if !status.holders.is_empty() {
            rows.push((holders(&status.state), names(&status.holders, kms)));
        }
        for head in heads.iter().filter(|_| heads.len() > 1) {
            let own = if status.member == head.member.0 { ", this one" } else { "" };
            let member: String = head.member.to_string().chars().take(16).collect();
            rows.push(("member", format!("{member}{own}: {} entries", head.entries)));
        }
        for epoch in status.epochs.iter().filter(|_| status.epochs.len() > 1) {
            let what = format!("epoch {}: {} instances", epoch.epoch, epoch.instances);
            rows.push((keys_of(&epoch.keys), what));
        }
        if !status.offered.is_empty() {
            rows.push(("offered", "the root of the next epoch; `dstyx kms epoch certify`".into()));
        }
        for document in &status.pending {
            let what = format!(
                "a {} has {} of {} signatures: {}",
                document_name(&document.payload_type),
                document.signers.len(),
                cluster.threshold,
                names(&document.signers, kms)
            );
            rows.push(("waits", what));
        }
        named(rows)
    });
}

/// What time a KMS has, and what it rests on.
fn time_of(told: Option<&GetTimeResponse>) -> String {
    let Some(told) = told else {
        return "unknown: too few of the time servers that it names agree; no guest gets keys"
            .into();
    };
    let rests_on = match told.source() {
        Ok(TimeSource::Servers) => {
            let bound_ms = told.bound_ms.unwrap_or_default();
            let (agreeing, named) = (told.agreeing, told.named);
            format!("within {bound_ms} ms: {agreeing} of {named} time servers agree")
        }
        Ok(TimeSource::Ledger) => "of its ledger: its clock is behind what it has seen".into(),
        Ok(TimeSource::Machine) => "of its machine's clock, which its host sets".into(),
        Err(error) => error.to_string(),
    };
    format!("{}, {rests_on}", text::time(told.time_ms / 1000))
}

/// Whose formulas an epoch's keys have.
fn keys_of(keys: &str) -> &'static str {
    match keys {
        "dstack" => "dstack keys",
        _ => "keys",
    }
}

fn holders(state: &str) -> &'static str {
    match state {
        "locked" => "shares given by",
        _ => "shares taken by",
    }
}

/// A document's name for a person; that of a type that this version does not know is the type.
fn document_name(payload_type: &str) -> &str {
    Signed::of_payload(payload_type).map_or(payload_type, |signed| signed.name())
}

/// Owners by their places and the first digits of their keys.
fn names(keys: &[String], kms: &Reached) -> String {
    let name = |key: &String| {
        let place = kms.cluster.owners.iter().position(|owner| owner.to_string() == *key);
        let place = place.map_or_else(|| "?".to_owned(), |place| (place + 1).to_string());
        let own = if kms.owner.public().to_string() == *key { ", this user" } else { "" };
        format!("owner {place} ({}{own})", key.chars().take(16).collect::<String>())
    };
    keys.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A state in a sentence.
fn sentence(state: &str) -> &str {
    match state {
        "unborn" => "unborn: it never had a root; `dstyx kms next` lets it make one",
        "uncertified" => "uncertified: its root waits for owners' words; `dstyx kms next`",
        "locked" => "locked: it waits for shares of its root; `dstyx kms next`",
        "waiting" => "waiting: it waits for owners' word that it may go on; `dstyx kms next`",
        "serving" => "serving",
        other => other,
    }
}

/// One act of the ceremony, where the KMS waits for it.
fn act(
    at: &KmsAt,
    output: &Output,
    wanted: Step,
    done: impl FnOnce(&mut Ceremony<'_>, &mut Connection, &StatusResponse) -> Outcome<()>,
) -> Outcome<ExitCode> {
    let mut reached = Reached::at(at)?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = reached.ceremony(&say);
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
    shown(&reached, &after, output);
    Ok(ExitCode::SUCCESS)
}

fn share(at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    let mut reached = Reached::at(at)?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = reached.ceremony(&say);
    let status: StatusResponse = kms.call("Status", &Empty {})?;
    ceremony.take_share(kms)?;
    let epoch = reached.memory.has_share(status.epoch).then_some(status.epoch);
    output.result(&json!({ "kept": true, "epoch": epoch }), || {
        "this owner's share of the root is kept, for its user alone\n".to_owned()
    });
    Ok(ExitCode::SUCCESS)
}

fn list(at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    let mut reached = Reached::at(at)?;
    let say = |step: &str| output.step(step);
    let (mut ceremony, kms) = reached.ceremony(&say);
    let status: StatusResponse = kms.call("Status", &Empty {})?;
    ceremony.list(kms, &status)?;
    let status: StatusResponse = kms.call("Status", &Empty {})?;
    shown(&reached, &status, output);
    Ok(ExitCode::SUCCESS)
}

fn put_image(at: &KmsAt, directory: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let json = files::read_image_json(directory)?;
    upload(&mut kms.connection, &json, output)?;
    let hash = protocol::digest::OsImageHash::of(&json);
    output.result(&json!({ "os_image_hash": hash }), || format!("{hash}\n"));
    Ok(ExitCode::SUCCESS)
}
