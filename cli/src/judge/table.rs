//! A report as a person reads it: what it cannot prove first, then a row a check, then what to do.

use attestation::{AnchorName, Check, CheckVerdict, Report, Verdict};
use protocol::foreign::Format;

use super::Judged;
use crate::output::columns;
use crate::printable::line;

/// Longest cell; digests are cut, `--json` has them whole.
const MAX_CELL: usize = 24;

/// The table, with a final line for the verdict.
pub fn table(judged: &Judged) -> String {
    let report = &judged.report;
    let mut notices: String =
        report.facts.notices.iter().map(|notice| format!("{notice}\n")).collect();
    if judged.gathered.converted.format != Format::Dstyx {
        notices.push_str(&format!("evidence read as {}\n", line(&judged.gathered.described())));
    }
    let header = ["CHECK", "VERDICT", "EXPECTED", "FOUND", "WITNESS"].map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(header).chain(report.checks.iter().map(row)).collect();
    format!("{notices}\n{}\n{}{}\n", columns(&rows), hints(report), summary(report))
}

fn row(check: &Check) -> Vec<String> {
    let verdict = match check.verdict {
        CheckVerdict::Pass => "pass",
        CheckVerdict::Fail => "FAIL",
        CheckVerdict::Skipped => "skipped",
    };
    let witness = if check.witness.is_some() { "yes" } else { "" };
    let finding = &check.finding;
    vec![
        check.name.name().to_owned(),
        verdict.to_owned(),
        cut(&finding.expected),
        cut(&finding.found),
        witness.to_owned(),
    ]
}

/// Why each row that failed did, in words; then why rows were skipped, each reason once.
fn hints(report: &Report) -> String {
    let failed = report.checks.iter().filter(|check| check.verdict == CheckVerdict::Fail);
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
    let skipped = skipped(report).into_iter();
    let skipped =
        skipped.map(|(why, names)| format!("skipped: {}\n  {}\n", names.join(", "), line(why)));
    failed.chain(skipped).collect()
}

/// Reasons for which checks were skipped, each with their names, in the judgement's order.
pub fn skipped(report: &Report) -> Vec<(&str, Vec<&'static str>)> {
    let mut reasons: Vec<(&str, Vec<&'static str>)> = Vec::new();
    for check in report.checks.iter().filter(|check| check.verdict == CheckVerdict::Skipped) {
        match reasons.iter_mut().find(|(why, _)| *why == check.finding.hint) {
            Some((_, names)) => names.push(check.name.name()),
            None => reasons.push((&check.finding.hint, vec![check.name.name()])),
        }
    }
    reasons
}

fn summary(report: &Report) -> String {
    let count = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    let word = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Incomplete => "incomplete",
    };
    format!(
        "verdict: {word} ({} passed, {} failed, {} skipped; trust anchor: {})",
        count(CheckVerdict::Pass),
        count(CheckVerdict::Fail),
        count(CheckVerdict::Skipped),
        match report.trust_anchor {
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
