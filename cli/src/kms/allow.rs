//! Renewing the policy of a KMS, so that it allows what is about to be started.

use attestation::signatures::{self, Envelope, PayloadType};
use kms_rules::policy::PolicyFile;
use protocol::digest::OsImageHash;
use protocol::kms::{
    Cluster, MAX_DOCUMENT_BYTES, PendingRequest, PendingResponse, SignedDocument, StatusResponse,
    payload_type,
};
use protocol::prpc::Empty;
use protocol::strict_json;

use super::channel::Calls;
use super::image::put_image;
use super::policy::{Wanted, extended};
use super::reached::Reached;
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;

/// Gives the KMS the image's reference values and a policy that allows `wanted` too.
pub fn allow(
    kms: &mut Reached,
    wanted: &Wanted,
    image_json: &[u8],
    output: &Output,
) -> Outcome<()> {
    if OsImageHash::of(image_json) != kms.image.os_image_hash {
        put_image(&mut kms.connection, image_json, output)?;
    }
    let file = next_version(kms, Some(wanted))?;
    push(kms, &file, output)?;
    kms.look(output).map(drop)
}

/// The policy after the one that the KMS has: renewed, and allowing `wanted` if something is.
pub fn next_version(kms: &mut Reached, wanted: Option<&Wanted>) -> Outcome<PolicyFile> {
    let previous = current(kms)?.map(|(file, _)| file);
    let signed_version = kms.memory.seen.policy_version;
    let id = kms.cluster.id();
    Ok(extended(previous.as_ref(), id, signed_version, wanted, now_secs()?))
}

/// The policy that the KMS has, with its envelope, if its owners signed it; where one owner decides
/// alone, if that owner signed no later one.
pub fn current(kms: &mut Reached) -> Outcome<Option<(PolicyFile, String)>> {
    let SignedDocument { envelope } = kms.connection.call("GetPolicy", &Empty {})?;
    if envelope.is_empty() {
        return Ok(None);
    }
    let file: PolicyFile = kms.owners()?.document(&envelope, payload_type::POLICY, "policy").hint(
        "what the KMS has",
        "nothing was signed; is its ledger whole? `dstyx kms ledger export`",
    )?;
    check_cluster(&file, &kms.cluster)?;
    let signed = kms.memory.seen.policy_version;
    if kms.cluster.threshold == 1 && file.version < signed {
        return Err(Failure::new(
            format!("the KMS has policy {}, and this owner signed policy {signed}", file.version),
            "was its disk put back? `dstyx kms policy push FILE` sets the newest one again",
        ));
    }
    Ok(Some((file, envelope)))
}

/// The policies that wait for signatures of more owners of the KMS, the newest version first, each
/// with who signed it.
pub fn pending(kms: &mut Reached) -> Outcome<Vec<(PolicyFile, String, usize)>> {
    let asked = PendingRequest { payload_type: payload_type::POLICY.to_owned() };
    let answer: PendingResponse = kms.connection.call("Pending", &asked)?;
    let mut found = Vec::new();
    for envelope in answer.envelopes {
        let (file, signers) = signed_by_some(kms, envelope.as_bytes())?;
        found.push((file, envelope, signers));
    }
    found.sort_by_key(|(file, _, _)| std::cmp::Reverse(file.version));
    Ok(found)
}

/// The policy in an envelope that at least one owner of the KMS signed, and how many did.
pub fn signed_by_some(kms: &Reached, envelope: &[u8]) -> Outcome<(PolicyFile, usize)> {
    let owners = kms.owners()?;
    let (envelope, signers) =
        signatures::counted(envelope, PayloadType(payload_type::POLICY), owners.trust())
            .map_err(|error| Failure::new(&error, error.hint()))?;
    if signers.is_empty() {
        return Err(Failure::new(
            "no owner of this KMS signed the policy",
            "`dstyx kms policy sign` signs it",
        ));
    }
    let file = parse(envelope.payload())?;
    check_cluster(&file, &kms.cluster)?;
    Ok((file, signers.len()))
}

/// What an envelope claims to be a policy, whoever signed it.
pub fn claimed(envelope: &[u8]) -> Outcome<PolicyFile> {
    let envelope = Envelope::parse(envelope, PayloadType(payload_type::POLICY))
        .hint("the envelope", "take the file as dstyx wrote it")?;
    parse(envelope.payload())
}

fn check_cluster(file: &PolicyFile, cluster: &Cluster) -> Outcome<()> {
    let (found, expected) = (file.key_provider_id, cluster.id());
    if found == expected {
        return Ok(());
    }
    let what = format!("the policy is of the key provider {found}");
    Err(Failure::new(what, format!("this KMS is {expected}")))
}

/// A policy as its owner writes it.
pub fn parse(json: &[u8]) -> Outcome<PolicyFile> {
    const HINT: &str = "`dstyx kms policy init` writes one to start from; docs/kms.md has its keys";
    let file: PolicyFile = strict_json::parse(json, MAX_DOCUMENT_BYTES).hint("the policy", HINT)?;
    file.check().hint("the policy", HINT)?;
    Ok(file)
}

/// Signs a policy and sets it.
pub fn push(kms: &mut Reached, file: &PolicyFile, output: &Output) -> Outcome<()> {
    output.step(&format!(
        "this user's key signs policy {}: {} of {} in {}, until {}",
        file.version,
        counted(file.apps.iter().map(|app| app.compose_hashes.len()).sum(), "version"),
        counted(file.apps.len(), "app"),
        counted(file.os_images.len(), "image"),
        date(file.not_after_secs)
    ));
    let envelope = kms.owner.sign_document(payload_type::POLICY, file);
    set(kms, file.version, envelope).map(drop)
}

/// Sets a policy that is signed; its version is kept before it leaves.
pub fn set(kms: &mut Reached, version: u64, envelope: String) -> Outcome<StatusResponse> {
    let seen = &mut kms.memory.seen;
    seen.policy_version = seen.policy_version.max(version);
    kms.memory.save()?;
    kms.connection.call("SetPolicy", &SignedDocument { envelope })
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
