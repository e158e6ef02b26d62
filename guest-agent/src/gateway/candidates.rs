//! Which gateways a guest keeps tunnels to: those that a rendezvous hash puts first, so that guests
//! spread over all gateways, and one that goes away moves only its own guests.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::digest::InstanceId;
use protocol::kms::Address;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long another address is preferred to one where no tunnel could be kept.
const RESTS: Duration = Duration::from_secs(60);

/// Addresses of gateways in the order of this guest.
#[derive(Debug)]
pub struct Candidates {
    addresses: Vec<Address>,
    states: Mutex<Vec<State>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    taken: bool,
    failed: Option<Instant>,
}

impl Candidates {
    /// Orders addresses for a guest; an address that stands there twice counts once.
    pub fn of(mut addresses: Vec<Address>, instance: &InstanceId) -> Self {
        addresses.sort_by_cached_key(|address| distance(instance, address));
        addresses.dedup();
        let states = Mutex::new(vec![State::default(); addresses.len()]);
        Self { addresses, states }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The address at a place.
    pub fn address(&self, place: usize) -> &Address {
        &self.addresses[place]
    }

    /// Takes the first place that is free and did not fail lately, else the one whose failure is
    /// longest ago; nothing if all are taken.
    pub fn take(&self, now: Instant) -> Option<usize> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |state: &State| state.failed.filter(|failed| now < *failed + RESTS);
        let free = states.iter().enumerate().filter(|(_, state)| !state.taken);
        // Of equal ones the first.
        let (place, _) = free.min_by_key(|(_, state)| rests(state))?;
        states[place].taken = true;
        Some(place)
    }

    /// Gives a place back where no tunnel could be kept.
    pub fn fail(&self, place: usize, now: Instant) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states[place] = State { taken: false, failed: Some(now) };
    }

    /// Whether there is another place than those that are taken.
    pub fn has_free(&self) -> bool {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().any(|state| !state.taken)
    }
}

/// The id has a fixed length, so no two pairs are hashed alike.
fn distance(instance: &InstanceId, address: &Address) -> [u8; 32] {
    Sha256::new().chain_update(instance.0).chain_update(address.to_string()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: usize) -> Vec<Address> {
        let address = |index| Address::parse(&format!("https://gateway-{index}.example")).unwrap();
        (0..count).map(address).collect()
    }

    fn first(instance: u8, addresses: Vec<Address>) -> Vec<String> {
        let candidates = Candidates::of(addresses, &InstanceId([instance; 20]));
        let now = Instant::now();
        (0..3)
            .filter_map(|_| candidates.take(now))
            .map(|it| candidates.address(it).to_string())
            .collect()
    }

    #[test]
    fn guests_spread_over_gateways_and_one_that_goes_away_moves_only_its_own() {
        let mut times = std::collections::BTreeMap::new();
        for instance in 0..=255 {
            let before = first(instance, addresses(8));
            assert_eq!(before.len(), 3);
            let mut rest = addresses(8);
            let gone = rest.remove(2).to_string();
            let after = first(instance, rest);
            let kept = before.iter().filter(|address| **address != gone);
            assert!(kept.clone().all(|address| after.contains(address)));
            before.into_iter().for_each(|address| *times.entry(address).or_insert(0) += 1);
        }
        assert!(times.values().all(|count| (50..150).contains(count)), "{times:?}");
        assert_eq!(first(1, addresses(2)).len(), 2);
        assert_eq!(first(1, [addresses(1), addresses(1)].concat()).len(), 1);
    }

    #[test]
    fn a_place_that_fails_rests_while_there_are_others() {
        let candidates = Candidates::of(addresses(3), &InstanceId([1; 20]));
        let now = Instant::now();
        assert_eq!((candidates.take(now), candidates.take(now)), (Some(0), Some(1)));
        candidates.fail(0, now);
        assert_eq!(candidates.take(now), Some(2));
        candidates.fail(1, now + Duration::from_secs(1));
        // All that are free have failed: the one that had longest to come back is first.
        assert_eq!(candidates.take(now + Duration::from_secs(2)), Some(0));
        assert!(candidates.has_free());
        assert_eq!(candidates.take(now + Duration::from_secs(2)), Some(1));
        assert!(!candidates.has_free());
        assert_eq!(candidates.take(now), None);
        // What failed long ago is as good as any.
        candidates.fail(1, now);
        candidates.fail(0, now + Duration::from_secs(1));
        assert_eq!(candidates.take(now + Duration::from_secs(100)), Some(0));
    }
}
