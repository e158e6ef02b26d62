//! Intel's rules as a whole, by dcap-qvl, and what follows from its result: TCB status and the policy's platform rules.
//!
//! The checks before this one name the broken link; dcap-qvl has the last word. It returns a TCB status
//! without refusing it, so the refusal is made here.

use dcap_qvl::intel::PckExtension;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy, TcbInfo, TcbStatus};
use protocol::quote::TdReport;

use super::collateral::{self, ReadCollateral};
use super::pck::Platform;
use super::{Inputs, attributes};
use crate::collateral::Collateral;
use crate::ledger::Ledger;
use crate::policy::{AcceptedTcb, PlatformRules};
use crate::refusal::{CheckName, Finding};
use crate::time::rfc3339;

/// What to do about a TCB that is not accepted.
const UPDATE: &str =
    "update the platform's firmware and TDX module, or accept status and advisories by name and until a date";

/// Checks whose failure dcap-qvl would only repeat.
fn repeated() -> Vec<CheckName> {
    let quote = CheckName::ALL.iter().copied().filter(|name| *name < CheckName::CollateralFormat);
    quote.chain(collateral::ROWS).chain(attributes::ROWS).chain([CheckName::TcbStatus]).collect()
}

/// Runs dcap-qvl over quote and collateral; its claims if it accepts.
///
/// `hopeless` is what [`no_status`] found: a platform for which dcap-qvl has no status, only an error.
pub(crate) fn judge(
    ledger: &mut Ledger,
    inputs: Inputs<'_>,
    collateral: &Collateral,
    hopeless: Option<String>,
) -> Option<QuoteClaims> {
    let verifier = QuoteVerifier::new(inputs.policy.anchor.certificate().to_vec());
    // Only the facts are asked for: which of them are accepted is decided below.
    let facts_only = QuotePolicy::claims_only(inputs.now);
    let result = verifier.verify_with_policy(&inputs.evidence.quote, &collateral.inner, inputs.now, &facts_only);
    const EXPECTED: &str = "accepted by dcap-qvl";
    let error = match result {
        Ok(claims) => {
            ledger.pass(CheckName::QuoteVerification, EXPECTED, "accepted");
            return Some(claims);
        }
        Err(error) => format!("{error:#}"),
    };
    match hopeless {
        Some(found) => ledger.fail(CheckName::TcbStatus, "UpToDate", found, UPDATE),
        None => ledger
            .skip(&[CheckName::TcbStatus], "the TCB is evaluated by dcap-qvl, which refused (see quote-verification)"),
    }
    let already = ledger.failed(&repeated());
    if already.is_empty() {
        let hint = "two implementations of Intel's rules disagree: report this with quote and collateral";
        ledger.fail(CheckName::QuoteVerification, EXPECTED, error, hint);
    } else {
        let why = format!("dcap-qvl refuses too ({error}), as did: {}", already.join(", "));
        ledger.skip(&[CheckName::QuoteVerification], why);
    }
    None
}

/// Why a platform has no TCB status at all: it is below every level that Intel lists, or its level is revoked.
pub(crate) fn no_status(tcb_info: &TcbInfo, pck: &PckExtension, report: &TdReport) -> Option<String> {
    let current = report.td15.map(|fields| fields.tee_tcb_svn2);
    [Some(report.tee_tcb_svn), current].into_iter().flatten().find_map(|svn| {
        let levels = tcb_info.tcb_levels.iter();
        let shortfalls =
            levels.map(|level| Some((level, level.shortfalls(&pck.cpu_svn, pck.pce_svn, Some(&svn)).ok()?)));
        let shortfalls: Vec<_> = shortfalls.collect::<Option<_>>()?;
        match shortfalls.iter().find(|(_, missing)| missing.is_empty()) {
            Some((level, _)) => (level.tcb_status == TcbStatus::Revoked).then(|| "Revoked".to_owned()),
            None => shortfalls.iter().min_by_key(|(_, missing)| missing.len()).map(|(level, missing)| {
                let missing = missing
                    .iter()
                    .map(|short| format!("{:?} is {}, needs {}", short.component, short.have, short.needs));
                let missing = missing.collect::<Vec<_>>().join("; ");
                format!("below every TCB level of the TCB info; to that of {}: {missing}", level.tcb_date)
            }),
        }
        .or_else(|| module_without_level(tcb_info, &svn))
    })
}

fn module_without_level(tcb_info: &TcbInfo, svn: &[u8; 16]) -> Option<String> {
    let module = tcb_info.tdx_module_identity(svn).ok()??;
    let level = module.tcb_levels.iter().find(|level| level.shortfall(svn).is_none());
    match level.map(|level| level.tcb_status) {
        None => Some(format!("TDX module {} is below every level: its SVN is {}", module.id, svn[0])),
        Some(TcbStatus::Revoked) => Some(format!("TDX module {}: Revoked", module.id)),
        Some(_) => None,
    }
}

