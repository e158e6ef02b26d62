//! Intel's rules as a whole, by dcap-qvl, and what follows from its result: TCB status and the
//! policy's platform rules.
//!
//! The checks before this one name the broken link; dcap-qvl has the last word. It returns a TCB
//! status without refusing it, and merged, so [the parts](levels) are judged here.

mod levels;

use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy};

pub(crate) use levels::{NoLevel, Parts};

use super::collateral::{self, ReadCollateral};
use super::pck::Platform;
use super::{Inputs, one_of};
use crate::check_rows::CheckRows;
use crate::collateral::Collateral;
use crate::ecdsa::OneJudgement;
use crate::policy::{AcceptedTcb, PlatformRules};
use crate::refusal::{CheckName, Finding, Property};
use crate::time::{parse_rfc3339, rfc3339};

/// Why advisories are not judged.
const NO_STATUS: &str = "the TCB status is not accepted, whatever its advisories";
/// What to do about a TCB that is not accepted.
const UPDATE: &str = "update the platform's firmware and TDX module, or tolerate status and advisories by name and until a date";

/// Checks whose failure dcap-qvl would only repeat.
fn repeated(name: CheckName) -> bool {
    let properties = [Property::Collateral, Property::Attribute, Property::Status];
    name < CheckName::CollateralFormat || properties.into_iter().any(|property| name.is(property))
}

/// Runs dcap-qvl over quote and collateral; its claims if it accepts.
///
/// `hopeless` says why the platform has no status: a part is below every level, or revoked;
/// dcap-qvl has an error only.
pub(crate) fn judge(
    rows: &mut CheckRows,
    inputs: Inputs<'_>,
    collateral: &Collateral,
    hopeless: Option<String>,
) -> Option<QuoteClaims> {
    let verifier =
        QuoteVerifier::<OneJudgement>::new_with_config(inputs.policy.anchor.certificate().to_vec());
    // Only the facts are asked for: which of them are accepted is decided below.
    let facts_only = QuotePolicy::claims_only(inputs.now);
    let result = verifier.verify_with_policy(
        &inputs.evidence.quote,
        &collateral.inner,
        inputs.now,
        &facts_only,
    );
    const EXPECTED: &str = "accepted by dcap-qvl";
    let error = match result {
        Ok(claims) => {
            rows.pass(CheckName::QuoteVerification, EXPECTED, "accepted");
            return Some(claims);
        }
        Err(error) => format!("{error:#}"),
    };
    match hopeless {
        Some(found) => {
            rows.fail(CheckName::TcbStatus, "UpToDate", found, UPDATE);
            rows.skip(&[CheckName::TcbAdvisories], NO_STATUS);
        }
        None => rows.skip_all(
            Property::Status,
            "the TCB is evaluated by dcap-qvl, which refused (see quote-verification)",
        ),
    }
    let already = rows.failed(repeated);
    if already.is_empty() {
        let hint =
            "two implementations of Intel's rules disagree: report this with quote and collateral";
        rows.fail(CheckName::QuoteVerification, EXPECTED, error, hint);
    } else {
        let why = format!("dcap-qvl refuses too ({error}), as did: {}", already.join(", "));
        rows.skip(&[CheckName::QuoteVerification], why);
    }
    None
}

/// Judges the status of each part of the TCB (up to date, or tolerated by name and until a date)
/// and, where one is tolerated, the advisories of all parts.
pub(crate) fn judge_status(rows: &mut CheckRows, parts: &Parts, rules: &PlatformRules, now: u64) {
    let current: Vec<_> = rules.accepted_tcb.iter().filter(|rule| now <= rule.until_secs).collect();
    let accepted =
        parts.behind().all(|part| current.iter().any(|rule| parts.tolerates(rule, part)));
    let mut expected = vec!["UpToDate".to_owned()];
    let until = |rule: &AcceptedTcb| format!("{} until {}", rule.status, rfc3339(rule.until_secs));
    expected.extend(rules.accepted_tcb.iter().map(until));
    rows.judge(CheckName::TcbStatus, accepted, Finding::new(expected.join(", or "), parts, UPDATE));
    if !accepted {
        rows.skip(&[CheckName::TcbAdvisories], NO_STATUS);
        return;
    }
    // One rule must name the advisories of all parts: a rule is a decision about one state of a
    // platform.
    let advisories = parts.advisories();
    let naming: Vec<_> = current
        .iter()
        .filter(|rule| advisories.iter().all(|id| rule.advisory_ids.contains(id)))
        .collect();
    let holds = parts.behind().all(|part| naming.iter().any(|rule| parts.tolerates(rule, part)));
    let tolerating =
        current.iter().filter(|rule| parts.behind().any(|part| parts.tolerates(rule, part)));
    let expected = match parts.up_to_date() {
        true => "any, as the TCB is up to date".to_owned(),
        false => tolerating
            .map(|rule| format!("none but {:?}", rule.advisory_ids))
            .collect::<Vec<_>>()
            .join(", or "),
    };
    let found = if advisories.is_empty() { "none".to_owned() } else { advisories.join(", ") };
    rows.judge(CheckName::TcbAdvisories, holds, Finding::new(expected, found, UPDATE));
}

