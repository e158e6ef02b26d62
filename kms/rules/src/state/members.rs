//! The processes that decide together: which there are, what a majority of them is, and how one
//! comes and goes.
//!
//! A member is a process: its key is born in its memory and dies there, so that a process which
//! started again is another one, without a vote until it is admitted. Only the ledger makes a
//! member, and a majority is one of all that it names, whoever answers. Each stands on a platform
//! of its own: what the host of one machine starts there is one vote at most.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::{Ed25519Key, PlatformId};
use protocol::kms::KmsImage;
use protocol::rule::unless;

use super::fold::rule;
use super::guests::{Reasons, check_platform, first, who};
use super::{Phase, State};
use crate::guest::Guest;
use crate::ledger::{Entry, Fault, Kind, Led, MemberAdmitted, MemberRemoved, RootGiven};
use crate::refused::Refused;

/// The members, and which of them was elected last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Each with its platform; that of a process which began alone is not known before it admits
    /// another one.
    enrolled: BTreeMap<Ed25519Key, Option<PlatformId>>,
    /// Keys that are members no more, and never again.
    former: BTreeSet<Ed25519Key>,
    /// Processes that got the root, members or not.
    given: BTreeSet<Ed25519Key>,
    term: u64,
    leader: Option<Ed25519Key>,
    /// Index of the entry with which the term began.
    since: u64,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.enrolled.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.enrolled.is_empty()
    }

    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = &Ed25519Key> {
        self.enrolled.keys()
    }

    /// Whether this process is one.
    pub fn is_enrolled(&self, member: &Ed25519Key) -> bool {
        self.enrolled.contains_key(member)
    }

    /// The member on a platform.
    pub fn on_platform(&self, platform: &PlatformId) -> Option<Ed25519Key> {
        let mut enrolled = self.enrolled.iter();
        enrolled.find(|(_, on)| on.as_ref() == Some(platform)).map(|(key, _)| *key)
    }

    /// Whether these are a majority of all members, each counted with the platform that it is on.
    /// Who is no member counts for nothing, and neither does a second one on a platform.
    pub fn is_quorum(&self, agreeing: &BTreeSet<Ed25519Key>) -> bool {
        let mut platforms = BTreeSet::new();
        let mut votes = 0;
        for platform in agreeing.iter().filter_map(|key| self.enrolled.get(key)) {
            if platform.is_none_or(|platform| platforms.insert(platform)) {
                votes += 1;
            }
        }
        2 * votes > self.enrolled.len()
    }

    /// The term of the last election; 0 before a root was made.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Who was elected for it.
    pub fn leader(&self) -> Option<Ed25519Key> {
        self.leader
    }

    /// Index of the entry with which the term began.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// One process goes on alone, which owners decided.
    pub(super) fn alone(&mut self, member: Ed25519Key, index: u64) {
        let others = self.enrolled.keys().filter(|key| **key != member).copied();
        self.former.extend(others.collect::<Vec<_>>());
        self.enrolled = BTreeMap::from([(member, None)]);
        self.elected(member, self.term + 1, index);
    }

    /// Members of which the first ones share a platform; no ledger leads there.
    #[cfg(test)]
    pub(super) fn on_one_platform(
        members: &[Ed25519Key],
        others: &[Ed25519Key],
        platform: PlatformId,
    ) -> Self {
        let together = members.iter().map(|key| (*key, Some(platform)));
        let enrolled = together.chain(others.iter().map(|key| (*key, None))).collect();
        Self { enrolled, ..Self::default() }
    }

    pub(super) fn root_given(&mut self, given: &RootGiven) -> Result<(), Fault> {
        match self.given.insert(given.member) {
            true => Ok(()),
            false => Err(rule(format!("the root for {} a second time", given.member))),
        }
    }

    pub(super) fn admit(&mut self, admitted: &MemberAdmitted) -> Result<(), Fault> {
        let MemberAdmitted { member, platform_id, by, by_platform_id } = admitted;
        if self.is_enrolled(member) || self.former.contains(member) {
            return Err(rule(format!("the member {member} a second time")));
        }
        let admitting = self.enrolled.get(by).copied();
        match admitting.ok_or_else(|| rule(format!("a member that {by} admitted, who is none")))? {
            Some(known) if known != *by_platform_id => {
                return Err(rule(format!("the member {by} on the platform {by_platform_id}")));
            }
            _ => drop(self.enrolled.insert(*by, Some(*by_platform_id))),
        }
        if let Some(other) = self.on_platform(platform_id) {
            return Err(rule(format!("the member {member} on the platform of {other}")));
        }
        self.enrolled.insert(*member, Some(*platform_id));
        Ok(())
    }

    pub(super) fn remove(&mut self, removed: &MemberRemoved) -> Result<(), Fault> {
        if self.len() < 2 || self.enrolled.remove(&removed.member).is_none() {
            return Err(rule(format!("the end of the member {}", removed.member)));
        }
        self.former.insert(removed.member);
        Ok(())
    }

    pub(super) fn lead(&mut self, led: &Led, index: u64) -> Result<(), Fault> {
        if led.term <= self.term || !self.is_enrolled(&led.member) {
            return Err(rule(format!("the term {} of the member {}", led.term, led.member)));
        }
        self.elected(led.member, led.term, index);
        Ok(())
    }

    fn elected(&mut self, member: Ed25519Key, term: u64, index: u64) {
        (self.leader, self.term, self.since) = (Some(member), term, index);
    }
}

