//! The page's markup. Texts are escaped by the template; styles are allowed by their hash, and
//! nothing else is.

use attestation::{AnchorName, Appraisal, CheckVerdict, EMULATED, Verdict};
use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use protocol::digest::Sha256Digest;

use super::chain::{self, Link, State};
use super::text::{self, sentence};
use super::{app, rows};
use crate::judge::{self, Judged};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn page(judged: &Judged) -> String {
    let appraisal = &judged.appraisal;
    let links = chain::chain(appraisal);
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            (head(appraisal))
            body {
                @if appraisal.trust_anchor == AnchorName::Emulated {
                    p.emulated role="note" { (icon(State::Emulated)) strong { (EMULATED) } }
                }
                main {
                    (verdict(judged))
                    (reasons(appraisal))
                    (chain_of_trust(judged, &links))
                    (skipped(appraisal))
                    (scope(appraisal))
                    (inputs(judged))
                }
                footer {
                    p { "Written by dstyx " (env!("CARGO_PKG_VERSION")) ". This page is a record of a judgement, not evidence: \
                         whoever needs to be sure judges the same inputs again with " code { "dstyx verify" } "." }
                }
            }
        }
    };
    document.into_string()
}

fn head(appraisal: &Appraisal) -> Markup {
    let hash =
        base64::engine::general_purpose::STANDARD.encode(Sha256Digest::of(STYLE.as_bytes()).0);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            meta name="color-scheme" content="light dark";
            title { "dstyx verdict: " (word(appraisal.verdict)) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn verdict(judged: &Judged) -> Markup {
    let appraisal = &judged.appraisal;
    let count = |verdict| appraisal.checks.iter().filter(|check| check.verdict == verdict).count();
    let (passed, failed) = (count(CheckVerdict::Pass), count(CheckVerdict::Fail));
    let skipped = count(CheckVerdict::Skipped);
    let (state, headline, meaning) = match (appraisal.verdict, appraisal.trust_anchor) {
        (Verdict::Pass, AnchorName::Intel) => (
            State::Holds,
            "Every check passes",
            "A genuine TDX guest with exactly this firmware, system and app made this quote.",
        ),
        (Verdict::Pass, AnchorName::Emulated) => (
            State::Emulated,
            "Every check passes, under emulation",
            "Firmware, system and app are as stated, in a machine whose signature anybody can make.",
        ),
        (Verdict::Fail, _) => (
            State::Broken,
            "Refused",
            "At least one check fails. Do not trust this guest with anything.",
        ),
        (Verdict::Incomplete, _) => (
            State::Open,
            "Not decided",
            "Nothing fails, but not everything could be checked. Do not rely on what was left open.",
        ),
    };
    html! {
        header.verdict.(state.class()) {
            p.word { (icon(state)) span { "verdict: " b { (word(appraisal.verdict)) } } }
            h1 { (headline) }
            p.meaning { (meaning) }
            ul.counts {
                li { b { (passed) } " passed" }
                li { b { (failed) } " failed" }
                li { b { (skipped) } " not checked" }
            }
            dl.about {
                div { dt { "Judged at" } dd { time { (text::time(judged.now_secs)) } } }
                div { dt { "Evidence" } dd { (judged.gathered.described()) } }
                div { dt { "Trust anchor" } dd { (anchor(appraisal.trust_anchor)) } }
            }
        }
    }
}

/// Why it is refused: each failed check in words, first.
fn reasons(appraisal: &Appraisal) -> Markup {
    let failed: Vec<_> =
        appraisal.checks.iter().filter(|check| check.verdict == CheckVerdict::Fail).collect();
    html! {
        @if !failed.is_empty() {
            section aria-labelledby="why" {
                h2 id="why" { "Why" }
                ul.reasons {
                    @for check in failed {
                        li {
                            p { b { (sentence(check.name.refusal())) } }
                            @if !check.finding.hint.is_empty() { p { (sentence(&text::line(&check.finding.hint))) } }
                            dl {
                                div { dt { "expected" } dd { code { (text::line(&check.finding.expected)) } } }
                                div { dt { "found" } dd { code { (text::line(&check.finding.found)) } } }
                                div { dt { "check" } dd { code { (check.name.name()) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn chain_of_trust(judged: &Judged, links: &[Link<'_>]) -> Markup {
    let broken = links.iter().any(|link| !link.supported);
    html! {
        section aria-labelledby="chain" {
            h2 id="chain" { "Chain of trust" }
            p.dim { "From the hardware to the containers. Each link hangs on the one above it; open one to see what was expected, \
                     what was found, and where both come from." }
            @if broken {
                p.dim { "A dashed line: something above is broken, open or emulated. From there on the page shows what the evidence \
                         says, not what is proved." }
            }
            ol.chain {
                @for link in links { (one_link(judged, link)) }
            }
        }
    }
}

fn one_link(judged: &Judged, link: &Link<'_>) -> Markup {
    let passed = link.rows.iter().filter(|check| check.verdict == CheckVerdict::Pass).count();
    html! {
        li.(link.state.class()).unsupported[!link.supported] {
            (icon(link.state))
            details open[link.state == State::Broken] {
                summary {
                    h3 { (link.place.title) }
                    span.state { (link.state.word()) @if passed < link.rows.len() { ": " (passed) " of " (link.rows.len()) " pass" } }
                    span.meaning { (link.place.meaning) }
                }
                dl.sources {
                    div { dt { "Expected comes from" } dd { (link.place.expected_from) } }
                    div { dt { "Found in" } dd { (link.place.found_in) } }
                    @for (name, value) in &link.says {
                        div { dt { (name) } dd { code { (text::line(value)) } } }
                    }
                }
                (rows::rows(link))
                @if link.place.link == attestation::Link::Events { (app::events(judged)) }
                @if link.place.link == attestation::Link::App { (app::compose_file(judged)) }
            }
        }
    }
}

/// Checks that were not made, by their reason.
fn skipped(appraisal: &Appraisal) -> Markup {
    let reasons = judge::skipped(appraisal);
    html! {
        @if !reasons.is_empty() {
            section aria-labelledby="open" {
                h2 id="open" { "Not checked, and why" }
                ul.reasons {
                    @for (why, names) in reasons {
                        li {
                            p { (sentence(&text::line(why))) }
                            p.dim { @for name in names { code { (name) } " " } }
                        }
                    }
                }
            }
        }
    }
}

fn scope(appraisal: &Appraisal) -> Markup {
    html! {
        section aria-labelledby="scope" {
            h2 id="scope" { "What this verdict does not say" }
            ul.plain {
                @for notice in &appraisal.facts.notices { li { (sentence(notice)) } }
                li { "Nothing about side channels of the processor, physical attacks on its memory, or whether the guest stays available." }
            }
        }
    }
}

fn inputs(judged: &Judged) -> Markup {
    html! {
        section aria-labelledby="inputs" {
            h2 id="inputs" { "What was judged" }
            p.dim { "SHA-256 of every input." }
            dl.inputs {
                @for input in &judged.inputs {
                    div {
                        dt { (input.what) " " small { (text::line(&input.from)) } }
                        dd { code { (input.sha256) } }
                    }
                }
            }
        }
    }
}

/// A sign for each state: a shape of its own, so that colour is never needed.
fn icon(state: State) -> Markup {
    let path = match state {
        State::Holds => "M5 12.5l4.5 4.5L19 7.5",
        State::Broken => "M6.5 6.5l11 11M17.5 6.5l-11 11",
        State::Open => "M6 12h12",
        State::Emulated => "M12 6.5v7M12 17v.5",
    };
    html! {
        svg.icon.(state.class()) viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" {
            circle cx="12" cy="12" r="11" {}
            path d=(path) {}
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Incomplete => "incomplete",
    }
}

fn anchor(name: AnchorName) -> &'static str {
    match name {
        AnchorName::Intel => "Intel SGX Root CA",
        AnchorName::Emulated => "an emulator's, whose key is published",
    }
}
