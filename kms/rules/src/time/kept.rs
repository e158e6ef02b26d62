//! The time that a process keeps between two agreements of its servers.

use protocol::rule::unless;

use super::{Agreement, Reading};

/// How old an agreement may become: servers that are away for a night stop nothing, and no older
/// one is called verified.
pub const MAX_AGE_MS: u64 = 24 * 3600 * 1000;
/// How far the machine's count may drift: NTP's limit for any clock that works, in parts of a
/// million.
const MAX_DRIFT_PPM: u64 = 500;
/// How far a later agreement may be from what is kept, besides bounds and drift: a leap second.
const MAX_STEP_MS: i64 = 1_000;

/// Why what servers agree on is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepRefused {
    /// a time before collateral that was judged
    #[error("the servers say {found_secs}, and collateral of {newest_secs} was judged")]
    BeforeCollateral {
        /// The latest moment that they allow, in seconds since 1970.
        found_secs: i64,
        /// When Intel issued the newest collateral.
        newest_secs: u64,
    },
    /// a jump
    #[error("the servers say {step_ms} ms more than is kept, at most {allowed_ms} are believed")]
    Step {
        /// The difference.
        step_ms: i64,
        /// The bounds of both, drift, and a leap second.
        allowed_ms: i64,
    },
}

/// The last agreement that was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    last: Option<(Agreement, u64)>,
}

impl Kept {
    /// Takes what servers agreed on when the count was `count_ms`; `newest_secs` is when the newest
    /// collateral that was judged was issued.
    ///
    /// # Errors
    /// If it is before that, or jumps from what is kept; what is kept stays.
    pub fn take(
        &mut self,
        agreed: Agreement,
        count_ms: u64,
        newest_secs: u64,
    ) -> Result<(), StepRefused> {
        let latest_ms = agreed.offset_ms + count_ms.cast_signed() + agreed.bound_ms;
        let found_secs = latest_ms.div_euclid(1000);
        let reached = u64::try_from(found_secs).is_ok_and(|found| found >= newest_secs);
        unless(reached, || StepRefused::BeforeCollateral { found_secs, newest_secs })?;
        if let Some((last, at_ms)) = self.last {
            let step_ms = agreed.offset_ms - last.offset_ms;
            let allowed_ms =
                bound_ms(&last, count_ms.saturating_sub(at_ms)) + agreed.bound_ms + MAX_STEP_MS;
            unless(step_ms.abs() <= allowed_ms, || StepRefused::Step { step_ms, allowed_ms })?;
        }
        self.last = Some((agreed, count_ms));
        Ok(())
    }

    /// The time when the count is `count_ms`; none before the first agreement, or when the last one
    /// is too old.
    pub fn at(&self, count_ms: u64) -> Option<Reading> {
        let (agreed, at_ms) = self.last.as_ref()?;
        let age_ms = count_ms.saturating_sub(*at_ms);
        if age_ms > MAX_AGE_MS {
            return None;
        }
        let time_ms = u64::try_from(agreed.offset_ms + count_ms.cast_signed()).ok()?;
        let bound_ms = bound_ms(agreed, age_ms).cast_unsigned();
        let Agreement { agreeing, named, .. } = *agreed;
        Some(Reading::Servers { time_ms, bound_ms, agreeing, named })
    }
}

fn bound_ms(agreed: &Agreement, age_ms: u64) -> i64 {
    let drift_ms = age_ms.saturating_mul(MAX_DRIFT_PPM) / 1_000_000 + 1;
    agreed.bound_ms.saturating_add(i64::try_from(drift_ms).unwrap_or(i64::MAX / 2))
}
