//! Which instance of an app a client gets, and which are tried after it.
//!
//! Ready instances come before others. Of the three nearest to the client the least loaded is
//! first; nearness is a rendezvous hash over the client's address, so a client comes back to the
//! same instances without any state, and an instance that goes away moves only its own clients.

use std::net::IpAddr;

use protocol::digest::InstanceId;
use sha2::{Digest, Sha256};

use crate::budgets::NEAREST;

/// An instance as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: InstanceId,
    /// Whether its guest says that the app is ready.
    pub ready: bool,
    /// Connections that it has from here.
    pub load: u32,
}

/// The instances in the order in which they are tried.
pub fn order(client: IpAddr, mut candidates: Vec<Candidate>) -> Vec<InstanceId> {
    candidates.sort_by_cached_key(|candidate| (!candidate.ready, distance(client, candidate.id)));
    let ready = candidates.iter().filter(|candidate| candidate.ready).count();
    let (ready, others) = candidates.split_at_mut(ready);
    for group in [ready, others] {
        let nearest = group.len().min(NEAREST);
        // Stable: of equally loaded ones the nearest stays first.
        group[..nearest].sort_by_key(|candidate| candidate.load);
    }
    candidates.iter().map(|candidate| candidate.id).collect()
}

/// Both have a fixed length in this form, so no two pairs are hashed alike.
fn distance(client: IpAddr, id: InstanceId) -> [u8; 32] {
    let address = match client {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    Sha256::new().chain_update(address.octets()).chain_update(id.0).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    fn instance(index: u8, ready: bool, load: u32) -> Candidate {
        Candidate { id: InstanceId([index; 20]), ready, load }
    }

    fn client(index: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + index).into()
    }

    #[test]
    fn a_warming_instance_comes_after_all_ready_ones() {
        let candidates =
            vec![instance(1, false, 0), instance(2, true, 900), instance(3, true, 800)];
        for index in 0..50 {
            let order = order(client(index), candidates.clone());
            assert_eq!(order.len(), 3, "each is tried");
            assert_eq!(order[2], InstanceId([1; 20]));
        }
        let none = vec![instance(1, false, 1), instance(2, false, 0)];
        assert_eq!(order(client(0), none).first(), Some(&InstanceId([2; 20])));
        assert!(order(client(0), vec![]).is_empty());
    }

    #[test]
    fn the_least_loaded_of_the_nearest_three_is_first() {
        let idle: Vec<_> = (0..20).map(|index| instance(index, true, 0)).collect();
        let nearest = order(client(7), idle.clone());
        let mut loaded = idle.clone();
        for candidate in &mut loaded {
            let place = nearest.iter().position(|id| *id == candidate.id).unwrap();
            candidate.load = [5, 3, 9].get(place).copied().unwrap_or(0);
        }
        let found = order(client(7), loaded);
        assert_eq!(found[..3], [nearest[1], nearest[0], nearest[2]]);
        assert_eq!(found[3..], nearest[3..], "far ones come later though they are idle");
    }

    #[test]
    fn an_instance_that_goes_away_moves_its_own_clients_only() {
        let all: Vec<_> = (0..10).map(|index| instance(index, true, 0)).collect();
        let rest = all[1..].to_vec();
        let mut clients = BTreeMap::new();
        for index in 0..1000 {
            let before = order(client(index), all.clone())[0];
            if before != all[0].id {
                assert_eq!(order(client(index), rest.clone())[0], before);
            }
            *clients.entry(before).or_insert(0) += 1;
        }
        assert!(clients.values().all(|count| (50..200).contains(count)), "{clients:?}");
        let order_of = |address: &str| order(address.parse().unwrap(), all.clone());
        assert_eq!(order_of("192.0.2.1"), order_of("::ffff:192.0.2.1"));
    }
}
