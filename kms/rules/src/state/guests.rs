//! What guests get: keys, the right to mount their disk, an anchor, a certificate.
//!
//! Every rule of a release reports through [`Reasons::unless`], and every rule that can be judged
//! is; the first that refuses decides. The rules of what follows a release report through
//! [`unless`].

use attestation::policy::TcbStatus;
use protocol::digest::{AppId, Ed25519Key, InstanceId};
use protocol::kms::{AnchorRequest, GENERATION_BITS, MAX_RELEASE_SECS};
use protocol::rule::unless;

use super::epochs::{Asked, keys_epoch};
use super::instance::last_counter;
use super::{Instance, InstanceKey, Mount, Phase, State};
use crate::guest::Guest;
use crate::ledger::{
    Anchored, Call, Entry, Kind, MAX_REASON_BYTES, Opened, Refusal, Released, Who,
};
use crate::policy::{Instances, PolicyApp, PolicyFile, SignedPolicy};
use crate::refused::Refused;

/// Why not, so far.
#[derive(Debug, Default)]
pub(super) struct Reasons(pub(super) Vec<Refused>);

impl Reasons {
    pub(super) fn unless(&mut self, holds: bool, refused: impl FnOnce() -> Refused) {
        if !holds {
            self.0.push(refused());
        }
    }
}

/// Gives a guest its keys.
///
/// # Errors
/// The first rule that refuses.
pub fn release(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    clock_secs: u64,
) -> Result<Entry, Refused> {
    let released = released(state, guest, member, Asked::default(), clock_secs)?;
    Ok(state.next(Kind::Released(released), clock_secs))
}

/// The same for a call that its guest numbered: `None` if the same decision about this call is the
/// last one of the instance, whose answer was lost.
///
/// # Errors
/// As [`release`].
pub fn release_once(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    asked: impl Into<Asked>,
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    let released = released(state, guest, member, asked.into(), clock_secs)?;
    let known = state.instances.get(&key(guest));
    if known.is_some_and(|known| known.answers(&released)) {
        return Ok(None);
    }
    Ok(Some(state.next(Kind::Released(released), clock_secs)))
}

fn released(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    Asked { request_id, epoch }: Asked,
    clock_secs: u64,
) -> Result<Released, Refused> {
    first(reasons(state, guest, member, clock_secs))?;
    let policy = state.policy().ok_or(Refused::NoPolicy)?;
    let app_id = guest.app_id;
    let (policy_app, _) = policy.app(&app_id).ok_or(Refused::AppUnknown { app_id })?;
    Ok(Released {
        who: who(guest)?,
        epoch: keys_epoch(state, &key(guest), epoch)?,
        policy_version: policy.version(),
        policy_app,
        new_instance: !state.instances.contains_key(&key(guest)),
        collateral_issued_secs: guest.collateral_issued_secs,
        request_id,
    })
}

/// Every rule by which this guest would get no keys now, in the order of the checks.
pub fn reasons(state: &State, guest: &Guest, member: &Ed25519Key, clock_secs: u64) -> Vec<Refused> {
    let mut reasons = Reasons::default();
    check_serving(&mut reasons, state, member);
    check_guest(&mut reasons, guest);
    check_ids(&mut reasons, state, guest);
    match state.policy() {
        None => reasons.unless(false, || Refused::NoPolicy),
        Some(policy) => check_policy(&mut reasons, state, policy, guest, state.now(clock_secs)),
    }
    reasons.0
}

/// Gives a new open counter, which ends every earlier mount of the instance. Where the guest of the
/// earlier mount ends with its release statement, that is waited for.
///
/// # Errors
/// If the guest would get no keys, or got none yet, or an earlier one may still run.
pub fn open_disk(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    clock_secs: u64,
) -> Result<Entry, Refused> {
    first(reasons(state, guest, member, clock_secs))?;
    let instance = recorded(state, guest)?;
    let (until_secs, now_secs) = (held_until(state, instance, guest.stops), state.now(clock_secs));
    let remaining_secs = until_secs.saturating_sub(now_secs).saturating_add(1);
    unless(now_secs > until_secs, || Refused::Held { until_secs, remaining_secs })?;
    let after_last = instance.open_counter().map_or(0, |last| last.saturating_add(1));
    let counter = after_last.max(state.lowest_counter_at(state.now(clock_secs)));
    unless(counter <= last_counter(), || Refused::CountersUsedUp(counter))?;
    let opened = Opened { who: who(guest)?, counter, stops: guest.stops };
    Ok(state.next(Kind::Opened(opened), clock_secs))
}

