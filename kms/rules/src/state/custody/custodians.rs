//! What custodians say: that this KMS is their delegator, when a key is released, and that it is
//! released no more.
//!
//! Signatures of as many members as decide count, whoever brings them; the member at the other end
//! of the channel is for the record.

use pad_format::enrolment::{Enrolment, SignedEnrolment};
use pad_format::grant::{Grant, Revocation, Signed, Statement, Verified};
use pad_format::{Custodian, CustodianId};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::EnrolRequest;
use protocol::rule::unless;

use super::request::custodian;
use super::{Custody, MAX_CUSTODIANS, SealedKey, Standing, serving_as};
use crate::ledger::{CustodianEnrolled, Entry, HexBytes, Kind, PadKeyGranted, PadKeyRevoked};
use crate::refused::{PadRefused, Refused};
use crate::state::State;
use crate::state::guests::{Reasons, first};

/// Makes this KMS the delegator of a custodian; `None` if it is by this very enrolment.
///
/// # Errors
/// If too few members signed, the policy does not name each of them, it names another KMS, or a
/// later one is known.
pub fn enrol(
    state: &State,
    by: &Ed25519Key,
    member: &Ed25519Key,
    request: &EnrolRequest,
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    serving_as(state, member)?;
    let id = custodian(&request.custodian)?;
    let now_secs = state.now(clock_secs);
    let enrolment = check_enrolment(state, &id, by, &request.enrolment, now_secs)?;
    if state.custody.custodians.get(&id).is_some_and(|known| known.enrolment == enrolment) {
        return Ok(None);
    }
    let enrolment = HexBytes(request.enrolment.clone());
    let enrolled = CustodianEnrolled { custodian: id.0, by: *by, enrolment };
    Ok(Some(state.next(Kind::CustodianEnrolled(enrolled), clock_secs)))
}

/// What a custodian signed who may be enrolled.
pub(super) fn check_enrolment(
    state: &State,
    id: &CustodianId,
    by: &Ed25519Key,
    bytes: &[u8],
    now_secs: u64,
) -> Result<Enrolment, Refused> {
    let signed = SignedEnrolment::parse(bytes).map_err(PadRefused::from)?;
    let verified = signed.verify(id).map_err(PadRefused::from)?;
    let enrolment = verified.enrolment().clone();
    check_delegator(state, enrolment.key_provider_id)?;
    let policy = state.policy().ok_or(Refused::NoPolicy)?;
    policy.check_valid_at(now_secs).map_err(Refused::PolicyNotValid)?;
    for key in enrolment.custodian.members() {
        let listed = policy.file().pad_custodians.contains(key);
        unless(listed, || PadRefused::NotListed(*key))?;
    }
    check_member(&enrolment.custodian, by)?;
    let known = state.custody.custodians.get(id).map(|enrolled| &enrolled.enrolment);
    let (found, last) = (enrolment.version, known.map_or(0, |known| known.version));
    let follows = found > last || known == Some(&enrolment);
    unless(follows, || PadRefused::EnrolmentOld { found, known: last })?;
    let count = state.custody.custodians.len();
    let room = known.is_some() || count < MAX_CUSTODIANS;
    unless(room, || PadRefused::TooManyCustodians(count))?;
    Ok(enrolment)
}

