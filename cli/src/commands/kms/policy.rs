//! `dstyx kms policy`: which guests get keys, as a file that an owner signs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use kms_rules::policy::PolicyFile;
use protocol::kms::{MAX_DOCUMENT_BYTES, payload_type};
use serde_json::json;

use crate::app::App;
use crate::args::{KmsAt, KmsPolicy};
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kept::Kept;
use crate::kms::allow;
use crate::kms::memory::Memory;
use crate::kms::policy::{Wanted, explain};
use crate::kms::reached::Reached;
use crate::output::{Output, columns};
use crate::owner::Owner;

/// A policy in base64 with the signatures of sixteen owners.
const MAX_FILE_BYTES: u64 = 2 * MAX_DOCUMENT_BYTES as u64;

/// Does what was asked for.
pub fn run(verb: &KmsPolicy, at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    match verb {
        KmsPolicy::Init { file, app, image } => {
            init(at, file, app.as_deref(), image.as_deref(), output)
        }
        KmsPolicy::Sign { file, out } => sign(file, out, output),
        KmsPolicy::Pending { file } => pending(at, file, output),
        KmsPolicy::Check { file } => check(file, output),
        KmsPolicy::Explain { app, image, name, file } => {
            let wanted = wanted(app, image, name.as_deref())?;
            explained(at, &wanted, file.as_deref(), output)
        }
        KmsPolicy::Push { file } => push(at, file, output),
    }
}

fn init(
    at: &KmsAt,
    file: &Path,
    app: Option<&Path>,
    image: Option<&Path>,
    output: &Output,
) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let wanted = match (app, image) {
        (Some(app), Some(image)) => Some(wanted(app, image, None)?),
        _ => None,
    };
    let next = allow::next_version(&mut kms, wanted.as_ref())?;
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
    let (policy, envelope) = match is_envelope(&bytes) {
        true => (allow::claimed(&bytes)?, owner.sign_envelope(&bytes, payload_type::POLICY)?),
        false => {
            let policy = allow::parse(&bytes)?;
            let envelope = owner.sign_document(payload_type::POLICY, &policy);
            (policy, envelope)
        }
    };
    let id = policy.key_provider_id;
    if id != owner.key_provider_id() && !Memory::is_kept(id)? {
        return Err(Failure::new(
            format!("the policy is of the key provider {id}, of which this owner keeps nothing"),
            "is it of another KMS? `dstyx kms next --kms URL` first does this owner's part for it",
        ));
    }
    fs::write(out, envelope).hint(out.display(), "is the directory writable?")?;
    let document = json!({ "version": policy.version, "file": out, "owner": owner.public() });
    output.result(&document, || {
        format!(
            "policy {} is signed by {}; `dstyx kms policy push {}` hands it to the KMS\n",
            policy.version,
            owner.public(),
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes the newest policy that waits for signatures.
fn pending(at: &KmsAt, file: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let found = allow::pending(&mut kms)?;
    let count = found.len();
    let Some((policy, envelope, signers)) = found.into_iter().next() else {
        return Err(Failure::new(
            "no policy waits for signatures",
            "`dstyx kms policy init FILE` writes the next version",
        ));
    };
    fs::write(file, envelope).hint(file.display(), "is the directory writable?")?;
    let document = json!({ "policy": policy, "signers": signers, "pending": count });
    output.result(&document, || {
        let (place, others) = (
            file.display(),
            match count {
                1 => String::new(),
                more => format!("; {} others wait too", more - 1),
            },
        );
        format!(
            "policy {} with {signers} of {} signatures is in {place}{others}\n\
             read it with `dstyx --json kms policy check {place}` before you sign it\n",
            policy.version, kms.cluster.threshold
        )
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
fn explained(
    at: &KmsAt,
    wanted: &Wanted,
    file: Option<&Path>,
    output: &Output,
) -> Outcome<ExitCode> {
    let policy = match file {
        Some(file) => Some(read(file)?),
        None => allow::current(&mut Reached::at(at)?)?.map(|(policy, _)| policy),
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

fn push(at: &KmsAt, file: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let envelope = files::read_text(file, MAX_FILE_BYTES)?;
    let (policy, _) = allow::signed_by_some(&kms, envelope.as_bytes())?;
    let version = policy.version;
    let status = allow::set(&mut kms, version, envelope)?;
    kms.look(output)?;
    let counts = status.policy_version == version;
    let waiting = status.pending.iter().filter(|one| one.payload_type == payload_type::POLICY);
    let signatures = waiting.map(|one| one.signers.len()).max().unwrap_or_default();
    output.result(&json!({ "version": version, "counts": counts }), || match counts {
        true => format!("policy {version} counts from now on\n"),
        false => format!(
            "policy {version} has {signatures} of {} signatures; other owners: `dstyx kms policy pending FILE`, `sign`, `push`\n",
            kms.cluster.threshold
        ),
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
        true => allow::claimed(&bytes),
        false => allow::parse(&bytes),
    }
}

/// An envelope has a payload; no policy has such a key.
fn is_envelope(bytes: &[u8]) -> bool {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    document.get("payload").is_some()
}
