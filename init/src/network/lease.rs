//! A lease whose values can be what they claim to be: the step from a server's answer to a
//! configuration.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::message::Reply;

/// Shortest lease that is obeyed: a host that states less would make PID 1 renew without pause.
const MIN_LEASE_SECS: u32 = 60;
/// How a lease without end is stated.
const INFINITE: u32 = u32::MAX;

/// Addresses that may be configured, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Ours.
    pub address: Ipv4Addr,
    /// 1 to 32.
    pub prefix_length: u8,
    /// Who leased it.
    pub server: Ipv4Addr,
    /// Way out, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers, at most three.
    pub name_servers: Vec<Ipv4Addr>,
    /// Seconds that it is valid; `None` without end.
    pub valid_secs: Option<u32>,
    /// From now to the first attempt to extend it at its server (T1).
    pub renew_after: Duration,
    /// From now to asking any server (T2).
    pub rebind_after: Duration,
}

/// Why an answer is no lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// an option that a lease needs is absent
    #[error("DHCP: the answer has no {0}")]
    Missing(&'static str),
    /// an address that no host can have
    #[error("DHCP: {value} cannot be the {what}")]
    Address {
        /// What it was stated as.
        what: &'static str,
        /// The address.
        value: Ipv4Addr,
    },
    /// a mask with holes, or of no bits
    #[error("DHCP: {0} is no subnet mask")]
    Mask(Ipv4Addr),
}

impl Lease {
    /// Takes an answer apart; name servers and gateways that cannot be hosts are left out, an
    /// unusable address refuses it.
    pub fn from_reply(reply: &Reply) -> Result<Self, LeaseError> {
        let mask = reply.subnet_mask.ok_or(LeaseError::Missing("subnet mask"))?;
        let stated = reply.lease_secs.ok_or(LeaseError::Missing("lease time"))?;
        let server = host("server", reply.server.ok_or(LeaseError::Missing("server"))?)?;
        let valid_secs = (stated != INFINITE).then_some(stated.max(MIN_LEASE_SECS));
        // Without end, renewing twice in the largest lease that can be stated is as good as never.
        let (renew_after, rebind_after) = periods(valid_secs.unwrap_or(INFINITE), reply);
        Ok(Self {
            address: host("address", reply.address)?,
            prefix_length: prefix_length(mask)?,
            server,
            gateway: reply.router.and_then(|router| host("gateway", router).ok()),
            name_servers: reply
                .name_servers
                .iter()
                .filter_map(|name| host("name server", *name).ok())
                .collect(),
            valid_secs,
            renew_after,
            rebind_after,
        })
    }

    /// Whether `other` lies in the lease's subnet.
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.prefix_length));
        (u32::from(self.address) ^ u32::from(other)) & mask == 0
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} leased by {}", self.address, self.prefix_length, self.server)?;
        self.valid_secs.map_or(Ok(()), |seconds| write!(f, " for {seconds} s"))
    }
}

/// T1 and T2: as stated if they are in order and within the lease, else a half and seven eighths of
/// it (RFC 2131, 4.4.5).
fn periods(valid_secs: u32, reply: &Reply) -> (Duration, Duration) {
    let seconds = |count: u32| Duration::from_secs(count.into());
    match (reply.renewal_secs, reply.rebinding_secs) {
        (Some(renew), Some(rebind))
            if MIN_LEASE_SECS / 2 <= renew && renew < rebind && rebind < valid_secs =>
        {
            (seconds(renew), seconds(rebind))
        }
        _ => (seconds(valid_secs / 2), seconds(valid_secs / 8 * 7)),
    }
}

fn host(what: &'static str, value: Ipv4Addr) -> Result<Ipv4Addr, LeaseError> {
    let network_zero = value.octets()[0] == 0;
    let reserved = value.octets()[0] >= 240;
    if network_zero || reserved || value.is_loopback() || value.is_multicast() {
        return Err(LeaseError::Address { what, value });
    }
    Ok(value)
}

