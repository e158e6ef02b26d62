//! Epochs: whose roots there are, which keys apps get in each, and how one comes and goes.
//!
//! A later epoch begins with a new root, which a process makes and offers, and which owners certify
//! once each of them that is needed took a share of it. Keys of earlier epochs can still be had: an
//! instance runs on the epoch in which it first got keys until its guest has moved its disk and
//! says so. From the moment that a guest has the keys of a later epoch its disk may be under them
//! in part: it then moves to that one and no other, and needs both. An epoch ends when owners
//! certify one that retires it.

use std::collections::BTreeMap;

use protocol::digest::{AppId, Ed25519Key, RequestId};
use protocol::kms::{EpochKeys, Renewal};
use protocol::rule::unless;

use super::refused_document::{DocumentRefused, born};
use super::{Instance, InstanceKey, State};
use crate::derivation::MAX_EPOCHS;
use crate::ledger::{Entry, EpochOffered, Kind};
use crate::refused::Refused;

/// The epochs whose keys can be had, and the root that waits for the owners' certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Epochs {
    live: BTreeMap<u32, EpochKeys>,
    offered: Option<EpochOffered>,
}

/// Which call for keys it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// The guest's own number for it.
    pub request_id: Option<RequestId>,
    /// The epoch whose keys are asked for; 0 for the one that the instance runs on.
    pub epoch: u32,
}

impl From<Option<RequestId>> for Asked {
    fn from(request_id: Option<RequestId>) -> Self {
        Self { request_id, epoch: 0 }
    }
}

impl Epochs {
    /// The newest in which apps get keys; 0 before a root was certified.
    pub fn newest(&self) -> u32 {
        self.live.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// Which keys apps get in an epoch; `None` for one whose root is not there.
    pub fn keys(&self, epoch: u32) -> Option<EpochKeys> {
        self.live.get(&epoch).copied()
    }

    /// Each epoch with the keys that apps get in it, ascending.
    pub fn live(&self) -> &BTreeMap<u32, EpochKeys> {
        &self.live
    }

    /// The root that waits for the owners' certificate.
    pub fn offered(&self) -> Option<&EpochOffered> {
        self.offered.as_ref()
    }

    /// Takes the offer away: it is certified, or lost.
    pub(super) fn accepted(&mut self) -> Option<EpochOffered> {
        self.offered.take()
    }

    pub(super) fn offer(&mut self, offered: EpochOffered) {
        self.offered = Some(offered);
    }

    pub(super) fn first(&mut self, epoch: u32) {
        self.live.insert(epoch, EpochKeys::Dstyx);
    }

    pub(super) fn begin(&mut self, epoch: u32, renewal: &Renewal) {
        self.live.retain(|live, _| !renewal.retires.contains(live));
        if renewal.keys != EpochKeys::None {
            self.live.insert(epoch, renewal.keys);
        }
    }
}

/// Offers the root of another epoch, which this process made. It takes the place of one that was
/// offered before: that one's process may have ended, or never learnt that its offer was agreed.
///
/// # Errors
/// If no root is certified yet, or the renewal cannot be.
pub fn offer_epoch(
    state: &State,
    identity: Ed25519Key,
    renewal: Renewal,
    clock_secs: u64,
) -> Result<Entry, DocumentRefused> {
    let epoch = state.epoch().saturating_add(1);
    let offered = EpochOffered { epoch, identity, renewal };
    check_offer(state, &offered)?;
    Ok(state.next(Kind::EpochOffered(offered), clock_secs))
}

pub(super) fn check_offer(state: &State, offered: &EpochOffered) -> Result<(), DocumentRefused> {
    let born = born(state)?;
    unless(born.certificate.is_some(), || DocumentRefused::Uncertified)?;
    let (found, expected) = (offered.epoch, born.epoch.saturating_add(1));
    unless(found == expected, || DocumentRefused::Epoch { found, expected })?;
    check_renewal(state, &offered.renewal)
}

/// What must hold when a root is offered, and again when it is certified: instances come and go.
pub(super) fn check_renewal(state: &State, renewal: &Renewal) -> Result<(), DocumentRefused> {
    let Renewal { keys, dstack, retires, danger_loses_instances: allowed } = renewal;
    let taken_over = *keys == EpochKeys::Dstack;
    unless(taken_over == dstack.is_some(), || DocumentRefused::TakenOver(keys.name()))?;
    let ascending = retires.windows(2).all(|pair| pair[0] < pair[1]);
    unless(ascending, || DocumentRefused::RetiresOrder)?;
    let unknown = retires.iter().find(|epoch| state.epochs.keys(**epoch).is_none());
    unless(unknown.is_none(), || DocumentRefused::UnknownEpoch(*unknown.unwrap_or(&0)))?;
    let left = state.epochs.live.len() - retires.len() + usize::from(*keys != EpochKeys::None);
    unless((1..=MAX_EPOCHS).contains(&left), || DocumentRefused::EpochsLeft(left))?;
    let found = count(state, |instance| retires.iter().any(|epoch| instance.needs(*epoch)));
    unless(found <= *allowed, || DocumentRefused::Instances { found, allowed: *allowed })
}

/// How many instances run on an epoch, or move to it.
pub fn instances_on(state: &State, epoch: u32) -> u64 {
    count(state, |instance| instance.needs(epoch))
}

fn count(state: &State, of: impl Fn(&Instance) -> bool) -> u64 {
    let found = state.instances.values().filter(|instance| of(instance)).count();
    u64::try_from(found).unwrap_or(u64::MAX)
}

/// The epoch to which an instance should move, or whose keys it has: the newest, but for one whose
/// guest began to move to another.
pub fn newest_epoch(state: &State, key: &InstanceKey) -> u32 {
    let moves_to = state.instances.get(key).and_then(Instance::moves_to);
    moves_to.unwrap_or_else(|| state.epochs.newest())
}

/// The epoch whose keys an instance gets.
///
/// # Errors
/// If the one that it asks for is not there, is older than the one that it runs on, or is not the
/// one to which it began to move.
pub fn keys_epoch(state: &State, key: &InstanceKey, asked: u32) -> Result<u32, Refused> {
    let newest = state.epochs.newest();
    let known = state.instances.get(key);
    let runs_on = known.map_or(newest, Instance::epoch);
    let epoch = if asked == 0 { runs_on } else { asked };
    let live = state.epochs.keys(epoch).is_some();
    unless(live, || Refused::EpochUnknown { found: epoch, newest })?;
    unless(epoch >= runs_on || asked == 0, || Refused::EpochOlder { found: epoch, runs_on })?;
    if let Some(moves_to) = known.and_then(Instance::moves_to) {
        let begun = epoch == runs_on || epoch == moves_to;
        unless(begun, || Refused::EpochOther { found: epoch, moves_to })?;
    }
    Ok(epoch)
}

/// The epochs before the one whose keys an instance gets, the newest first: what apps encrypted
/// under their keys must be read until they are retired.
pub fn earlier_epochs(state: &State, epoch: u32) -> impl Iterator<Item = u32> {
    state.epochs.live.range(..epoch).rev().map(|(earlier, _)| *earlier)
}

/// The epoch to whose key an app's environment is encrypted: the oldest that an instance of it runs
/// on, and the newest for an app without instances.
pub fn environment_epoch(state: &State, app_id: &AppId) -> u32 {
    let own = state.instances.iter().filter(|((app, _), _)| app == app_id);
    let oldest = own.map(|(_, instance)| instance.epoch()).min();
    oldest.unwrap_or_else(|| state.epochs.newest())
}
