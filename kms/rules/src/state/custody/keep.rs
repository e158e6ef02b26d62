//! Keys that middleware hands over: of a new Pad that a run made, or of one whose owners agreed on
//! other policies.
//!
//! A new key is released to whom every Pad of which the new one was made is released, and to runs
//! with those engines that the middleware states. The custodian can grant other conditions later.

use pad_format::enrolment::SignedEnrolment;
use pad_format::metadata::KeyId;
use pad_format::update::{SignedUpdate, Update};
use pad_format::{Conditions, KeyName};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{KeepRequest, UpdateRequest};
use protocol::rule::unless;

use super::release::{check_time, engines, numbers};
use super::request::{KEY_ID, custodian, key_name, key_names};
use super::{Custody, Facts, PadKey, SealedKey, Standing, check_middleware};
use crate::guest::Guest;
use crate::ledger::{Entry, HexBytes, Kind, PadKeyKept, PadKeyReplaced};
use crate::refused::{PadRefused, Refused};
use crate::state::State;
use crate::state::guests::{Reasons, first, who};

/// Who keeps the keys of the custodian of a new Pad, if it is another KMS.
///
/// # Errors
/// If the enrolment that came is not the custodian's.
pub fn delegator_elsewhere(
    state: &State,
    request: &KeepRequest,
) -> Result<Option<Sha256Digest>, Refused> {
    if request.enrolment.is_empty() {
        return Ok(None);
    }
    let id = custodian(&request.pad.clone().unwrap_or_default().custodian)?;
    let signed = SignedEnrolment::parse(&request.enrolment).map_err(PadRefused::from)?;
    let verified = signed.verify(&id).map_err(PadRefused::from)?;
    let stated = verified.enrolment();
    let own = state.cluster().map(protocol::kms::Cluster::id);
    let known = state.custody.enrolled(&id).ok().map(|known| known.enrolment.version);
    let newer = known.is_none_or(|known| stated.version > known);
    let elsewhere = own != Some(stated.key_provider_id) && newer;
    Ok(elsewhere.then_some(stated.key_provider_id))
}

/// Keeps the key of a new Pad; `None` if it is kept.
///
/// # Errors
/// If the custodian is not enrolled here, the guest may not have the key of a Pad of which the new
/// one was made, or such a Pad is not released to an engine.
pub fn keep_key(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    (request, came): (&KeepRequest, &SealedKey),
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    check_middleware(state, guest, member, clock_secs)?;
    let mut engines = engines(&request.engines)?;
    engines.sort_unstable();
    let (name, custody) = (key_name(request.pad.as_ref())?, &state.custody);
    let parents = numbers(custody, &key_names(&request.parents)?)?;
    let facts = Facts::of_guest(guest);
    let now_secs = state.now(clock_secs);
    let conditions = check_new(custody, &name, (engines, &parents), &facts, now_secs)?;
    if let Some(known) = custody.key(&name) {
        let same = known.digest == came.digest && known.conditions == conditions;
        unless(same, || PadRefused::KeyTaken(name))?;
        return Ok(None);
    }
    custody.check_room(custody.enrolled(&name.custodian)?)?;
    let kept = PadKeyKept {
        who: who(guest)?,
        key: custody.next_number(),
        custodian: name.custodian.0,
        key_id: HexBytes(name.key_id.as_bytes().to_vec()),
        pad_id: HexBytes(name.pad_id.uuid().as_bytes().to_vec()),
        digest: came.digest,
        conditions: HexBytes(conditions.to_bytes()),
        parents,
        sealed: HexBytes(came.sealed.clone()),
    };
    Ok(Some(state.next(Kind::PadKeyKept(kept), clock_secs)))
}

