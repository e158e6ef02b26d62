//! What a gateway may reach in this guest: the ports that the app publishes, as far as its measured
//! policy allows, and the public port of the agent.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use compose::{ComposeFile, Protocol, PublishedPort};
use protocol::app_compose::PortPolicy;
use protocol::handover::AGENT_PORT;

/// The ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(BTreeSet<NonZeroU16>);

impl Ports {
    /// Those of a compose file, if it is one. A port that is published on one address of the guest
    /// alone is not meant for the world.
    pub fn of(compose: Option<&ComposeFile>, policy: &PortPolicy) -> Self {
        let services = compose.into_iter().flat_map(|compose| &compose.services);
        let published = services.flat_map(|service| &service.ports).filter(|port| is_open(port));
        let all = published.map(|port| port.published).chain([AGENT_PORT]);
        Self(all.filter_map(NonZeroU16::new).filter(|port| policy.allows(*port)).collect())
    }

    /// Where a port is, if it may be reached.
    pub fn address(&self, port: NonZeroU16) -> Option<SocketAddr> {
        let open = self.0.contains(&port);
        open.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port.get())))
    }
}

/// Whether a port is published on all of the guest's IPv4 addresses: by its loopback the guest
/// reaches those (docs/networks.md).
fn is_open(port: &PublishedPort) -> bool {
    let everywhere = port.host_ip.is_none_or(|ip| ip.is_ipv4() && ip.is_unspecified());
    port.protocol == Protocol::Tcp && everywhere
}

#[cfg(test)]
mod tests {
    use compose::Inputs;

    use super::*;

    fn ports(published: &str, policy: &str) -> Vec<u16> {
        let image = format!("a.example/b@sha256:{}", "0a".repeat(32));
        let text = format!("services: {{web: {{image: \"{image}\", ports: [{published}]}}}}");
        let compose = ComposeFile::read(text.as_bytes(), &Inputs::default()).unwrap();
        let policy = PortPolicy::parse(policy.as_bytes()).unwrap();
        Ports::of(Some(&compose), &policy).0.iter().map(|port| port.get()).collect()
    }

    #[test]
    fn a_gateway_reaches_what_is_published_to_all_by_tcp_and_the_agent_s_public_port() {
        let published =
            r#""80:8080", "0.0.0.0:81:81", "127.0.0.1:82:82", "83:83/udp", "[::1]:84:84""#;
        assert_eq!(ports(published, "{}"), [80, 81, 8090]);
        let own = Ports::of(None, &PortPolicy::default());
        let port = |port| NonZeroU16::new(port).unwrap();
        assert_eq!(own.address(port(8090)).unwrap().to_string(), "127.0.0.1:8090");
        // Neither the owners' port nor what listens by chance.
        assert_eq!((own.address(port(8091)), own.address(port(22))), (None, None));
    }

    #[test]
    fn restrict_mode_holds_in_the_guest_too() {
        let policy = r#"{"ports":[{"port":81},{"port":99}],"restrict_mode":true}"#;
        assert_eq!(ports(r#""80:80", "81:81""#, policy), [81]);
        assert_eq!(ports(r#""80:80""#, r#"{"restrict_mode":true}"#), [0; 0]);
    }
}
