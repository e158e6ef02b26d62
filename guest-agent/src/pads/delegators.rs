//! The key delegators of a run's custodians, as the middleware of this guest reaches them: each
//! over an attested channel on which it proved which KMS it is.
//!
//! Where they are, the submitter of a run says, and nobody believes it: a key comes only from the
//! KMS that the custodian's enrolment names, judged as this guest judges its own. Channels outlive
//! runs, because proving costs more than asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pad_format::CustodianId;
use pad_format::enrolment::SignedEnrolment;
use pad_format::run::RunId;
use pad_pipeline::Delegator;
use pad_pipeline::conversation::{KeyOfUpdate, KeyToKeep};
use pad_pipeline::delegator::{
    AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend, UpdatedKey,
};
use pad_pipeline::questions::Questions;
use protocol::app_compose::{KeyProvider, KmsBounds};
use protocol::digest::Sha256Digest;
use protocol::kms::{Address, FetchKeysResponse, KeepResponse, QUOTA_STATUS, SpendResponse};
use protocol::launch::LaunchClaims;
use protocol::prpc::{Empty, Message};

use tokio::runtime::Handle;
use zeroize::{Zeroize as _, Zeroizing};

use crate::boot::Boot;
use crate::kms_client::{AgentProof, KmsClient, KmsError, PinnedKms, Voice};
use crate::quotes::QuoteDesk;
use crate::reports::Reports;

/// Delegators whose channels are kept between runs.
const MAX_CLIENTS: usize = 16;
/// Addresses of one delegator that are tried.
const MAX_ADDRESSES: usize = 8;
/// Waits before a call that nobody answered is made again; the message is the same and counts once.
const WAITS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

/// Reaches delegators, run after run.
pub struct Delegators {
    runtime: Handle,
    desk: Arc<QuoteDesk>,
    claims: LaunchClaims,
    app_compose: Arc<[u8]>,
    own: KeyProvider,
    own_urls: Vec<String>,
    bounds: KmsBounds,
    reports: Reports,
    clients: BTreeMap<Sha256Digest, (Vec<String>, KmsClient)>,
}

impl Delegators {
    /// For the guest of a boot.
    pub fn new(boot: &Boot, desk: Arc<QuoteDesk>, reports: Reports, runtime: Handle) -> Self {
        Self {
            runtime,
            desk,
            claims: boot.handover.claims.clone(),
            app_compose: Arc::clone(&boot.app_compose),
            own: boot.app.key_provider,
            own_urls: boot.handover.kms_urls.clone(),
            bounds: boot.app.kms_bounds,
            reports,
            clients: BTreeMap::new(),
        }
    }

    /// Those of one run, whose custodians have these enrolments and, as hints, addresses of their
    /// delegators.
    pub fn of_run(&mut self, run: RunId, parties: &[(Vec<u8>, String)]) -> OfRun<'_> {
        let mut addresses: BTreeMap<Sha256Digest, Vec<String>> = BTreeMap::new();
        let mut enrolments = BTreeMap::new();
        for (bytes, address) in parties {
            // One that cannot be read is refused by the run itself.
            let Ok(enrolment) = SignedEnrolment::parse(bytes) else { continue };
            let claimed = enrolment.claimed();
            let known = addresses.entry(claimed.key_provider_id).or_default();
            let is_new = Address::parse(address).is_ok() && !known.contains(address);
            if is_new && known.len() < MAX_ADDRESSES {
                known.push(address.clone());
            }
            enrolments.insert(claimed.custodian.id(), bytes.clone());
        }
        OfRun { delegators: self, questions: Questions::of(run), addresses, enrolments }
    }

    fn client(&mut self, id: &Sha256Digest, stated: &[String]) -> Result<&KmsClient, KmsError> {
        let is_own = self.own == KeyProvider::Kms { id: *id };
        let own_urls: &[String] = if is_own { &self.own_urls } else { &[] };
        let urls: Vec<String> = stated.iter().chain(own_urls).cloned().collect();
        if self.clients.get(id).is_none_or(|(known, _)| *known != urls) {
            // The floor of a list's version is one of the guest's own KMS.
            let bounds = KmsBounds {
                min_list_version: self.bounds.min_list_version.filter(|_| is_own),
                ..self.bounds
            };
            let proof = AgentProof {
                desk: Arc::clone(&self.desk),
                claims: self.claims.clone(),
                app_compose: Arc::clone(&self.app_compose),
            };
            let pinned = PinnedKms::new(*id, bounds);
            let client = KmsClient::new(Voice::Pads, &urls, pinned, proof, self.reports.clone())?;
            if self.clients.len() >= MAX_CLIENTS {
                self.clients.clear();
            }
            self.clients.insert(*id, (urls, client));
        }
        self.clients.get(id).map(|(_, client)| client).ok_or(KmsError::NoAddress)
    }

    /// One call, again while nobody answers.
    fn call<A: Message, R: Message>(
        &mut self,
        id: &Sha256Digest,
        stated: &[String],
        method: &'static str,
        arguments: &A,
    ) -> Result<R, KmsError> {
        let runtime = self.runtime.clone();
        let client = self.client(id, stated)?;
        let mut waits = WAITS.into_iter();
        loop {
            match runtime.block_on(client.call(method, arguments)) {
                Err(KmsError::Away(reason)) => match waits.next() {
                    Some(wait) => std::thread::sleep(wait),
                    None => return Err(KmsError::Away(reason)),
                },
                answered => return answered,
            }
        }
    }
}

