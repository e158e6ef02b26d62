//! The key delegator: calls of custodians and of middleware. Each is decided, stored, and only then
//! answered.

use kms_rules::guest::Guest;
use kms_rules::ledger::{Call, Entry};
use kms_rules::refused::{PadRefused, Refused};
use kms_rules::state::{self, SealedKey, State};
use pad_format::{DataKey, KeyName};
use protocol::digest::Ed25519Key;
use protocol::kms::{
    AuditRequest, AuditResponse, FetchKeysRequest, FetchKeysResponse, KeepRequest, KeepResponse,
    PushKeyRequest, Request, SpendResponse, UpdateRequest,
};
use protocol::prpc::{self, Empty, Encoding, PrpcError};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Inner, Member, MemberError};

/// Entries that one call for a custodian's own looks at: each is read from the store and opened.
const AUDITED_AT_ONCE: u64 = 1024;
/// Bytes of lines in one answer; a line that is larger comes alone.
const MAX_AUDIT_BYTES: usize = 1 << 20;

impl Member {
    /// A custodian's call.
    pub(super) fn custodian(
        &self,
        by: &Ed25519Key,
        request: &Request,
        encoding: Encoding,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let key = &self.key;
        let decided = |decide: &dyn Fn(&State) -> Result<Option<Entry>, Refused>| {
            self.agreed_when_heard(decide).map(|_| prpc::encode(&Empty {}, encoding))
        };
        match request {
            Request::Enrol(request) => {
                decided(&|state| state::enrol(state, by, key, request, now_secs))
            }
            Request::PushKey(request) => {
                let came = self.pushed(request)?;
                let pushed = (&request.grant[..], came.as_ref());
                decided(&|state| state::push_key(state, by, key, pushed, now_secs))
            }
            Request::Revoke(request) => {
                decided(&|state| state::revoke_key(state, by, key, &request.revocation, now_secs))
            }
            Request::Audit(request) => {
                let answer = self.audit(&*self.inner()?, by, request)?;
                Ok(prpc::encode(&answer, encoding))
            }
            _ => Err(PrpcError::NotFound("a call of custodians".to_owned()).into()),
        }
    }

    /// A call of a guest's middleware.
    pub(super) fn middleware(
        &self,
        guest: &Guest,
        request: &Request,
        encoding: Encoding,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let key = &self.key;
        match request {
            Request::FetchKeys(request) => {
                let mut keys = self.fetch_keys(guest, request, now_secs)?;
                let answer = prpc::encode(&keys, encoding);
                keys.keys.iter_mut().for_each(|key| key.zeroize());
                Ok(answer)
            }
            Request::Spend(request) => {
                let (inner, _) = self.decided(guest, Call::Spend, now_secs, |state| {
                    state::spend(state, guest, key, request, now_secs)
                })?;
                let time_secs = inner.state().now(now_secs);
                Ok(prpc::encode(&SpendResponse { time_secs }, encoding))
            }
            Request::Keep(request) => {
                Ok(prpc::encode(&self.keep(guest, request, now_secs)?, encoding))
            }
            Request::Update(request) => {
                self.replace(guest, request, now_secs)?;
                Ok(prpc::encode(&Empty {}, encoding))
            }
            Request::AuditHead(request) => {
                drop(self.decided(guest, Call::AuditHead, now_secs, |state| {
                    state::give_audit_head(state, guest, key, request, now_secs).map(Some)
                })?);
                Ok(prpc::encode(&Empty {}, encoding))
            }
            _ => Err(PrpcError::NotFound("a call of middleware".to_owned()).into()),
        }
    }

    fn fetch_keys(
        &self,
        guest: &Guest,
        request: &FetchKeysRequest,
        now_secs: u64,
    ) -> Result<FetchKeysResponse, MemberError> {
        // The second source is asked as before a boot, which is over.
        let word = self.word_about_guest(&Guest { ready: false, ..guest.clone() }, now_secs)?;
        let (inner, _) = self.decided(guest, Call::FetchKeys, now_secs, |state| {
            word.narrow(state::release_pad_keys(state, guest, &self.key, request, now_secs))
        })?;
        let names = request.pads.iter().map(|name| state::key_name(Some(name)));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(Refused::from)?;
        let state = inner.state();
        let expires_secs = state::keys_expire(state, &names, state.now(now_secs));
        let mut answer = FetchKeysResponse { keys: Vec::new(), expires_secs };
        for name in &names {
            answer.keys.push(inner.pad_key(name)?.to_vec());
        }
        Ok(answer)
    }

