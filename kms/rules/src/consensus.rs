//! How members agree on the next entry: the ledger is the log of a Raft (Ongaro and Ousterhout,
//! 2014), and everything but its entries is in memory.
//!
//! What differs from the book, and why it may:
//! - An entry names the hash of the one before it, and the entry that begins a term stands in the
//!   ledger too. Two ledgers with one hash at one place are therefore equal up to there, terms
//!   included; no pairs of index and term are compared.
//! - An entry is decided against a state in which everything before it is agreed, so the leader
//!   takes one only if its own ledger ends there. At most one decision is under way, with what
//!   elections left behind; a leader sends all of it each time.
//! - Nothing of this is kept over a restart: a process that starts again has another key, and that
//!   key has no vote. What is agreed is stored by whoever drives this.
//! - An agreement needs a majority of the members before the entries in question and of those after
//!   them; both are equal but for one member.
//! - A certificate of another epoch's root is taken over only where that root is. So once it is
//!   agreed, a majority has the root.
//!
//! Pure: messages and a time in milliseconds in, answers out. A message counts only from a process
//! whose ledger key the driver verified.

mod messages;

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{AppendRequest, VoteRequest};

use crate::ledger::{Entry, Kind, LedgerError};
use crate::state::{State, lead};

/// How often a leader is heard at least.
pub const HEARTBEAT_MS: u64 = 250;
/// How long a member that hears no leader waits at least before it asks for votes; a leader that
/// hears no majority for so long leads no more. Eight lost heartbeats, or a machine that stalls.
pub const PATIENCE_MS: u64 = 2000;
/// Most that is added to it, so that not all ask at once.
const JITTER_MS: u64 = 1500;
/// Most entries that are not agreed: one decision, and what elections without an end leave behind.
const MAX_BEHIND: usize = 64;

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Milliseconds since the process started, by a clock that only goes forward.
    pub ms: u64,
    /// Seconds since 1970 by the machine's clock, for entries.
    pub clock_secs: u64,
}

/// One process's part in the agreement.
#[derive(Debug, Clone)]
pub struct Replica {
    own: Ed25519Key,
    agreed: State,
    /// With what is behind, which may still be replaced.
    tail: State,
    behind: Vec<Entry>,
    /// Agreed entries that the driver has not fetched yet.
    fresh: Vec<Entry>,
    term: u64,
    vote: Option<Ed25519Key>,
    role: Role,
    /// When this process last heard its leader, or gave its vote.
    heard_ms: u64,
    /// When it asks for votes.
    patient_until_ms: u64,
    /// Who has entries that are missing here.
    ahead: Option<Ed25519Key>,
    roots: Roots,
}

/// Which roots the driver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roots {
    /// The epoch of the newest certified one.
    pub epoch: u32,
    /// The identity of one that is offered for the epoch after the ledger's.
    pub offered: Option<Ed25519Key>,
}

/// Why agreed entries of another member are not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// one that does not follow
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// a certificate of a root that is missing
    #[error("the root of epoch {0} is not here")]
    Rootless(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    Follower {
        leader: Option<Ed25519Key>,
    },
    Candidate {
        /// It asks only how others would vote, so that one who cannot win raises no term.
        trial: bool,
        votes: BTreeSet<Ed25519Key>,
        refused: BTreeSet<Ed25519Key>,
    },
    Leader {
        /// Entries that each other member has in common with this one.
        matched: BTreeMap<Ed25519Key, u64>,
        /// When each was heard.
        heard_ms: BTreeMap<Ed25519Key, u64>,
        since_ms: u64,
    },
}

/// What becomes of a proposed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposed {
    /// It is the next one, if a majority gets it.
    Taken,
    /// It does not follow the leader's last one: decide again.
    Late,
    /// Another process leads, or none.
    NotLeader(Option<Ed25519Key>),
}

/// What a process asks another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The leader's ledger.
    Append(AppendRequest),
    /// A vote.
    Vote(VoteRequest),
}

impl Replica {
    /// Of a process that has nothing yet.
    pub fn new(own: Ed25519Key) -> Self {
        Self {
            own,
            agreed: State::default(),
            tail: State::default(),
            behind: Vec::new(),
            fresh: Vec::new(),
            term: 0,
            vote: None,
            role: Role::Follower { leader: None },
            heard_ms: 0,
            patient_until_ms: 0,
            ahead: None,
            roots: Roots::default(),
        }
    }

    /// States which roots are here from now on.
    pub fn hold(&mut self, roots: Roots) {
        self.roots = roots;
    }

    /// The state of everything that is agreed.
    pub fn state(&self) -> &State {
        &self.agreed
    }

