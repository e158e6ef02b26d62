//! The key delegator: the keys of custodians' Pads, when they are released, and what was used of
//! quotas.
//!
//! A custodian says under which conditions the middleware of a guest gets a key, and need not be
//! there when it asks. What is decided here faces guests that the owners' policy names and that ask
//! for keys of strangers, custodians who would use up what others need, and a host that repeats
//! what was signed. Everything is bounded, in all and for each custodian. Every rule reports
//! through [`unless`] or [`Reasons::unless`](super::guests::Reasons).

mod custodians;
mod fold;
mod keep;
mod release;
mod request;
mod spend;
mod watch;

use std::collections::{BTreeMap, VecDeque};

use pad_format::enrolment::Enrolment;
use pad_format::{Conditions, CustodianId, KeyName};
use pad_rules::{OwnerId, QuotaId, Spent};
use protocol::digest::{AppId, ComposeHash, Ed25519Key, OsImageHash, RequestId, Sha256Digest};
use protocol::rule::unless;

use super::guests::{Reasons, check_serving, first, reasons};
use super::{State, guests};
use crate::guest::Guest;
use crate::ledger::{Kind, Who};
use crate::refused::{PadRefused, Refused};

pub use custodians::{enrol, push_key, revoke_key};
pub use keep::{delegator_elsewhere, keep_key, replace_key};
pub use release::{keys_expire, release_pad_keys};
pub use request::{key_name, pushed_key_name};
pub use spend::spend;
pub use watch::{give_audit_head, is_about, may_audit};

/// Most custodians: each has its enrolment in memory.
pub const MAX_CUSTODIANS: usize = 256;
/// Most keys of one custodian, those that are revoked included: a study has some hundred Pads.
pub const MAX_KEYS_EACH: usize = 4096;
/// Most keys in all: each with its conditions has up to 8 KiB in memory.
pub const MAX_KEYS: usize = 16 * 1024;
/// Most accounts of quotas of one custodian, each owner's use of one counted apart.
pub const MAX_ACCOUNTS_EACH: usize = 256;
/// Most accounts in all: each keeps up to 10,000 times, of 8 bytes.
pub const MAX_ACCOUNTS: usize = 1024;
/// Calls that are known when they are made again: guests do so within seconds.
const MAX_RECENT: usize = 4096;

/// Custodians, the keys of their Pads, and what was used of quotas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Custody {
    custodians: BTreeMap<CustodianId, Enrolled>,
    /// By their numbers.
    keys: Vec<PadKey>,
    names: BTreeMap<KeyName, u64>,
    /// Calls that were counted last, each with the digest of its entry.
    recent: VecDeque<(RequestId, Sha256Digest)>,
    accounts: usize,
    enrolments: u64,
}

/// A custodian whose delegator this KMS is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Enrolled {
    enrolment: Enrolment,
    keys: usize,
    accounts: BTreeMap<OfCustodian, Spent>,
}

/// An engine, an account, and whose uses of it are counted.
type OfCustodian = (Sha256Digest, QuotaId, OwnerId);

/// The data key of a Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PadKey {
    name: KeyName,
    digest: Sha256Digest,
    /// Of the grant; 0 while its custodian has granted nothing.
    version: u64,
    conditions: Conditions,
    releases: u64,
    /// Version of the Pad's policies, as far as it was agreed on here; 0 if it never was.
    policies: u64,
    sealed: Vec<u8>,
    standing: Standing,
    /// Numbers of the keys of Pads of which this one was made, each below its own.
    made_of: Vec<u64>,
}

/// Whether a key is released at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Granted,
    Revoked,
    /// Owners agreed on policies of this version, under which the Pad has another key.
    Replaced(u64),
}

/// A data key that came: its digest, and the key sealed under the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// [`pad_format::DataKey::digest`].
    pub digest: Sha256Digest,
    /// What is stored.
    pub sealed: Vec<u8>,
}

/// Facts of a guest by which its middleware meets conditions.
#[derive(Debug, Clone, Copy)]
struct Facts {
    image: OsImageHash,
    app: (AppId, ComposeHash),
    privileged: bool,
}

impl Facts {
    fn of_guest(guest: &Guest) -> Self {
        let Guest { os_image_hash, app_id, compose_hash, privileged, .. } = *guest;
        Self { image: os_image_hash, app: (app_id, compose_hash), privileged }
    }

    /// As the ledger has them: that no container could be privileged was decided before.
    fn of_who(who: &Who) -> Self {
        let Who { os_image_hash, app_id, compose_hash, .. } = *who;
        Self { image: os_image_hash, app: (app_id, compose_hash), privileged: false }
    }

    fn meets(&self, conditions: &Conditions) -> bool {
        conditions.os_images.contains(&self.image)
            && conditions.apps.contains(&self.app)
            && (!self.privileged || conditions.danger_privileged)
    }
}

