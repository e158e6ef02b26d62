//! An entry changes the state, if it could have been decided there.

use std::ops::RangeInclusive;

use attestation::kms::Owners;
use protocol::kms::{GENERATION_BITS, MAX_RELEASE_SECS, ReleasedAt};

use super::Environment;
use super::epochs::check_offer;
use super::guests::held_until;
use super::instance::last_counter;
use super::owners::{lowest_counter_after, owners, read_list, read_policy, read_resumption};
use super::{Born, FIRST_EPOCH, Instance, Mount, RefusalWindow, State, certify_root};
use crate::ledger::{
    Anchored, Bootstrap, Document, Entry, EnvironmentAccepted, EpochOffered, Fault, Kind,
    LedgerError, MAX_REASON_BYTES, MemberAdmitted, Opened, Refusal, Released, Resumed,
    RootCertified, RootGiven,
};

/// How long refusals are counted together.
const REFUSAL_WINDOW_SECS: u64 = 3600;
/// How many of them are recorded in that time: a guest that asks again and again fills no disk.
const MAX_REFUSALS: u32 = 64;

impl State {
    /// Appends an entry.
    ///
    /// # Errors
    /// If it does not follow the last one, or the rules allow no such decision here; the state is
    /// then as before.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        let index = self.entries;
        self.follow(entry).map_err(|what| LedgerError { index, what })
    }

    /// The state after these entries.
    ///
    /// # Errors
    /// At the first that does not follow.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, LedgerError> {
        let mut state = Self::default();
        for entry in entries {
            state.apply(entry)?;
        }
        Ok(state)
    }

    fn follow(&mut self, entry: &Entry) -> Result<(), Fault> {
        if entry.index != self.entries {
            return Err(Fault::Index { found: entry.index });
        }
        if entry.previous != self.head {
            let (found, expected) = (entry.previous, self.head);
            return Err(Fault::Previous { found, expected });
        }
        // A decision was made at the state's own time, which is never before the last entry.
        if entry.time_secs < self.now(0) {
            return Err(Fault::Time { found: entry.time_secs, previous: self.now(0) });
        }
        let hash = entry.hash();
        let at = ReleasedAt { entry: entry.index, hash, time_secs: entry.time_secs };
        match &entry.kind {
            Kind::Bootstrap(bootstrap) => self.bootstrapped(bootstrap)?,
            Kind::RootCertified(certified) => self.root_certified(certified, entry.time_secs)?,
            Kind::EpochOffered(offered) => self.offered(offered)?,
            Kind::ListSet(document) => self.list_set(document)?,
            Kind::PolicySet(document) => self.policy_set(document, entry.time_secs)?,
            Kind::Resumed(resumed) => self.resumed(resumed, entry.time_secs)?,
            Kind::RootGiven(given) => self.root_given(given)?,
            Kind::MemberAdmitted(admitted) => self.admitted(admitted)?,
            Kind::MemberRemoved(removed) => self.members.remove(removed)?,
            Kind::Led(led) => self.members.lead(led, self.entries)?,
            Kind::Released(released) => self.released(released, at)?,
            Kind::Refused(refusal) => self.refused(refusal, entry.time_secs)?,
            Kind::Opened(opened) => self.opened(opened, entry.time_secs)?,
            Kind::Anchored(anchored) => self.anchored(anchored, entry.time_secs)?,
            Kind::EnvironmentAccepted(accepted) => self.environment_accepted(accepted)?,
            kind @ (Kind::CustodianEnrolled(_)
            | Kind::PadKeyGranted(_)
            | Kind::PadKeyRevoked(_)
            | Kind::PadKeysReleased(_)
            | Kind::QuotasSpent(_)
            | Kind::PadKeyKept(_)
            | Kind::PadKeyReplaced(_)
            | Kind::AuditHeadGiven(_)) => self.custody_entry(kind, entry.time_secs)?,
        }
        self.entries += 1;
        self.head = hash;
        self.last_secs = entry.time_secs;
        Ok(())
    }

    fn bootstrapped(&mut self, bootstrap: &Bootstrap) -> Result<(), Fault> {
        let Bootstrap { cluster, epoch, identity, member } = bootstrap;
        if self.entries != 0 {
            return Err(rule("a second root"));
        }
        cluster.check().map_err(rule)?;
        if *epoch != FIRST_EPOCH {
            return Err(rule(format!("a root of epoch {epoch}, expected {FIRST_EPOCH}")));
        }
        let (cluster, certificate) = (cluster.clone(), None);
        let (epoch, identity) = (*epoch, *identity);
        self.born = Some(Born { cluster, epoch, identity, renewal: None, certificate });
        self.members.alone(*member, self.entries);
        Ok(())
    }

    fn root_certified(&mut self, certified: &RootCertified, time: u64) -> Result<(), Fault> {
        certify_root(self, &certified.envelope, time).map_err(rule)?;
        let offered = self.epochs.accepted();
        let born = self.born.as_mut().ok_or_else(|| rule("no root was made yet"))?;
        born.certificate = Some(certified.envelope.clone());
        let Some(EpochOffered { epoch, identity, renewal }) = offered else {
            self.epochs.first(born.epoch);
            return Ok(());
        };
        (born.epoch, born.identity, born.renewal) = (epoch, identity, Some(renewal.clone()));
        self.epochs.begin(epoch, &renewal);
        let newest = self.epochs.newest();
        for instance in self.instances.values_mut() {
            if renewal.retires.iter().any(|epoch| instance.needs(*epoch)) {
                instance.lost(newest);
            }
        }
        Ok(())
    }

    fn offered(&mut self, offered: &EpochOffered) -> Result<(), Fault> {
        check_offer(self, offered).map_err(rule)?;
        self.epochs.offer(offered.clone());
        Ok(())
    }

    fn owners(&self, envelope: &str) -> Result<Owners, Fault> {
        owners(self, envelope).map_err(rule)
    }

    fn list_set(&mut self, document: &Document) -> Result<(), Fault> {
        let list =
            read_list(self, &self.owners(&document.envelope)?, &document.envelope).map_err(rule)?;
        check_version(document, list.version)?;
        self.list = Some((list, document.envelope.clone()));
        Ok(())
    }

    fn policy_set(&mut self, document: &Document, time: u64) -> Result<(), Fault> {
        let policy = read_policy(self, &self.owners(&document.envelope)?, &document.envelope, time)
            .map_err(rule)?;
        check_version(document, policy.version())?;
        self.policy = Some(policy);
        Ok(())
    }

    fn resumed(&mut self, resumed: &Resumed, time: u64) -> Result<(), Fault> {
        let resumption = read_resumption(self, &self.owners(&resumed.envelope)?, &resumed.envelope)
            .map_err(rule)?;
        let lowest = lowest_counter_after(self, time);
        if resumption.member != resumed.member || resumed.lowest_counter != lowest {
            return Err(rule("it says something else than the resumption in it"));
        }
        self.members.alone(resumed.member, self.entries);
        // It was in the memory of another process.
        self.epochs.accepted();
        self.lowest_counter = lowest;
        // What was stated in entries that are missing.
        self.unknown_statements_until_secs = time.saturating_add(MAX_RELEASE_SECS);
        Ok(())
    }

    fn root_given(&mut self, given: &RootGiven) -> Result<(), Fault> {
        let version = self.policy.as_ref().map(crate::policy::SignedPolicy::version);
        if version != Some(given.policy_version) || self.most_members() < 2 {
            return Err(rule(format!("the root by the policy {}", given.policy_version)));
        }
        self.members.root_given(given)
    }

    fn most_members(&self) -> usize {
        self.policy.as_ref().map_or(1, |policy| policy.file().most_members())
    }

    fn admitted(&mut self, admitted: &MemberAdmitted) -> Result<(), Fault> {
        let most = self.most_members();
        if self.members.len() >= most {
            return Err(rule(format!("a member beyond the policy's {most}")));
        }
        self.members.admit(admitted)
    }

    fn released(&mut self, released: &Released, at: ReleasedAt) -> Result<(), Fault> {
        let version = self.policy.as_ref().map(crate::policy::SignedPolicy::version);
        if version != Some(released.policy_version) {
            return Err(rule(format!("keys by the policy {}", released.policy_version)));
        }
        let key = (released.who.app_id, released.who.instance_id);
        if released.new_instance == self.instances.contains_key(&key) {
            return Err(rule("an instance that is new and known, or neither"));
        }
        let known = self.instances.get(&key);
        if released.request_id.is_some() && known.is_some_and(|known| known.answers(released)) {
            return Err(rule("a second entry for one call"));
        }
        let epoch = released.epoch;
        let other = known.is_some_and(|known| !may_use(known, epoch));
        if self.epochs.keys(epoch).is_none() || other {
            return Err(rule(format!("keys of the epoch {epoch}")));
        }
        let new = || Instance::new(&released.who, epoch);
        let instance = self.instances.entry(key).or_insert_with(new);
        instance.released(released, at);
        self.newest_collateral_secs =
            self.newest_collateral_secs.max(released.collateral_issued_secs);
        Ok(())
    }

    fn refused(&mut self, refusal: &Refusal, time: u64) -> Result<(), Fault> {
        if refusal.reason.len() > MAX_REASON_BYTES {
            return Err(rule(format!("a reason of {} bytes", refusal.reason.len())));
        }
        let next = self.refusals.with_one_more(time);
        self.refusals = next.ok_or_else(|| rule("more refusals than are recorded in an hour"))?;
        Ok(())
    }

    fn opened(&mut self, opened: &Opened, time: u64) -> Result<(), Fault> {
        let lowest = self.lowest_counter_at(time);
        let key = (opened.who.app_id, opened.who.instance_id);
        let instance = self.instances.get(&key);
        let instance = instance.ok_or_else(|| rule("a disk of an instance without keys"))?;
        let until = held_until(self, instance, opened.stops);
        if time <= until {
            return Err(rule(format!("a disk that an earlier guest has until {until}")));
        }
        let used = instance.open_counter().is_some_and(|last| opened.counter <= last);
        if used || opened.counter < lowest || opened.counter > last_counter() {
            return Err(rule(format!("the open counter {}", opened.counter)));
        }
        let mount = Mount::new(opened.counter, opened.who.compose_hash, opened.stops);
        self.instances.entry(key).and_modify(|instance| instance.opened(mount));
        Ok(())
    }

    fn anchored(&mut self, anchored: &Anchored, time: u64) -> Result<(), Fault> {
        let policy_end = self.policy.as_ref().map_or(0, |policy| policy.file().not_after_secs);
        let key = (anchored.app_id, anchored.instance_id);
        let instance = self.instances.get_mut(&key);
        let instance = instance.ok_or_else(|| rule("an anchor of an instance without keys"))?;
        let mounted = instance.open_counter() == Some(anchored.counter);
        let back = instance.anchor().is_some_and(|anchor| anchored.generation < anchor);
        let inside = anchored.generation >> GENERATION_BITS == anchored.counter;
        if !mounted || back || !inside {
            let Anchored { counter, generation, .. } = anchored;
            return Err(rule(format!("the anchor {generation} under the open counter {counter}")));
        }
        if let Some(epoch) = anchored.epoch
            && (self.epochs.keys(epoch).is_none()
                || epoch == instance.epoch()
                || !may_use(instance, epoch))
        {
            return Err(rule(format!("a disk under the key of the epoch {epoch}")));
        }
        check_stated(instance, anchored, time..=policy_end)?;
        instance.anchored(anchored);
        Ok(())
    }

    fn environment_accepted(&mut self, accepted: &EnvironmentAccepted) -> Result<(), Fault> {
        let EnvironmentAccepted { who, counter, digest, signer } = accepted;
        if !self.instances.contains_key(&(who.app_id, who.instance_id)) {
            return Err(rule("an environment of an instance without keys"));
        }
        let app = self.policy.as_ref().and_then(|policy| policy.app(&who.app_id));
        if !app.is_some_and(|(_, app)| app.env_signers.contains(signer)) {
            return Err(rule(format!("an environment that {signer} signed")));
        }
        let environment = Environment { counter: *counter, digest: *digest };
        let last = self.environments.get(&who.app_id);
        if last.is_some_and(|last| !environment.may_follow(last)) {
            return Err(rule(format!("an environment with the counter {counter}")));
        }
        self.environments.insert(who.app_id, environment);
        Ok(())
    }
}

