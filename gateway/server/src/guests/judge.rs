//! Which guests may dial, and what they may be reached under: a judgement of their evidence and of
//! what this gateway's own KMS says of them.
//!
//! App id and instance id are facts once the KMS stated them; ports come from the bytes whose hash
//! was measured. A guest cannot hide its measured file, claim a policy, or speak for another one.

use std::sync::Arc;
use std::thread::available_parallelism;

use agent_client::Collaterals;
use attestation::policy::PlatformRules;
use attestation::release_statement::ReleaseRules;
use attestation::released::{
    ReleasedGuest, ReleasedRefusal, ReleasedRules, Shown, Speaker, judge_released,
};
use attestation::{Collateral, Image, TrustAnchor};
use channel::Judge;
use gateway_rules::guests::GuestFacts;
use protocol::app_compose::{self, AppComposeError};
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::{AppId, ComposeHash, ReportData};
use protocol::error::chain;
use protocol::evidence::Evidence;
use protocol::gateway::TunnelStatement;
use protocol::rule::unless;
use protocol::strict_json::JsonError;
use tokio::sync::Semaphore;

use super::Identity;
use super::identity::{Clock, Images};

/// What the operator asks of guests; which KMS must vouch for them, the gateway's own measured file
/// says.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Whose signatures count on quotes.
    pub anchor: TrustAnchor,
    /// Which platforms are accepted.
    pub platform: PlatformRules,
    /// The oldest epoch of the KMS whose root counts.
    pub minimum_epoch: u32,
}

/// A guest that may be reached.
///
/// Holding one proves: its evidence was made by its agent for this connection, and this gateway's
/// own KMS said within the hour that it had released this app's and instance's keys to that agent.
#[derive(Debug, Clone)]
pub struct Guest {
    facts: GuestFacts,
    released: ReleasedGuest,
}

impl Guest {
    /// What it may be reached under.
    pub fn facts(&self) -> &GuestFacts {
        &self.facts
    }

    /// What was judged of it.
    pub fn released(&self) -> &ReleasedGuest {
        &self.released
    }

    /// The last second at which the statement that was shown last holds.
    pub fn not_after_secs(&self) -> u64 {
        self.released.release().statement().not_after_secs
    }
}