/// The last second at which an earlier guest of the instance may run whose end is known. After a
/// loss of state nothing is known of statements in the entries that may be missing, which counts
/// where either guest ends with its statement.
pub(super) fn held_until(state: &State, instance: &Instance, stops: bool) -> u64 {
    let mount = instance.mount();
    let known = mount.map_or(0, |mount| mount.held_until_secs());
    let stops = stops || mount.is_some_and(|mount| mount.stops);
    if stops { known.max(state.unknown_statements_until_secs) } else { known }
}

/// Keeps how far a disk is. The policy is not asked: an anchor gives nothing to anybody, and
/// without it the host could undo what an app wrote.
///
/// # Errors
/// If the mount is not the newest one, or the generation is not of it or goes back.
pub fn anchor(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    request: &AnchorRequest,
    clock_secs: u64,
) -> Result<Entry, Refused> {
    let mut reasons = Reasons::default();
    check_serving(&mut reasons, state, member);
    reasons.unless(guest.reserves_report_data, || Refused::TagsNotReserved);
    first(reasons.0)?;
    let instance = state.instances.get(&key(guest)).ok_or(Refused::InstanceUnknown)?;
    let AnchorRequest { open_counter: counter, generation, epoch, last } = *request;
    let mount = check_mount(instance, guest, counter)?;
    let window = generation >> GENERATION_BITS;
    unless(window == counter, || Refused::OutsideWindow { generation, counter })?;
    let (found, anchor) = (generation, instance.anchor().unwrap_or_default());
    unless(found >= anchor, || Refused::AnchorGoesBack { found, anchor })?;
    let epoch = keys_epoch(state, &key(guest), epoch)?;
    let (app_id, instance_id) = key(guest);
    let epoch = (epoch != instance.epoch()).then_some(epoch);
    let last = last && mount.stops;
    // A statement stands in the ledger before it leaves.
    let stated_until_secs = match mount.stops && !last {
        true => stated_until(state, guest, member, counter, clock_secs).ok(),
        false => None,
    };
    let anchored =
        Anchored { app_id, instance_id, counter, generation, epoch, stated_until_secs, last };
    Ok(state.next(Kind::Anchored(anchored), clock_secs))
}

/// Whether a guest may have these names certified; a certificate needs no entry.
///
/// # Errors
/// The first rule that refuses.
pub fn certify(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    names: &[String],
    clock_secs: u64,
) -> Result<(), Refused> {
    // An app asks for certificates while it runs.
    let booting = Guest { ready: false, ..guest.clone() };
    first(reasons(state, &booting, member, clock_secs))?;
    recorded(state, guest)?;
    let app_id = guest.app_id;
    let app = state.policy().and_then(|policy| policy.app(&app_id));
    let (_, app) = app.ok_or(Refused::AppUnknown { app_id })?;
    for name in names {
        unless(app.may_certify(name), || Refused::NameNotListed(name.clone()))?;
    }
    Ok(())
}

/// The entry for a refusal; `None` if as many were recorded as are in one hour.
pub fn refusal(
    state: &State,
    guest: &Guest,
    call: Call,
    refused: &Refused,
    clock_secs: u64,
) -> Option<Entry> {
    state.refusals.with_one_more(state.now(clock_secs))?;
    let text = refused.to_string();
    let reason = text[..text.floor_char_boundary(MAX_REASON_BYTES)].to_owned();
    let who = who(guest).ok()?;
    Some(state.next(Kind::Refused(Refusal { who, call, reason }), clock_secs))
}

pub(super) fn check_serving(reasons: &mut Reasons, state: &State, member: &Ed25519Key) {
    // Whoever asks for a decision has the root; without one there is nothing to give.
    let phase = state.phase(member, true);
    reasons.unless(phase == Phase::Serving, || Refused::NotServing(phase.name()));
}

fn check_guest(reasons: &mut Reasons, guest: &Guest) {
    reasons.unless(!guest.ready, || Refused::Ready);
    reasons.unless(guest.reserves_report_data, || Refused::TagsNotReserved);
}

