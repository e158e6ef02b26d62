//! `dstyx kms policy`: which guests get keys, as a file that an owner signs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use kms_rules::policy::PolicyFile;
use protocol::kms::{MAX_DOCUMENT_BYTES, payload_type};
use serde_json::json;

use crate::app::App;
use crate::args::KmsPolicy;
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kept::Kept;
use crate::kms::allow;
use crate::kms::local::Local;
use crate::kms::policy::{Wanted, explain};
use crate::output::{Output, columns};
use crate::owner::Owner;

/// A policy in base64 with the signatures of sixteen owners.
const MAX_FILE_BYTES: u64 = 2 * MAX_DOCUMENT_BYTES as u64;

/// Does what was asked for.
pub fn run(verb: &KmsPolicy, output: &Output) -> Outcome<ExitCode> {
    match verb {
        KmsPolicy::Init { file, app, image } => {
            init(file, app.as_deref(), image.as_deref(), output)
        }
        KmsPolicy::Sign { file, out } => sign(file, out, output),
        KmsPolicy::Check { file } => check(file, output),
        KmsPolicy::Explain { app, image, name, file } => {
            let wanted = wanted(app, image, name.as_deref())?;
            explained(&wanted, file.as_deref(), output)
        }
        KmsPolicy::Push { file } => push(file, output),
    }
}

fn init(
    file: &Path,
    app: Option<&Path>,
    image: Option<&Path>,
    output: &Output,
) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let wanted = match (app, image) {
        (Some(app), Some(image)) => Some(wanted(app, image, None)?),
        _ => None,
    };
    let next = allow::next_version(&mut local, wanted.as_ref())?;
    let text = serde_json::to_string_pretty(&next).expect("a policy holds strings and numbers");
    fs::write(file, text + "\n").hint(file.display(), "is the directory writable?")?;
    let place = file.display();
    output.result(&next, || {
        format!(
            "policy {} is in {place}; `dstyx kms policy sign {place} --out ENVELOPE`\n",
            next.version
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn sign(file: &Path, out: &Path, output: &Output) -> Outcome<ExitCode> {
    let owner = Owner::expect()?;
    let bytes = files::read_bounded(file, MAX_FILE_BYTES)?;
    let envelope = match is_envelope(&bytes) {
        true => owner.sign_envelope(&bytes, payload_type::POLICY)?,
        false => owner.sign_document(payload_type::POLICY, &allow::parse(&bytes)?),
    };
    let policy = allow::read(&owner, envelope.as_bytes())?;
    fs::write(out, envelope).hint(out.display(), "is the directory writable?")?;
    let document = json!({ "version": policy.version, "file": out, "owner": owner.public() });
    output.result(&document, || {
        format!("policy {} is signed by {}\n", policy.version, owner.public())
    });
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, output: &Output) -> Outcome<ExitCode> {
    let policy = read(file)?;
    let now = now_secs()?;
    let valid = (policy.not_before_secs..=policy.not_after_secs).contains(&now);
    output.result(&json!({ "policy": policy, "valid_now": valid }), || {
        format!(
            "policy {}: {} apps, {} images, from {} to {}{}\n",
            policy.version,
            policy.apps.len(),
            policy.os_images.len(),
            allow::date(policy.not_before_secs),
            allow::date(policy.not_after_secs),
            if valid { "" } else { "; not valid now" }
        )
    });
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Exit status 0 if keys would be released, 1 if not.
fn explained(wanted: &Wanted, file: Option<&Path>, output: &Output) -> Outcome<ExitCode> {
    let policy = match file {
        Some(file) => Some(read(file)?),
        None => allow::current(&mut Local::running()?)?.map(|(policy, _)| policy),
    };
    let policy = policy.ok_or_else(|| {
        Failure::new(
            "the KMS has no policy: nobody gets keys",
            "`dstyx kms policy init` writes one",
        )
    })?;
    let lines = explain(&policy, wanted, now_secs()?);
    let allowed = lines.iter().all(|line| line.allows);
    let documents: Vec<_> = lines
        .iter()
        .map(|line| json!({ "place": line.place, "says": line.says, "allows": line.allows }))
        .collect();
    output.result(&json!({ "keys": allowed, "lines": documents }), || {
        let rows = lines.iter().map(|line| {
            let mark = if line.allows { "yes" } else { "NO" };
            vec![mark.to_owned(), line.place.clone(), line.says.clone()]
        });
        let verdict = match allowed {
            true => "this guest would get keys, if its evidence proves what is asked for here\n",
            false => "this guest would get no keys\n",
        };
        columns(&rows.collect::<Vec<_>>()) + verdict
    });
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn push(file: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut local = Local::running()?;
    let envelope = files::read_text(file, MAX_FILE_BYTES)?;
    let policy = allow::read(&local.owner, envelope.as_bytes())?;
    allow::set(&mut local, policy.version, envelope)?;
    local.look(output)?;
    output.result(&json!({ "version": policy.version }), || {
        format!("policy {} counts from now on\n", policy.version)
    });
    Ok(ExitCode::SUCCESS)
}

/// What the app in a directory would be, in an image, on the disk that is kept for its machine.
fn wanted(app: &Path, image: &Path, name: Option<&str>) -> Outcome<Wanted> {
    let app = App::read(app)?;
    let (_, os_image_hash) = files::read_manifest(image)?;
    let kept = Kept::of(name.unwrap_or(&app.settings.name))?;
    Wanted::of(&app.settings, kept.as_ref().map(|kept| &kept.record), os_image_hash)
}

fn read(file: &Path) -> Outcome<PolicyFile> {
    let bytes = files::read_bounded(file, MAX_FILE_BYTES)?;
    match is_envelope(&bytes) {
        true => allow::read(&Owner::expect()?, &bytes),
        false => allow::parse(&bytes),
    }
}

/// An envelope has a payload; no policy has such a key.
fn is_envelope(bytes: &[u8]) -> bool {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    document.get("payload").is_some()
}
