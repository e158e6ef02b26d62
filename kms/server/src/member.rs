//! One KMS process: the root in its memory, the state, and the disk behind it.
//!
//! All calls take turns at one lock, and each decision is on the disk before its answer leaves; so
//! no two calls see one state, and no counter is given out twice. The decisions are those of the
//! library's pure functions. Until owners certified the root nothing is written: a root that nobody
//! certified is lost with its process, and another one is made.

mod agreement;
mod documents;
mod epochs;
mod error;
mod guests;
mod members;
mod outbox;
mod owners;
mod pads;
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::Instant;

use attestation::TrustAnchor;
use attestation::kms::{Accepts, Owners};
use kms_rules::collection::Collection;
use kms_rules::consensus::{Replica, Time};
use kms_rules::guest::Guest;
use kms_rules::shares::Share;
use kms_rules::state::{Phase, State};
use protocol::digest::{Ed25519Key, OsImageHash, Sha256Digest};
use protocol::kms::{Cluster, MemberClaim, MemberHead, Request, RootCertificate};
use protocol::prpc::{self, Encoding, PrpcError};
use zeroize::Zeroize as _;

use crate::boot_auth::BootAuth;
use crate::clock::Clock;
use crate::config::Config;
use crate::judge::Process;
use crate::store::{Store, StoreError};
use crate::time_servers::Passed;

pub use error::{MemberError, OpenError};
pub use outbox::Proposal;

use epochs::{Held, Offer, RootRecord};
use outbox::Outbox;
use shown::Shown;

/// Who calls.
#[derive(Debug)]
pub enum Caller {
    /// A guest that was verified.
    Guest(Box<Guest>),
    /// The middleware of a guest that was verified.
    Middleware(Box<Guest>),
    /// An owner.
    Owner(Ed25519Key),
    /// Whoever has this key, which is or may become that of a custodian's member.
    Custodian(Ed25519Key),
    /// Another process of this KMS.
    Process(Box<Process>),
    /// Anybody.
    Anybody,
}

/// The process.
pub struct Member {
    cluster: Cluster,
    key_provider_id: Sha256Digest,
    owners: Owners,
    /// The key of this process, which no other ever has.
    key: Ed25519Key,
    signing: ed25519_dalek::SigningKey,
    emulated: bool,
    /// What is asked besides the policy.
    boot_auth: Option<BootAuth>,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Told whenever something was agreed, an election ended, or a decision was made.
    changed: Condvar,
    outbox: Outbox,
    shown: RwLock<Shown>,
}

/// What changes, by one call at a time.
struct Inner {
    store: Store,
    /// The ledger; nothing while the root is not here.
    replica: Replica,
    /// Places and hashes of the entries that were agreed last.
    recent: VecDeque<(u64, Sha256Digest)>,
    /// A call of this process decides; others wait for their turn.
    deciding: bool,
    /// The member whose decision came too late, and until when it goes first.
    first: Option<(Ed25519Key, Instant)>,
    /// The certified root of what is stored; `None` while nothing is.
    certified: Option<RootCertificate>,
    root: Option<Held>,
    /// The sealed roots of earlier epochs, while the newest root is not here.
    keyring: Option<Vec<u8>>,
    /// The roots of the next epoch, while they wait for the owners' certificate.
    offer: Option<Offer>,
    /// Lines that are not stored: those before the root is certified.
    pending: Vec<String>,
    /// The shares of a root that was made here, for their owners.
    to_take: Vec<Part>,
    /// Shares that owners gave, each by the place of its owner.
    given: BTreeMap<usize, Share>,
    /// What too few owners signed yet.
    collection: Collection,
    /// How other processes' ledgers ended when they were last asked.
    heads: BTreeMap<Ed25519Key, MemberHead>,
    /// A write failed, so that nobody knows what is stored.
    broken: bool,
}

/// A share of a root that was made here.
struct Part {
    share: Share,
    taken: bool,
}