    /// Keeps the key of a new Pad, or says who keeps its custodian's keys.
    fn keep(
        &self,
        guest: &Guest,
        request: &KeepRequest,
        now_secs: u64,
    ) -> Result<KeepResponse, MemberError> {
        let elsewhere = state::delegator_elsewhere(self.inner()?.state(), request)?;
        if let Some(key_provider_id) = elsewhere {
            let key_provider_id = key_provider_id.0.to_vec();
            return Ok(KeepResponse { kept: false, key_provider_id });
        }
        let name = state::key_name(request.pad.as_ref()).map_err(Refused::from)?;
        let came = self.sealed(&name, &request.key)?;
        drop(self.decided(guest, Call::Keep, now_secs, |state| {
            state::keep_key(state, guest, &self.key, (request, &came), now_secs)
        })?);
        Ok(KeepResponse { kept: true, key_provider_id: self.key_provider_id.0.to_vec() })
    }

    /// Keeps the new key of a Pad, whose old one is released no more.
    fn replace(
        &self,
        guest: &Guest,
        request: &UpdateRequest,
        now_secs: u64,
    ) -> Result<(), MemberError> {
        let mut pad = request.pad.clone().unwrap_or_default();
        pad.key_id.clone_from(&request.key_id);
        let name = state::key_name(Some(&pad)).map_err(Refused::from)?;
        let came = self.sealed(&name, &request.key)?;
        drop(self.decided(guest, Call::Update, now_secs, |state| {
            state::replace_key(state, guest, &self.key, (request, &came), now_secs)
        })?);
        Ok(())
    }

    /// The key that came with a grant, sealed; `None` if none came.
    fn pushed(&self, request: &PushKeyRequest) -> Result<Option<SealedKey>, MemberError> {
        if request.key.is_empty() {
            return Ok(None);
        }
        let name = state::pushed_key_name(&request.grant).map_err(Refused::from)?;
        self.sealed(&name, &request.key).map(Some)
    }

    fn sealed(&self, name: &KeyName, key: &[u8]) -> Result<SealedKey, MemberError> {
        let wrong = || Refused::from(PadRefused::Field("key has not 32 bytes"));
        let key = DataKey::from_bytes(Zeroizing::new(key.try_into().map_err(|_| wrong())?));
        let inner = self.inner()?;
        let held = inner.root.as_ref().ok_or(MemberError::NoRoot)?;
        let sealed = held.store_key.seal_pad_key(&self.key_provider_id, name, &key);
        Ok(SealedKey { digest: key.digest(), sealed })
    }

    /// The entries that are about a custodian.
    fn audit(
        &self,
        inner: &Inner,
        by: &Ed25519Key,
        request: &AuditRequest,
    ) -> Result<AuditResponse, MemberError> {
        let state = inner.state();
        let custodian = state::may_audit(state, by, &self.key, &request.custodian)?;
        let total = state.entries();
        let end = total.min(request.from.saturating_add(AUDITED_AT_ONCE));
        let mut answer = AuditResponse { entries: Vec::new(), next: end, total };
        let mut bytes = 0;
        for index in request.from..end {
            let line = inner.line(index)?;
            let entry = Entry::parse(&line);
            let entry =
                entry.map_err(|what| MemberError::Line { index, what: what.to_string() })?;
            if !state::is_about(state, &entry, &custodian) {
                continue;
            }
            bytes += line.len();
            if bytes > MAX_AUDIT_BYTES && !answer.entries.is_empty() {
                answer.next = index;
                break;
            }
            answer.entries.push(line);
        }
        Ok(answer)
    }
}

impl Inner {
    /// The key of a Pad, whose release was decided.
    fn pad_key(&self, name: &KeyName) -> Result<Zeroizing<[u8; 32]>, MemberError> {
        let held = self.root.as_ref().ok_or(MemberError::NoRoot)?;
        let cluster = self.state().cluster().ok_or(MemberError::NoRoot)?.id();
        let unknown = || Refused::from(PadRefused::KeyUnknown(name.clone()));
        let kept = self.state().custody().key(name).ok_or_else(unknown)?;
        // Of a key that was revoked meanwhile nothing is left.
        let revoked = || Refused::from(PadRefused::Revoked(name.pad_id));
        let key = held.store_key.open_pad_key(&cluster, name, kept.sealed());
        Ok(key.ok_or_else(revoked)?)
    }
}
