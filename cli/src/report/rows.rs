//! The checks of a link, one below the other: what was expected, what was found, and what to think
//! of it.

use attestation::{Check, CheckName, CheckVerdict};
use maud::{Markup, html};

use super::chain::Link;
use super::text::{self, sentence};

/// All rows; where some do not pass, those that do are folded away.
pub fn rows(link: &Link<'_>) -> Markup {
    let passes = |check: &&Check| check.verdict == CheckVerdict::Pass;
    let (passed, others): (Vec<&Check>, Vec<&Check>) = link.rows.iter().copied().partition(passes);
    html! {
        @for check in &others { (row(check)) }
        @if others.is_empty() || passed.is_empty() {
            @for check in &passed { (row(check)) }
        } @else {
            details.passed {
                summary { (passed.len()) " that pass" }
                @for check in &passed { (row(check)) }
            }
        }
    }
}

fn row(check: &Check) -> Markup {
    let (class, word) = match check.verdict {
        CheckVerdict::Pass => ("holds", "pass"),
        CheckVerdict::Fail => ("broken", "fail"),
        CheckVerdict::Skipped => ("open", "not checked"),
    };
    let finding = &check.finding;
    let same = finding.expected == finding.found;
    html! {
        section.check.(class) {
            h4 { code { (check.name.name()) } span.state { (word) } }
            @if check.verdict == CheckVerdict::Fail { p { (sentence(check.name.refusal())) } }
            dl {
                @if same && !finding.expected.is_empty() {
                    div { dt { "expected, and found" } dd { code { (text::line(&finding.expected)) } } }
                } @else {
                    @if !finding.expected.is_empty() { div { dt { "expected" } dd { code { (text::line(&finding.expected)) } } } }
                    @if !finding.found.is_empty() { div { dt { "found" } dd { code { (text::line(&finding.found)) } } } }
                }
                @if let Some(label) = hint_label(check) { div { dt { (label) } dd { (text::line(&finding.hint)) } } }
                @if let Some(cross_check) = &check.cross_check { div { dt { "also computed by" } dd { (text::line(cross_check)) } } }
            }
        }
    }
}

/// What a row's hint is for. On a row that passes most say what a failure would mean, which nobody
/// wants to read there.
fn hint_label(check: &Check) -> Option<&'static str> {
    let label = match (check.verdict, check.name) {
        (CheckVerdict::Fail, _) => "what it means",
        (CheckVerdict::Skipped, _) => "why not",
        (
            CheckVerdict::Pass,
            CheckName::Mrtd | CheckName::Rtmr0 | CheckName::Rtmr1 | CheckName::Rtmr2,
        ) => "computed for",
        (CheckVerdict::Pass, CheckName::ReportData) => "note",
        (CheckVerdict::Pass, _) => return None,
    };
    Some(label).filter(|_| !check.finding.hint.is_empty())
}