impl Member {
    /// Opens what is stored, without the root.
    ///
    /// # Errors
    /// If it is not whole, not of this cluster, or its root is not the owners'.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let cluster = config.cluster.clone();
        let key_provider_id = cluster.id();
        let owners = Owners::of(&cluster, key_provider_id)?;
        let store = Store::open(&config.store, key_provider_id)?;
        let record = store.root_certificate()?.map(|text| RootRecord::parse(&text)).transpose()?;
        let certified = record.as_ref().map(|record| owners.root(&record.certificate));
        let certified = certified.transpose()?;
        if certified.is_none() && store.entries() > 0 {
            return Err(OpenError::NoCertificate);
        }
        let shown = Shown::of_images(store.images()?);
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..])?;
        let signing = ed25519_dalek::SigningKey::from_bytes(&seed);
        let key = Ed25519Key(signing.verifying_key().to_bytes());
        let inner = Inner {
            store,
            replica: Replica::new(key),
            recent: VecDeque::new(),
            deciding: false,
            first: None,
            certified,
            root: None,
            keyring: record.and_then(|record| record.keyring),
            offer: None,
            pending: Vec::new(),
            to_take: Vec::new(),
            given: BTreeMap::new(),
            collection: Collection::default(),
            heads: BTreeMap::new(),
            broken: false,
        };
        let member = Self {
            cluster,
            key_provider_id,
            owners,
            key,
            signing,
            emulated: matches!(config.anchor, TrustAnchor::DangerEmulated(_)),
            boot_auth: config.boot_auth.as_ref().map(BootAuth::new),
            clock: match config.time_servers.is_empty() {
                true => Clock::of_machine(),
                false => Clock::of_servers(),
            },
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            outbox: Outbox::default(),
            shown: RwLock::new(shown),
        };
        let inner = member.inner()?;
        member.show(&inner);
        drop(inner);
        Ok(member)
    }

    /// What is there, for the log.
    pub fn summary(&self) -> String {
        let shown = self.shown();
        format!("{}, {} images", shown.phase.name(), shown.images.len())
    }

    /// The answer to one call. It blocks: calls take turns, and the disk writes.
    ///
    /// # Errors
    /// If the call is refused, or its decision cannot be stored.
    pub fn answer(
        &self,
        caller: &Caller,
        request: Request,
        encoding: Encoding,
    ) -> Result<Vec<u8>, MemberError> {
        let clock_secs = self.clock.secs();
        // Without a time, what is no policy is answered by the latest that the ledger knows.
        let passed_secs = clock_secs.unwrap_or(0);
        match (caller, request) {
            (_, Request::GetMeta) => Ok(prpc::encode(&self.meta(), encoding)),
            (Caller::Anybody | Caller::Owner(_), Request::GetAppEnvEncryptPubKey(request)) => Ok(
                prpc::encode(&self.environment_key(&request.app_id, known(clock_secs)?)?, encoding),
            ),
            (Caller::Guest(_) | Caller::Middleware(_), Request::GetTime(_)) => {
                self.told_time(encoding)
            }
            (Caller::Guest(guest), request) => {
                self.guest(guest, &request, encoding, known(clock_secs)?)
            }
            (Caller::Owner(key), request @ Request::SetPolicy(_)) => {
                self.owner(key, &request, encoding, known(clock_secs)?)
            }
            (Caller::Owner(key), mut request) => {
                let answer = self.owner(key, &request, encoding, passed_secs);
                match &mut request {
                    Request::GiveShare(message) => message.share.zeroize(),
                    Request::NewEpoch(message) => {
                        message.dstack_ca.zeroize();
                        message.dstack_k256.zeroize();
                    }
                    _ => {}
                }
                answer
            }
            (Caller::Middleware(guest), mut request) => {
                let answer = known(clock_secs)
                    .and_then(|now_secs| self.middleware(guest, &request, encoding, now_secs));
                match &mut request {
                    Request::Keep(message) => message.key.zeroize(),
                    Request::Update(message) => message.key.zeroize(),
                    _ => {}
                }
                answer
            }
            (Caller::Custodian(key), mut request) => {
                let answer = known(clock_secs)
                    .and_then(|now_secs| self.custodian(key, &request, encoding, now_secs));
                if let Request::PushKey(message) = &mut request {
                    message.key.zeroize();
                }
                answer
            }
            (Caller::Process(process), request) => self.process(process, &request, passed_secs),
            (Caller::Anybody, _) => {
                let what = "a public call".to_owned();
                Err(MemberError::Prpc(PrpcError::NotFound(what)))
            }
        }
    }

    /// This moment, for agreements.
    fn now(&self) -> Time {
        Time { ms: self.clock.count_ms(), clock_secs: self.clock.secs().unwrap_or(0) }
    }

    /// The clock of this process, for who keeps it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the ledger knows of the time.
    pub fn passed(&self) -> Passed {
        let shown = self.shown();
        let Shown { not_before_secs, newest_collateral_secs, .. } = *shown;
        Passed { not_before_secs, newest_collateral_secs }
    }

    fn inner(&self) -> Result<MutexGuard<'_, Inner>, MemberError> {
        // A thread that ended in the middle of a call leaves a state that nobody knows.
        let mut inner = self.inner.lock().map_err(|_| MemberError::Broken)?;
        // What was decided before and may not be stored is seen by nobody until it is.
        if let Err(error) = inner.store.settle() {
            return Err(inner.not_stored(error, true));
        }
        Ok(inner)
    }

    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.shown.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change_images(&self, change: impl FnOnce(&mut BTreeMap<OsImageHash, String>)) {
        let shown = self.shown.write();
        change(&mut shown.unwrap_or_else(std::sync::PoisonError::into_inner).images);
    }

    /// Makes visible to channels and public calls what changed.
    fn show(&self, inner: &Inner) {
        let phase = inner.phase(&self.key);
        let mut shown = self.shown.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        shown.phase = phase;
        shown.not_before_secs = inner.state().now(0);
        shown.newest_collateral_secs = inner.state().newest_collateral_secs();
        // While a newer root is here than the ledger has, neither certificate is proved.
        let identity = inner.root.as_ref().map(Held::identity);
        let proved = identity.is_none() || identity == inner.state().identity();
        let certificate = inner.state().root_envelope().filter(|_| proved);
        shown.root_certificate = certificate.map(str::to_owned);
        shown.lacks = self.lacks(inner);
        shown.list = inner.state().list_envelope().map(str::to_owned);
        shown.listed = inner.state().list().map(|list| list.images.clone());
        let version = |policy: &kms_rules::policy::SignedPolicy| policy.version();
        let policy = inner.state().policy();
        if policy.map(version) != shown.policy.as_deref().map(version) {
            shown.policy = policy.cloned().map(Arc::new);
        }
        shown.show_custodians(inner.state());
        let held = inner.root.as_ref().filter(|held| !shown.is_of(held));
        if let Some(held) = held {
            shown.root = Some(shown::OfRoot::new(held));
        }
    }
}

