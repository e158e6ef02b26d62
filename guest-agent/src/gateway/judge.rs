//! Whether what answers is the gateway: a container of the app that the KMS named, in a guest for
//! which that KMS vouches.

use attestation::released::{
    ReleasedGuest, ReleasedRefusal, ReleasedRules, Shown, Speaker, judge_released,
};
use attestation::{Collateral, CollateralError, Image, ImageFault, Parts};
use channel::Judge;
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::{AppId, ReportData};
use protocol::error::chain;
use protocol::evidence::Evidence;
use protocol::gateway::TunnelStatement;
use protocol::rule::unless;
use protocol::strict_json::JsonError;

/// Why something is not the gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayRefusal {
    /// a statement in another form
    #[error("what the gateway states")]
    Statement(#[from] JsonError),
    /// a statement without an image
    #[error("the gateway states no image")]
    NoImage,
    /// an image.json that is none
    #[error("the stated image")]
    Image(#[from] ImageFault),
    /// collateral that is none
    #[error("the stated collateral")]
    Collateral(#[from] CollateralError),
    /// not a guest that the KMS released keys to
    #[error(transparent)]
    Released(#[from] ReleasedRefusal),
    /// another app
    #[error("the app {found} answers; the KMS names {expected} as the gateway")]
    OtherApp {
        /// As measured and stated.
        found: AppId,
        /// As the KMS named it with the keys.
        expected: AppId,
    },
}

/// Judges what a gateway proved and stated on one connection; `now_secs` is this guest's time in
/// seconds since 1970.
///
/// # Errors
/// If it is not the gateway; the first reason.
pub fn judge_gateway(
    proof: Proof,
    report_data: ReportData,
    gateway: AppId,
    rules: &ReleasedRules,
    now_secs: u64,
) -> Result<ReleasedGuest, GatewayRefusal> {
    let stated = TunnelStatement::parse(&proof.statement)?;
    let image = stated.image.ok_or(GatewayRefusal::NoImage)?;
    let image = Image::ours(image.as_bytes(), Parts::default())?;
    let collateral =
        stated.collateral.map(|text| Collateral::parse(text.as_bytes())).transpose()?;
    let shown = Shown {
        evidence: &Evidence::from(proof),
        release: &stated.release,
        image: &image,
        collateral: collateral.as_ref(),
        report_data,
        speaker: Speaker::Container,
    };
    let released = judge_released(&shown, rules, now_secs)?;
    let (found, expected) = (released.evidence().app().app_id, gateway);
    unless(found == expected, || GatewayRefusal::OtherApp { found, expected })?;
    Ok(released)
}

/// The gateway that the KMS named, and the KMS that must vouch for it.
pub struct TheGateway {
    app_id: AppId,
    rules: ReleasedRules,
    now_secs: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl TheGateway {
    /// The app with this id, by these rules at the times of this clock.
    pub fn new(
        app_id: AppId,
        rules: ReleasedRules,
        now_secs: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { app_id, rules, now_secs: Box::new(now_secs) }
    }

    /// How many seconds the statement that was shown last still holds.
    pub fn left_secs(&self, gateway: &ReleasedGuest) -> u64 {
        gateway.release().statement().not_after_secs.saturating_sub((self.now_secs)())
    }

    /// The same gateway with a later statement.
    ///
    /// # Errors
    /// If the KMS does not vouch for it any more.
    pub fn renewed(&self, gateway: &ReleasedGuest, shown: &[u8]) -> Result<ReleasedGuest, String> {
        let shown = str::from_utf8(shown).map_err(|_| "the release statement is no text")?;
        let renewed = gateway.renewed(shown, &self.rules.release, (self.now_secs)());
        renewed.map_err(|refusal| chain(&refusal))
    }
}

impl Judge for TheGateway {
    type Peer = ReleasedGuest;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<ReleasedGuest, Refusal> {
        let refused = |text: &str| Refusal::new(RefusalCode::Evidence, text);
        let report_data = binding.report_data();
        let report_data = report_data.ok_or_else(|| refused("the peer has no role that proves"))?;
        let (app_id, rules, now_secs) = (self.app_id, self.rules.clone(), (self.now_secs)());
        // Chains and predictions take a while, and the thread has others to serve.
        let judged = tokio::task::spawn_blocking(move || {
            judge_gateway(proof, report_data, app_id, &rules, now_secs)
        });
        let judged = judged.await.map_err(|error| refused(&error.to_string()))?;
        judged.map_err(|refusal| refused(&chain(&refusal)))
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<ReleasedGuest, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a gateway is no owner"))
    }

    fn unattested(&self) -> Result<ReleasedGuest, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a gateway proves itself"))
    }
}