fn prefix_length(mask: Ipv4Addr) -> Result<u8, LeaseError> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    match ones {
        1..=32 if bits.count_ones() == ones => Ok(ones as u8),
        _ => Err(LeaseError::Mask(mask)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Kind;
    use super::*;

    fn reply() -> Reply {
        Reply {
            kind: Kind::Ack,
            address: Ipv4Addr::new(10, 0, 2, 15),
            server: Some(Ipv4Addr::new(10, 0, 2, 2)),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            router: Some(Ipv4Addr::new(10, 0, 2, 2)),
            name_servers: vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::LOCALHOST],
            lease_secs: Some(86_400),
            renewal_secs: None,
            rebinding_secs: None,
        }
    }

    #[test]
    fn a_usual_answer_is_a_lease() {
        let lease = Lease::from_reply(&reply()).unwrap();
        assert_eq!((lease.prefix_length, lease.valid_secs), (24, Some(86_400)));
        assert_eq!((lease.renew_after.as_secs(), lease.rebind_after.as_secs()), (43_200, 75_600));
        assert_eq!(
            lease.name_servers,
            [Ipv4Addr::new(10, 0, 2, 3)],
            "loopback is not the host's to give"
        );
        assert!(
            lease.contains(Ipv4Addr::new(10, 0, 2, 2))
                && !lease.contains(Ipv4Addr::new(10, 0, 3, 2))
        );
    }

    #[test]
    fn stated_periods_count_only_in_order_and_short_leases_are_stretched() {
        let stated = Reply { renewal_secs: Some(100), rebinding_secs: Some(200), ..reply() };
        assert_eq!(Lease::from_reply(&stated).unwrap().renew_after.as_secs(), 100);
        let swapped = Reply { renewal_secs: Some(200), rebinding_secs: Some(100), ..reply() };
        assert_eq!(Lease::from_reply(&swapped).unwrap().renew_after.as_secs(), 43_200);
        let hasty = Reply {
            lease_secs: Some(0),
            renewal_secs: Some(0),
            rebinding_secs: Some(1),
            ..reply()
        };
        let lease = Lease::from_reply(&hasty).unwrap();
        assert_eq!((lease.valid_secs, lease.renew_after.as_secs()), (Some(60), 30));
        let endless = Lease::from_reply(&Reply { lease_secs: Some(u32::MAX), ..reply() }).unwrap();
        assert_eq!(endless.valid_secs, None);
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for address in
            [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 1, 2, 3]]
        {
            let refused = Lease::from_reply(&Reply { address: address.into(), ..reply() });
            assert!(
                matches!(refused, Err(LeaseError::Address { what: "address", .. })),
                "{address:?}"
            );
        }
        for mask in [[0, 0, 0, 0], [255, 0, 255, 0], [0, 0, 0, 255]] {
            let refused = Lease::from_reply(&Reply { subnet_mask: Some(mask.into()), ..reply() });
            assert!(matches!(refused, Err(LeaseError::Mask(_))), "{mask:?}");
        }
        let bad = |change: fn(&mut Reply)| {
            let mut reply = reply();
            change(&mut reply);
            Lease::from_reply(&reply).unwrap_err()
        };
        assert_eq!(bad(|reply| reply.lease_secs = None), LeaseError::Missing("lease time"));
        assert_eq!(bad(|reply| reply.server = None), LeaseError::Missing("server"));
        assert_eq!(bad(|reply| reply.subnet_mask = None), LeaseError::Missing("subnet mask"));
    }

    #[test]
    fn a_host_route_lease_contains_itself_only() {
        let lease = Lease::from_reply(&Reply { subnet_mask: Some(Ipv4Addr::BROADCAST), ..reply() })
            .unwrap();
        assert!(lease.contains(lease.address) && !lease.contains(Ipv4Addr::new(10, 0, 2, 2)));
    }
}
