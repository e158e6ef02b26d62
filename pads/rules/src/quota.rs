//! Quotas: how often an owner used one, and whether once more is allowed.
//!
//! Who keeps the times has to count a use before the answer leaves: one that was counted and not
//! used is lost, one that was used and not counted would be free.

use alloc::vec::Vec;

use crate::rule::{MAX_USES, Quota};

/// When one owner used one account, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spent {
    /// Ascending; the newest ones, as many as any rule may allow.
    times: Vec<u64>,
}

impl Spent {
    /// The times that were kept.
    pub fn new(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let mut spent = Self { times };
        spent.forget();
        spent
    }

    /// The times to keep.
    pub fn times(&self) -> &[u64] {
        &self.times
    }

    /// Counts one more use of the account, if each of these rules about it has one left in the
    /// period that ends now. Uses later than now, after a clock was set back, count.
    ///
    /// No time is forgotten because it is over for these rules: those of another Pad may look
    /// further back.
    #[must_use]
    pub fn spend(&mut self, rules: &[Quota], now: u64) -> bool {
        if !rules.iter().all(|rule| self.used(rule, now) < rule.uses) {
            return false;
        }
        let at = self.times.partition_point(|time| *time <= now);
        self.times.insert(at, now);
        self.forget();
        true
    }

    /// Uses in the period of the rule that ends now.
    fn used(&self, rule: &Quota, now: u64) -> u64 {
        let is_over = |time: &u64| now.saturating_sub(*time) >= rule.period_secs;
        (self.times.len() - self.times.partition_point(is_over)) as u64
    }

    fn forget(&mut self) {
        let most = usize::try_from(MAX_USES).expect("the most uses are a usize");
        let more = self.times.len().saturating_sub(most);
        self.times.drain(..more);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::rule::OwnerId;

    const QUOTA: Quota = Quota { owner: OwnerId([1; 32]), uses: 10, period_secs: 60 };

    #[test]
    fn the_eleventh_use_in_a_minute_is_refused_and_the_first_of_the_next_is_not() {
        let mut spent = Spent::default();
        for second in 0..10 {
            assert!(spent.spend(&[QUOTA], 1000 + second));
        }
        for now in [1009, 1010, 1059] {
            assert!(!spent.spend(&[QUOTA], now));
        }
        assert!(spent.spend(&[QUOTA], 1060));
        assert!(!spent.spend(&[QUOTA], 1060));
        assert!(spent.spend(&[QUOTA], 1061));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_use() {
        let mut spent = Spent::new(vec![1000; 10]);
        assert!(!spent.spend(&[QUOTA], 0));
        assert!(!spent.spend(&[QUOTA], 999));
        let mut some = Spent::new(vec![2000, 1000]);
        assert!(some.spend(&[QUOTA], 500));
        assert_eq!(some.times(), [500, 1000, 2000]);
    }

    #[test]
    fn two_rules_about_one_account_count_a_use_once_and_refuse_together() {
        let hourly = Quota { uses: 12, period_secs: 3600, ..QUOTA };
        let mut spent = Spent::default();
        let used = (0..20).filter(|minute| spent.spend(&[QUOTA, hourly], minute * 60)).count();
        assert_eq!(used, 12);
    }

    #[test]
    fn a_rule_with_a_short_period_forgets_nothing_for_one_with_a_long_one() {
        let daily = Quota { uses: 3, period_secs: 86_400, ..QUOTA };
        let mut spent = Spent::default();
        for minute in 0..3 {
            assert!(spent.spend(&[QUOTA], minute * 600));
        }
        assert!(!spent.spend(&[daily], 10_000));
    }

    #[test]
    fn what_is_kept_is_bounded_by_the_most_uses_of_a_rule() {
        let most = Quota { uses: MAX_USES, period_secs: 1, ..QUOTA };
        let mut spent = Spent::new((0..MAX_USES).collect());
        assert!(spent.spend(&[most], MAX_USES));
        assert_eq!(spent.times().len() as u64, MAX_USES);
        assert_eq!(spent.times()[0], 1);
    }
}