/// Why a guest may not dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestRefusal {
    /// a statement in another form
    #[error("what the guest states")]
    Statement(#[from] JsonError),
    /// bytes that are no text
    #[error("the release statement is no text")]
    Text,
    /// not a guest that the KMS released keys to
    #[error(transparent)]
    Released(#[from] ReleasedRefusal),
    /// another file than the measured one
    #[error("the app-compose.json that came has the hash {found}, the guest measured {measured}")]
    OtherFile {
        /// The hash of what came.
        found: ComposeHash,
        /// The measured hash.
        measured: ComposeHash,
    },
    /// a file that no guest runs
    #[error("the measured file")]
    File(#[from] AppComposeError),
    /// an app that is not to be reached
    #[error("the measured file of app {0} does not say gateway_enabled")]
    NotEnabled(AppId),
    /// an app without instance ids
    #[error("app {0} has no instance ids")]
    NoInstance(AppId),
}

/// What a judgement of a guest needs besides what it showed, and the time.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// What it must be.
    pub rules: &'a ReleasedRules,
    /// The image that it claims to run.
    pub image: &'a Image,
    /// Collateral for its platform.
    pub collateral: Option<&'a Collateral>,
    /// The report data of the connection's binding.
    pub report_data: ReportData,
    /// The key that it showed on the connection.
    pub spki: &'a [u8],
}

/// Judges what a guest proved and stated on one connection; `now_secs` is the gateway's time in
/// seconds since 1970.
///
/// # Errors
/// If it may not be reached; the first reason.
pub fn judge_guest(
    proof: Proof,
    judging: &Judging<'_>,
    now_secs: u64,
) -> Result<Guest, GuestRefusal> {
    let statement = TunnelStatement::parse(&proof.statement)?;
    let evidence = Evidence::from(proof);
    let shown = Shown {
        evidence: &evidence,
        release: &statement.release,
        image: judging.image,
        collateral: judging.collateral,
        report_data: judging.report_data,
        speaker: Speaker::Agent(judging.spki),
    };
    let released = judge_released(&shown, judging.rules, now_secs)?;
    let facts = facts(&released, &evidence.app_compose.unwrap_or_default())?;
    Ok(Guest { facts, released })
}

/// What a guest may be reached under; `file` must be the measured one.
fn facts(released: &ReleasedGuest, file: &[u8]) -> Result<GuestFacts, GuestRefusal> {
    let measured = released.evidence().app();
    let (found, app) = (ComposeHash::of(file), measured.app_id);
    unless(found == measured.compose_hash, || GuestRefusal::OtherFile {
        found,
        measured: measured.compose_hash,
    })?;
    let compose = app_compose::parse(file)?;
    unless(compose.gateway_enabled, || GuestRefusal::NotEnabled(app))?;
    let instance = measured.instance_id.ok_or(GuestRefusal::NoInstance(app))?;
    let open_counter = released.release().statement().open_counter;
    Ok(GuestFacts { app, instance, open_counter, ports: compose.port_policy })
}

/// Judges guests that dial.
#[derive(Debug)]
pub struct GuestJudge {
    rules: Arc<ReleasedRules>,
    images: Arc<Images>,
    collaterals: Arc<Collaterals>,
    clock: Arc<Clock>,
    turns: Semaphore,
}

impl GuestJudge {
    /// By these terms, and the KMS of this gateway's own measured file.
    pub fn new(identity: &Identity, terms: Terms) -> Self {
        let Terms { anchor, platform, minimum_epoch } = terms;
        let key_provider_id = identity.key_provider_id();
        let release = ReleaseRules { key_provider_id, minimum_epoch };
        // A judgement computes without waiting; more at a time than processors only cost memory.
        let turns = Semaphore::new(available_parallelism().map_or(1, usize::from));
        Self {
            rules: Arc::new(ReleasedRules { anchor, release, platform }),
            images: Arc::clone(identity.images()),
            collaterals: Arc::clone(identity.collaterals()),
            clock: Arc::clone(identity.clock()),
            turns,
        }
    }

    pub(super) fn now_secs(&self) -> u64 {
        self.clock.now_secs()
    }

    /// The same guest with a later statement.
    pub(super) fn renewed(&self, guest: &Guest, shown: &[u8]) -> Result<Guest, GuestRefusal> {
        let shown = str::from_utf8(shown).map_err(|_| GuestRefusal::Text)?;
        let released = guest.released.renewed(shown, &self.rules.release, self.now_secs())?;
        Ok(Guest { released, ..guest.clone() })
    }
}

impl Judge for GuestJudge {
    type Peer = Guest;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<Guest, Refusal> {
        let unavailable = |text: &str| Refusal::new(RefusalCode::Unavailable, text);
        let report_data = binding.report_data();
        let report_data = report_data
            .ok_or_else(|| Refusal::new(RefusalCode::Role, "a guest has a role with a quote"))?;
        let name = proof.claims.os_image_hash;
        let image = self.images.get(&name).ok_or_else(|| {
            unavailable(&format!(
                "this gateway does not know the image {name}: its operator can add it"
            ))
        })?;
        let collateral = self.collaterals.of(&proof.quote).await.map_err(|error| {
            tracing::warn!("for a guest: {error}");
            unavailable("this gateway has no collateral for the platform")
        })?;
        let (rules, spki) = (Arc::clone(&self.rules), binding.own_spki.clone());
        let (turn, now_secs) = (self.turns.acquire().await, self.now_secs());
        let judged = tokio::task::spawn_blocking(move || {
            let (rules, image, spki) = (&*rules, &*image, &spki[..]);
            let collateral = Some(&*collateral);
            judge_guest(proof, &Judging { rules, image, collateral, report_data, spki }, now_secs)
        });
        let judged = judged.await;
        drop(turn);
        let judged = judged.map_err(|_| unavailable("the judgement was not finished"))?;
        judged.map_err(|refusal| {
            let again = matches!(&refusal, GuestRefusal::Released(it) if it.is_about_collateral());
            let code = if again { RefusalCode::Unavailable } else { RefusalCode::Evidence };
            Refusal::new(code, &chain(&refusal))
        })
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<Guest, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a guest is no owner"))
    }

    fn unattested(&self) -> Result<Guest, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a guest proves itself"))
    }
}
