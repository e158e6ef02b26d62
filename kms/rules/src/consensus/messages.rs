//! The two questions of members, and their answers.

use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{AppendRequest, AppendResponse, VoteRequest, VoteResponse};

use super::{MAX_BEHIND, PATIENCE_MS, Question, Replica, Role, Time};
use crate::ledger::Entry;

impl Replica {
    /// What this process has to ask another one now.
    pub fn question(&self, to: &Ed25519Key) -> Option<Question> {
        if !self.tail.members().is_enrolled(to) || *to == self.own {
            return None;
        }
        match &self.role {
            Role::Follower { .. } => None,
            Role::Leader { .. } => Some(Question::Append(AppendRequest {
                term: self.term,
                entries: self.agreed.entries(),
                head: self.agreed.head().0.to_vec(),
                lines: self.behind.iter().map(Entry::to_line).collect(),
            })),
            Role::Candidate { trial, votes, refused } => {
                let asked = votes.contains(to) || refused.contains(to);
                (!asked).then(|| {
                    Question::Vote(VoteRequest {
                        term: self.term + u64::from(*trial),
                        trial: *trial,
                        entries: self.tail.entries(),
                        last_term: self.tail.members().term(),
                    })
                })
            }
        }
    }

    /// Answers a leader.
    pub fn append(
        &mut self,
        from: &Ed25519Key,
        request: &AppendRequest,
        now: Time,
    ) -> AppendResponse {
        let refused = |term| AppendResponse { term, accepted: false, matched: 0 };
        if request.entries > self.agreed.entries() {
            // Fetched from its store, if it cannot be seen here which entries those are.
            self.ahead = Some(*from);
        }
        // The ledger makes a leader; if it is one of entries that are missing here, they will say.
        if !self.tail.members().is_enrolled(from) || request.term < self.term {
            return refused(self.term);
        }
        if matches!(self.role, Role::Leader { .. }) && request.term == self.term {
            return refused(self.term); // two leaders of one term cannot be
        }
        if request.term > self.term {
            (self.term, self.vote) = (request.term, None);
        }
        self.follow(Some(*from), now);
        match self.take_over(request) {
            Some(matched) => AppendResponse { term: self.term, accepted: true, matched },
            None => refused(self.term),
        }
    }

    /// Takes over the leader's ledger; `None` if it does not go on from what is agreed here.
    fn take_over(&mut self, request: &AppendRequest) -> Option<u64> {
        if request.lines.len() > MAX_BEHIND {
            return None;
        }
        let lines = request.lines.iter().map(|line| Entry::parse(line));
        let lines: Vec<_> = lines.collect::<Result<_, _>>().ok()?;
        let head = Sha256Digest(request.head.as_slice().try_into().ok()?);
        if request.entries > self.agreed.entries() {
            self.agree_up_to(request.entries, head)?;
            self.ahead = None;
        }
        // What is agreed here is in the ledger of every leader.
        let known = usize::try_from(self.agreed.entries() - request.entries).ok()?;
        let there = match known.checked_sub(1) {
            None => head,
            Some(last) => lines.get(last)?.hash(),
        };
        if there != self.agreed.head() {
            return None;
        }
        let new = &lines[known..];
        let common = new.iter().zip(&self.behind).take_while(|(new, own)| new == own).count();
        // Where nothing differs, more may be here: an older message of the same leader came late.
        if common < new.len() {
            self.behind.truncate(common);
            self.behind.extend_from_slice(&new[common..]);
            self.follow_agreed();
        }
        let matched = request.entries + lines.len() as u64;
        (self.tail.entries() >= matched).then_some(matched)
    }

    /// What the leader says is agreed is so here too, if it is here.
    fn agree_up_to(&mut self, entries: u64, head: Sha256Digest) -> Option<()> {
        let last = usize::try_from(entries - self.agreed.entries()).ok()?.checked_sub(1)?;
        (self.behind.get(last)?.hash() == head).then(|| self.agree(entries))
    }

    /// Answers a process that wants to lead.
    pub fn vote(&mut self, from: &Ed25519Key, request: &VoteRequest, now: Time) -> VoteResponse {
        let refused = |term| VoteResponse { term, granted: false };
        let members = self.tail.members();
        // As long as there is a leader, nobody else gets a vote.
        let heard = now.ms.saturating_sub(self.heard_ms) < PATIENCE_MS;
        let led = matches!(self.role, Role::Leader { .. }) || (heard && self.leader().is_some());
        if led || !members.is_enrolled(from) {
            return refused(self.term);
        }
        let current = (request.last_term, request.entries) >= (members.term(), self.tail.entries());
        if request.trial {
            let granted = current && request.term > self.term;
            return VoteResponse { term: self.term, granted };
        }
        if request.term > self.term {
            (self.term, self.vote) = (request.term, None);
            self.role = Role::Follower { leader: None };
        }
        let free = self.vote.is_none_or(|vote| vote == *from);
        let granted = request.term == self.term && current && free;
        if granted {
            self.vote = Some(*from);
            self.follow(None, now);
        }
        VoteResponse { term: self.term, granted }
    }

    /// Takes a member's answer to a leader's question.
    pub fn appended(
        &mut self,
        from: &Ed25519Key,
        asked: &AppendRequest,
        answer: &AppendResponse,
        now: Time,
    ) {
        if self.is_older_than(answer.term, now) || asked.term != self.term {
            return;
        }
        let most = self.tail.entries();
        let Role::Leader { matched, heard_ms, .. } = &mut self.role else { return };
        heard_ms.insert(*from, now.ms);
        if answer.accepted && answer.matched <= most {
            let known = matched.entry(*from).or_default();
            *known = answer.matched.max(*known);
            self.advance();
        }
    }

    /// Takes a vote.
    pub fn voted(
        &mut self,
        from: &Ed25519Key,
        asked: &VoteRequest,
        answer: &VoteResponse,
        now: Time,
    ) {
        if self.is_older_than(answer.term, now) {
            return;
        }
        let term = self.term;
        let Role::Candidate { trial, votes, refused } = &mut self.role else { return };
        if *trial != asked.trial || asked.term != term + u64::from(*trial) {
            return;
        }
        match answer.granted {
            true => votes.insert(*from),
            false => refused.insert(*from),
        };
        self.count_votes(now);
    }

    /// Whether another process is in a later term, in which this one then is too.
    fn is_older_than(&mut self, term: u64, now: Time) -> bool {
        let older = term > self.term;
        if older {
            (self.term, self.vote) = (term, None);
            self.follow(None, now);
        }
        older
    }
}
