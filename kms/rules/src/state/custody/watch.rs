//! What a custodian can see: the entries that are about it, and the ends of the audit records of
//! runs, which it compares with the records that were sealed for it.

use pad_format::CustodianId;
use protocol::digest::Ed25519Key;
use protocol::kms::AuditHeadRequest;

use super::custodians::check_member;
use super::release::numbers;
use super::request::{custodian, digest, fixed, some_key_names};
use super::{Custody, Facts, check_middleware, serving_as};
use crate::guest::Guest;
use crate::ledger::{AuditHeadGiven, Entry, HexBytes, Kind};
use crate::refused::Refused;
use crate::state::State;
use crate::state::guests::{Reasons, first, who};

/// Keeps the end of a run's audit record.
///
/// # Errors
/// If the guest may not have the key of a Pad that it names.
pub fn give_audit_head(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    request: &AuditHeadRequest,
    clock_secs: u64,
) -> Result<Entry, Refused> {
    check_middleware(state, guest, member, clock_secs)?;
    let run: [u8; 16] = fixed(&request.run, "run has not 16 bytes")?;
    let head = digest(&request.head, "head has not 32 bytes")?;
    let keys = numbers(&state.custody, &some_key_names(&request.pads)?)?;
    first(head_reasons(&state.custody, &keys, &Facts::of_guest(guest)))?;
    let run = HexBytes(run.to_vec());
    let given = AuditHeadGiven { who: who(guest)?, run, head, keys };
    Ok(state.next(Kind::AuditHeadGiven(given), clock_secs))
}

/// Every rule by which a guest may not name the end of a record of these Pads.
pub(super) fn head_reasons(custody: &Custody, keys: &[u64], facts: &Facts) -> Vec<Refused> {
    let mut reasons = Reasons::default();
    for key in keys.iter().filter_map(|number| custody.numbered(*number)) {
        key.check_standing(&mut reasons);
        key.check_guest(&mut reasons, facts);
    }
    reasons.0
}

/// The custodian whose entries a member asks for.
///
/// # Errors
/// If it is not enrolled, or the caller is no member of it.
pub fn may_audit(
    state: &State,
    by: &Ed25519Key,
    member: &Ed25519Key,
    bytes: &[u8],
) -> Result<CustodianId, Refused> {
    serving_as(state, member)?;
    let id = custodian(bytes)?;
    check_member(&state.custody.enrolled(&id)?.enrolment.custodian, by)?;
    Ok(id)
}

/// Whether an entry of the ledger is about a custodian.
pub fn is_about(state: &State, entry: &Entry, custodian: &CustodianId) -> bool {
    let of = |number: &u64| {
        let key = state.custody.numbered(*number);
        key.is_some_and(|key| key.name.custodian == *custodian)
    };
    match &entry.kind {
        Kind::CustodianEnrolled(enrolled) => enrolled.custodian == custodian.0,
        Kind::PadKeyGranted(granted) => of(&granted.key),
        Kind::PadKeyRevoked(revoked) => of(&revoked.key),
        Kind::PadKeysReleased(released) => released.keys.iter().any(of),
        Kind::QuotasSpent(spent) => spent.uses.iter().any(|quota| of(&quota.key)),
        Kind::PadKeyKept(kept) => of(&kept.key) || kept.parents.iter().any(of),
        Kind::PadKeyReplaced(replaced) => of(&replaced.old),
        Kind::AuditHeadGiven(given) => given.keys.iter().any(of),
        _ => false,
    }
}