/// Refuses a new Pad that this guest cannot have made; the conditions of its key.
pub(super) fn check_new(
    custody: &Custody,
    name: &KeyName,
    (engines, parents): (Vec<Sha256Digest>, &[u64]),
    facts: &Facts,
    now_secs: u64,
) -> Result<Conditions, Refused> {
    custody.enrolled(&name.custodian)?;
    let mut reasons = Reasons::default();
    // What has no parent here is for such a guest alone.
    let (os_images, apps) = (vec![facts.image], vec![facts.app]);
    let alone = Conditions { os_images, apps, engines, ..Conditions::default() };
    let mut conditions: Option<Conditions> = None;
    for parent in parents.iter().filter_map(|number| custody.numbered(*number)) {
        parent.check_standing(&mut reasons);
        parent.check_guest(&mut reasons, facts);
        check_time(&mut reasons, parent, now_secs);
        let pad = parent.name.pad_id;
        for engine in &alone.engines {
            let listed = parent.conditions.engines.contains(engine);
            reasons.unless(listed, || PadRefused::Laxer { pad, engine: *engine }.into());
        }
        let narrowed = conditions.as_ref().unwrap_or(&parent.conditions).and(&parent.conditions);
        conditions = Some(narrowed);
    }
    let related = !parents.is_empty() || custody.has_granted(name, facts);
    reasons.unless(related, || PadRefused::NoParent.into());
    first(reasons.0)?;
    Ok(match conditions {
        Some(conditions) => Conditions { engines: alone.engines, ..conditions },
        None => alone,
    })
}

/// Puts a new key in the place of a Pad's old one, which is released no more; `None` if it was put.
///
/// # Errors
/// If owners did not sign the update of this Pad, or a later one is in force; or if the guest may
/// not have the old key.
pub fn replace_key(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    (request, came): (&UpdateRequest, &SealedKey),
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    check_middleware(state, guest, member, clock_secs)?;
    let (name, custody) = (key_name(request.pad.as_ref())?, &state.custody);
    let old = custody.number(&name)?;
    let key_id = KeyId::new(&request.key_id).map_err(|_| PadRefused::Field(KEY_ID))?;
    let new = KeyName { key_id, ..name };
    let known = custody.numbered(old).zip(custody.key(&new));
    if known.is_some_and(|(old, new)| is_replaced(old) && new.digest == came.digest) {
        return Ok(None);
    }
    let facts = Facts::of_guest(guest);
    check_replacement(custody, old, (&new, &request.update), &facts, state.now(clock_secs))?;
    let replaced = PadKeyReplaced {
        who: who(guest)?,
        old,
        key: custody.next_number(),
        key_id: HexBytes(request.key_id.clone()),
        digest: came.digest,
        update: HexBytes(request.update.clone()),
        sealed: HexBytes(came.sealed.clone()),
    };
    Ok(Some(state.next(Kind::PadKeyReplaced(replaced), clock_secs)))
}

fn is_replaced(key: &PadKey) -> bool {
    matches!(key.standing, Standing::Replaced(_))
}

/// The version of the policies on which owners agreed.
pub(super) fn check_replacement(
    custody: &Custody,
    old: u64,
    (new, update): (&KeyName, &[u8]),
    facts: &Facts,
    now_secs: u64,
) -> Result<u64, Refused> {
    let old = custody.numbered(old).ok_or(PadRefused::Field("key has no such number"))?;
    let mut reasons = Reasons::default();
    old.check_standing(&mut reasons);
    old.check_guest(&mut reasons, facts);
    check_time(&mut reasons, old, now_secs);
    first(reasons.0)?;
    unless(new.key_id != old.name.key_id, || PadRefused::SameKeyId)?;
    unless(custody.key(new).is_none(), || PadRefused::KeyTaken(new.clone()))?;
    custody.check_room(custody.enrolled(&new.custodian)?)?;
    let signed = SignedUpdate::parse(update).map_err(PadRefused::from)?;
    // It has to be one of this Pad; what it changes to, its owners and an engine decide.
    let this = Update { pad_id: old.name.pad_id, ..*signed.claimed() };
    signed.verify(&this, old.policies).map_err(PadRefused::from)?;
    Ok(this.version)
}

impl Custody {
    /// Whether some key of the new Pad's custodian is granted to such a guest.
    fn has_granted(&self, name: &KeyName, facts: &Facts) -> bool {
        self.keys.iter().any(|key| {
            key.name.custodian == name.custodian
                && key.standing == Standing::Granted
                && facts.meets(&key.conditions)
        })
    }
}
