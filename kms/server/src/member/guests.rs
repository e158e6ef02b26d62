//! Calls of guests: each is decided, stored, and only then answered.

use kms_rules::boot_auth::Word;
use kms_rules::certificates::TemporaryAuthority;
use kms_rules::derivation::app_key_signed;
use kms_rules::guest::Guest;
use kms_rules::ledger::{Call, Entry, Kind};
use kms_rules::refused::Refused;
use kms_rules::state::{self, Asked, Instance, State};
use kms_rules::time;
use protocol::digest::{AppId, Ed25519Key, RequestId};
use protocol::kms::{
    AcceptEnvVersionResponse, AnchorRequest, AnchorResponse, AppKeyResponse, EarlierKeys,
    GetTempCaCertResponse, OpenDiskResponse, Request, SignCertRequest, SignCertResponse,
};
use protocol::prpc::{self, Encoding, PrpcError};
use zeroize::{Zeroize as _, Zeroizing};

use super::agreement::{Agreed, RECORDED_WITHIN};
use super::epochs::Held;
use super::{Inner, Member, MemberError};

impl Member {
    /// A guest's call.
    pub(super) fn guest(
        &self,
        guest: &Guest,
        request: &Request,
        encoding: Encoding,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let key = &self.key;
        match request {
            Request::GetAppKey(request) => {
                let request_id = request_id(&request.request_id)?;
                let asked = Asked { request_id, epoch: request.epoch };
                let word = self.word_about_guest(guest, now_secs)?;
                let (inner, _) = self.decided(guest, Call::GetAppKey, now_secs, |state| {
                    word.narrow(state::release_once(state, guest, key, asked, now_secs))
                })?;
                let mut keys = inner.keys(guest, request.epoch)?;
                let answer = prpc::encode(&keys, encoding);
                cleared(&mut keys);
                Ok(answer)
            }
            Request::OpenDisk(_) => {
                let word = self.word_about_guest(guest, now_secs)?;
                let (inner, entry) = self.decided(guest, Call::OpenDisk, now_secs, |state| {
                    word.narrow(state::open_disk(state, guest, key, now_secs)).map(Some)
                })?;
                Ok(prpc::encode(&opened(inner.state(), guest, entry.as_ref()), encoding))
            }
            Request::Anchor(request) => {
                Ok(prpc::encode(&self.anchored(guest, request, now_secs)?, encoding))
            }
            Request::AcceptEnvVersion(request) => {
                let (inner, _) =
                    self.decided(guest, Call::AcceptEnvVersion, now_secs, |state| {
                        state::accept_environment(state, guest, key, request, now_secs).map(Some)
                    })?;
                let accepted = inner.state().environments().get(&guest.app_id);
                let counter = accepted.map_or(0, |environment| environment.counter);
                Ok(prpc::encode(&AcceptEnvVersionResponse { counter }, encoding))
            }
            Request::SignCert(request) => {
                let inner = self.inner()?;
                let certificate_chain = self.certified(&inner, guest, request, now_secs)?;
                Ok(prpc::encode(&SignCertResponse { certificate_chain }, encoding))
            }
            Request::GetTempCaCert => {
                let mut authority = self.temporary(&*self.inner()?, guest, now_secs)?;
                let answer = prpc::encode(&authority, encoding);
                authority.temp_ca_key.zeroize();
                Ok(answer)
            }
            _ => Err(PrpcError::NotFound("a call of guests".to_owned()).into()),
        }
    }

    /// The time, and what it rests on.
    pub(super) fn told_time(&self, encoding: Encoding) -> Result<Vec<u8>, MemberError> {
        let reading = self.clock.reading().ok_or(MemberError::NoTime)?;
        Ok(prpc::encode(&time::told(self.inner()?.state(), &reading), encoding))
    }

