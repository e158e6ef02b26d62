//! Who is at the other end of a channel: a guest whose evidence passes, another process of this
//! KMS, or an owner whose key signed.
//!
//! Evidence is judged here for what it proves; which keys that is worth is decided at each call.
//! The peer is the attacker until then: nothing of its proof but the bytes that the judgement reads
//! is used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use agent_client::Collaterals;
use attestation::kms::{Accepts, KmsRules, judge_kms, member_of};
use attestation::owner::{OwnerRefusal, judge_owner};
use attestation::{Collateral, Image, ImageFault, Parts, TrustAnchor};
use channel::Judge;
use kms_rules::guest::Guest;
use kms_rules::policy::{Judging, SignedPolicy};
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode, Role};
use protocol::digest::{Ed25519Key, OsImageHash, ReportData, Sha256Digest};
use protocol::error::chain;
use protocol::evidence::Evidence;
use protocol::kms::{Cluster, RootCertificate, Statement};
use tokio::sync::Semaphore;

use crate::store::MAX_IMAGES;

/// Why nothing is decided that needs the time.
pub const NO_TIME: &str =
    "this KMS does not know the time: too few of the time servers that it names agree";

/// Who is at the other end.
#[derive(Debug)]
pub enum Peer {
    /// A guest's agent.
    Guest(Box<Guest>),
    /// The middleware of a guest.
    Middleware(Box<Guest>),
    /// An owner of the cluster.
    Owner(Ed25519Key),
    /// A key that is or may become that of a custodian's member.
    Custodian(Ed25519Key),
    /// Another process of this KMS.
    Process(Box<Process>),
}

/// Another process of this KMS, as it proved itself on one channel: an image and a measured file
/// that owners listed, and its own key. Whether it is a member, the ledger says.
#[derive(Debug, Clone)]
pub struct Process {
    /// The key under which the ledger knows it.
    pub key: Ed25519Key,
    /// Image, measured file and platform.
    pub facts: Guest,
    /// The certified root, which signed for the connection, if it is there.
    pub root: Option<RootCertificate>,
}

/// What the KMS knows that guests are judged by.
pub trait Rules: Send + Sync + 'static {
    /// The text of an image.json that owners put.
    fn image(&self, name: &OsImageHash) -> Option<String>;

    /// The clock's time, in seconds since 1970; none while the named time servers have not agreed.
    fn clock_secs(&self) -> Option<u64>;

    /// The KMS's time, in seconds since 1970: the clock's, but never before what was seen.
    fn now_secs(&self, clock_secs: u64) -> u64;

    /// Keys of members of custodians, and of those who may become some.
    fn custodians(&self) -> Arc<[Ed25519Key]>;

    /// Which other processes may be this KMS; the image is filled in for each.
    fn processes(&self) -> Accepts;

    /// By what guests are judged at this time of the clock; `Err` says why nobody is judged now.
    fn terms(&self, clock_secs: u64) -> Result<Terms, String>;
}

/// By what a guest's evidence is judged. Whether the policy is still valid is asked at each call:
/// an anchor needs none.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What the owners ask of guests.
    pub policy: Arc<SignedPolicy>,
    /// The KMS's time, in seconds since 1970.
    pub now_secs: u64,
}

/// Judges guests by the owners' policy, processes by their list, and owners by their keys.
#[derive(Debug)]
pub struct GuestJudge<R> {
    anchor: TrustAnchor,
    key_provider_id: Sha256Digest,
    owners: Vec<Ed25519Key>,
    collaterals: Arc<Collaterals>,
    images: ReadImages,
    rules: Arc<R>,
    turns: Semaphore,
}

/// Images as they were read, with the registers that were predicted from them; their names are the
/// hashes of what was read.
#[derive(Debug, Default)]
struct ReadImages(Mutex<BTreeMap<OsImageHash, Arc<Image>>>);

impl ReadImages {
    /// The image with this name and text.
    fn read(&self, name: OsImageHash, text: &str) -> Result<Arc<Image>, ImageFault> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = lock().get(&name) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(Image::ours(text.as_bytes(), Parts::default())?);
        let mut read = lock();
        // As many as can be stored; owners who replace them start over here.
        if read.len() as u64 >= MAX_IMAGES {
            read.clear();
        }
        read.insert(name, Arc::clone(&image));
        Ok(image)
    }
}

impl<R: Rules> GuestJudge<R> {
    /// Trusts quotes under this anchor, and owners with these keys.
    pub fn new(
        anchor: TrustAnchor,
        cluster: &Cluster,
        collaterals: Arc<Collaterals>,
        rules: Arc<R>,
    ) -> Self {
        // A judgement computes without waiting; more at a time than processors only cost memory.
        let turns = Semaphore::new(available_parallelism().map_or(1, usize::from));
        let (key_provider_id, owners) = (cluster.id(), cluster.owners.clone());
        let images = ReadImages::default();
        Self { anchor, key_provider_id, owners, collaterals, images, rules, turns }
    }
}

impl<R: Rules> GuestJudge<R> {
    /// Judges another process of this KMS.
    async fn process(&self, proof: Proof, binding: &Binding) -> Result<Process, Refusal> {
        let (accepts, anchor) = (self.rules.processes(), self.anchor.clone());
        let key_provider_id = self.key_provider_id;
        // Of a process that wants to join, the policy's number is asked where it is admitted.
        let minimum_evaluation_number = None;
        let mut rules = KmsRules { key_provider_id, anchor, accepts, minimum_evaluation_number };
        if let Accepts::Exactly { image_json, .. } = &mut rules.accepts {
            // A process that joins has no images yet.
            let image = self.rules.image(&proof.claims.os_image_hash).unwrap_or_default();
            *image_json = image.into_bytes();
        }
        let (binding, turn) = (binding.clone(), self.turns.acquire().await);
        // Without a clock's time, what the ledger knows has passed for certain.
        let now_secs = self.rules.now_secs(self.rules.clock_secs().unwrap_or(0));
        let judged =
            tokio::task::spawn_blocking(move || judge_process(proof, &binding, &rules, now_secs));
        let judged = judged.await;
        drop(turn);
        let lost = |_| Refusal::new(RefusalCode::Unavailable, "the judgement was not finished");
        let judged = judged.map_err(lost)?;
        judged.map_err(|text| Refusal::new(RefusalCode::Evidence, &text))
    }