/// Whether a process that proved itself to be this KMS may get the root, to become a member.
///
/// # Errors
/// If this process is none, or the policy does not let it.
pub fn may_replicate(
    state: &State,
    process: &Guest,
    own: &Ed25519Key,
    clock_secs: u64,
) -> Result<(), Refused> {
    let mut reasons = Reasons::default();
    let phase = state.phase(own, true);
    reasons.unless(phase == Phase::Serving, || Refused::NotServing(phase.name()));
    let policy = state.policy().ok_or(Refused::NoPolicy)?;
    let now_secs = state.now(clock_secs);
    if let Err(refusal) = policy.check_valid_at(now_secs) {
        reasons.unless(false, || Refused::PolicyNotValid(refusal));
    }
    reasons.unless(policy.file().most_members() > 1, || Refused::NoReplicas);
    let Guest { os_image_hash, compose_hash, .. } = *process;
    let pair = KmsImage { os_image_hash, compose_hash };
    let listed = state.list().is_some_and(|list| list.images.contains(&pair));
    reasons.unless(listed, || Refused::NotOnList(pair));
    check_platform(&mut reasons, policy.file(), process, now_secs);
    first(reasons.0)
}

/// Gives a process the root; `None` if it is given already, and the answer may have been lost.
///
/// # Errors
/// As [`may_replicate`].
pub fn give_root(
    state: &State,
    (process, member): (&Guest, Ed25519Key),
    own: &Ed25519Key,
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    may_replicate(state, process, own, clock_secs)?;
    let policy_version = state.policy().ok_or(Refused::NoPolicy)?.version();
    let given = RootGiven { member, who: who(process)?, policy_version };
    let known = state.members.given.contains(&member);
    Ok((!known).then(|| state.next(Kind::RootGiven(given), clock_secs)))
}

/// The next entry on the way of a process to a vote; `None` once it has one. `own_platform` is the
/// platform on which the process found this member.
///
/// The process takes the place of an earlier one of its platform, which is gone or ends: that one
/// is removed first, by a majority of all, counted with it.
///
/// # Errors
/// If it may not be one, or the members are as many as the policy allows.
pub fn admit(
    state: &State,
    (process, member): (&Guest, Ed25519Key),
    (own, own_platform): (&Ed25519Key, PlatformId),
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    may_replicate(state, process, own, clock_secs)?;
    let members = state.members();
    if members.is_enrolled(&member) {
        return Ok(None);
    }
    unless(!members.former.contains(&member), || Refused::FormerMember(member))?;
    let platform_id = process.platform_ids.first().copied();
    let platform_id = platform_id.ok_or_else(|| Refused::PlatformNotListed("none".to_owned()))?;
    unless(platform_id != own_platform, || Refused::SamePlatform(platform_id))?;
    if let Some(earlier) = members.on_platform(&platform_id) {
        unless(earlier != *own, || Refused::SamePlatform(platform_id))?;
        let removed = MemberRemoved { member: earlier };
        return Ok(Some(state.next(Kind::MemberRemoved(removed), clock_secs)));
    }
    let allowed = state.policy().map_or(1, |policy| policy.file().most_members());
    let known = members.len();
    unless(known < allowed, || Refused::TooManyMembers { known, allowed })?;
    let (by, by_platform_id) = (*own, own_platform);
    let admitted = MemberAdmitted { member, platform_id, by, by_platform_id };
    Ok(Some(state.next(Kind::MemberAdmitted(admitted), clock_secs)))
}

/// The entry with which an elected member's term begins.
pub fn lead(state: &State, term: u64, member: Ed25519Key, clock_secs: u64) -> Entry {
    state.next(Kind::Led(Led { term, member }), clock_secs)
}
