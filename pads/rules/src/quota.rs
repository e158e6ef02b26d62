//! Quotas: how often an owner used one, and whether once more is allowed.
//!
//! Who keeps the times has to count a use before the answer leaves: one that was counted and not
//! used is lost, one that was used and not counted would be free.

use alloc::vec::Vec;

use crate::rule::Quota;

/// When one owner used one quota, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spent {
    /// Ascending; those of the last period alone.
    times: Vec<u64>,
}

impl Spent {
    /// The times that were kept.
    pub fn new(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self { times }
    }

    /// The times to keep.
    pub fn times(&self) -> &[u64] {
        &self.times
    }

    /// Counts one more use, if the quota has one left in the period that ends now. Uses later than
    /// now, after a clock was set back, count.
    pub fn spend(&mut self, quota: &Quota, now: u64) -> bool {
        let is_over = |time: &u64| now.saturating_sub(*time) >= quota.period_secs;
        let over = self.times.partition_point(is_over);
        let used = self.times.len() - over;
        if u64::try_from(used).is_ok_and(|used| used < quota.uses) {
            self.times.drain(..over);
            let at = self.times.partition_point(|time| *time <= now);
            self.times.insert(at, now);
            true
        } else {
            false
        }
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
            assert!(spent.spend(&QUOTA, 1000 + second));
        }
        for now in [1009, 1010, 1059] {
            assert!(!spent.spend(&QUOTA, now));
        }
        assert!(spent.spend(&QUOTA, 1060));
        assert!(!spent.spend(&QUOTA, 1060));
        assert!(spent.spend(&QUOTA, 1061));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_use() {
        let mut spent = Spent::new(vec![1000; 10]);
        assert!(!spent.spend(&QUOTA, 0));
        assert!(!spent.spend(&QUOTA, 999));
        let mut some = Spent::new(vec![2000, 1000]);
        assert!(some.spend(&QUOTA, 500));
        assert_eq!(some.times(), [500, 1000, 2000]);
    }

    #[test]
    fn what_is_kept_is_bounded_by_the_uses() {
        let mut spent = Spent::default();
        for now in 0..10_000 {
            spent.spend(&QUOTA, now);
            assert!(spent.times().len() <= 10);
        }
    }
}