/// The delegators of one run.
pub struct OfRun<'a> {
    delegators: &'a mut Delegators,
    questions: Questions,
    addresses: BTreeMap<Sha256Digest, Vec<String>>,
    enrolments: BTreeMap<CustodianId, Vec<u8>>,
}

impl OfRun<'_> {
    fn call<A: Message, R: Message>(
        &mut self,
        id: &Sha256Digest,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, KmsError> {
        let stated = self.addresses.get(id).cloned().unwrap_or_default();
        self.delegators.call(id, &stated, method, arguments)
    }
}

impl Delegator for OfRun<'_> {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        let mut keys: Vec<Option<ReleasedKey>> = request.pads.iter().map(|_| None).collect();
        for to in self.questions.keys(request) {
            let answer: FetchKeysResponse = self
                .call(&to.key_provider_id, "FetchKeys", &to.message)
                .map_err(|error| to.denied(&error.to_string()))?;
            to.answered(answer, &mut keys)?;
        }
        let keys: Option<Vec<_>> = keys.into_iter().collect();
        keys.ok_or_else(|| Denied::Failed("a Pad has no delegator".to_owned()))
    }

    fn spend(&mut self, _: RunId, uses: &[Spend]) -> Result<(), Denied> {
        for to in self.questions.spend(uses)? {
            let counted: Result<SpendResponse, _> =
                self.call(&to.key_provider_id, "Spend", &to.message);
            counted.map_err(|error| match error {
                KmsError::UsedUp(text) => to.denied(QUOTA_STATUS, &text),
                other => failed(&other),
            })?;
        }
        Ok(())
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        let kept = KeyToKeep {
            run: new.run,
            pad_id: new.pad_id,
            key_id: new.key_id.clone(),
            key: Zeroizing::new(*new.key.as_bytes()),
            custodian: new.custodian,
            key_provider_id: new.key_provider_id,
            engines: new.engines.clone(),
            parents: new.parents.clone(),
        };
        let enrolment = self.enrolments.get(&new.custodian).cloned().unwrap_or_default();
        let mut to = self.questions.keep(&kept, enrolment);
        let answer: Result<KeepResponse, _> = self.call(&to.key_provider_id, "Keep", &to.message);
        to.message.key.zeroize();
        match answer.map_err(|error| failed(&error))? {
            KeepResponse { kept: true, .. } => Ok(()),
            KeepResponse { key_provider_id, .. } => Err(Denied::Failed(format!(
                "the keys of {} are kept by the delegator {}",
                new.custodian,
                hex::encode(key_provider_id)
            ))),
        }
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        for to in self.questions.audit(entry)? {
            let taken: Result<Empty, _> = self.call(&to.key_provider_id, "AuditHead", &to.message);
            taken.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        let key = KeyOfUpdate {
            run: new.run,
            old: new.old.clone(),
            key_id: new.key_id.clone(),
            key: Zeroizing::new(*new.key.as_bytes()),
            signed: new.signed.clone(),
        };
        let mut to = self.questions.update(&key);
        let taken: Result<Empty, _> = self.call(&to.key_provider_id, "Update", &to.message);
        to.message.key.zeroize();
        taken.map(drop).map_err(|error| failed(&error))
    }
}

fn failed(error: &KmsError) -> Denied {
    Denied::Failed(error.to_string())
}
