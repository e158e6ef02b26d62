//! The plan of the app's networks, which the command line makes before a boot too.

pub(super) use compose::plan::{
    BRIDGE_PREFIX, Bridge, Endpoint, EndpointMode, Link, Plan, VETH_PREFIX,
};
pub use compose::plan::{MAX_CONTAINERS, MAX_NETWORKS, PlanError};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use compose::model::{Network, NetworkMode, Service};

    use super::*;
    use crate::network::testing::{compose, network, on, service};

    fn error(networks: Vec<Network>, services: Vec<Service>) -> String {
        Plan::new(&compose(networks, services), &[]).expect_err("refused").to_string()
    }

    fn fixed(name: &str, address: &str) -> Service {
        let mut service = service(name, on(&["a"]));
        let NetworkMode::Networks(attachments) = &mut service.network else {
            panic!("{service:?}")
        };
        attachments[0].addresses = vec![address.parse().expect("address")];
        service
    }

    fn stated(name: &str, subnets: &[(&str, u8)]) -> Network {
        let subnets = subnets
            .iter()
            .map(|(address, length)| (address.parse().expect("address"), *length))
            .collect();
        Network { subnets, ..network(name) }
    }

    #[test]
    fn chosen_subnets_keep_clear_of_the_guests_and_of_stated_ones() {
        let networks =
            vec![network("a"), stated("b", &[("172.31.16.0", 24), ("fd00:1::", 64)]), network("c")];
        let occupied =
            ["172.31.0.0/20".parse().expect("subnet"), "10.0.2.0/24".parse().expect("subnet")];
        let plan = Plan::new(&compose(networks.clone(), vec![service("s", on(&["a"]))]), &occupied)
            .expect("a plan");
        let subnets: Vec<String> =
            plan.bridges.iter().map(|bridge| bridge.v4.to_string()).collect();
        assert_eq!(subnets, ["172.31.32.0/20", "172.31.16.0/24", "172.31.48.0/20"]);
        assert_eq!(plan.bridges[1].gateway_v6(), Some("fd00:1::1".parse().expect("address")));
        let everything =
            ["172.16.0.0/12".parse().expect("subnet"), "10.0.0.0/8".parse().expect("subnet")];
        let full = Plan::new(&compose(vec![network("a")], Vec::new()), &everything);
        assert_eq!(full, Err(PlanError::NoSubnetLeft { network: "a".to_owned() }));
        let taken = Plan::new(
            &compose(networks, Vec::new()),
            &["172.31.16.128/25".parse().expect("subnet")],
        );
        assert!(matches!(taken, Err(PlanError::SubnetTaken { .. })), "{taken:?}");
    }

    #[test]
    fn names_of_links_fit_and_differ() {
        let networks: Vec<Network> =
            (0..MAX_NETWORKS).map(|place| network(&format!("n{place}"))).collect();
        let all: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
        let mut busy = service("busy", on(&all));
        busy.replicas = u16::try_from(MAX_CONTAINERS).expect("small");
        let plan = Plan::new(&compose(networks, vec![busy]), &[]).expect("a plan");
        let links = || plan.containers.iter().flat_map(Endpoint::links);
        let bridges = plan.bridges.iter().map(|bridge| &bridge.link);
        let names: HashSet<&String> = links().map(|link| &link.outer).chain(bridges).collect();
        assert_eq!(names.len(), MAX_NETWORKS * MAX_CONTAINERS + MAX_NETWORKS);
        // With the `dn…-` of a link on its way into a namespace still below IFNAMSIZ.
        assert!(names.iter().all(|name| name.len() <= 10));
        let addresses: HashSet<IpAddr> = links().flat_map(Link::addresses).collect();
        assert_eq!(addresses.len(), MAX_NETWORKS * MAX_CONTAINERS);
        let hardware: HashSet<[u8; 6]> = links().map(|link| link.hardware_address).collect();
        assert_eq!(hardware.len(), MAX_NETWORKS * MAX_CONTAINERS);
    }

    #[test]
    fn fixed_addresses_are_kept_and_given_to_nobody_else() {
        let services = vec![
            service("one", on(&["a"])),
            fixed("two", "172.31.0.2"),
            service("three", on(&["a"])),
        ];
        let plan = Plan::new(&compose(vec![network("a")], services), &[]).expect("a plan");
        let addresses: Vec<String> = plan
            .containers
            .iter()
            .flat_map(Endpoint::links)
            .map(|link| link.v4.to_string())
            .collect();
        assert_eq!(addresses, ["172.31.0.3", "172.31.0.2", "172.31.0.4"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let small = || vec![stated("a", &[("10.1.0.0", 29)])];
        let two = vec![stated("a", &[("10.1.0.0", 16)]), stated("b", &[("10.1.2.0", 24)])];
        let mut many = service("many", on(&["a"]));
        many.replicas = 6;
        let mut fixed_many = fixed("many", "10.1.0.3");
        fixed_many.replicas = 2;
        let mut inside = Network { internal: true, ..network("a") };
        inside.internal = true;
        let mut published = service("web", on(&["a"]));
        published.ports = vec![crate::network::testing::port(80)];
        for (networks, services, expected) in [
            (two, vec![], "subnet 10.1.2.0/24 overlaps that of a"),
            (vec![stated("a", &[("10.1.0.1", 24)])], vec![], "bits after the prefix are set"),
            (vec![stated("a", &[("10.1.0.0", 30)])], vec![], "prefix length is not 8 to 29"),
            (vec![stated("a", &[("127.0.0.0", 8)])], vec![], "it is loopback"),
            (vec![stated("a", &[("fe80::", 64)])], vec![], "link-local"),
            (small(), vec![many], "has no address left"),
            (small(), vec![fixed("s", "10.2.0.3")], "it is not in the network's subnet"),
            (small(), vec![fixed("s", "fd00::3")], "it is not in the network's subnet"),
            (small(), vec![fixed("s", "10.1.0.0")], "it is the subnet's own"),
            (small(), vec![fixed("s", "10.1.0.7")], "it is the subnet's own"),
            (small(), vec![fixed("s", "10.1.0.1")], "it is the guest's own"),
            (
                small(),
                vec![fixed("s", "10.1.0.3"), fixed("t", "10.1.0.3")],
                "another service has it",
            ),
            (small(), vec![fixed_many], "several replicas"),
            (vec![inside], vec![published], "is on internal networks only"),
            (vec![], vec![service("s", on(&["a"]))], "no network \"a\""),
        ] {
            let found = error(networks, services);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }
}
