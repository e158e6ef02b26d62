//! The health of one running container: when it is checked, and what the checks add up to.
//!
//! As Docker does it, but for the first moments: a check comes soon after the start and then at
//! growing distances, so that what is ready early is known to be; such an early failure never
//! counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Time;
use super::plan::Check;
use crate::app::status::HealthState;

/// From the start to the first check; doubles until the file's own distances are shorter.
pub const FIRST_CHECK: Duration = Duration::from_millis(200);

/// The checks of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    check: Check,
    /// What they say so far.
    pub state: HealthState,
    since: Time,
    /// In a row, those that count.
    failures: u32,
    /// Checks so far, up to the number that matters.
    early: u32,
    /// `None` while one is under way.
    next: Option<Time>,
}

impl Watch {
    /// For a container that starts at `now`.
    pub fn new(check: Check, now: Time) -> Self {
        let mut watch = Self {
            check,
            state: HealthState::Starting,
            since: now,
            failures: 0,
            early: 0,
            next: None,
        };
        watch.next = Some(now + watch.distance(now));
        watch
    }

    /// When the next check is due.
    pub fn due(&self) -> Option<Time> {
        self.next
    }

    /// The check that is due, if one is; it is under way from now on.
    pub fn begin(&mut self, now: Time) -> Option<Check> {
        self.next.take_if(|next| now >= *next).map(|_| self.check.clone())
    }

    /// Whether the last check failed, and that counts.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A check that an earlier agent began has no end: another one is due at once.
    pub fn resume(&mut self, now: Time) {
        self.next.get_or_insert(now);
    }

    /// Counts the result of a check; true if the state changed.
    pub fn finished(&mut self, passed: bool, now: Time) -> bool {
        let before = self.state;
        if passed {
            self.failures = 0;
            self.state = HealthState::Healthy;
        } else if before != HealthState::Starting || now >= self.since + self.forgiving() {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.check.retries {
                self.state = HealthState::Unhealthy;
            }
        }
        self.early = self.early.saturating_add(1);
        self.next = Some(now + self.distance(now));
        self.state != before
    }

    /// The time after the start in which failures do not count: before Docker's own first check
    /// nothing does.
    fn forgiving(&self) -> Duration {
        self.check.start_period.max(self.check.interval)
    }

    fn distance(&self, now: Time) -> Duration {
        if self.state != HealthState::Starting {
            return self.check.interval;
        }
        let starting = now < self.since + self.check.start_period;
        let own = if starting {
            self.check.start_interval.min(self.check.interval)
        } else {
            self.check.interval
        };
        let early = FIRST_CHECK.saturating_mul(1u32.checked_shl(self.early).unwrap_or(u32::MAX));
        own.min(early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn check(start_period: Duration) -> Check {
        Check {
            test: vec!["true".into()],
            interval: s(10),
            timeout: s(1),
            retries: 3,
            start_period,
            start_interval: s(2),
        }
    }

    /// Times and states of checks that take no time, with the result that `passes` gives for each
    /// time.
    fn run(check: Check, count: usize, passes: impl Fn(Time) -> bool) -> Vec<(u128, HealthState)> {
        let mut watch = Watch::new(check, s(100));
        let mut seen = Vec::new();
        for _ in 0..count {
            let now = watch.due().expect("one is due");
            assert!(watch.begin(now).is_some() && watch.begin(now).is_none(), "once");
            watch.finished(passes(now), now);
            seen.push(((now - s(100)).as_millis(), watch.state));
        }
        seen
    }

    use HealthState::{Healthy, Starting, Unhealthy};

    #[test]
    fn early_failures_do_not_count_and_later_ones_do() {
        let seen = run(check(s(0)), 9, |_| false);
        let early: Vec<_> = [200, 600, 1400, 3000, 6200].map(|at| (at, Starting)).into();
        assert_eq!(seen[..5], early);
        assert_eq!(
            seen[5..],
            [(12_600, Starting), (22_600, Starting), (32_600, Unhealthy), (42_600, Unhealthy)]
        );
    }

    #[test]
    fn what_is_ready_early_is_known_early_and_failures_count_from_then() {
        let seen = run(check(s(60)), 5, |now| now < s(101));
        let expected = [
            (200, Healthy),
            (10_200, Healthy),
            (20_200, Healthy),
            (30_200, Unhealthy),
            (40_200, Unhealthy),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_start_period_has_its_own_distance() {
        let seen = run(check(s(15)), 12, |_| false);
        let times: Vec<u128> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(
            times,
            [200, 600, 1400, 3000, 5000, 7000, 9000, 11_000, 13_000, 15_000, 25_000, 35_000]
        );
        assert_eq!(seen[11].1, Unhealthy, "15, 25 and 35 s count");
        assert!(seen[..11].iter().all(|(_, state)| *state == Starting));
    }

    #[test]
    fn one_success_heals() {
        let seen = run(check(s(0)), 10, |now| now >= s(140));
        assert_eq!(
            seen.iter().map(|(_, state)| *state).skip(6).collect::<Vec<_>>(),
            [Starting, Unhealthy, Healthy, Healthy]
        );
    }
}
