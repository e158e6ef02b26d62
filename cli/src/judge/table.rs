//! A report as a person reads it: what it cannot prove first, then a row a check, then what to do.

use attestation::{AnchorName, Check, CheckVerdict, Report, Verdict};

use crate::output::columns;

/// Longest cell; digests are cut, `--json` has them whole.
const MAX_CELL: usize = 24;

/// The table, with a final line for the verdict.
pub fn table(report: &Report) -> String {
    let notices: String = report.facts.notices.iter().map(|notice| format!("{notice}\n")).collect();
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

/// Why each row that is not `pass` is not, in words.
fn hints(report: &Report) -> String {
    let open = report.checks.iter().filter(|check| check.verdict != CheckVerdict::Pass);
    open.map(|check| match check.verdict {
        CheckVerdict::Fail => format!(
            "{}: {}\n  expected {}\n  found    {}\n  {}\n",
            check.name.name(),
            check.name.refusal(),
            check.finding.expected,
            check.finding.found,
            check.finding.hint
        ),
        _ => format!("{}: skipped: {}\n", check.name.name(), check.finding.hint),
    })
    .collect()
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
    if text.chars().count() <= MAX_CELL {
        return text.to_owned();
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
}