    /// What the second source says of a guest that the policy allows. It is asked outside of every
    /// lock, and its word counts for this call alone.
    pub(super) fn word_about_guest(
        &self,
        guest: &Guest,
        now_secs: u64,
    ) -> Result<Word, MemberError> {
        let Some(boot_auth) = &self.boot_auth else { return Ok(Word::Allows) };
        let allowed = state::reasons(self.inner()?.state(), guest, &self.key, now_secs).is_empty();
        // Should the policy change before the decision, the guest asks again.
        let not_asked = || Word::silent("it was not asked, as the policy refused");
        Ok(if allowed { boot_auth.app(guest) } else { not_asked() })
    }

    /// Keeps how far a disk is, and states whose keys it is under.
    fn anchored(
        &self,
        guest: &Guest,
        request: &AnchorRequest,
        now_secs: u64,
    ) -> Result<AnchorResponse, MemberError> {
        let key = &self.key;
        let (inner, _) = self.decided(guest, Call::Anchor, now_secs, |state| {
            state::anchor(state, guest, key, request, now_secs).map(Some)
        })?;
        let anchor = opened(inner.state(), guest, None).anchor.unwrap_or_default();
        let release = inner.release(guest, key, request.open_counter, now_secs)?;
        Ok(AnchorResponse { anchor, release })
    }

    /// Decides about a guest's call; a refusal is recorded as well.
    pub(super) fn decided(
        &self,
        guest: &Guest,
        call: Call,
        now_secs: u64,
        decide: impl Fn(&State) -> Result<Option<Entry>, Refused>,
    ) -> Result<Agreed<'_>, MemberError> {
        let decided = self.agreed_when_heard(decide);
        if let Err(MemberError::Refused(refused)) = &decided
            // Before it serves, a KMS has no ledger to write refusals into; and a guest that waits
            // for its disk asks again and again.
            && !matches!(**refused, Refused::NotServing(_) | Refused::Held { .. })
        {
            let recorded = self.agreed(RECORDED_WITHIN, |inner| {
                Ok(state::refusal(inner.state(), guest, call, refused, now_secs))
            });
            match recorded {
                // The guest is refused all the same.
                Ok(_) | Err(MemberError::NoMajority) => {}
                Err(error) => return Err(error),
            }
        }
        decided
    }

    /// A chain for what the app's guest asks for.
    fn certified(
        &self,
        inner: &Inner,
        guest: &Guest,
        request: &SignCertRequest,
        now_secs: u64,
    ) -> Result<Vec<String>, MemberError> {
        let held = inner.root.as_ref().ok_or(MemberError::NoRoot)?;
        let app = held.app(epoch(inner.state(), guest, 0)?, guest.app_id)?;
        let may_certify =
            |names: &[String]| state::certify(inner.state(), guest, &self.key, names, now_secs);
        Ok(app.sign(request, may_certify, inner.state().now(now_secs))?)
    }

    /// An authority that nobody else ever has.
    fn temporary(
        &self,
        inner: &Inner,
        guest: &Guest,
        now_secs: u64,
    ) -> Result<GetTempCaCertResponse, MemberError> {
        state::certify(inner.state(), guest, &self.key, &[], now_secs)?;
        let held = inner.root.as_ref().ok_or(MemberError::NoRoot)?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..])?;
        let made = TemporaryAuthority::new(&seed, inner.state().now(now_secs))?;
        Ok(GetTempCaCertResponse {
            temp_ca_cert: made.certificate,
            temp_ca_key: made.key.to_string(),
            ca_cert: held.authority_pem(epoch(inner.state(), guest, 0)?)?,
        })
    }
}

impl Inner {
    /// What is signed of the guest's keys; empty where it would get none now: a disk is anchored
    /// all the same.
    fn release(
        &self,
        guest: &Guest,
        member: &Ed25519Key,
        open_counter: u64,
        now_secs: u64,
    ) -> Result<String, MemberError> {
        let state = self.state();
        let root = &self.root.as_ref().ok_or(MemberError::NoRoot)?.root;
        match state::release_statement(state, guest, member, open_counter, now_secs) {
            Ok(statement) => Ok(state::sign_release(state, &statement, root)
                .map(|signed| signed.to_json())
                .unwrap_or_default()),
            Err(refused) => {
                tracing::info!("no release statement for {}: {refused}", guest.app_id);
                Ok(String::new())
            }
        }
    }