/// An id names an app or an instance of one app, never two things: gateways and other guests know
/// both by 20 bytes alone.
fn check_ids(reasons: &mut Reasons, state: &State, guest: &Guest) {
    let known_instance = |id: &[u8; 20]| {
        state.instances.keys().any(|(_, instance)| instance.is_some_and(|known| known.0 == *id))
    };
    let app_id = guest.app_id;
    reasons.unless(!known_instance(&app_id.0), || Refused::AppIdIsInstance(app_id));
    let Some(id) = guest.instance_id else { return };
    reasons.unless(!is_app(state, &app_id, &id), || Refused::InstanceIdIsApp(id));
    let mut others =
        state.instances.keys().filter(|(app, instance)| *instance == Some(id) && *app != app_id);
    let other = others.next().map(|(app, _)| *app);
    reasons.unless(other.is_none(), || Refused::InstanceOfOther {
        instance_id: id,
        app_id: other.unwrap_or(app_id),
    });
}

fn is_app(state: &State, own: &AppId, id: &InstanceId) -> bool {
    let id = AppId(id.0);
    let in_policy = state.policy().is_some_and(|policy| policy.app(&id).is_some());
    in_policy || id == *own || state.instances.keys().any(|(app, _)| *app == id)
}

fn check_policy(
    reasons: &mut Reasons,
    state: &State,
    policy: &SignedPolicy,
    guest: &Guest,
    now_secs: u64,
) {
    if let Err(refusal) = policy.check_valid_at(now_secs) {
        reasons.unless(false, || Refused::PolicyNotValid(refusal));
    }
    let file = policy.file();
    let image = guest.os_image_hash;
    reasons.unless(file.os_images.contains(&image), || Refused::ImageNotListed(image));
    check_platform(reasons, file, guest, now_secs);
    let app_id = guest.app_id;
    match policy.app(&app_id) {
        None if policy.names_file(&guest.compose_hash) => {
            reasons.unless(false, || not_listed(guest, true));
        }
        None => reasons.unless(false, || Refused::AppUnknown { app_id }),
        Some((_, app)) => {
            let listed = app.compose_hashes.contains(&guest.compose_hash);
            let elsewhere = policy.names_file(&guest.compose_hash);
            reasons.unless(listed, || not_listed(guest, elsewhere));
            check_app(reasons, state, app, guest);
            if let Some(instance) = state.instances.get(&key(guest)) {
                check_not_back(reasons, file, app, instance, guest);
            }
        }
    }
}

pub(super) fn check_platform(
    reasons: &mut Reasons,
    file: &PolicyFile,
    guest: &Guest,
    now_secs: u64,
) {
    if let Some(list) = &file.platform_ids {
        let listed = guest.platform_ids.iter().any(|id| list.contains(id));
        reasons.unless(listed, || {
            let ids: Vec<_> = guest.platform_ids.iter().map(ToString::to_string).collect();
            Refused::PlatformNotListed(ids.join(", "))
        });
    }
    if let Some(minimum) = file.minimum_tcb_evaluation_number {
        let found = guest.tcb_evaluation_number;
        reasons.unless(found >= minimum, || Refused::EvaluationNumber { found, minimum });
    }
    if let Some(minimum_secs) = file.minimum_tcb_date_secs {
        let found_secs = guest.tcb_date_secs;
        reasons
            .unless(found_secs >= minimum_secs, || Refused::TcbDate { found_secs, minimum_secs });
    }
    let tolerated = file.tolerate_tcb.iter().any(|tolerated| {
        tolerated.status == guest.tcb_status
            && now_secs <= tolerated.until_secs
            && guest.advisory_ids.iter().all(|id| tolerated.advisories.contains(id))
    });
    reasons.unless(tolerated || guest.tcb_status == TcbStatus::UpToDate, || Refused::TcbStatus {
        status: guest.tcb_status,
        advisory_ids: guest.advisory_ids.clone(),
    });
}

