//! Who is at the other end of a channel: a guest whose evidence passes, or an owner whose key
//! signed.
//!
//! Evidence is judged here for what it proves; which keys that is worth is decided at each call.
//! The peer is the attacker until then: nothing of its proof but the bytes that the judgement reads
//! is used.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::owner::judge_owner;
use attestation::{Collateral, Image, Parts, TrustAnchor};
use channel::Judge;
use kms_rules::guest::Guest;
use kms_rules::policy::{Judging, SignedPolicy};
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::{Ed25519Key, OsImageHash, ReportData};
use protocol::error::chain;
use protocol::evidence::Evidence;
use tokio::sync::Semaphore;

use crate::collateral::Collaterals;

/// Who is at the other end.
#[derive(Debug)]
pub enum Peer {
    /// A guest's agent.
    Guest(Box<Guest>),
    /// An owner of the cluster.
    Owner(Ed25519Key),
}

/// What the KMS knows that guests are judged by.
pub trait Rules: Send + Sync + 'static {
    /// The text of an image.json that owners put.
    fn image(&self, name: &OsImageHash) -> Option<String>;

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

/// Judges guests by the owners' policy, and owners by their keys.
#[derive(Debug)]
pub struct GuestJudge<R> {
    anchor: TrustAnchor,
    owners: Vec<Ed25519Key>,
    collaterals: Arc<Collaterals>,
    rules: Arc<R>,
    turns: Semaphore,
}

impl<R: Rules> GuestJudge<R> {
    /// Trusts quotes under this anchor, and owners with these keys.
    pub fn new(
        anchor: TrustAnchor,
        owners: Vec<Ed25519Key>,
        collaterals: Arc<Collaterals>,
        rules: Arc<R>,
    ) -> Self {
        // A judgement computes without waiting; more at a time than processors only cost memory.
        let turns = Semaphore::new(available_parallelism().map_or(1, usize::from));
        Self { anchor, owners, collaterals, rules, turns }
    }
}

impl<R: Rules> Judge for GuestJudge<R> {
    type Peer = Peer;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<Peer, Refusal> {
        let report_data = binding.report_data();
        let report_data = report_data
            .ok_or_else(|| Refusal::new(RefusalCode::Role, "a guest has a role with a quote"))?;
        let terms = self.rules.terms(now_secs());
        let terms = terms.map_err(|why| Refusal::new(RefusalCode::Unavailable, &why))?;
        let name = proof.claims.os_image_hash;
        let image = self.rules.image(&name).ok_or_else(|| {
            let text = format!("the KMS has no image.json of {name}: its owners can put it");
            Refusal::new(RefusalCode::Unavailable, &text)
        })?;
        let collateral = self.collaterals.of(&proof.quote).await.map_err(|error| {
            tracing::warn!("for a guest: {error}");
            Refusal::new(RefusalCode::Unavailable, "the KMS has no collateral for this platform")
        })?;
        let anchor = self.anchor.clone();
        let turn = self.turns.acquire().await;
        let judged = tokio::task::spawn_blocking(move || {
            judge_guest(proof, &image, &collateral, (anchor, report_data), &terms)
        });
        let judged = judged.await;
        drop(turn);
        let lost = |_| Refusal::new(RefusalCode::Unavailable, "the judgement was not finished");
        Ok(Peer::Guest(Box::new(judged.map_err(lost)??)))
    }

    async fn judge_owner(&self, proof: OwnerProof, signed: &[u8]) -> Result<Peer, Refusal> {
        judge_owner(&self.owners, &proof, signed)
            .map(Peer::Owner)
            .map_err(|refusal| Refusal::new(RefusalCode::Owner, &refusal.to_string()))
    }

    fn unattested(&self) -> Result<Peer, Refusal> {
        let text = "public calls are answered on the other port, without a channel";
        Err(Refusal::new(RefusalCode::Role, text))
    }
}

/// Seconds since 1970 by this machine's clock, which the host sets; what must not go back rests on
/// the collateral's dates as well.
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn judge_guest(
    proof: Proof,
    image: &str,
    collateral: &Collateral,
    (anchor, report_data): (TrustAnchor, ReportData),
    terms: &Terms,
) -> Result<Guest, Refusal> {
    let refused = |text: String| Refusal::new(RefusalCode::Evidence, &text);
    let image = Image::ours(image.as_bytes(), Parts::default());
    let image = image.map_err(|error| refused(chain(&error)))?;
    let evidence = Evidence::from(proof);
    let judging = Judging { anchor, report_data, image: &image, collateral: Some(collateral) };
    let verified = terms.policy.judge(&evidence, &judging, terms.now_secs);
    let verified = verified.map_err(|error| match error.is_about_collateral() {
        // A guest that is refused ends; one that the KMS cannot judge now asks again.
        true => Refusal::new(RefusalCode::Unavailable, &chain(&error)),
        false => refused(chain(&error)),
    })?;
    let file = evidence.app_compose.unwrap_or_default();
    let guest = Guest::of(&verified, &file).map_err(|error| refused(chain(&error)))?;
    if !guest.reserves_report_data {
        return Err(refused("the image lets containers use the guest's own report data".into()));
    }
    Ok(guest)
}
