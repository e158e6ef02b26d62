//! Calls of guests: each is decided, stored, and only then answered.

use kms_rules::certificates::TemporaryAuthority;
use kms_rules::derivation::app_key_signed;
use kms_rules::guest::Guest;
use kms_rules::ledger::Call;
use kms_rules::refused::Refused;
use kms_rules::state::{self, Instance, State};
use protocol::kms::{
    AcceptEnvVersionResponse, AnchorResponse, AppKeyResponse, GetTempCaCertResponse,
    OpenDiskResponse, Request, SignCertRequest, SignCertResponse,
};
use protocol::prpc::{self, Encoding, PrpcError};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Held, Inner, Member, MemberError};

impl Member {
    /// A guest's call.
    pub(super) fn guest(
        &self,
        guest: &Guest,
        request: &Request,
        encoding: Encoding,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let mut inner = self.inner()?;
        let answer = match request {
            Request::GetAppKey(_) => {
                let decision = state::release(&inner.state, guest, &self.key, now_secs);
                inner.decided(guest, Call::GetAppKey, decision, now_secs)?;
                let mut keys = inner.keys(guest)?;
                let answer = prpc::encode(&keys, encoding);
                for secret in
                    [&mut keys.disk_crypt_key, &mut keys.env_crypt_key, &mut keys.k256_key]
                {
                    secret.zeroize();
                }
                answer
            }
            Request::OpenDisk(_) => {
                let decision = state::open_disk(&inner.state, guest, &self.key, now_secs);
                inner.decided(guest, Call::OpenDisk, decision, now_secs)?;
                prpc::encode(&opened(&inner.state, guest), encoding)
            }
            Request::Anchor(request) => {
                let decision = state::anchor(&inner.state, guest, &self.key, request, now_secs);
                inner.decided(guest, Call::Anchor, decision, now_secs)?;
                let anchor = opened(&inner.state, guest).anchor.unwrap_or_default();
                prpc::encode(&AnchorResponse { anchor }, encoding)
            }
            Request::AcceptEnvVersion(request) => {
                let decision =
                    state::accept_environment(&inner.state, guest, &self.key, request, now_secs);
                inner.decided(guest, Call::AcceptEnvVersion, decision, now_secs)?;
                let accepted = inner.state.environments().get(&guest.app_id);
                let counter = accepted.map_or(0, |environment| environment.counter);
                prpc::encode(&AcceptEnvVersionResponse { counter }, encoding)
            }
            Request::SignCert(request) => {
                let certificate_chain = self.certified(&inner, guest, request, now_secs)?;
                prpc::encode(&SignCertResponse { certificate_chain }, encoding)
            }
            Request::GetTempCaCert => {
                let mut authority = self.temporary(&inner, guest, now_secs)?;
                let answer = prpc::encode(&authority, encoding);
                authority.temp_ca_key.zeroize();
                answer
            }
            _ => return Err(PrpcError::NotFound("a call of guests".to_owned()).into()),
        };
        self.show(&inner);
        Ok(answer)
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
        let app = held.authority.app(guest.app_id, held.root.app_ca(&guest.app_id))?;
        let may_certify =
            |names: &[String]| state::certify(&inner.state, guest, &self.key, names, now_secs);
        Ok(app.sign(request, may_certify, inner.state.now(now_secs))?)
    }

    /// An authority that nobody else ever has.
    fn temporary(
        &self,
        inner: &Inner,
        guest: &Guest,
        now_secs: u64,
    ) -> Result<GetTempCaCertResponse, MemberError> {
        state::certify(&inner.state, guest, &self.key, &[], now_secs)?;
        let held = inner.root.as_ref().ok_or(MemberError::NoRoot)?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..])?;
        let made = TemporaryAuthority::new(&seed, inner.state.now(now_secs))?;
        Ok(GetTempCaCertResponse {
            temp_ca_cert: made.certificate,
            temp_ca_key: made.key.to_string(),
            ca_cert: held.authority.pem().to_owned(),
        })
    }
}

impl Inner {
    /// Stores what was decided, a refusal too.
    fn decided(
        &mut self,
        guest: &Guest,
        call: Call,
        decision: Result<kms_rules::ledger::Entry, Refused>,
        now_secs: u64,
    ) -> Result<(), MemberError> {
        let refused = match decision {
            Ok(entry) => return self.append(&entry),
            Err(refused) => refused,
        };
        // Before it serves, a KMS has no ledger to write refusals into.
        let serves = !matches!(refused, Refused::NotServing(_));
        let entry = state::refusal(&self.state, guest, call, &refused, now_secs);
        if let Some(entry) = entry.filter(|_| serves) {
            self.append(&entry)?;
        }
        Err(refused.into())
    }

    fn keys(&self, guest: &Guest) -> Result<AppKeyResponse, MemberError> {
        let Held { root, authority, .. } = self.root.as_ref().ok_or(MemberError::NoRoot)?;
        let app_id = &guest.app_id;
        let app_key = root.app_k256(app_id);
        let signature = app_key_signed(&root.root_k256(), app_id, app_key.verifying_key());
        let gateway = self.state.policy().and_then(|policy| policy.file().gateway_app_id);
        Ok(AppKeyResponse {
            ca_cert: authority.pem().to_owned(),
            disk_crypt_key: root.disk_key(app_id, guest.instance_id.as_ref()).to_vec(),
            env_crypt_key: root.environment_key(app_id).to_vec(),
            k256_key: app_key.to_bytes().to_vec(),
            k256_signature: signature.to_vec(),
            tproxy_app_id: String::new(),
            gateway_app_id: gateway.map(|id| id.to_string()).unwrap_or_default(),
            os_image_hash: guest.os_image_hash.0.to_vec(),
            epoch: self.state.epoch(),
        })
    }
}

/// The instance's disk as the state has it.
fn opened(state: &State, guest: &Guest) -> OpenDiskResponse {
    let instance = state.instances().get(&(guest.app_id, guest.instance_id));
    OpenDiskResponse {
        open_counter: instance.and_then(Instance::mount).map_or(0, |mount| mount.counter),
        anchor: instance.and_then(|instance| instance.anchor()),
    }
}