    async fn guest(&self, proof: Proof, binding: &Binding) -> Result<Box<Guest>, Refusal> {
        let report_data = binding.report_data();
        let report_data = report_data
            .ok_or_else(|| Refusal::new(RefusalCode::Role, "a guest has a role with a quote"))?;
        let unavailable = |why: &str| Refusal::new(RefusalCode::Unavailable, why);
        let clock_secs = self.rules.clock_secs().ok_or_else(|| unavailable(NO_TIME))?;
        let terms = self.rules.terms(clock_secs).map_err(|why| unavailable(&why))?;
        let name = proof.claims.os_image_hash;
        let image = self.rules.image(&name).ok_or_else(|| {
            let text = format!("the KMS has no image.json of {name}: its owners can put it");
            Refusal::new(RefusalCode::Unavailable, &text)
        })?;
        let image = self.images.read(name, &image);
        let image = image.map_err(|error| Refusal::new(RefusalCode::Evidence, &chain(&error)))?;
        let collateral = self.collaterals.of(&proof.quote).await.map_err(|error| {
            tracing::warn!("for a guest: {error}");
            Refusal::new(RefusalCode::Unavailable, "the KMS has no collateral for this platform")
        })?;
        let (anchor, spki) = (self.anchor.clone(), binding.own_spki.clone());
        let turn = self.turns.acquire().await;
        let judged = tokio::task::spawn_blocking(move || {
            judge_guest(proof, &image, &collateral, (anchor, report_data, &spki), &terms)
        });
        let judged = judged.await;
        drop(turn);
        let lost = |_| Refusal::new(RefusalCode::Unavailable, "the judgement was not finished");
        Ok(Box::new(judged.map_err(lost)??))
    }
}

impl<R: Rules> Judge for GuestJudge<R> {
    type Peer = Peer;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<Peer, Refusal> {
        match binding.own {
            Role::App => {
                let process = self.process(proof, binding).await?;
                Ok(Peer::Process(Box::new(process)))
            }
            Role::Pads => self.guest(proof, binding).await.map(Peer::Middleware),
            Role::Agent | Role::Owner | Role::Unattested => {
                self.guest(proof, binding).await.map(Peer::Guest)
            }
        }
    }

    async fn judge_owner(&self, proof: OwnerProof, signed: &[u8]) -> Result<Peer, Refusal> {
        let judged = match judge_owner(&self.owners, &proof, signed) {
            Err(OwnerRefusal::Stranger) => {
                judge_owner(&self.rules.custodians(), &proof, signed).map(Peer::Custodian)
            }
            judged => judged.map(Peer::Owner),
        };
        judged.map_err(|refusal| Refusal::new(RefusalCode::Owner, &refusal.to_string()))
    }

    fn unattested(&self) -> Result<Peer, Refusal> {
        let text = "public calls are answered on the other port, without a channel";
        Err(Refusal::new(RefusalCode::Role, text))
    }
}

/// The collateral is what the process states: it counts by Intel's signatures and its dates.
fn judge_process(
    proof: Proof,
    binding: &Binding,
    rules: &KmsRules,
    now_secs: u64,
) -> Result<Process, String> {
    let report_data = binding.report_data().ok_or("a process has a role with a quote")?;
    let statement = Statement::parse(&proof.statement).map_err(|error| chain(&error))?;
    let key = member_of(&statement, &binding.exporter, &proof.quote);
    let key = key.map_err(|error| chain(&error))?;
    let evidence = Evidence::from(proof);
    let exporter = &binding.exporter;
    let kms = judge_kms(&evidence, &statement, report_data, exporter, rules, now_secs)
        .map_err(|error| chain(&error))?;
    let file = evidence.app_compose.unwrap_or_default();
    let facts = Guest::of(kms.evidence(), &file, &binding.own_spki);
    let facts = facts.map_err(|error| chain(&error))?;
    Ok(Process { key, facts, root: kms.root().cloned() })
}

fn judge_guest(
    proof: Proof,
    image: &Image,
    collateral: &Collateral,
    (anchor, report_data, spki): (TrustAnchor, ReportData, &[u8]),
    terms: &Terms,
) -> Result<Guest, Refusal> {
    let refused = |text: String| Refusal::new(RefusalCode::Evidence, &text);
    let evidence = Evidence::from(proof);
    let judging = Judging { anchor, report_data, image, collateral: Some(collateral) };
    let verified = terms.policy.judge(&evidence, &judging, terms.now_secs);
    let verified = verified.map_err(|error| match error.is_about_collateral() {
        // A guest that is refused ends; one that the KMS cannot judge now asks again.
        true => Refusal::new(RefusalCode::Unavailable, &chain(&error)),
        false => refused(chain(&error)),
    })?;
    let file = evidence.app_compose.unwrap_or_default();
    let guest = Guest::of(&verified, &file, spki).map_err(|error| refused(chain(&error)))?;
    if !guest.reserves_report_data {
        return Err(refused("the image lets containers use the guest's own report data".into()));
    }
    Ok(guest)
}