impl RefusalWindow {
    /// The window after one more refusal; `None` if it is full.
    pub(super) fn with_one_more(self, time: u64) -> Option<Self> {
        if time.saturating_sub(self.since_secs) >= REFUSAL_WINDOW_SECS {
            return Some(Self { since_secs: time, recorded: 1 });
        }
        let recorded = self.recorded + 1;
        (recorded <= MAX_REFUSALS).then_some(Self { recorded, ..self })
    }
}

/// Whether an instance may have the keys of an epoch: of its own, or of the later one to which it
/// moves.
fn may_use(instance: &Instance, epoch: u32) -> bool {
    let later = instance.moves_to().map_or(epoch > instance.epoch(), |to| to == epoch);
    epoch == instance.epoch() || later
}

/// What an anchor says of its guest's end is said of a guest that ends with its statement, before
/// it has ended; `holds` are from the entry's time to the policy's end.
fn check_stated(
    instance: &Instance,
    anchored: &Anchored,
    holds: RangeInclusive<u64>,
) -> Result<(), Fault> {
    let (stops, ended) = instance.mount().map_or((false, false), |it| (it.stops, it.ended));
    let Anchored { counter, stated_until_secs, last, .. } = anchored;
    if ended || !stops && (*last || stated_until_secs.is_some()) {
        return Err(rule(format!("an anchor of the open counter {counter} behind its end")));
    }
    let longest = holds.start().saturating_add(MAX_RELEASE_SECS);
    match stated_until_secs {
        Some(until) if *last || !holds.contains(until) || *until > longest => {
            Err(rule(format!("a release statement until {until}")))
        }
        _ => Ok(()),
    }
}

fn check_version(document: &Document, signed: u64) -> Result<(), Fault> {
    if document.version == signed {
        return Ok(());
    }
    Err(rule(format!("version {}, the owners signed {signed}", document.version)))
}

pub(super) fn rule(what: impl ToString) -> Fault {
    Fault::Rule(what.to_string())
}
