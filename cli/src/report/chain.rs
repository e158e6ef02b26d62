//! The chain of one verdict: each link with its rows, what they come to, and whether what it hangs
//! on holds.

use attestation::{AnchorName, Appraisal, Check, CheckVerdict};

use super::links::{CHAIN, Place};
use super::shown::Shown;

/// What a link came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All its checks hold.
    Holds,
    /// They hold, but it is the emulator's root.
    Emulated,
    /// One of them fails.
    Broken,
    /// None fails, some could not be made.
    Open,
}

/// A link of this verdict.
#[derive(Debug)]
pub struct Link<'a> {
    /// What it is.
    pub place: &'static Place,
    /// Its checks, those that are not fine first.
    pub rows: Vec<&'a Check>,
    /// What they come to.
    pub state: State,
    /// Whether every link above it holds; else what it shows is said, not proved.
    pub supported: bool,
    /// What the evidence says here, beside the checks.
    pub says: Shown,
}

impl State {
    /// The word for it; colour is never the only sign.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Emulated => "emulated",
            Self::Broken => "broken",
            Self::Open => "open",
        }
    }

    /// Its class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Emulated => "emulated",
            Self::Broken => "broken",
            Self::Open => "open",
        }
    }
}

/// The chain, root first.
pub fn chain(appraisal: &Appraisal) -> Vec<Link<'_>> {
    let mut supported = true;
    let mut links = Vec::new();
    for place in &CHAIN {
        let rows = rows(appraisal, |check| check.name.link() == place.link);
        let mut state = state(&rows);
        if place.link == attestation::Link::Root
            && state == State::Holds
            && appraisal.trust_anchor == AnchorName::Emulated
        {
            state = State::Emulated;
        }
        links.push(Link { place, rows, state, supported, says: (place.says)(&appraisal.facts) });
        supported &= state == State::Holds;
    }
    links
}

fn rows(appraisal: &Appraisal, wanted: impl Fn(&Check) -> bool) -> Vec<&Check> {
    let mut rows: Vec<_> = appraisal.checks.iter().filter(|check| wanted(check)).collect();
    rows.sort_by_key(|check| match check.verdict {
        CheckVerdict::Fail => 0,
        CheckVerdict::Skipped => 1,
        CheckVerdict::Pass => 2,
    });
    rows
}

/// A link without a row was not checked: nothing holds by being forgotten.
fn state(rows: &[&Check]) -> State {
    let any = |verdict| rows.iter().any(|check| check.verdict == verdict);
    if any(CheckVerdict::Fail) {
        State::Broken
    } else if rows.is_empty() || any(CheckVerdict::Skipped) {
        State::Open
    } else {
        State::Holds
    }
}
