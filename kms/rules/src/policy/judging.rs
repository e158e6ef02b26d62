//! The policy as the judgement's rules, so that a guest's evidence is judged by the one function
//! that judges all evidence.

use attestation::policy::{
    AcceptedApp, AcceptedTcb, ExpectedReportData, PlatformRules, Policy, Stage,
};
use attestation::{
    Collateral, Image, ImageFault, Refusal, StatedFirmware, StatedImage, StatedMachine,
    TrustAnchor, VerifiedEvidence, appraise,
};
use protocol::digest::ReportData;
use protocol::evidence::Evidence;

use super::{SignedPolicy, ToleratedTcb};

/// What a judgement of a guest needs besides evidence, policy and time.
#[derive(Debug, Clone)]
pub struct Judging<'a> {
    /// Whose signatures count on quotes.
    pub anchor: TrustAnchor,
    /// The report data of the connection's binding.
    pub report_data: ReportData,
    /// The image that the guest claims to run; its `image.json` was hashed.
    pub image: &'a Image,
    /// Collateral for the guest's platform.
    pub collateral: Option<&'a Collateral>,
}

/// Why a guest's evidence does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestRefusal {
    /// an image.json without the facts that predict registers
    #[error("the image that the guest claims to run")]
    Image(#[from] ImageFault),
    /// evidence that the judgement refuses
    #[error("the guest's evidence: {0}")]
    Evidence(Box<Refusal>),
}

impl GuestRefusal {
    /// Whether the KMS cannot judge now: its collateral is missing, expired or not valid yet, which
    /// says nothing about the guest.
    pub fn is_about_collateral(&self) -> bool {
        matches!(self, Self::Evidence(refusal) if refusal.is_about_collateral())
    }
}

impl SignedPolicy {
    /// The rules of the judgement, with the registers still open. The boot may be over: those calls
    /// that must come before look at [`VerifiedEvidence::ready`].
    pub fn rules(&self, anchor: TrustAnchor, report_data: ReportData) -> Policy {
        let file = self.file();
        let mut rules = Policy::strict(anchor, ExpectedReportData::Exactly(report_data));
        rules.platform = PlatformRules {
            accepted_tcb: file.tolerate_tcb.iter().map(accepted_tcb).collect(),
            minimum_tcb_date_secs: file.minimum_tcb_date_secs,
            minimum_evaluation_number: file.minimum_tcb_evaluation_number,
            maximum_collateral_age_secs: None,
            fmspcs: None,
            platform_ids: file
                .platform_ids
                .as_ref()
                .map(|list| list.iter().map(|id| id.0).collect()),
        };
        rules.images = Some(file.os_images.clone());
        let pairs = file.apps.iter().flat_map(|app| {
            let pair = |hash| AcceptedApp { compose_hash: hash, app_id: app.app_id };
            app.compose_hashes.iter().copied().map(pair)
        });
        rules.apps = Some(pairs.collect());
        rules.stage = Stage::KeyReleaseOrLater;
        rules
    }

    /// Judges a guest's evidence by this policy; `now_secs` is the KMS's time in seconds since
    /// 1970. The machine is the one that the guest claims, and its registers must be that
    /// machine's.
    ///
    /// # Errors
    /// If a check fails or could not be made.
    pub fn judge(
        &self,
        evidence: &Evidence,
        judging: &Judging<'_>,
        now_secs: u64,
    ) -> Result<VerifiedEvidence, GuestRefusal> {
        let image = StatedImage {
            image: judging.image,
            machine: &StatedMachine::default(),
            firmware: &StatedFirmware::default(),
            others: &[],
            firmware_log: &[],
        };
        let rules = self.rules(judging.anchor.clone(), judging.report_data);
        let appraisal = appraise(evidence, Some(&image), rules, judging.collateral, now_secs)?;
        appraisal.into_verified().map_err(|refusal| GuestRefusal::Evidence(Box::new(refusal)))
    }
}

fn accepted_tcb(tolerated: &ToleratedTcb) -> AcceptedTcb {
    AcceptedTcb {
        status: tolerated.status,
        advisory_ids: tolerated.advisories.clone(),
        until_secs: tolerated.until_secs,
    }
}
