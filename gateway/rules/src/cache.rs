//! What is remembered of the domain name system: bounded in number and in time.
//!
//! Clients choose the names that are asked for, so strangers fill this memory. What leads nowhere
//! gives way first; a domain in use is asked for again at most once a few seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::budgets::{MAX_CACHED, MAX_REFUSAL_TTL, MAX_TTL, MIN_TTL};
use crate::custom::CustomError;
use crate::names::{Destination, DomainName};

/// Where a domain leads.
pub type Outcome = Result<Destination, CustomError>;

#[derive(Debug, Clone)]
struct Entry {
    outcome: Outcome,
    /// Since the gateway's start.
    until: Duration,
}

/// Remembered outcomes. Times are durations since the gateway's start.
#[derive(Debug)]
pub struct Cache {
    entries: BTreeMap<DomainName, Entry>,
    most: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(MAX_CACHED)
    }
}

impl Cache {
    /// Room for so many domains.
    pub fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), most }
    }

    /// What is known of a domain now.
    pub fn get(&self, name: &DomainName, now: Duration) -> Option<&Outcome> {
        self.entries.get(name).filter(|entry| now < entry.until).map(|entry| &entry.outcome)
    }

    /// Remembers an outcome as long as its records say, within bounds.
    pub fn put(&mut self, name: DomainName, outcome: Outcome, ttl: Duration, now: Duration) {
        let longest = match &outcome {
            Ok(_) => MAX_TTL,
            Err(error) if error.passes() => MIN_TTL,
            Err(_) => MAX_REFUSAL_TTL,
        };
        let until = now + ttl.clamp(MIN_TTL, longest);
        if !self.entries.contains_key(&name) && self.entries.len() >= self.most {
            self.make_room(now);
        }
        if self.most > 0 {
            self.entries.insert(name, Entry { outcome, until });
        }
    }

    /// Drops what is over; if nothing is, what leads nowhere and then what ends first.
    fn make_room(&mut self, now: Duration) {
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() < self.most {
            return;
        }
        let least =
            self.entries.iter().min_by_key(|(_, entry)| (entry.outcome.is_ok(), entry.until));
        if let Some(name) = least.map(|(name, _)| name.clone()) {
            self.entries.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(index: usize) -> DomainName {
        DomainName::parse(&format!("n{index}.example")).unwrap()
    }

    fn good() -> Outcome {
        Ok(crate::custom::read(format!("{}:443", "ab".repeat(20)).as_bytes()).unwrap())
    }

    fn bad() -> Outcome {
        Err(CustomError::None(name(0)))
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_outcome_is_forgotten_when_its_time_is_over() {
        let mut cache = Cache::default();
        cache.put(name(1), good(), secs(60), secs(100));
        assert_eq!(cache.get(&name(1), secs(159)), Some(&good()));
        assert_eq!(cache.get(&name(1), secs(160)), None);
        assert_eq!(cache.get(&name(2), secs(100)), None);
    }

    #[test]
    fn times_to_live_are_kept_within_bounds() {
        let failed = || Err(CustomError::Unanswered(String::new()));
        let kinds = [(good(), MAX_TTL), (bad(), MAX_REFUSAL_TTL), (failed(), MIN_TTL)];
        for (outcome, longest) in kinds {
            for (ttl, kept) in [(secs(0), MIN_TTL), (secs(u64::MAX / 2), longest)] {
                let mut cache = Cache::default();
                cache.put(name(1), outcome.clone(), ttl, secs(7));
                assert!(cache.get(&name(1), secs(7) + kept - secs(1)).is_some());
                assert!(cache.get(&name(1), secs(7) + kept).is_none());
            }
        }
    }

    #[test]
    fn names_that_lead_nowhere_push_out_none_that_does() {
        let mut cache = Cache::new(4);
        cache.put(name(1), good(), secs(10), secs(0));
        cache.put(name(2), good(), secs(20), secs(0));
        for index in 10..1000 {
            cache.put(name(index), bad(), secs(30), secs(0));
        }
        assert!(cache.get(&name(1), secs(0)).is_some() && cache.get(&name(2), secs(0)).is_some());
        for index in 10..14 {
            cache.put(name(index), good(), secs(300), secs(0));
        }
        assert!(cache.get(&name(1), secs(0)).is_none(), "it would have ended first");
    }

    proptest! {
        #[test]
        fn no_sequence_passes_the_bound(
            most in 0_usize..5,
            puts in proptest::collection::vec((0_usize..9, any::<bool>(), 0_u64..90), 0..60),
        ) {
            let (mut cache, mut now) = (Cache::new(most), secs(0));
            for (index, leads, ttl) in puts {
                now += secs(ttl / 10);
                cache.put(name(index), if leads { good() } else { bad() }, secs(ttl), now);
                prop_assert!(cache.entries.len() <= most);
                prop_assert!(most == 0 || cache.get(&name(index), now).is_some());
            }
        }
    }
}
