//! Documents of owners: decided about where enough of them signed, kept until then where not.

use kms_rules::ledger::Entry;
use kms_rules::state::{self, DocumentRefused, Phase, Signed};
use protocol::digest::Ed25519Key;
use protocol::kms::{PendingRequest, PendingResponse};

use super::{Inner, Member, MemberError};

/// Bytes of envelopes in one answer; one that is larger comes alone.
const MAX_ANSWER_BYTES: usize = 1 << 20;

impl Member {
    /// Takes an owner's document. Signatures that owners gave apart are joined; what too few signed
    /// is kept in memory, if nothing but signatures is missing.
    pub(super) fn document(
        &self,
        inner: &mut Inner,
        owner: &Ed25519Key,
        signed: Signed,
        envelope: &str,
        now_secs: u64,
    ) -> Result<(), MemberError> {
        match signed {
            Signed::Root => inner.usable()?,
            Signed::List => self.not_waiting(inner, "SetList")?,
            Signed::Policy => self.not_waiting(inner, "SetPolicy")?,
            Signed::Resumption => self.in_phase(inner, "Resume", Phase::Waiting)?,
        }
        let joined = inner.collection.joined(&self.owners, signed, envelope);
        let joined = joined.map_err(DocumentRefused::from)?;
        if !joined.enough {
            state::review(&inner.state, owner, signed, envelope, &self.key, now_secs)?;
            inner.collection.keep(*owner, signed, joined);
            return Ok(());
        }
        let envelope = &joined.envelope;
        let (state, key) = (&inner.state, &self.key);
        match signed {
            Signed::Root => {
                let entry = state::certify_root(state, envelope, now_secs)?;
                self.certify(inner, &entry, envelope)?;
            }
            Signed::List => inner.append(&state::set_list(state, envelope, now_secs)?)?,
            Signed::Policy => inner.append(&state::set_policy(state, envelope, now_secs)?)?,
            Signed::Resumption => inner.append(&state::resume(state, envelope, key, now_secs)?)?,
        }
        inner.collection.clear(signed);
        Ok(())
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

    /// The certificate is stored with all that came before it. It is refused while too few shares
    /// were taken: a restart would lose everything under this root.
    fn certify(&self, inner: &mut Inner, entry: &Entry, envelope: &str) -> Result<(), MemberError> {
        let needed = self.cluster.threshold;
        let taken = inner.to_take.iter().filter(|part| part.taken).count();
        if taken < usize::from(needed) {
            return Err(MemberError::FewTaken { taken, needed });
        }
        let certified = self.owners.root(envelope).map_err(DocumentRefused::from)?;
        inner.append(entry)?;
        inner.certified = Some(certified);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
