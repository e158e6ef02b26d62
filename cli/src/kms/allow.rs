//! Renewing the policy of this user's KMS, so that it allows what is about to be started.

use kms_rules::policy::PolicyFile;
use protocol::digest::OsImageHash;
use protocol::kms::{MAX_DOCUMENT_BYTES, SignedDocument, payload_type};
use protocol::prpc::Empty;
use protocol::strict_json;

use super::channel::Calls;
use super::image::put_image;
use super::local::Local;
use super::policy::{Wanted, extended};
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::owner::Owner;

/// Gives the KMS the image's reference values and a policy that allows `wanted` too.
pub fn allow(
    local: &mut Local,
    wanted: &Wanted,
    image_json: &[u8],
    output: &Output,
) -> Outcome<()> {
    if OsImageHash::of(image_json) != local.image.os_image_hash {
        put_image(&mut local.connection, image_json, output)?;
    }
    let file = next_version(local, Some(wanted))?;
    push(local, &file, output)?;
    local.look(output)
}

/// The policy after the one that the KMS has: renewed, and allowing `wanted` if something is.
pub fn next_version(local: &mut Local, wanted: Option<&Wanted>) -> Outcome<PolicyFile> {
    let previous = current(local)?.map(|(file, _)| file);
    let signed_version = local.memory.seen.policy_version;
    let id = local.owner.key_provider_id();
    Ok(extended(previous.as_ref(), id, signed_version, wanted, now_secs()?))
}

/// The policy that the KMS has, with its envelope, if this owner signed it and no later one.
pub fn current(local: &mut Local) -> Outcome<Option<(PolicyFile, String)>> {
    let SignedDocument { envelope } = local.connection.call("GetPolicy", &Empty {})?;
    if envelope.is_empty() {
        return Ok(None);
    }
    let file = read(&local.owner, envelope.as_bytes())?;
    let signed = local.memory.seen.policy_version;
    if file.version < signed {
        return Err(Failure::new(
            format!("the KMS has policy {}, and this owner signed policy {signed}", file.version),
            "was its disk put back? `dstyx kms policy push FILE` sets the newest one again",
        ));
    }
    Ok(Some((file, envelope)))
}

/// The policy in an envelope that this owner signed.
pub fn read(owner: &Owner, envelope: &[u8]) -> Outcome<PolicyFile> {
    let payload = owner.signed_by_this(envelope, payload_type::POLICY)?;
    let file = parse(&payload)?;
    if file.key_provider_id != owner.key_provider_id() {
        return Err(Failure::new(
            format!("the policy is of the key provider {}", file.key_provider_id),
            format!("this owner's is {}", owner.key_provider_id()),
        ));
    }
    Ok(file)
}

/// A policy as its owner writes it.
pub fn parse(json: &[u8]) -> Outcome<PolicyFile> {
    const HINT: &str = "`dstyx kms policy init` writes one to start from; docs/kms.md has its keys";
    let file: PolicyFile = strict_json::parse(json, MAX_DOCUMENT_BYTES).hint("the policy", HINT)?;
    file.check().hint("the policy", HINT)?;
    Ok(file)
}

/// Signs a policy and sets it.
pub fn push(local: &mut Local, file: &PolicyFile, output: &Output) -> Outcome<()> {
    output.step(&format!(
        "this user's key signs policy {}: {} of {} in {}, until {}",
        file.version,
        counted(file.apps.iter().map(|app| app.compose_hashes.len()).sum(), "version"),
        counted(file.apps.len(), "app"),
        counted(file.os_images.len(), "image"),
        date(file.not_after_secs)
    ));
    let envelope = local.owner.sign_document(payload_type::POLICY, file);
    set(local, file.version, envelope)
}

/// Sets a policy that is signed; its version is kept before it leaves.
pub fn set(local: &mut Local, version: u64, envelope: String) -> Outcome<()> {
    let seen = &mut local.memory.seen;
    seen.policy_version = seen.policy_version.max(version);
    local.memory.save()?;
    let _: Empty = local.connection.call("SetPolicy", &SignedDocument { envelope })?;
    Ok(())
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A day, in UTC.
pub fn date(secs: u64) -> String {
    i64::try_from(secs)
        .ok()
        .and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok())
        .map_or_else(|| secs.to_string(), |time| time.date().to_string())
}
