//! The judgement's result: a row for each check, the facts, and what all of it does and does not
//! prove.
//!
//! Serialises with the keys `verdict`, `trust_anchor`, `checks` (each with `name`, `verdict`,
//! `expected`, `found` and `hint`) and `facts`.
//! An appraisal can be about evidence that failed: its facts are then no more than what the
//! evidence says.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::anchor::AnchorName;
use crate::refusal::{CheckName, Finding, Refusal};
use crate::verified::VerifiedEvidence;

/// First line of every appraisal on emulated evidence.
pub const EMULATED: &str = "EMULATED: proves nothing about hardware";
/// What evidence from the public page means, in every appraisal.
pub const SCOPE: &str = "this evidence proves that such a guest exists, not that the connection on which it came ends in that guest";

/// What the verdict says where the quote was not made for anything that the verifier stated.
pub const AGE_UNKNOWN: &str = "nothing is known of this evidence's age: it answers no nonce and no report data that you stated";
/// What the verdict says where the image's list stood in for its files.
pub const FACTS_BELIEVED: &str = "facts believed: not every file of the image was at hand, so what its list states about the others was not recomputed";

/// What a check or a whole appraisal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// It was made and holds.
    Pass,
    /// It was made and does not hold.
    Fail,
    /// It could not be made; its hint says why.
    Skipped,
}

/// What all rows come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All checks pass.
    Pass,
    /// At least one fails.
    Fail,
    /// None fails, at least one was skipped.
    Incomplete,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which check.
    pub name: CheckName,
    /// What it came to.
    pub verdict: CheckVerdict,
    /// What it compared.
    #[serde(flatten)]
    pub finding: Finding,
    /// For a predicted register: what, other than the predicting code, confirmed such predictions.
    #[serde(skip)]
    pub cross_check: Option<String>,
}

/// What the evidence says about its guest and platform; `None` where it does not say. Digests in
/// lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)] // the names are those of the registers and fields
pub struct Facts {
    pub mrtd: Option<String>,
    pub rtmr0: Option<String>,
    pub rtmr1: Option<String>,
    pub rtmr2: Option<String>,
    pub rtmr3: Option<String>,
    pub mrconfigid: Option<String>,
    pub report_data: Option<String>,
    pub td_attributes: Option<String>,
    pub xfam: Option<String>,
    pub mrseam: Option<String>,
    pub tee_tcb_svn: Option<String>,
    pub app_id: Option<String>,
    /// Empty for an app without instance ids.
    pub instance_id: Option<String>,
    pub compose_hash: Option<String>,
    /// The payload of the event `key-provider`.
    pub key_provider: Option<String>,
    /// The hash that a KMS verified, if one did.
    pub os_image_hash: Option<String>,
    pub tcb_status: Option<String>,
    /// Oldest date of the TCB levels of platform, TDX module and QE, RFC 3339.
    pub tcb_date: Option<String>,
    pub tcb_evaluation_number: Option<u32>,
    pub advisory_ids: Option<Vec<String>>,
    pub fmspc: Option<String>,
    /// Platform provisioning id, from the PCK certificate.
    pub ppid: Option<String>,
    /// Platform instance id, from the PCK certificate of a platform CA.
    pub platform_instance_id: Option<String>,
    /// Registers whose prediction has a cross_check besides the predicting code, and which.
    pub cross_checks: BTreeMap<CheckName, String>,
    /// What the verdict does not mean; a person must see these lines.
    pub notices: Vec<&'static str>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    /// What all rows come to.
    pub verdict: Verdict,
    /// Whose signature the evidence was judged against.
    pub trust_anchor: AnchorName,
    /// Rows in the order of [`CheckName::ALL`].
    pub checks: Vec<Check>,
    /// What the evidence says.
    pub facts: Facts,
    /// The fact, where every check passes.
    #[serde(skip)]
    pub(crate) verified: Option<Box<VerifiedEvidence>>,
}

impl Appraisal {
    /// The row of a check, if there is one.
    pub fn check(&self, name: CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The evidence as a fact, if every check passes; else the first refusal.
    pub fn into_verified(self) -> Result<VerifiedEvidence, Refusal> {
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(*self
                .verified
                .expect("every check passes only if quote, log, facts and image could be read")),
        }
    }

    /// Why the evidence is not accepted: the first check that failed, else the first that was
    /// skipped.
    pub fn refusal(&self) -> Option<Refusal> {
        let first = |verdict| self.checks.iter().find(move |check| check.verdict == verdict);
        let failed =
            first(CheckVerdict::Fail).map(|check| Refusal::of(check.name, check.finding.clone()));
        let skipped = || {
            first(CheckVerdict::Skipped).map(|check| Refusal::NotJudged {
                check: check.name,
                why: check.finding.hint.clone(),
            })
        };
        failed.or_else(skipped)
    }
}
