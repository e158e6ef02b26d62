//! What a custodian can see: the entries that are about it, and with them the audit records of runs
//! as they were sealed for it.

use pad_format::CustodianId;
use protocol::digest::Ed25519Key;
use protocol::kms::{AuditHeadRequest, MAX_PADS_A_CALL, MAX_RECORD_BYTES, MAX_RECORDS_BYTES};
use protocol::rule::unless;

use super::custodians::check_member;
use super::request::{custodian, digest, fixed, key_name};
use super::{Custody, Facts, check_middleware, serving_as};
use crate::guest::Guest;
use crate::ledger::{AuditHeadGiven, Entry, HexBytes, Kind, RecordSealed};
use crate::refused::{PadRefused, Refused};
use crate::state::State;
use crate::state::guests::{Reasons, first, who};

/// Keeps the next entry of a run's audit record.
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
    let previous = digest(&request.previous, "previous head has not 32 bytes")?;
    let record = |record: &protocol::kms::AuditRecord| {
        let key = state.custody.number(&key_name(record.pad.as_ref())?)?;
        Ok(RecordSealed { key, sealed: HexBytes(record.sealed.clone()) })
    };
    let records = request.records.iter().map(record).collect::<Result<Vec<_>, PadRefused>>()?;
    check_records(&records)?;
    first(head_reasons(&state.custody, &records, &Facts::of_guest(guest)))?;
    let (run, sequence) = (HexBytes(run.to_vec()), request.sequence);
    let given = AuditHeadGiven { who: who(guest)?, run, sequence, previous, head, records };
    Ok(state.next(Kind::AuditHeadGiven(given), clock_secs))
}

/// Refuses no records, too many or too large ones.
pub(super) fn check_records(records: &[RecordSealed]) -> Result<(), PadRefused> {
    let (found, limit) = (records.len(), MAX_PADS_A_CALL);
    let count = || PadRefused::Count { what: "records", found, limit };
    unless((1..=limit).contains(&found), count)?;
    for record in records {
        let (found, limit) = (record.sealed.0.len(), MAX_RECORD_BYTES);
        unless(found <= limit, || PadRefused::LargeRecord { found, limit })?;
    }
    let found = records.iter().map(|record| record.sealed.0.len()).sum();
    let limit = MAX_RECORDS_BYTES;
    unless(found <= limit, || PadRefused::LargeRecord { found, limit })
}

/// Every rule by which a guest may not record anything of these Pads.
pub(super) fn head_reasons(
    custody: &Custody,
    records: &[RecordSealed],
    facts: &Facts,
) -> Vec<Refused> {
    let mut reasons = Reasons::default();
    for key in records.iter().filter_map(|record| custody.numbered(record.key)) {
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
        Kind::AuditHeadGiven(given) => given.records.iter().any(|record| of(&record.key)),
        _ => false,
    }
}
