//! An appraisal as a person reads it: what it cannot prove first, then a row a check, then what to
//! do.

use attestation::{AnchorName, Appraisal, Check, CheckVerdict, Verdict};
use protocol::foreign::Format;

use super::Judged;
use crate::output::columns;
use crate::printable::line;

/// Longest cell; digests are cut, `--json` has them whole.
const MAX_CELL: usize = 24;

/// The table, with a final line for the verdict.
pub fn table(judged: &Judged) -> String {
    let appraisal = &judged.appraisal;
    let mut notices: String =
        appraisal.facts.notices.iter().map(|notice| format!("{notice}\n")).collect();
    if judged.gathered.converted.format != Format::Dstyx {
        notices.push_str(&format!("evidence read as {}\n", line(&judged.gathered.described())));
    }
    let header =
        ["CHECK", "VERDICT", "EXPECTED", "FOUND", "CROSS-CHECK"].map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(header).chain(appraisal.checks.iter().map(row)).collect();
    format!("{notices}\n{}\n{}{}\n", columns(&rows), hints(appraisal), summary(appraisal))
}

fn row(check: &Check) -> Vec<String> {
    let verdict = match check.verdict {
        CheckVerdict::Pass => "pass",
        CheckVerdict::Fail => "FAIL",
        CheckVerdict::Skipped => "skipped",
    };
    let cross_check = if check.cross_check.is_some() { "yes" } else { "" };
    let finding = &check.finding;
    vec![
        check.name.name().to_owned(),
        verdict.to_owned(),
        cut(&finding.expected),
        cut(&finding.found),
        cross_check.to_owned(),
    ]
}

/// Why each row that failed did, in words; then why rows were skipped, each reason once.
fn hints(appraisal: &Appraisal) -> String {
    let failed = appraisal.checks.iter().filter(|check| check.verdict == CheckVerdict::Fail);
    let failed = failed.map(|check| {
        format!(
            "{}: {}\n  expected {}\n  found    {}\n  {}\n",
            check.name.name(),
            check.name.refusal(),
            line(&check.finding.expected),
            line(&check.finding.found),
            line(&check.finding.hint)
        )
    });
    let skipped = skipped(appraisal).into_iter();
    let skipped =
        skipped.map(|(why, names)| format!("skipped: {}\n  {}\n", names.join(", "), line(why)));
    failed.chain(skipped).collect()
}

/// Reasons for which checks were skipped, each with their names, in the judgement's order.
pub fn skipped(appraisal: &Appraisal) -> Vec<(&str, Vec<&'static str>)> {
    let mut reasons: Vec<(&str, Vec<&'static str>)> = Vec::new();
    for check in appraisal.checks.iter().filter(|check| check.verdict == CheckVerdict::Skipped) {
        match reasons.iter_mut().find(|(why, _)| *why == check.finding.hint) {
            Some((_, names)) => names.push(check.name.name()),
            None => reasons.push((&check.finding.hint, vec![check.name.name()])),
        }
    }
    reasons
}

fn summary(appraisal: &Appraisal) -> String {
    let count = |verdict| appraisal.checks.iter().filter(|check| check.verdict == verdict).count();
    let word = match appraisal.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Incomplete => "incomplete",
    };
    format!(
        "verdict: {word} ({} passed, {} failed, {} skipped; trust anchor: {})",
        count(CheckVerdict::Pass),
        count(CheckVerdict::Fail),
        count(CheckVerdict::Skipped),
        match appraisal.trust_anchor {
            AnchorName::Intel => "intel",
            AnchorName::Emulated => "emulated",
        },
    )
}

fn cut(text: &str) -> String {
    let text = line(text);
    if text.chars().count() <= MAX_CELL {
        return text;
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
}
