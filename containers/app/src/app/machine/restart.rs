//! Whether and when a container that ended is started again.
//!
//! As Docker does it: waits grow from 100 ms to a minute and are short again after ten seconds of
//! life; a number of attempts counts every restart. `deploy.restart_policy` can fix the wait and
//! say after how long a life the attempts are forgiven.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use compose::model::{Restart, RestartWhen};
use container_helper::End;

/// First wait, and the shortest that a file can ask for: a loop of starts must leave the guest some
/// time.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A container that lived this long is not one that keeps ending.
pub const RESET_AFTER: Duration = Duration::from_secs(10);
/// Ends in a row after which a service is said to fail although it is still tried: the waits have
/// grown to the longest, about 100 s.
pub const FAILING_AFTER: u32 = 10;

/// How often a container was started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// All of them, for people.
    pub total: u32,
    /// Those that count against the file's attempts.
    attempts: u32,
    /// Those since it last lived long enough.
    in_a_row: u32,
}

impl Restarts {
    /// Counts an end after a life of `lived`; gives the wait before the next start, or nothing when
    /// there is none.
    pub fn after(&mut self, policy: &Restart, end: &End, lived: Duration) -> Option<Duration> {
        if lived >= RESET_AFTER {
            self.in_a_row = 0;
        }
        if policy.window.is_some_and(|window| lived >= window) {
            self.attempts = 0;
        }
        let wanted = match policy.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => !end.is_success(),
            RestartWhen::Always => true,
        };
        if !wanted || policy.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.total = self.total.saturating_add(1);
        let wait = policy.delay.unwrap_or(wait_before(self.in_a_row)).max(FIRST_WAIT);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(wait)
    }

    /// Whether it keeps ending.
    pub fn failing(&self) -> bool {
        self.in_a_row >= FAILING_AFTER
    }
}

/// The wait after `before` earlier failures in a row.
pub fn wait_before(before: u32) -> Duration {
    let factor = 1u32.checked_shl(before).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: End = End::Exited { code: 1, oom: false };
    const GOOD: End = End::Exited { code: 0, oom: false };

    fn policy(when: RestartWhen) -> Restart {
        Restart { when, attempts: None, delay: None, window: None }
    }

    fn waits(
        restarts: &mut Restarts,
        policy: &Restart,
        lived: Duration,
        count: usize,
    ) -> Vec<u128> {
        let next = || restarts.after(policy, &BAD, lived).map(|wait| wait.as_millis());
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_ten_seconds() {
        let (mut restarts, always) = (Restarts::default(), policy(RestartWhen::Always));
        let grown = waits(&mut restarts, &always, Duration::from_secs(9), 12);
        assert_eq!(
            grown,
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]
        );
        assert!(restarts.failing());
        assert_eq!(waits(&mut restarts, &always, RESET_AFTER, 3), [100, 100, 100]);
        assert!(!restarts.failing());
        assert_eq!(restarts.total, 15);
    }

    #[test]
    fn the_policy_says_after_which_ends() {
        for (when, after_good, after_bad) in [
            (RestartWhen::Never, false, false),
            (RestartWhen::OnFailure, false, true),
            (RestartWhen::Always, true, true),
        ] {
            let again =
                |end| Restarts::default().after(&policy(when), end, Duration::ZERO).is_some();
            assert_eq!((again(&GOOD), again(&BAD)), (after_good, after_bad), "{when:?}");
            assert_eq!(again(&End::Killed { signal: 9, oom: true }), after_bad, "{when:?}");
        }
    }

    #[test]
    fn attempts_end_unless_a_long_life_forgives_them() {
        let three = Restart { attempts: Some(3), ..policy(RestartWhen::OnFailure) };
        assert_eq!(waits(&mut Restarts::default(), &three, Duration::from_secs(3600), 9).len(), 3);
        let window = Restart {
            window: Some(Duration::from_secs(5)),
            delay: Some(Duration::from_secs(2)),
            ..three
        };
        let mut restarts = Restarts::default();
        assert_eq!(waits(&mut restarts, &window, Duration::from_secs(4), 9), [2000, 2000, 2000]);
        assert_eq!(waits(&mut restarts, &window, Duration::from_secs(5), 9).len(), 9);
        let hasty = Restart { delay: Some(Duration::ZERO), ..policy(RestartWhen::Always) };
        assert_eq!(waits(&mut Restarts::default(), &hasty, Duration::ZERO, 2), [100, 100]);
    }
}