    /// The process that leads, as far as this one knows.
    pub fn leader(&self) -> Option<Ed25519Key> {
        match &self.role {
            Role::Follower { leader } => *leader,
            Role::Candidate { .. } => None,
            Role::Leader { .. } => Some(self.own),
        }
    }

    /// What changes with an election, an entry or an agreement: term, entries agreed, entries.
    pub fn progress(&self) -> (u64, Option<Ed25519Key>, u64, u64) {
        (self.term, self.leader(), self.agreed.entries(), self.tail.entries())
    }

    /// Agreed entries since the last call, in order.
    pub fn take_agreed(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.fresh)
    }

    /// Whether this process has agreed entries that are missing here; asked once, it is told again
    /// with the next message.
    pub fn take_ahead(&mut self, process: &Ed25519Key) -> bool {
        let ahead = self.ahead == Some(*process);
        if ahead {
            self.ahead = None;
        }
        ahead
    }

    /// The ledger as it was stored: everything in it was agreed.
    pub fn restore(&mut self, state: State) {
        self.agreed = state;
        self.behind.clear();
        self.follow_agreed();
    }

    /// Entries that another member says are agreed, from its store.
    ///
    /// # Errors
    /// If one does not follow what is agreed here, or certifies a root that is not here; those
    /// before it are kept.
    pub fn install(&mut self, entries: &[Entry]) -> Result<(), InstallError> {
        let installed = entries.iter().try_for_each(|entry| self.install_one(entry));
        self.follow_agreed();
        installed
    }

    fn install_one(&mut self, entry: &Entry) -> Result<(), InstallError> {
        if let Some(epoch) = self.lacks_root_of(&self.agreed, entry) {
            return Err(InstallError::Rootless(epoch));
        }
        self.agreed.apply(entry)?;
        self.fresh.push(entry.clone());
        match self.behind.first() {
            Some(first) if first == entry => drop(self.behind.remove(0)),
            _ => self.behind.clear(),
        }
        Ok(())
    }

    /// The epoch whose root an entry certifies behind a state, if that root is not here.
    fn lacks_root_of(&self, state: &State, entry: &Entry) -> Option<u32> {
        // That of the first epoch is where its entries are.
        let offered = state.epochs().offered()?;
        let Roots { epoch, offered: here } = self.roots;
        let missing = offered.epoch > epoch && here != Some(offered.identity);
        (matches!(entry.kind, Kind::RootCertified(_)) && missing).then_some(offered.epoch)
    }

    /// An entry that owners decided, by which one process goes on alone: the first one, or a
    /// resumption.
    ///
    /// # Errors
    /// If the rules do not allow it.
    pub fn go_alone(&mut self, entry: &Entry, now: Time) -> Result<(), LedgerError> {
        self.agreed.apply(entry)?;
        self.fresh.push(entry.clone());
        self.behind.clear();
        self.follow_agreed();
        self.lead_now(now);
        Ok(())
    }

    /// Proposes the next entry, if this process leads.
    ///
    /// # Errors
    /// If the rules do not allow the entry where it stands.
    pub fn propose(&mut self, entry: Entry, now: Time) -> Result<Proposed, LedgerError> {
        if !matches!(self.role, Role::Leader { .. }) {
            return Ok(Proposed::NotLeader(self.leader()));
        }
        // Owners let a process go on alone, and elections say who leads; nobody proposes that.
        if matches!(entry.kind, Kind::Bootstrap(_) | Kind::Resumed(_) | Kind::Led(_)) {
            return Ok(Proposed::Late);
        }
        let begun = self.begin_term(now);
        if !begun || entry.previous != self.tail.head() || entry.index != self.tail.entries() {
            return Ok(Proposed::Late);
        }
        if self.lacks_root_of(&self.tail, &entry).is_some() {
            return Ok(Proposed::Late);
        }
        self.tail.apply(&entry)?;
        let admits = matches!(entry.kind, Kind::MemberAdmitted(_));
        self.behind.push(entry);
        if let Role::Leader { since_ms, .. } = &mut self.role
            && admits
        {
            *since_ms = now.ms; // the new member has yet to be heard
        }
        self.advance();
        Ok(Proposed::Taken)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Time) {
        if !matches!(self.role, Role::Leader { .. }) {
            let may_lead = self.tail.members().is_enrolled(&self.own);
            if now.ms >= self.patient_until_ms && may_lead {
                self.ask_for_votes(true, now);
            }
        } else if !self.is_agreement(&self.near(now)) {
            self.follow(None, now);
        }
    }

    /// The members that a leader heard lately; all of them at the beginning.
    fn near(&self, now: Time) -> BTreeSet<Ed25519Key> {
        let Role::Leader { heard_ms, since_ms, .. } = &self.role else { return BTreeSet::new() };
        let lately = |then: u64| now.ms.saturating_sub(then) < PATIENCE_MS;
        let members = self.tail.members().keys();
        let near = members.filter(|key| {
            **key == self.own
                || lately(*since_ms)
                || heard_ms.get(key).is_some_and(|heard| lately(*heard))
        });
        near.copied().collect()
    }

    fn ask_for_votes(&mut self, trial: bool, now: Time) {
        if !trial {
            self.term += 1;
            self.vote = Some(self.own);
        }
        let votes = BTreeSet::from([self.own]);
        self.role = Role::Candidate { trial, votes, refused: BTreeSet::new() };
        self.wait(now);
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Time) {
        let Role::Candidate { trial, votes, .. } = &self.role else { return };
        match (*trial, self.is_agreement(votes)) {
            (_, false) => {}
            (true, true) => self.ask_for_votes(false, now),
            (false, true) => {
                self.lead_now(now);
                // What an earlier leader left can only be agreed with an entry of this term.
                if !self.behind.is_empty() {
                    self.begin_term(now);
                }
            }
        }
    }

    fn lead_now(&mut self, now: Time) {
        let (matched, heard_ms) = (BTreeMap::new(), BTreeMap::new());
        self.role = Role::Leader { matched, heard_ms, since_ms: now.ms };
    }

    /// Writes the entry with which this leader's term begins, if it is not there; says whether it
    /// was. It is written with the first proposal, so that elections among members without work
    /// write nothing.
    fn begin_term(&mut self, now: Time) -> bool {
        let members = self.tail.members();
        let begun = members.term() == self.term && members.leader() == Some(self.own);
        if !begun && self.behind.len() < MAX_BEHIND {
            let entry = lead(&self.tail, self.term, self.own, now.clock_secs);
            if self.tail.apply(&entry).is_ok() {
                self.behind.push(entry);
                self.advance();
            }
        }
        begun
    }

    /// Finds what a majority has by now. Only an entry of the own term shows that (Raft, 5.4.2).
    fn advance(&mut self) {
        let Role::Leader { matched, .. } = &self.role else { return };
        let members = self.tail.members();
        if members.term() != self.term || members.leader() != Some(self.own) {
            return;
        }
        let lowest = self.agreed.entries().max(members.since());
        for entries in (lowest + 1..=self.tail.entries()).rev() {
            let having = matched.iter().filter(|(_, has)| **has >= entries);
            let mut having: BTreeSet<_> = having.map(|(key, _)| *key).collect();
            having.insert(self.own);
            if self.is_agreement(&having) {
                self.agree(entries);
                break;
            }
        }
        if !self.agreed.members().is_enrolled(&self.own) {
            self.role = Role::Follower { leader: None }; // its last entry ended its own membership
        }
    }

    fn is_agreement(&self, agreeing: &BTreeSet<Ed25519Key>) -> bool {
        self.agreed.members().is_quorum(agreeing) && self.tail.members().is_quorum(agreeing)
    }

    /// Everything up to this many entries is agreed.
    fn agree(&mut self, entries: u64) {
        while self.agreed.entries() < entries && !self.behind.is_empty() {
            let entry = self.behind.remove(0);
            self.agreed.apply(&entry).expect("the tail had it here, after the same entries");
            self.fresh.push(entry);
        }
    }

    /// Makes the tail again what is agreed and what is behind it.
    fn follow_agreed(&mut self) {
        let behind = std::mem::take(&mut self.behind);
        self.tail = self.agreed.clone();
        for entry in behind {
            if self.lacks_root_of(&self.tail, &entry).is_some() || self.tail.apply(&entry).is_err()
            {
                break;
            }
            self.behind.push(entry);
        }
        self.term = self.term.max(self.tail.members().term());
    }

    /// Goes on behind another process, or behind none that it knows.
    fn follow(&mut self, leader: Option<Ed25519Key>, now: Time) {
        self.role = Role::Follower { leader };
        self.wait(now);
    }

    fn wait(&mut self, now: Time) {
        self.heard_ms = now.ms;
        // Another one for each process, term and time; that a host foresees it gives it nothing.
        let seed = [&self.own.0[..], &self.term.to_le_bytes(), &now.ms.to_le_bytes()].concat();
        let [low, high, ..] = Sha256Digest::of(&seed).0;
        let jitter_ms = u64::from(u16::from_le_bytes([low, high])) % JITTER_MS;
        self.patient_until_ms = now.ms + PATIENCE_MS + jitter_ms;
    }
}

#[cfg(test)]
mod tests;
