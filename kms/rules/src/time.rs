//! What time it is: what several servers say, of whom fewer than half may lie, and what is made of
//! it over time.
//!
//! No clock is set or read. Milliseconds that a process counted since its start are passed in; what
//! is kept is the difference between them and the time. Whoever sets the machine's clock, or holds
//! back the servers' answers, changes none of it.

mod kept;
mod sample;

use protocol::kms::{GetTimeResponse, TimeSource};
use protocol::rule::unless;

use crate::state::State;

pub use kept::{Kept, MAX_AGE_MS, StepRefused};
pub use sample::{Exchange, MAX_ROUND_TRIP_MS, Sample, SampleRefused};

/// How far two servers that are right may differ besides what they state: half a smeared leap
/// second each.
const SLACK_MS: i64 = 500;

/// Why servers gave no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// too few answers
    #[error("{answered} of {named} time servers answered, {needed} are needed")]
    Few {
        /// Servers that answered.
        answered: usize,
        /// Servers that are named.
        named: usize,
        /// A majority of them.
        needed: usize,
    },
    /// answers that contradict each other
    #[error("at most {agreeing} of {named} time servers agree, {needed} are needed")]
    Disagree {
        /// Most servers that agree.
        agreeing: usize,
        /// Servers that are named.
        named: usize,
        /// A majority of them.
        needed: usize,
    },
}

/// What a majority of the named servers agrees on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The time less the count, in milliseconds.
    offset_ms: i64,
    /// How far the true one may be from it while a majority is right.
    bound_ms: i64,
    agreeing: usize,
    named: usize,
}

/// The time at one moment, and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The machine's clock, which its host sets.
    Machine {
        /// Milliseconds since 1970.
        time_ms: u64,
    },
    /// A majority of the named servers.
    Servers {
        /// Milliseconds since 1970.
        time_ms: u64,
        /// How far the true time may be from it.
        bound_ms: u64,
        /// Servers that agreed.
        agreeing: usize,
        /// Servers that are named.
        named: usize,
    },
}

impl Reading {
    /// Seconds since 1970.
    pub fn secs(&self) -> u64 {
        match self {
            Self::Machine { time_ms } | Self::Servers { time_ms, .. } => time_ms / 1000,
        }
    }
}

/// What `named` servers agree on. Each sample is of a server of its own; a majority is counted of
/// all that are named, whether they answer or not.
///
/// The bounds are the earliest and the latest moment on which a majority agrees: while a majority
/// is right, the true time is between them.
///
/// # Errors
/// If no moment has a majority.
pub fn agree(samples: &[Sample], named: usize) -> Result<Agreement, NoTime> {
    let (answered, needed) = (samples.len(), named / 2 + 1);
    unless((needed..=named).contains(&answered), || NoTime::Few { answered, named, needed })?;
    let holders = |moment: i64| {
        samples.iter().filter(|sample| sample.widened(SLACK_MS).contains(&moment)).count()
    };
    // The number of holders changes only at ends, which are in their own ranges.
    let ends = samples.iter().flat_map(|sample| {
        let range = sample.widened(SLACK_MS);
        [*range.start(), *range.end()]
    });
    let held: Vec<(i64, usize)> = ends.map(|end| (end, holders(end))).collect();
    let agreed = || held.iter().filter(|(_, holders)| *holders >= needed).map(|(end, _)| *end);
    let agreeing = held.iter().map(|(_, holders)| *holders).max().unwrap_or_default();
    let (Some(earliest), Some(latest)) = (agreed().min(), agreed().max()) else {
        return Err(NoTime::Disagree { agreeing, named, needed });
    };
    // Half up, so that the bound covers both ends.
    let bound_ms = (latest - earliest + 1) / 2;
    Ok(Agreement { offset_ms: earliest + bound_ms, bound_ms, agreeing, named })
}

/// What a guest is told: the reading, but never less than the ledger knows.
pub fn told(state: &State, reading: &Reading) -> GetTimeResponse {
    let floor_ms = state.now(0).saturating_mul(1000);
    let of = |time_ms, source: TimeSource| GetTimeResponse {
        time_ms,
        rests_on: source.name().to_owned(),
        ..GetTimeResponse::default()
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match *reading {
        Reading::Machine { time_ms } | Reading::Servers { time_ms, .. } if time_ms < floor_ms => {
            of(floor_ms, TimeSource::Ledger)
        }
        Reading::Machine { time_ms } => of(time_ms, TimeSource::Machine),
        Reading::Servers { time_ms, bound_ms, agreeing, named } => GetTimeResponse {
            bound_ms: Some(bound_ms),
            agreeing: count(agreeing),
            named: count(named),
            ..of(time_ms, TimeSource::Servers)
        },
    }
}

#[cfg(test)]
mod tests;
