//! The gateway of the container's bridge: where the guest's agent answers.
//!
//! A container is told nothing about its guest; like any program it finds its gateway in its own routes.
//! Format: Linux, `/proc/net/route`, one route a line, addresses as little-endian hex.

use std::net::Ipv4Addr;

/// The route is up and leads through a gateway (`RTF_UP`, `RTF_GATEWAY`).
const THROUGH_GATEWAY: u32 = 0x3;

/// The gateway of the first default route.
pub fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
        let (destination, gateway, flags, mask) = (hex(1)?, hex(2)?, hex(3)?, hex(7)?);
        let default = destination == 0 && mask == 0 && flags & THROUGH_GATEWAY == THROUGH_GATEWAY;
        default.then(|| Ipv4Addr::from(gateway.to_le_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_default_route_is_found_among_others() {
        let routes = format!(
            "{HEAD}eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        );
        assert_eq!(default_gateway(&routes), Some(Ipv4Addr::new(172, 17, 0, 1)));
    }

    #[test]
    fn a_table_without_one_gives_none() {
        assert_eq!(default_gateway(""), None);
        assert_eq!(default_gateway(HEAD), None);
        let down = format!("{HEAD}eth0\t00000000\t010011AC\t0002\t0\t0\t0\t00000000\t0\t0\t0\nbroken\n");
        assert_eq!(default_gateway(&down), None);
    }
}
