//! A guest at the other end of a connection that has keys of a KMS: its evidence and its release
//! statement as one judgement.
//!
//! Gateways judge the guests that dial them so, and guests the gateway. Evidence alone proves which
//! programs run, and an app id in it is the host's word; a statement alone proves what a KMS said
//! to some guest within the hour, and anybody can copy it. So both are asked for, of one guest: the
//! evidence was made for this connection, and what it measured is what the KMS stated. The peer is
//! the attacker until then.

use protocol::digest::{ReportData, Sha256Digest};
use protocol::evidence::Evidence;
use protocol::kms::{ReleaseError, SignedRelease};

use crate::anchor::TrustAnchor;
use crate::collateral::Collateral;
use crate::image::{Image, ImageFault};
use crate::judgement::appraise;
use crate::policy::{AcceptedApp, ExpectedReportData, PlatformRules, Policy};
use crate::reference::StatedImage;
use crate::refusal::Refusal;
use crate::release_statement::{ReleaseRefusal, ReleaseRules, VerifiedRelease, judge_release};
use crate::stated::{StatedFirmware, StatedMachine};
use crate::verified::VerifiedEvidence;

/// What the guest must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedRules {
    /// Whose signatures count on its quote.
    pub anchor: TrustAnchor,
    /// Which KMS must vouch for it.
    pub release: ReleaseRules,
    /// Which platforms are accepted.
    pub platform: PlatformRules,
}

/// Which program of the guest speaks, as the role says that its evidence was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker<'a> {
    /// Its agent, which shows this key (SubjectPublicKeyInfo in DER): the one that the KMS saw.
    Agent(&'a [u8]),
    /// One of its containers, whose key the KMS never saw.
    Container,
}

/// What came over one connection, and what the judgement of it needs besides rules and time.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The evidence.
    pub evidence: &'a Evidence,
    /// Text of the release statement.
    pub release: &'a str,
    /// The image that the guest claims to run; its `image.json` was hashed.
    pub image: &'a Image,
    /// Collateral for the guest's platform.
    pub collateral: Option<&'a Collateral>,
    /// The report data of the connection's binding.
    pub report_data: ReportData,
    /// The program that speaks.
    pub speaker: Speaker<'a>,
}

/// A guest to which the KMS released keys.
///
/// Holding one proves what [`VerifiedEvidence`] and [`VerifiedRelease`] prove, of one guest, and
/// that the evidence was made for this connection by the program that speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedGuest {
    evidence: VerifiedEvidence,
    release: VerifiedRelease,
    /// The agent's key, where it is the agent that speaks.
    key: Option<Sha256Digest>,
}

/// Why a guest is not one that the KMS released keys to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleasedRefusal {
    /// no statement
    #[error("the release statement")]
    NoStatement(#[from] ReleaseError),
    /// a statement that does not count, or is of another guest
    #[error("the release statement")]
    Release(#[from] ReleaseRefusal),
    /// an image.json without the facts that predict registers
    #[error("the image that the guest claims to run")]
    Image(#[from] ImageFault),
    /// evidence that the judgement refuses
    #[error("the evidence: {0}")]
    Evidence(Box<Refusal>),
    /// an older guest of the same instance
    #[error("open counter {found}, at first it was {first}")]
    OpenCounter {
        /// The renewal's.
        found: u64,
        /// That of the first statement.
        first: u64,
    },
}

impl ReleasedRefusal {
    /// Whether nothing can be judged now, because collateral is missing, expired or not valid yet;
    /// it says nothing about the guest.
    pub fn is_about_collateral(&self) -> bool {
        matches!(self, Self::Evidence(refusal) if refusal.is_about_collateral())
    }
}

/// Judges what came over one connection; `now_secs` is the verifier's time in seconds since 1970.
///
/// # Errors
/// The first rule that refuses.
pub fn judge_released(
    shown: &Shown<'_>,
    rules: &ReleasedRules,
    now_secs: u64,
) -> Result<ReleasedGuest, ReleasedRefusal> {
    let signed = SignedRelease::parse(shown.release.as_bytes())?;
    let release = judge_release(&signed, &rules.release, now_secs)?;
    let evidence = judge_evidence(shown, rules, &release, now_secs)?;
    let key = match shown.speaker {
        Speaker::Agent(spki) => Some(Sha256Digest::of(spki)),
        Speaker::Container => None,
    };
    release.check_guest(&evidence, key)?;
    Ok(ReleasedGuest { evidence, release, key })
}

/// By a policy that accepts what the statement names and nothing else.
fn judge_evidence(
    shown: &Shown<'_>,
    rules: &ReleasedRules,
    release: &VerifiedRelease,
    now_secs: u64,
) -> Result<VerifiedEvidence, ReleasedRefusal> {
    let stated = release.statement();
    let expected = ExpectedReportData::Exactly(shown.report_data);
    let mut policy = Policy::strict(rules.anchor.clone(), expected);
    policy.platform = rules.platform.clone();
    policy.images = Some(vec![stated.os_image_hash]);
    policy.apps =
        Some(vec![AcceptedApp { compose_hash: stated.compose_hash, app_id: stated.app_id }]);
    let image = StatedImage {
        image: shown.image,
        machine: &StatedMachine::default(),
        firmware: &StatedFirmware::default(),
        others: &[],
        firmware_log: &[],
    };
    let appraisal = appraise(shown.evidence, Some(&image), policy, shown.collateral, now_secs)?;
    appraisal.into_verified().map_err(|refusal| ReleasedRefusal::Evidence(Box::new(refusal)))
}

impl ReleasedGuest {
    /// What runs there.
    pub fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }

    /// What the KMS states of it.
    pub fn release(&self) -> &VerifiedRelease {
        &self.release
    }

    /// The same guest with a later statement, which came over the same connection: the KMS goes on
    /// to vouch for it.
    ///
    /// # Errors
    /// If the statement does not count, is of another guest, or of another mount of this one.
    pub fn renewed(
        &self,
        release: &str,
        rules: &ReleaseRules,
        now_secs: u64,
    ) -> Result<Self, ReleasedRefusal> {
        let signed = SignedRelease::parse(release.as_bytes())?;
        let release = judge_release(&signed, rules, now_secs)?;
        release.check_guest(&self.evidence, self.key)?;
        let (found, first) =
            (release.statement().open_counter, self.release.statement().open_counter);
        if found != first {
            return Err(ReleasedRefusal::OpenCounter { found, first });
        }
        Ok(Self { release, ..self.clone() })
    }
}
