//! The state of a KMS: the fold of its ledger's entries, and the decisions that append to it.
//!
//! [`State::apply`] is the only way in which a state changes; it refuses an entry that could not
//! have been decided. The deciding functions change nothing: they give the entry, which is stored,
//! and then applied.

mod custody;
mod environments;
mod epochs;
mod fold;
mod guests;
mod instance;
mod members;
mod owners;
mod refused_document;
mod statements;

use std::collections::BTreeMap;

use protocol::digest::{AppId, Ed25519Key, InstanceId, Sha256Digest};
use protocol::kms::{Cluster, KmsList, Renewal, RootCertificate};

use crate::ledger::{Entry, Kind};
use crate::policy::SignedPolicy;

pub use custody::{
    Custody, MAX_ACCOUNTS_EACH, MAX_CUSTODIANS, MAX_KEYS_EACH, PadKey, SealedKey,
    delegator_elsewhere, enrol, give_audit_head, is_about, keep_key, key_name, keys_expire,
    may_audit, push_key, pushed_key_name, release_pad_keys, replace_key, revoke_key, spend,
};
pub use environments::{Environment, accept_environment};
pub use epochs::{
    Asked, Epochs, earlier_epochs, environment_epoch, instances_on, keys_epoch, newest_epoch,
    offer_epoch,
};
pub use guests::{anchor, certify, open_disk, reasons, refusal, release, release_once};
pub use instance::{Instance, Mount};
pub use members::{Members, admit, give_root, lead, may_replicate};
pub use owners::{
    COUNTERS_AT_RESUMPTION, Signed, bootstrap, certify_root, resume, review, set_list, set_policy,
};
pub use refused_document::DocumentRefused;
pub use statements::{release_statement, sign_release};

/// An instance: its app and its id, if the app has instance ids.
pub type InstanceKey = (AppId, Option<InstanceId>);

/// 2025-01-01T00:00:00Z, from which open counters count minutes.
pub const COUNTERS_SINCE_SECS: u64 = 1_735_689_600;
/// The epoch of a root that was made here.
pub const FIRST_EPOCH: u32 = 1;

/// All that a KMS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    entries: u64,
    head: Sha256Digest,
    last_secs: u64,
    /// Newest issue time of collateral that was judged: a clock before it is wrong.
    newest_collateral_secs: u64,
    born: Option<Born>,
    members: Members,
    epochs: Epochs,
    list: Option<(KmsList, String)>,
    policy: Option<SignedPolicy>,
    instances: BTreeMap<InstanceKey, Instance>,
    environments: BTreeMap<AppId, Environment>,
    lowest_counter: u64,
    /// Last second of statements in entries that may be missing.
    unknown_statements_until_secs: u64,
    refusals: RefusalWindow,
    custody: Custody,
}

/// What there is once a root was made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Born {
    cluster: Cluster,
    epoch: u32,
    identity: Ed25519Key,
    renewal: Option<Renewal>,
    certificate: Option<String>,
}

/// How many refusals were recorded since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct RefusalWindow {
    since_secs: u64,
    recorded: u32,
}

/// How far a KMS process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No root was ever made.
    Unborn,
    /// The root is not in this process's memory.
    Locked,
    /// Owners have not signed the root, or no list.
    Uncertified,
    /// This process is no member: owners have not signed that it may go on, and members have not
    /// admitted it.
    Waiting,
    /// It gives keys.
    Serving,
}

impl Phase {
    /// Its name in [`protocol::kms::StatusResponse::state`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Unborn => "unborn",
            Self::Locked => "locked",
            Self::Uncertified => "uncertified",
            Self::Waiting => "waiting",
            Self::Serving => "serving",
        }
    }
}

/// Before the first entry.
impl Default for State {
    fn default() -> Self {
        Self {
            entries: 0,
            head: Sha256Digest::ZERO,
            last_secs: 0,
            newest_collateral_secs: 0,
            born: None,
            members: Members::default(),
            epochs: Epochs::default(),
            list: None,
            policy: None,
            instances: BTreeMap::new(),
            environments: BTreeMap::new(),
            lowest_counter: 0,
            unknown_statements_until_secs: 0,
            refusals: RefusalWindow::default(),
            custody: Custody::default(),
        }
    }
}

