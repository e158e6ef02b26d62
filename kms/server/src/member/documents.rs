//! Documents of owners: decided about where enough of them signed, kept until then where not.

use kms_rules::ledger::Entry;
use kms_rules::state::{self, DocumentRefused, Phase, Signed};
use protocol::digest::Ed25519Key;
use protocol::kms::{PendingRequest, PendingResponse};

use super::agreement::AGREED_WITHIN;
use super::{Inner, Member, MemberError};

/// Bytes of envelopes in one answer; one that is larger comes alone.
const MAX_ANSWER_BYTES: usize = 1 << 20;

impl Member {
    /// Takes an owner's document. Signatures that owners gave apart are joined; what too few signed
    /// is kept in memory, if nothing but signatures is missing.
    pub(super) fn document(
        &self,
        owner: &Ed25519Key,
        signed: Signed,
        envelope: &str,
        now_secs: u64,
    ) -> Result<(), MemberError> {
        let mut enough = false;
        let (mut inner, _) = self.agreed(AGREED_WITHIN, |inner| {
            let joined = self.joined(inner, owner, signed, envelope, now_secs)?;
            enough = joined.is_some();
            match joined {
                Some(joined) => self.decide(inner, signed, &joined, now_secs),
                None => Ok(None),
            }
        })?;
        if enough {
            inner.collection.clear(signed);
        }
        self.show(&inner);
        Ok(())
    }

    /// The document with the signatures of all who gave theirs; `None` if it is kept, as too few
    /// did.
    fn joined(
        &self,
        inner: &mut Inner,
        owner: &Ed25519Key,
        signed: Signed,
        envelope: &str,
        now_secs: u64,
    ) -> Result<Option<String>, MemberError> {
        match signed {
            Signed::Root => self.has_shares(inner)?,
            Signed::List => self.not_waiting(inner, "SetList")?,
            Signed::Policy => self.not_waiting(inner, "SetPolicy")?,
            Signed::Resumption => self.may_resume(inner)?,
        }
        let joined = inner.collection.joined(&self.owners, signed, envelope);
        let joined = joined.map_err(DocumentRefused::from)?;
        if joined.enough {
            return Ok(Some(joined.envelope));
        }
        state::review(inner.state(), owner, signed, envelope, &self.key, now_secs)?;
        inner.collection.keep(*owner, signed, joined);
        Ok(None)
    }

    fn decide(
        &self,
        inner: &mut Inner,
        signed: Signed,
        envelope: &str,
        now_secs: u64,
    ) -> Result<Option<Entry>, MemberError> {
        let state = inner.state();
        Ok(Some(match signed {
            Signed::Root => {
                let entry = state::certify_root(state, envelope, now_secs)?;
                self.shares_are_taken(inner)?;
                entry
            }
            Signed::List => state::set_list(state, envelope, now_secs)?,
            Signed::Policy => state::set_policy(state, envelope, now_secs)?,
            Signed::Resumption => {
                // No majority is asked: owners say that there is none.
                let entry = state::resume(state, envelope, &self.key, now_secs)?;
                inner.replica.go_alone(&entry, self.now())?;
                self.settled(inner)?;
                return Ok(None);
            }
        }))
    }

    /// A process that is no member goes on alone, and a member that has no majority any more.
    fn may_resume(&self, inner: &Inner) -> Result<(), MemberError> {
        match inner.state().members().len() {
            0 | 1 => self.in_phase(inner, "Resume", Phase::Waiting),
            _ => inner.usable(),
        }
    }

    /// The documents of a type that wait for signatures.
    pub(super) fn pending(&self, inner: &Inner, request: &PendingRequest) -> PendingResponse {
        let mut bytes = 0;
        let fits = |envelope: &String| {
            bytes += envelope.len();
            bytes <= MAX_ANSWER_BYTES || bytes == envelope.len()
        };
        let signed = Signed::of_payload(&request.payload_type);
        let envelopes = signed.map(|signed| inner.collection.envelopes(signed));
        PendingResponse {
            envelopes: envelopes.unwrap_or_default().into_iter().take_while(fits).collect(),
        }
    }

    /// The root of a later epoch is certified where it was made, as its shares are there.
    fn has_shares(&self, inner: &Inner) -> Result<(), MemberError> {
        let elsewhere = inner.state().epochs().offered().is_some() && self.offered(inner).is_none();
        if elsewhere { Err(MemberError::OfferedElsewhere) } else { Ok(()) }
    }

    /// The certificate is stored with all that came before it. It is refused while too few shares
    /// were taken: a restart would lose everything under this root.
    fn shares_are_taken(&self, inner: &Inner) -> Result<(), MemberError> {
        let needed = self.cluster.threshold;
        let taken = inner.to_take.iter().filter(|part| part.taken).count();
        match taken < usize::from(needed) {
            true => Err(MemberError::FewTaken { taken, needed }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