/// Keeps a key, or other conditions for one that is here; `None` if both are as the grant says.
///
/// # Errors
/// If the custodian did not sign it for this KMS, a later one is known, or the key is missing or
/// another one.
pub fn push_key(
    state: &State,
    by: &Ed25519Key,
    member: &Ed25519Key,
    (bytes, came): (&[u8], Option<&SealedKey>),
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    serving_as(state, member)?;
    let grant = check_statement::<Grant>(state, by, bytes)?.into_statement();
    check_delegator(state, grant.key_provider_id)?;
    let custody = &state.custody;
    let number = check_grant(custody, &grant, came.map(|key| key.digest))?;
    let known = number.and_then(|number| custody.numbered(number));
    let same = |grant: &Grant, known: &super::PadKey| {
        (grant.version, &grant.conditions) == (known.version, &known.conditions)
    };
    if known.is_some_and(|known| same(&grant, known)) {
        return Ok(None);
    }
    let sealed = came.filter(|_| known.is_none()).map(|key| key.sealed.clone());
    let granted = PadKeyGranted {
        key: number.unwrap_or_else(|| custody.next_number()),
        by: *by,
        grant: HexBytes(bytes.to_vec()),
        sealed: HexBytes(sealed.unwrap_or_default()),
    };
    Ok(Some(state.next(Kind::PadKeyGranted(granted), clock_secs)))
}

/// The number of the key that a grant is about; `None` if it is a new one.
pub(super) fn check_grant(
    custody: &Custody,
    grant: &Grant,
    came: Option<Sha256Digest>,
) -> Result<Option<u64>, Refused> {
    unless(came.is_none_or(|digest| digest == grant.digest), || PadRefused::OtherKey)?;
    let number = custody.names.get(&grant.name).copied();
    let Some(known) = number.and_then(|number| custody.numbered(number)) else {
        unless(came.is_some(), || PadRefused::KeyMissing)?;
        custody.check_room(custody.enrolled(&grant.name.custodian)?)?;
        return Ok(None);
    };
    let mut reasons = Reasons::default();
    known.check_standing(&mut reasons);
    first(reasons.0)?;
    unless(known.digest == grant.digest, || PadRefused::KeyTaken(grant.name.clone()))?;
    let (found, last) = (grant.version, known.version);
    let again = found == last && known.conditions == grant.conditions;
    unless(found > last || again, || PadRefused::GrantOld { found, known: last })?;
    Ok(number)
}

/// Ends the release of a key; `None` if it was ended.
///
/// # Errors
/// If the custodian did not sign it for this KMS, or there is no such key.
pub fn revoke_key(
    state: &State,
    by: &Ed25519Key,
    member: &Ed25519Key,
    bytes: &[u8],
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    serving_as(state, member)?;
    let revocation = check_statement::<Revocation>(state, by, bytes)?;
    let revocation = revocation.statement();
    check_delegator(state, revocation.key_provider_id)?;
    let key = state.custody.number(&revocation.name)?;
    let known = state.custody.numbered(key);
    if known.is_some_and(|known| known.standing == Standing::Revoked) {
        return Ok(None);
    }
    let revoked = PadKeyRevoked { key, by: *by, revocation: HexBytes(bytes.to_vec()) };
    Ok(Some(state.next(Kind::PadKeyRevoked(revoked), clock_secs)))
}

/// A statement of a custodian that is enrolled, brought by one of its members.
pub(super) fn check_statement<T: Statement>(
    state: &State,
    by: &Ed25519Key,
    bytes: &[u8],
) -> Result<Verified<T>, PadRefused> {
    let wrong = |source| PadRefused::Statement { what: T::NAME, source };
    let signed = Signed::<T>::parse(bytes).map_err(wrong)?;
    let enrolled = state.custody.enrolled(&signed.claimed().name().custodian)?;
    let custodian = &enrolled.enrolment.custodian;
    check_member(custodian, by)?;
    signed.verify(custodian).map_err(wrong)
}

pub(super) fn check_delegator(state: &State, found: Sha256Digest) -> Result<(), Refused> {
    let cluster = state.cluster().ok_or(Refused::NotServing("unborn"))?;
    let expected = cluster.id();
    Ok(unless(found == expected, || PadRefused::OtherDelegator { found, expected })?)
}

pub(super) fn check_member(custodian: &Custodian, by: &Ed25519Key) -> Result<(), PadRefused> {
    unless(custodian.members().contains(by), || PadRefused::NotMember(*by))
}
