//! Requests as they come, read strictly.

use std::collections::BTreeSet;

use pad_format::grant::{Grant, Signed};
use pad_format::metadata::KeyId;
use pad_format::uuid::Uuid;
use pad_format::{CustodianId, KeyName};
use protocol::digest::Sha256Digest;
use protocol::kms::{MAX_PADS_A_CALL, PadKeyName};
use protocol::rule::unless;

use crate::refused::PadRefused;

/// The name of a key.
///
/// # Errors
/// If a field has another form.
pub fn key_name(name: Option<&PadKeyName>) -> Result<KeyName, PadRefused> {
    let name = name.ok_or(PadRefused::Field("pad is missing"))?;
    let custodian = custodian(&name.custodian)?;
    let key_id = KeyId::new(&name.key_id).map_err(|_| PadRefused::Field(KEY_ID))?;
    let uuid: [u8; 16] = fixed(&name.pad_id, "pad id has not 16 bytes")?;
    let pad_id = Uuid::from_bytes(uuid).and_then(pad_format::PadId::new);
    let pad_id = pad_id.map_err(|_| PadRefused::Field("pad id is no random UUID"))?;
    Ok(KeyName { custodian, key_id, pad_id })
}

pub(super) const KEY_ID: &str = "key id has not 1 to 64 bytes";

/// The key that a grant is about, which counts for nothing yet.
///
/// # Errors
/// If it is no grant.
pub fn pushed_key_name(grant: &[u8]) -> Result<KeyName, PadRefused> {
    let signed = Signed::<Grant>::parse(grant)
        .map_err(|source| PadRefused::Statement { what: "grant", source })?;
    Ok(signed.claimed().name.clone())
}

pub(super) fn custodian(bytes: &[u8]) -> Result<CustodianId, PadRefused> {
    Ok(CustodianId(digest(bytes, "custodian id has not 32 bytes")?))
}

pub(super) fn digest(bytes: &[u8], what: &'static str) -> Result<Sha256Digest, PadRefused> {
    fixed(bytes, what).map(Sha256Digest)
}

pub(super) fn fixed<const N: usize>(
    bytes: &[u8],
    what: &'static str,
) -> Result<[u8; N], PadRefused> {
    bytes.try_into().map_err(|_| PadRefused::Field(what))
}

/// Names of several keys, none twice.
pub(super) fn key_names(names: &[PadKeyName]) -> Result<Vec<KeyName>, PadRefused> {
    let (found, limit) = (names.len(), MAX_PADS_A_CALL);
    unless(found <= limit, || PadRefused::Count { what: "Pads", found, limit })?;
    let names: Vec<KeyName> =
        names.iter().map(|name| key_name(Some(name))).collect::<Result<_, _>>()?;
    unless(are_unique(&names), || PadRefused::Twice("Pads"))?;
    Ok(names)
}

/// The same with at least one.
pub(super) fn some_key_names(names: &[PadKeyName]) -> Result<Vec<KeyName>, PadRefused> {
    let limit = MAX_PADS_A_CALL;
    unless(!names.is_empty(), || PadRefused::Count { what: "Pads", found: 0, limit })?;
    key_names(names)
}

pub(super) fn are_unique<T: Ord>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() == items.len()
}
