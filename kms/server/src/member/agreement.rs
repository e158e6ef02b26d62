//! How a decision of this process becomes the next entry of all members' ledgers.
//!
//! It is made against the state that is agreed, proposed to the member that leads, and made again
//! if another entry took its place. It counts once it was agreed and is in this process's own
//! store. A cluster of one agrees with itself at once.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use kms_rules::consensus::{HEARTBEAT_MS, Proposed, Time};
use kms_rules::ledger::Entry;
use kms_rules::refused::Refused;
use kms_rules::state::State;
use protocol::digest::Ed25519Key;

use super::{Inner, Member, MemberError};
use crate::store::Change;

/// How long a call may take to be agreed: two elections, should the first one be split.
pub(super) const AGREED_WITHIN: Duration = Duration::from_secs(10);
/// The same for the record of a refusal, which its guest does not wait for longer.
pub(super) const RECORDED_WITHIN: Duration = Duration::from_secs(1);
/// How long another member may take to say whether a proposal is the next entry.
const PROPOSED_WITHIN: Duration = Duration::from_secs(2);
/// How soon a decision is made again that came too late.
const AGAIN: Duration = Duration::from_millis(25);
/// How long a member goes first whose decision came too late, so that those who are nearer to the
/// leader do not always win.
const FIRST: Duration = Duration::from_millis(200);
/// How long a member may not have heard of what the others agreed on: three heartbeats.
const HEARD_WITHIN: Duration = Duration::from_millis(3 * HEARTBEAT_MS);
/// Agreed entries whose hashes are kept, for calls that wait: one a call that may wait.
const MAX_RECENT: usize = 1024;

/// What is agreed with a guard over the state right behind it; the entry is missing where none was
/// needed.
pub(super) type Agreed<'a> = (MutexGuard<'a, Inner>, Option<Entry>);

impl Member {
    /// Decides until an entry is agreed. `decide` sees everything that is agreed, and gives no
    /// entry if there is nothing to agree on.
    ///
    /// # Errors
    /// As `decide`; or if there is no majority in time, after which the entry may still be agreed.
    pub(super) fn agreed(
        &self,
        within: Duration,
        decide: impl FnMut(&mut Inner) -> Result<Option<Entry>, MemberError>,
    ) -> Result<Agreed<'_>, MemberError> {
        let until = Instant::now() + within;
        let inner = self.turn(until)?;
        let mut agreed = self.in_turn(inner, until, decide);
        match &mut agreed {
            Ok((inner, _)) => inner.deciding = false,
            Err(_) => self.inner.lock().map_err(|_| MemberError::Broken)?.deciding = false,
        }
        self.changed.notify_all();
        agreed
    }

    /// Decides as [`Self::agreed`]; what is refused is decided again as other members' decisions
    /// come in. Who was just enrolled at one member is known at all of them only a moment later.
    ///
    /// # Errors
    /// As [`Self::agreed`].
    pub(super) fn agreed_when_heard(
        &self,
        decide: impl Fn(&State) -> Result<Option<Entry>, Refused>,
    ) -> Result<Agreed<'_>, MemberError> {
        let until = Instant::now() + HEARD_WITHIN;
        loop {
            let mut entries = 0;
            let agreed = self.agreed(AGREED_WITHIN, |inner| {
                entries = inner.state().entries();
                Ok(decide(inner.state())?)
            });
            let Err(MemberError::Refused(_)) = &agreed else { return agreed };
            let inner = self.inner()?;
            if inner.state().members().len() < 2 {
                return agreed;
            }
            let inner = self.wait(inner, until, |inner| inner.state().entries() > entries)?;
            if inner.state().entries() == entries || Instant::now() >= until {
                return agreed;
            }
        }
    }

    fn in_turn<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        until: Instant,
        mut decide: impl FnMut(&mut Inner) -> Result<Option<Entry>, MemberError>,
    ) -> Result<Agreed<'a>, MemberError> {
        let mut proposed: Vec<Entry> = Vec::new();
        loop {
            inner.usable()?;
            let Some(entry) = decide(&mut inner)? else { return Ok((inner, None)) };
            let before = inner.replica.progress();
            let taken;
            (inner, taken) = self.propose(inner, &entry, until)?;
            let place = entry.index;
            if !proposed.contains(&entry) {
                proposed.push(entry);
            }
            // One that was taken is waited for, until its place or its leader is another's.
            let changed = |inner: &Inner| {
                let now = inner.replica.progress();
                let over =
                    inner.state().entries() > place || (now.0, now.1) != (before.0, before.1);
                over || (!taken && now != before)
            };
            let limit = if taken { until } else { until.min(Instant::now() + AGAIN) };
            inner = self.wait(inner, limit, changed)?;
            if let Some(entry) = proposed.iter().find(|entry| inner.is_agreed(entry)) {
                return Ok((inner, Some(entry.clone())));
            }
            if Instant::now() >= until {
                return Err(MemberError::NoMajority);
            }
        }
    }

    /// Waits until no other call of this process decides.
    fn turn(&self, until: Instant) -> Result<MutexGuard<'_, Inner>, MemberError> {
        let inner = self.inner()?;
        let mut inner = self.wait(inner, until, |inner| !inner.deciding)?;
        if inner.deciding {
            return Err(MemberError::NoMajority);
        }
        inner.deciding = true;
        Ok(inner)
    }

    fn wait<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        until: Instant,
        changed: impl Fn(&Inner) -> bool,
    ) -> Result<MutexGuard<'a, Inner>, MemberError> {
        while !changed(&inner) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.map_err(|_| MemberError::Broken)?.0;
        }
        Ok(inner)
    }

    /// Proposes an entry here or to the member that leads; says whether it may be the next one.
    fn propose<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        entry: &Entry,
        until: Instant,
    ) -> Result<(MutexGuard<'a, Inner>, bool), MemberError> {
        match inner.propose(entry.clone(), &self.key, self.now())? {
            proposed @ (Proposed::Taken | Proposed::Late) => {
                self.settled(&mut inner)?;
                Ok((inner, proposed == Proposed::Taken))
            }
            Proposed::NotLeader(None) => Ok((inner, false)),
            Proposed::NotLeader(Some(leader)) => {
                // Others need the lock to get anywhere.
                drop(inner);
                let within = PROPOSED_WITHIN.min(until.saturating_duration_since(Instant::now()));
                let taken = self.outbox.propose(&leader, entry.to_line(), within);
                // Without an answer it may have been taken.
                Ok((self.inner()?, taken.unwrap_or(false)))
            }
        }
    }

    /// Another member's decision; `false` if it came too late, or this process does not lead.
    pub(super) fn proposed_by(&self, from: &Ed25519Key, line: &str) -> Result<bool, MemberError> {
        let mut inner = self.inner()?;
        inner.usable()?;
        let entry = Entry::parse(line);
        let entry = entry.map_err(|error| MemberError::Proposal(error.to_string()))?;
        if !inner.state().members().is_enrolled(from) {
            return Err(MemberError::NoMember(*from));
        }
        let proposed = inner.propose(entry, from, self.now())?;
        self.settled(&mut inner)?;
        Ok(proposed == Proposed::Taken)
    }

    /// Stores what was agreed, shows it, and tells who waits for it.
    pub(super) fn settled(&self, inner: &mut Inner) -> Result<(), MemberError> {
        let stored = inner.settle();
        inner.settle_offer();
        inner.hold();
        self.show(inner);
        self.changed.notify_all();
        self.outbox.wake();
        stored
    }
}