impl Inner {
    fn phase(&self, member: &Ed25519Key) -> Phase {
        match (&self.certified, &self.root) {
            (Some(_), None) => Phase::Locked,
            (_, root) => self.state().phase(member, root.is_some()),
        }
    }

    fn state(&self) -> &State {
        self.replica.state()
    }

    /// What is decided after a write that failed: nothing ever, or nothing until it is settled.
    fn not_stored(&mut self, error: StoreError, settles: bool) -> MemberError {
        if settles && error.is_unsettled() {
            tracing::warn!("a decision is not stored yet: {error}; {}", error.hint());
            self.pending.clear();
        } else {
            self.broken = true;
            tracing::error!("a decision cannot be stored, nothing more is decided: {error}");
            tracing::error!("hint: {}", error.hint());
        }
        MemberError::Store(error)
    }

    fn usable(&self) -> Result<(), MemberError> {
        if self.broken { Err(MemberError::Broken) } else { Ok(()) }
    }
}

/// The clock's time, for what cannot be done without it.
fn known(clock_secs: Option<u64>) -> Result<u64, MemberError> {
    clock_secs.ok_or(MemberError::NoTime)
}

impl crate::attester::Holder for Member {
    fn image(&self, name: &OsImageHash) -> Option<String> {
        self.shown().images.get(name).cloned()
    }

    fn root_certificate(&self) -> Option<String> {
        self.shown().root_certificate.clone()
    }

    fn list(&self) -> Option<String> {
        self.shown().list.clone()
    }

    fn member(&self, bytes: &[u8]) -> MemberClaim {
        use ed25519_dalek::Signer as _;
        let signature = hex::encode(self.signing.sign(bytes).to_bytes());
        MemberClaim { key: self.key, signature }
    }

    fn sign(&self, bytes: &[u8]) -> Option<[u8; 64]> {
        use ed25519_dalek::Signer as _;
        self.shown().root.as_ref().map(|root| root.identity.sign(bytes).to_bytes())
    }
}

impl crate::judge::Rules for Member {
    fn image(&self, name: &OsImageHash) -> Option<String> {
        self.shown().images.get(name).cloned()
    }

    fn clock_secs(&self) -> Option<u64> {
        self.clock.secs()
    }

    fn now_secs(&self, clock_secs: u64) -> u64 {
        clock_secs.max(self.shown().not_before_secs)
    }

    fn custodians(&self) -> Arc<[Ed25519Key]> {
        Arc::clone(&self.shown().custodians)
    }

    fn processes(&self) -> Accepts {
        // A process that joins knows no list; it takes the root from one that proves it alone.
        match &self.shown().listed {
            Some(images) => Accepts::Exactly { images: images.clone(), image_json: Vec::new() },
            None => Accepts::Listed { minimum_version: 1 },
        }
    }

    fn terms(&self, clock_secs: u64) -> Result<crate::judge::Terms, String> {
        let shown = self.shown();
        if shown.phase != Phase::Serving {
            return Err(format!("this KMS gives nothing now: {}", shown.phase.name()));
        }
        let policy = shown.policy.clone().ok_or("no policy was set")?;
        let now_secs = clock_secs.max(shown.not_before_secs);
        Ok(crate::judge::Terms { policy, now_secs })
    }
}

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(test)]
mod tests;