impl PadKey {
    /// The key, sealed; nothing of one that is not released any more.
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// Refuses a key that is released no more.
    fn check_standing(&self, reasons: &mut Reasons) {
        let pad = self.name.pad_id;
        let revoked = self.standing == Standing::Revoked;
        reasons.unless(!revoked, || PadRefused::Revoked(pad).into());
        let replaced = match self.standing {
            Standing::Replaced(version) => Some(version),
            Standing::Granted | Standing::Revoked => None,
        };
        reasons.unless(replaced.is_none(), || {
            PadRefused::Replaced { pad, version: replaced.unwrap_or_default() }.into()
        });
    }

    /// Refuses a guest that does not meet the custodian's conditions.
    fn check_guest(&self, reasons: &mut Reasons, facts: &Facts) {
        let (pad, image) = (self.name.pad_id, facts.image);
        let listed = self.conditions.os_images.contains(&image);
        reasons.unless(listed, || PadRefused::Image { pad, image }.into());
        let (app_id, compose_hash) = facts.app;
        let listed = self.conditions.apps.contains(&facts.app);
        reasons.unless(listed, || PadRefused::App { pad, app_id, compose_hash }.into());
        let allowed = !facts.privileged || self.conditions.danger_privileged;
        reasons.unless(allowed, || PadRefused::Privileged(pad).into());
    }

    fn end(&mut self, standing: Standing) {
        self.standing = standing;
        self.sealed.clear();
    }
}

impl Custody {
    /// How often a custodian was enrolled; with each time its members may be others.
    pub fn enrolments(&self) -> u64 {
        self.enrolments
    }

    /// The keys of all members of custodians.
    pub fn members(&self) -> impl Iterator<Item = Ed25519Key> {
        let each = self.custodians.values();
        each.flat_map(|enrolled| enrolled.enrolment.custodian.members().iter().copied())
    }

    /// The key with this name.
    pub fn key(&self, name: &KeyName) -> Option<&PadKey> {
        self.numbered(*self.names.get(name)?)
    }

    fn numbered(&self, number: u64) -> Option<&PadKey> {
        self.keys.get(usize::try_from(number).ok()?)
    }

    fn numbered_mut(&mut self, number: u64) -> Option<&mut PadKey> {
        self.keys.get_mut(usize::try_from(number).ok()?)
    }

    /// The number of the key with this name.
    fn number(&self, name: &KeyName) -> Result<u64, PadRefused> {
        self.names.get(name).copied().ok_or_else(|| PadRefused::KeyUnknown(name.clone()))
    }

    fn enrolled(&self, custodian: &CustodianId) -> Result<&Enrolled, PadRefused> {
        self.custodians.get(custodian).ok_or(PadRefused::CustodianUnknown(*custodian))
    }

    /// The number of the next key.
    fn next_number(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Refuses one more key of a custodian.
    fn check_room(&self, enrolled: &Enrolled) -> Result<(), PadRefused> {
        let found = enrolled.keys;
        let of = "of the custodian";
        unless(found < MAX_KEYS_EACH, || PadRefused::TooManyKeys { found, of })?;
        let (found, of) = (self.keys.len(), "in all");
        unless(found < MAX_KEYS, || PadRefused::TooManyKeys { found, of })
    }

    fn add(&mut self, key: PadKey) {
        if let Some(enrolled) = self.custodians.get_mut(&key.name.custodian) {
            enrolled.keys += 1;
        }
        self.names.insert(key.name.clone(), self.next_number());
        self.keys.push(key);
    }

    /// Whether this very call was counted already.
    fn is_repeated(&self, request_id: RequestId, kind: &Kind) -> Result<bool, PadRefused> {
        let known = self.recent.iter().rev().find(|(known, _)| *known == request_id);
        let Some((_, digest)) = known else { return Ok(false) };
        unless(*digest == digest_of(kind), || PadRefused::RequestReused)?;
        Ok(true)
    }

    fn remember(&mut self, request_id: RequestId, kind: &Kind) {
        self.recent.push_back((request_id, digest_of(kind)));
        self.recent.drain(..self.recent.len().saturating_sub(MAX_RECENT));
    }
}

fn digest_of(kind: &Kind) -> Sha256Digest {
    Sha256Digest::of(&serde_json::to_vec(kind).expect("strings, numbers and lists serialise"))
}

/// Refuses a guest that the owners' policy gives nothing; its boot may be over.
fn check_middleware(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    clock_secs: u64,
) -> Result<(), Refused> {
    let running = Guest { ready: false, ..guest.clone() };
    first(reasons(state, &running, member, clock_secs))
}

/// Who this KMS is to a custodian who calls it.
fn serving_as(state: &State, member: &Ed25519Key) -> Result<Sha256Digest, Refused> {
    let mut reasons = Reasons::default();
    check_serving(&mut reasons, state, member);
    guests::first(reasons.0)?;
    let cluster = state.cluster().ok_or(Refused::NotServing("unborn"))?;
    Ok(cluster.id())
}

#[cfg(test)]
mod tests;