fn check_app(reasons: &mut Reasons, state: &State, app: &PolicyApp, guest: &Guest) {
    reasons.unless(!guest.privileged || app.danger_privileged, || Refused::Privileged);
    let default = protocol::app_compose::StorageFs::Btrfs.name();
    let storage = guest.storage;
    let accepted = storage == default || app.danger_storage.iter().any(|name| name == storage);
    reasons.unless(accepted, || Refused::Storage(storage.to_owned()));
    let others = state
        .instances
        .keys()
        .filter(|(app_id, instance)| *app_id == guest.app_id && *instance != guest.instance_id);
    let known = others.count();
    match &app.instances {
        Instances::Any(_) => {}
        Instances::Number(allowed) => {
            // A known instance stays when the number is lowered; a list of ids shuts it out.
            let is_known = state.instances.contains_key(&key(guest));
            let room = known < *allowed as usize;
            reasons.unless(room || (is_known && *allowed > 0), || Refused::TooManyInstances {
                known,
                allowed: *allowed,
            });
        }
        Instances::Ids(list) => {
            let listed = guest.instance_id.is_some_and(|id| list.contains(&id));
            reasons.unless(listed, || {
                let id = guest.instance_id.map(|id| id.to_string());
                Refused::InstanceNotListed(id.unwrap_or_else(|| "without an id".to_owned()))
            });
        }
    }
}

fn check_not_back(
    reasons: &mut Reasons,
    file: &PolicyFile,
    app: &PolicyApp,
    instance: &Instance,
    guest: &Guest,
) {
    let older = guest.compose_hash;
    let allowed = app.danger_go_back_to.contains(&older) || !instance.is_older_file(&older);
    reasons.unless(allowed, || Refused::OlderFile { older, newer: instance.compose_hash() });
    let older = guest.os_image_hash;
    let back = instance.is_older_image(&older);
    let allowed = !back || file.danger_go_back_to_images.contains(&older);
    reasons.unless(allowed, || Refused::OlderImage { older, newer: instance.os_image_hash() });
}

/// The guest must have the instance's newest mount, and not have ended.
pub(super) fn check_mount(
    instance: &Instance,
    guest: &Guest,
    counter: u64,
) -> Result<Mount, Refused> {
    let newest = instance.open_counter().unwrap_or_default();
    unless(counter >= newest, || Refused::Superseded { found: counter, newest })?;
    let mount = instance.mount().filter(|mount| mount.counter == counter);
    let mount = mount.ok_or(Refused::CounterUnknown { found: counter, newest })?;
    let (recorded, found) = (mount.compose_hash, guest.compose_hash);
    unless(recorded == found, || Refused::OtherFile { recorded, found })?;
    unless(!mount.ended, || Refused::Ended(counter))?;
    Ok(mount)
}

/// The instance, which must have got its keys as what it is now.
pub(super) fn recorded<'a>(state: &'a State, guest: &Guest) -> Result<&'a Instance, Refused> {
    let instance = state.instances.get(&key(guest)).ok_or(Refused::InstanceUnknown)?;
    let (recorded, found) = (instance.compose_hash(), guest.compose_hash);
    unless(recorded == found, || Refused::OtherFile { recorded, found })?;
    Ok(instance)
}

/// The last second of a statement that is made now.
///
/// # Errors
/// As [`release_statement`].
pub(super) fn stated_until(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    open_counter: u64,
    clock_secs: u64,
) -> Result<u64, Refused> {
    // It is renewed while the app runs.
    let booting = Guest { ready: false, ..guest.clone() };
    first(reasons(state, &booting, member, clock_secs))?;
    let instance = recorded(state, guest)?;
    let (recorded, found) = (instance.os_image_hash(), guest.os_image_hash);
    unless(recorded == found, || Refused::OtherImage { recorded, found })?;
    check_mount(instance, guest, open_counter)?;
    let policy = state.policy().ok_or(Refused::NoPolicy)?;
    let longest = state.now(clock_secs).saturating_add(MAX_RELEASE_SECS);
    Ok(longest.min(policy.file().not_after_secs))
}

fn not_listed(guest: &Guest, elsewhere: bool) -> Refused {
    let Guest { app_id, compose_hash, .. } = *guest;
    Refused::FileNotListed { app_id, compose_hash, elsewhere }
}

pub(super) fn first(reasons: Vec<Refused>) -> Result<(), Refused> {
    reasons.into_iter().next().map_or(Ok(()), Err)
}

fn key(guest: &Guest) -> InstanceKey {
    (guest.app_id, guest.instance_id)
}

pub(super) fn who(guest: &Guest) -> Result<Who, Refused> {
    let platform = guest.platform_ids.first();
    let platform_id = *platform.ok_or_else(|| Refused::PlatformNotListed("none".to_owned()))?;
    Ok(Who {
        app_id: guest.app_id,
        instance_id: guest.instance_id,
        compose_hash: guest.compose_hash,
        os_image_hash: guest.os_image_hash,
        platform_id,
    })
}