impl State {
    /// The phase of the process with this key; `has_root` says whether the root is in its memory.
    pub fn phase(&self, member: &Ed25519Key, has_root: bool) -> Phase {
        let Some(born) = &self.born else { return Phase::Unborn };
        if !has_root {
            Phase::Locked
        } else if born.certificate.is_none() || self.list.is_none() {
            Phase::Uncertified
        } else if !self.members.is_enrolled(member) {
            Phase::Waiting
        } else {
            Phase::Serving
        }
    }

    /// The time by which is decided: that of the clock, but never before the last entry, nor before
    /// collateral that was already seen.
    pub fn now(&self, clock_secs: u64) -> u64 {
        clock_secs.max(self.last_secs).max(self.newest_collateral_secs)
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Hash of the last entry; zero without one.
    pub fn head(&self) -> Sha256Digest {
        self.head
    }

    /// Time of the last entry, in seconds since 1970; 0 without one.
    pub fn last_secs(&self) -> u64 {
        self.last_secs
    }

    /// When the newest collateral that was judged was issued, in seconds since 1970; 0 without one.
    pub fn newest_collateral_secs(&self) -> u64 {
        self.newest_collateral_secs
    }

    /// Whose KMS it is, once a root was made.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.born.as_ref().map(|born| &born.cluster)
    }

    /// The processes that decide together.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The epochs whose keys can be had.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The newest epoch, whether apps get keys in it or not; 0 without a root.
    pub fn epoch(&self) -> u32 {
        self.born.as_ref().map_or(0, |born| born.epoch)
    }

    /// The identity of the newest epoch's root.
    pub fn identity(&self) -> Option<Ed25519Key> {
        self.born.as_ref().map(|born| born.identity)
    }

    /// What owners certified of the newest root.
    pub fn root_certificate(&self) -> Option<RootCertificate> {
        let born = self.born.as_ref().filter(|born| born.certificate.is_some())?;
        let Born { cluster, epoch, identity, renewal, .. } = born;
        let (key_provider_id, renewal) = (cluster.id(), renewal.clone());
        Some(RootCertificate { key_provider_id, epoch: *epoch, identity: *identity, renewal })
    }

    /// The envelope of the root's certificate.
    pub fn root_envelope(&self) -> Option<&str> {
        self.born.as_ref()?.certificate.as_deref()
    }

    /// The list of what may be a KMS.
    pub fn list(&self) -> Option<&KmsList> {
        self.list.as_ref().map(|(list, _)| list)
    }

    /// The list's envelope.
    pub fn list_envelope(&self) -> Option<&str> {
        self.list.as_ref().map(|(_, envelope)| envelope.as_str())
    }

    /// The policy that counts; whether it is still valid is asked at each decision.
    pub fn policy(&self) -> Option<&SignedPolicy> {
        self.policy.as_ref()
    }

    /// Every instance that ever got keys.
    pub fn instances(&self) -> &BTreeMap<InstanceKey, Instance> {
        &self.instances
    }

    /// The environment that was accepted last, of every app that ever had one.
    pub fn environments(&self) -> &BTreeMap<AppId, Environment> {
        &self.environments
    }

    /// Custodians, the keys of their Pads, and what was used of quotas.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// The entry that would come next.
    fn next(&self, kind: Kind, clock_secs: u64) -> Entry {
        let (index, previous) = (self.entries, self.head);
        Entry { index, previous, time_secs: self.now(clock_secs), kind }
    }

    /// The lowest open counter for a new mount, whatever the instance.
    fn lowest_counter_at(&self, now_secs: u64) -> u64 {
        let minutes = now_secs.saturating_sub(COUNTERS_SINCE_SECS) / 60;
        minutes.max(self.lowest_counter)
    }
}

#[cfg(test)]
mod tests;