/// Judges the TCB status: up to date, or accepted by name, for every advisory, until a date.
pub(crate) fn judge_status(ledger: &mut Ledger, claims: &QuoteClaims, rules: &PlatformRules, now: u64) {
    let (status, advisories) = (claims.tcb.status, &claims.tcb.advisory_ids);
    let excused = |rule: &AcceptedTcb| {
        rule.status == status
            && status != TcbStatus::Revoked
            && now <= rule.until_secs
            && advisories.iter().all(|id| rule.advisory_ids.contains(id))
    };
    let accepted = status == TcbStatus::UpToDate || rules.accepted_tcb.iter().any(excused);
    let found =
        if advisories.is_empty() { status.to_string() } else { format!("{status} ({})", advisories.join(", ")) };
    let mut expected = vec!["UpToDate".to_owned()];
    expected.extend(rules.accepted_tcb.iter().map(|rule| {
        format!("{} until {} with no advisory but {:?}", rule.status, rfc3339(rule.until_secs), rule.advisory_ids)
    }));
    let hint =
        "update the platform's firmware and TDX module, or accept status and advisories by name and until a date";
    ledger.judge(CheckName::TcbStatus, accepted, Finding::new(expected.join(", or "), found, hint));
}

/// Judges the optional rules about the TCB; each gives a row only where the policy has it.
pub(crate) fn judge_age(
    ledger: &mut Ledger,
    inputs: Inputs<'_>,
    read: Option<&ReadCollateral<'_>>,
    claims: Option<&QuoteClaims>,
) {
    let rules = &inputs.policy.platform;
    const WHY: &str = "there is no collateral that passed";
    if let Some(minimum) = rules.minimum_tcb_date_secs {
        match claims.map(|claims| claims.platform.tcb_date_tag) {
            Some(date) => {
                let finding =
                    Finding::new(format!("{} or later", rfc3339(minimum)), rfc3339(date), "update the platform");
                ledger.judge(CheckName::MinimumTcbDate, date >= minimum, finding);
            }
            None => ledger.skip(&[CheckName::MinimumTcbDate], WHY),
        }
    }
    if let Some(minimum) = rules.minimum_evaluation_number {
        match claims.map(|claims| claims.tcb.eval_data_number) {
            Some(number) => {
                let finding = Finding::new(format!("{minimum} or more"), number, "fetch newer collateral");
                ledger.judge(CheckName::EvaluationNumber, number >= minimum, finding);
            }
            None => ledger.skip(&[CheckName::EvaluationNumber], WHY),
        }
    }
    if let Some(maximum) = rules.maximum_collateral_age_secs {
        match read.map(|read| inputs.now.saturating_sub(collateral::issued(read))) {
            Some(age) => {
                let finding =
                    Finding::new(format!("{maximum} s or less"), format!("{age} s"), "fetch newer collateral");
                ledger.judge(CheckName::CollateralAge, age <= maximum, finding);
            }
            None => ledger.skip(&[CheckName::CollateralAge], WHY),
        }
    }
}

/// Judges the lists of platforms; each gives a row only where the policy has it.
pub(crate) fn judge_platform(ledger: &mut Ledger, rules: &PlatformRules, platform: Option<&Platform>) {
    const WHY: &str = "the PCK certificate cannot be read";
    if let Some(list) = &rules.fmspcs {
        match platform {
            Some(platform) => {
                let listed = list.contains(&platform.extension.fmspc);
                let expected = one_of(list.iter().map(hex::encode));
                let found = hex::encode(platform.extension.fmspc);
                ledger.judge(
                    CheckName::Fmspc,
                    listed,
                    Finding::new(expected, found, "a kind of CPU that is not on the list"),
                );
            }
            None => ledger.skip(&[CheckName::Fmspc], WHY),
        }
    }
    if let Some(list) = &rules.platform_ids {
        match platform {
            Some(platform) => {
                let ids = [Some(&platform.extension.ppid), platform.extension.platform_instance_id.as_ref()];
                let ids: Vec<_> = ids.into_iter().flatten().collect();
                let listed = ids.iter().any(|id| list.iter().any(|listed| listed[..] == id[..]));
                let expected = one_of(list.iter().map(hex::encode));
                let found = ids.iter().map(hex::encode).collect::<Vec<_>>().join(", ");
                let hint =
                    "a true quote can come from any machine whose keys leaked: only listed machines are believed";
                ledger.judge(CheckName::PlatformId, listed, Finding::new(expected, found, hint));
            }
            None => ledger.skip(&[CheckName::PlatformId], WHY),
        }
    }
}

fn one_of(list: impl Iterator<Item = String>) -> String {
    let list = list.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "nothing: the list is empty and refuses everybody".to_owned() } else { list }
}
