//! What one server said, as bounds of the time.

use std::ops::RangeInclusive;

use protocol::rule::unless;

use crate::nts::Answer;

/// Longest way to a server and back that counts: within it, whoever is on the way moves the time by
/// half of it at most.
pub const MAX_ROUND_TRIP_MS: u64 = 2_000;
/// Farthest that a server may be from the clock that it has its time from; NTP's own limit.
const MAX_ROOT_DISTANCE_MS: i64 = 1_500;
/// Seconds from 1900, from which NTP counts, to 1970.
const FROM_1900_TO_1970_SECS: u64 = 2_208_988_800;
/// Seconds after which NTP's count begins anew.
const ERA_SECS: u64 = 1 << 32;
/// How far before what has passed a server's time is still read in the same era: a server that is
/// slow by years is called slow.
const ERA_SLACK_SECS: u64 = 10 * 365 * 24 * 3600;
/// What is lost by counting milliseconds.
const ROUNDING_MS: i64 = 1;

/// Why an answer bounds no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleRefused {
    /// a server that is too far away
    #[error("the answer took {0} ms, at most {MAX_ROUND_TRIP_MS} ms count")]
    RoundTrip(u64),
    /// times that cannot be
    #[error(
        "the server says that it answered after {stated_ms} ms, and the answer took {taken_ms}"
    )]
    Times {
        /// Between the server's two times.
        stated_ms: i64,
        /// Between query and answer here.
        taken_ms: u64,
    },
    /// a server that is too far from its clock
    #[error(
        "the server is up to {0} ms from its own source, at most {MAX_ROOT_DISTANCE_MS} ms count"
    )]
    RootDistance(i64),
    /// a certificate of another time
    #[error("the server says {told_secs}, when its certificate is not valid")]
    Certificate {
        /// Seconds since 1970, as it says.
        told_secs: i64,
    },
}

/// An authenticated answer, and what is known of how it came.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the server said.
    pub answer: Answer,
    /// The count when the query left.
    pub sent_ms: u64,
    /// The count when the answer came.
    pub received_ms: u64,
    /// When the certificate of the server's key exchange is valid, in seconds since 1970.
    pub certificate_secs: RangeInclusive<u64>,
    /// A time that has passed for certain, in seconds since 1970; it says which era of NTP's count
    /// it is.
    pub not_before_secs: u64,
}

/// Bounds of the time less the count, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    earliest_ms: i64,
    latest_ms: i64,
}

impl Sample {
    /// What an answer bounds.
    ///
    /// # Errors
    /// If it took too long, or says what cannot be.
    pub fn of(exchange: &Exchange) -> Result<Self, SampleRefused> {
        let Exchange { answer, sent_ms, received_ms, .. } = exchange;
        let taken_ms = received_ms.saturating_sub(*sent_ms);
        unless(taken_ms <= MAX_ROUND_TRIP_MS, || SampleRefused::RoundTrip(taken_ms))?;
        let stated_ms = millis(answer.sent.wrapping_sub(answer.received).cast_signed());
        let travelled_ms = taken_ms.cast_signed() - stated_ms;
        let times = || SampleRefused::Times { stated_ms, taken_ms };
        unless(stated_ms >= 0, times)?;
        unless(travelled_ms >= -ROUNDING_MS, times)?;
        let short_ms = |short: u32| i64::from(short) * 1000 / (1 << 16) + ROUNDING_MS;
        let root_ms = short_ms(answer.root_delay) / 2 + short_ms(answer.root_dispersion);
        unless(root_ms <= MAX_ROOT_DISTANCE_MS, || SampleRefused::RootDistance(root_ms))?;
        let left_ms = since_1970_ms(answer.sent, exchange.not_before_secs);
        let told_secs = left_ms / 1000;
        let valid = u64::try_from(told_secs).is_ok_and(|s| exchange.certificate_secs.contains(&s));
        unless(valid, || SampleRefused::Certificate { told_secs })?;
        // When it came here, at least the server's time had passed, and at most all of the way.
        let offset_ms = left_ms - received_ms.cast_signed();
        let wider = root_ms + ROUNDING_MS;
        let latest_ms = offset_ms + travelled_ms.max(0) + wider;
        Ok(Self { earliest_ms: offset_ms - wider, latest_ms })
    }

    /// The range, wider on both sides.
    pub(super) fn widened(&self, by_ms: i64) -> RangeInclusive<i64> {
        self.earliest_ms - by_ms..=self.latest_ms + by_ms
    }

    /// A sample with these bounds.
    #[cfg(test)]
    pub(super) fn between(earliest_ms: i64, latest_ms: i64) -> Self {
        Self { earliest_ms, latest_ms }
    }
}

/// Milliseconds of 2⁻³² seconds.
fn millis(fixed: i64) -> i64 {
    let ms = (i128::from(fixed) * 1000) >> 32;
    i64::try_from(ms).expect("a thousandth of 2⁶³ and more")
}

/// NTP's time in the first era in which it is not long before a time that has passed.
fn since_1970_ms(ntp: u64, not_before_secs: u64) -> i64 {
    let (secs, fraction) = (ntp >> 32, ntp & u64::from(u32::MAX));
    // Beyond what any clock says: no later sum overflows.
    let passed = not_before_secs.min(u64::MAX >> 20) + FROM_1900_TO_1970_SECS;
    let floor = passed.saturating_sub(ERA_SLACK_SECS);
    let behind = secs.wrapping_sub(floor) % ERA_SECS;
    let since_1970 = (floor + behind).saturating_sub(FROM_1900_TO_1970_SECS);
    (since_1970 * 1000 + ((fraction * 1000) >> 32)).cast_signed()
}