impl Inner {
    fn is_agreed(&self, entry: &Entry) -> bool {
        // The newest are looked for most often.
        let mut recent = self.recent.iter().rev();
        recent.any(|(index, hash)| *index == entry.index && *hash == entry.hash())
    }

    /// Proposes an entry of a member here. One whose last decision came too late goes first.
    fn propose(
        &mut self,
        entry: Entry,
        from: &Ed25519Key,
        now: Time,
    ) -> Result<Proposed, MemberError> {
        let waits =
            |(first, until): &(Ed25519Key, Instant)| first != from && Instant::now() < *until;
        let proposed = match &self.first {
            Some(first) if waits(first) => return Ok(Proposed::Late),
            _ => self.replica.propose(entry, now)?,
        };
        match proposed {
            Proposed::Taken => self.first = None,
            Proposed::Late => self.first = Some((*from, Instant::now() + FIRST)),
            Proposed::NotLeader(_) => {}
        }
        Ok(proposed)
    }

    /// Stores what was agreed, once the root is certified.
    fn settle(&mut self) -> Result<(), MemberError> {
        for entry in self.replica.take_agreed() {
            self.recent.push_back((entry.index, entry.hash()));
            self.pending.push(entry.to_line());
        }
        self.recent.drain(..self.recent.len().saturating_sub(MAX_RECENT));
        if self.pending.is_empty() {
            return Ok(());
        }
        let state = self.replica.state();
        let (Some(envelope), Some(root)) = (state.root_envelope(), state.root_certificate()) else {
            return Ok(());
        };
        // What is fetched just now is stored once it is as far as the root that came before it.
        if self.root.as_ref().is_some_and(|held| held.epoch > root.epoch) {
            return Ok(());
        }
        // A certificate is stored with the roots that are sealed beside it.
        let begins = self.certified.as_ref() != Some(&root);
        let offered = self.offer.as_ref().map(|offer| &offer.held);
        let mut here = offered.into_iter().chain(&self.root);
        let held = here.find(|held| held.identity() == root.identity).ok_or(MemberError::NoRoot)?;
        let record = begins.then(|| held.record(&root, envelope)).transpose()?;
        let change = Change {
            entries: self.pending.iter().map(String::as_bytes).collect(),
            root_certificate: record.as_deref(),
        };
        // Whether the certificate is stored decides what a restart may do: it is settled by one.
        let settles = change.root_certificate.is_none();
        if let Err(error) = self.store.commit(&held.store_key, &change) {
            return Err(self.not_stored(error, settles));
        }
        if begins {
            self.certified = Some(root);
        }
        self.pending.clear();
        Ok(())
    }
}
