//! Which middleware gets keys of Pads: verified evidence, the custodians' conditions and what the
//! guest says of its run go in, a decision with its reasons comes out.
//!
//! That the guest runs what its evidence says is proved; engines, program and owner are the word of
//! the middleware in it, whose image and measured file each custodian named.

use pad_format::KeyName;
use protocol::digest::{Ed25519Key, RequestId, Sha256Digest};
use protocol::kms::{FetchKeysRequest, MAX_ENGINES_A_RUN};
use protocol::rule::unless;

use super::request::{are_unique, digest, fixed, some_key_names};
use super::{Custody, Facts, PadKey, check_middleware};
use crate::guest::Guest;
use crate::ledger::{Entry, Kind, PadKeysReleased};
use crate::refused::{PadRefused, Refused};
use crate::state::State;
use crate::state::guests::{Reasons, first, who};

/// How long a guest may use keys before it asks again, in seconds: what a custodian revokes is used
/// no longer than that.
const LEASE_SECS: u64 = 3600;

/// Gives the middleware of a guest the keys of a run's Pads, all of them or none; `None` if this
/// very call was counted already.
///
/// # Errors
/// The first rule that refuses: of the owners' policy, or of a custodian's conditions.
pub fn release_pad_keys(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    request: &FetchKeysRequest,
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    check_middleware(state, guest, member, clock_secs)?;
    let engines = some_engines(&request.engines)?;
    let request_id = RequestId(fixed(&request.request_id, "request id has not 16 bytes")?);
    let keys = numbers(&state.custody, &some_key_names(&request.pads)?)?;
    let kind = Kind::PadKeysReleased(PadKeysReleased {
        who: who(guest)?,
        request_id,
        keys: keys.clone(),
        engines: engines.clone(),
        program: digest(&request.program, "program has not 32 bytes")?,
        owner: owner(&request.owner)?,
    });
    let repeated = state.custody.is_repeated(request_id, &kind)?;
    let run = Run { facts: Facts::of_guest(guest), engines: &engines, counts: !repeated };
    first(release_reasons(&state.custody, &keys, &run, state.now(clock_secs)))?;
    Ok((!repeated).then(|| state.next(kind, clock_secs)))
}

/// When a guest that got these keys has to ask again, in seconds since 1970.
pub fn keys_expire(state: &State, names: &[KeyName], now_secs: u64) -> u64 {
    let ends = names.iter().filter_map(|name| state.custody.key(name)?.conditions.not_after_secs);
    ends.chain([now_secs.saturating_add(LEASE_SECS)]).min().unwrap_or_default()
}

/// What asks for keys.
pub(super) struct Run<'a> {
    pub(super) facts: Facts,
    pub(super) engines: &'a [Sha256Digest],
    /// Whether it is another release, or the same once more.
    pub(super) counts: bool,
}

/// Every rule by which these keys are not released to this run now.
pub(super) fn release_reasons(
    custody: &Custody,
    keys: &[u64],
    run: &Run<'_>,
    now_secs: u64,
) -> Vec<Refused> {
    let mut reasons = Reasons::default();
    for key in keys.iter().filter_map(|number| custody.numbered(*number)) {
        key.check_standing(&mut reasons);
        key.check_guest(&mut reasons, &run.facts);
        check_run(&mut reasons, key, run);
        check_time(&mut reasons, key, now_secs);
    }
    reasons.0
}

/// Every engine of the run sees what comes of every Pad, so each custodian names all of them.
fn check_run(reasons: &mut Reasons, key: &PadKey, run: &Run<'_>) {
    let pad = key.name.pad_id;
    run.engines.iter().for_each(|engine| check_engine(reasons, key, *engine));
    let releases = key.releases;
    let left = key.conditions.releases.is_none_or(|most| releases < most);
    reasons.unless(left || !run.counts, || PadRefused::UsedUp { pad, releases }.into());
}

pub(super) fn check_engine(reasons: &mut Reasons, key: &PadKey, engine: Sha256Digest) {
    let (pad, listed) = (key.name.pad_id, key.conditions.engines.contains(&engine));
    reasons.unless(listed, || PadRefused::Engine { pad, engine }.into());
}

pub(super) fn check_time(reasons: &mut Reasons, key: &PadKey, now_secs: u64) {
    let not_after_secs = key.conditions.not_after_secs.unwrap_or(u64::MAX);
    let pad = key.name.pad_id;
    let lasts = now_secs <= not_after_secs;
    reasons.unless(lasts, || PadRefused::Expired { pad, not_after_secs }.into());
}

/// The engines that a run states: at least one, none twice.
fn some_engines(list: &[Vec<u8>]) -> Result<Vec<Sha256Digest>, PadRefused> {
    let limit = MAX_ENGINES_A_RUN;
    unless(!list.is_empty(), || PadRefused::Count { what: "engines", found: 0, limit })?;
    engines(list)
}

/// Who signed the run, if anybody did.
fn owner(bytes: &[u8]) -> Result<Option<Sha256Digest>, PadRefused> {
    let some = !bytes.is_empty();
    some.then(|| digest(bytes, "owner has not 32 bytes")).transpose()
}

/// Engines, none twice.
pub(super) fn engines(engines: &[Vec<u8>]) -> Result<Vec<Sha256Digest>, PadRefused> {
    let (found, limit) = (engines.len(), MAX_ENGINES_A_RUN);
    unless(found <= limit, || PadRefused::Count { what: "engines", found, limit })?;
    let engine = |bytes: &Vec<u8>| digest(bytes, "engine has not 32 bytes");
    let engines: Vec<_> = engines.iter().map(engine).collect::<Result<_, _>>()?;
    unless(are_unique(&engines), || PadRefused::Twice("engines"))?;
    Ok(engines)
}

pub(super) fn numbers(custody: &Custody, names: &[KeyName]) -> Result<Vec<u64>, PadRefused> {
    names.iter().map(|name| custody.number(name)).collect()
}