    /// The keys of an epoch; 0 for the one that the instance runs on.
    fn keys(&self, guest: &Guest, asked: u32) -> Result<AppKeyResponse, MemberError> {
        let held = self.root.as_ref().ok_or(MemberError::NoRoot)?;
        let epoch = epoch(self.state(), guest, asked)?;
        let state = self.state();
        let root = held.epoch(epoch)?;
        let app_id = &guest.app_id;
        let of_app = app_keys(held, app_id, epoch)?;
        let earlier = state::earlier_epochs(state, epoch);
        let earlier =
            earlier.map(|earlier| app_keys(held, app_id, earlier)).collect::<Result<_, _>>()?;
        let gateway = state.policy().and_then(|policy| policy.file().gateway_app_id);
        Ok(AppKeyResponse {
            ca_cert: held.authority_pem(epoch)?,
            disk_crypt_key: root.disk_key(app_id, guest.instance_id.as_ref()).to_vec(),
            env_crypt_key: of_app.env_crypt_key,
            k256_key: of_app.k256_key,
            k256_signature: of_app.k256_signature,
            tproxy_app_id: String::new(),
            gateway_app_id: gateway.map(|id| id.to_string()).unwrap_or_default(),
            os_image_hash: guest.os_image_hash.0.to_vec(),
            epoch,
            newest_epoch: state::newest_epoch(state, &(guest.app_id, guest.instance_id)),
            keys: root.keys().name().to_owned(),
            earlier,
        })
    }
}

/// What an app has of an epoch, whichever its disk is under.
fn app_keys(held: &Held, app_id: &AppId, epoch: u32) -> Result<EarlierKeys, MemberError> {
    let root = held.epoch(epoch)?;
    let app_key = root.app_k256(app_id)?;
    let signature = app_key_signed(&root.root_k256(), app_id, app_key.verifying_key());
    Ok(EarlierKeys {
        epoch,
        env_crypt_key: root.environment_key(app_id)?.to_vec(),
        k256_key: app_key.to_bytes().to_vec(),
        k256_signature: signature.to_vec(),
    })
}

/// Clears the secrets of an answer that was written.
fn cleared(keys: &mut AppKeyResponse) {
    let own = [&mut keys.disk_crypt_key, &mut keys.env_crypt_key, &mut keys.k256_key];
    let earlier =
        keys.earlier.iter_mut().flat_map(|keys| [&mut keys.env_crypt_key, &mut keys.k256_key]);
    own.into_iter().chain(earlier).for_each(|secret| secret.zeroize());
}

/// The epoch whose keys an instance gets.
fn epoch(state: &State, guest: &Guest, asked: u32) -> Result<u32, Refused> {
    state::keys_epoch(state, &(guest.app_id, guest.instance_id), asked)
}

/// The instance's disk as the state has it, under the number of this entry.
fn opened(state: &State, guest: &Guest, entry: Option<&Entry>) -> OpenDiskResponse {
    let counter = match entry.map(|entry| &entry.kind) {
        Some(Kind::Opened(opened)) => opened.counter,
        _ => 0,
    };
    let instance = state.instances().get(&(guest.app_id, guest.instance_id));
    OpenDiskResponse { open_counter: counter, anchor: instance.and_then(Instance::anchor) }
}

/// A call's number, if the guest gave it one.
fn request_id(bytes: &[u8]) -> Result<Option<RequestId>, MemberError> {
    match bytes.len() {
        0 => Ok(None),
        found => {
            let id = bytes.try_into().map_err(|_| MemberError::RequestId(found))?;
            Ok(Some(RequestId(id)))
        }
    }
}