/// Oldest date of the levels that the platform, its TDX module and its QE have; in seconds since
/// 1970.
pub(crate) fn tcb_date(claims: &QuoteClaims) -> u64 {
    let current = claims.platform.current_tcb_level.as_ref().map(|level| &level.tcb_date);
    let others = [Some(&claims.qe.tcb_level.tcb_date), current].into_iter().flatten();
    // A date that cannot be read is older than any minimum.
    others.map(|date| parse_rfc3339(date).unwrap_or(0)).fold(claims.platform.tcb_date_tag, u64::min)
}

/// Judges the optional rules about the TCB; each gives a row only where the policy has it.
pub(crate) fn judge_age(
    rows: &mut CheckRows,
    inputs: Inputs<'_>,
    read: Option<&ReadCollateral<'_>>,
    claims: Option<&QuoteClaims>,
) {
    let rules = &inputs.policy.platform;
    const WHY: &str = "there is no collateral that passed";
    if let Some(minimum) = rules.minimum_tcb_date_secs {
        match claims.map(tcb_date) {
            Some(date) => {
                let finding = Finding::new(
                    format!("{} or later", rfc3339(minimum)),
                    rfc3339(date),
                    "update the platform",
                );
                rows.judge(CheckName::MinimumTcbDate, date >= minimum, finding);
            }
            None => rows.skip(&[CheckName::MinimumTcbDate], WHY),
        }
    }
    if let Some(minimum) = rules.minimum_evaluation_number {
        match claims.map(|claims| claims.tcb.eval_data_number) {
            Some(number) => {
                let finding =
                    Finding::new(format!("{minimum} or more"), number, "fetch newer collateral");
                rows.judge(CheckName::EvaluationNumber, number >= minimum, finding);
            }
            None => rows.skip(&[CheckName::EvaluationNumber], WHY),
        }
    }
    if let Some(maximum) = rules.maximum_collateral_age_secs {
        match read.map(|read| inputs.now.saturating_sub(collateral::issued(read))) {
            Some(age) => {
                let finding = Finding::new(
                    format!("{maximum} s or less"),
                    format!("{age} s"),
                    "fetch newer collateral",
                );
                rows.judge(CheckName::CollateralAge, age <= maximum, finding);
            }
            None => rows.skip(&[CheckName::CollateralAge], WHY),
        }
    }
}

/// Judges the lists of platforms; each gives a row only where the policy has it.
pub(crate) fn judge_platform(
    rows: &mut CheckRows,
    rules: &PlatformRules,
    platform: Option<&Platform>,
) {
    const WHY: &str = "the PCK certificate cannot be read";
    if let Some(list) = &rules.fmspcs {
        match platform {
            Some(platform) => {
                let listed = list.contains(&platform.extension.fmspc);
                let expected = one_of(list.iter().map(hex::encode));
                let found = hex::encode(platform.extension.fmspc);
                rows.judge(
                    CheckName::Fmspc,
                    listed,
                    Finding::new(expected, found, "a kind of CPU that is not on the list"),
                );
            }
            None => rows.skip(&[CheckName::Fmspc], WHY),
        }
    }
    if let Some(list) = &rules.platform_ids {
        match platform {
            Some(platform) => {
                let ids = [
                    Some(&platform.extension.ppid),
                    platform.extension.platform_instance_id.as_ref(),
                ];
                let ids: Vec<_> = ids.into_iter().flatten().collect();
                let listed = ids.iter().any(|id| list.iter().any(|listed| listed[..] == id[..]));
                let expected = one_of(list.iter().map(hex::encode));
                let found = ids.iter().map(hex::encode).collect::<Vec<_>>().join(", ");
                let hint = "a true quote can come from any machine whose keys leaked: only listed machines are believed";
                rows.judge(CheckName::PlatformId, listed, Finding::new(expected, found, hint));
            }
            None => rows.skip(&[CheckName::PlatformId], WHY),
        }
    }
}
