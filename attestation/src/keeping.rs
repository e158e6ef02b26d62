//! Whether fetched collateral may be kept for later verdicts: it must be sound for the quote for
//! which it was fetched, and no part of it older than what is kept already.
//!
//! A service and a cache are other people's bytes. One that is down or lies can make a verdict
//! incomplete, never better.

use protocol::evidence::Evidence;

use crate::anchor::TrustAnchor;
use crate::appraisal::CheckVerdict;
use crate::collateral::Collateral;
use crate::judgement::judge;
use crate::policy::{ExpectedReportData, Policy};
use crate::refusal::Property;

/// A quote that needs collateral, and when.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The evidence with the quote.
    pub evidence: &'a Evidence,
    /// Whose signatures count.
    pub anchor: &'a TrustAnchor,
    /// Seconds since 1970.
    pub now_secs: u64,
}

/// Why collateral is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// collateral that a check refuses for this quote
    #[error("not believed for this quote: {0}")]
    Unsound(String),
    /// collateral with a part that is older than the one that is kept
    #[error("older than what is kept already: its {0}")]
    GoesBack(&'static str),
}

impl Wanted<'_> {
    /// Why this collateral is of no use for the quote, or not to be kept because of it.
    pub fn refusal(&self, collateral: &Collateral) -> Option<String> {
        let unstated = ExpectedReportData::Unstated("only the collateral is judged".to_owned());
        let policy = Policy::strict(self.anchor.clone(), unstated);
        let appraisal = judge(self.evidence, &policy, Some(collateral), self.now_secs);
        let mut rows = appraisal.checks.iter().filter(|row| row.name.is(Property::Kept));
        let bad = rows.find(|row| row.verdict != CheckVerdict::Pass)?;
        let (expected, found) = (&bad.finding.expected, &bad.finding.found);
        Some(format!("{}: expected {expected}, found {found}", bad.name.refusal()))
    }

    /// Whether fetched collateral may take the place of what is kept, if anything is.
    ///
    /// The clock plays no part in the second question: a stated time must not bring back what was
    /// replaced.
    pub fn may_keep(&self, fetched: &Collateral, kept: Option<&Collateral>) -> Result<(), NotKept> {
        if let Some(refusal) = self.refusal(fetched) {
            return Err(NotKept::Unsound(refusal));
        }
        match kept.and_then(|kept| goes_back(kept, fetched)) {
            Some(part) => Err(NotKept::GoesBack(part)),
            None => Ok(()),
        }
    }
}

/// A part that is older than the one kept, if any is: each is signed by itself, so a service can
/// mix old and new. What is kept and cannot be read is as good as nothing.
fn goes_back(kept: &Collateral, fetched: &Collateral) -> Option<&'static str> {
    let (kept, fetched) = (kept.summary().ok()?.ages(), fetched.summary().ok()?.ages());
    let older = kept.into_iter().zip(fetched).find(|((_, kept), (_, fetched))| fetched < kept);
    older.map(|((part, _), _)| part)
}
