//! Where an etcd is that a KMS stores in.

use std::net::Ipv6Addr;

/// Most members that are named: etcd advises against more than seven.
const MAX_MEMBERS: usize = 7;

/// Why these are no addresses of etcd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// not the form of an address
    #[error("{0:?} is no address of an etcd member, expected http://HOST:PORT")]
    Address(String),
    /// too many
    #[error("{0} addresses of etcd, at most {MAX_MEMBERS} are expected")]
    Many(usize),
}

/// Addresses of the members of one etcd: `http://HOST:PORT` of each. They are hints, as what etcd
/// answers counts for nothing by itself; so TLS would protect nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdEndpoints(Vec<String>);

impl EtcdEndpoints {
    /// Reads one or more addresses with commas between them.
    ///
    /// # Errors
    /// If one has another form, or there are more than seven.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let addresses: Vec<&str> = text.split(',').collect();
        if addresses.len() > MAX_MEMBERS {
            return Err(EndpointError::Many(addresses.len()));
        }
        let endpoint = |address: &str| match is_endpoint(address) {
            true => Ok(address.to_owned()),
            false => Err(EndpointError::Address(address.to_owned())),
        };
        addresses.into_iter().map(endpoint).collect::<Result<_, _>>().map(Self)
    }

    /// Each address.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl std::fmt::Display for EtcdEndpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

fn is_endpoint(address: &str) -> bool {
    let Some((host, port)) = address.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':'))
    else {
        return false;
    };
    let named = |host: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !host.is_empty() && host.bytes().all(legal)
    };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = inside.map_or_else(|| named(host), |inside| inside.parse::<Ipv6Addr>().is_ok());
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    is_host && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_and_nothing_else() {
        let good = "http://10.0.0.1:2379,http://[::1]:2379,http://etcd-1.example:1";
        assert_eq!(EtcdEndpoints::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "etcd:2379",
            "https://a:2379",
            "http://a",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://:2379",
            "http://a:2379/",
            "http://a:2379/v3",
            "http://user@a:2379",
            "http://[::g]:2379",
            "http://a b:2379",
            " http://a:2379",
        ] {
            let error = EtcdEndpoints::parse(bad).unwrap_err();
            assert_eq!(error, EndpointError::Address(bad.to_owned()));
        }
        assert!(EtcdEndpoints::parse("http://a:1,").is_err());
        let many = ["http://a:1"; 8].join(",");
        assert_eq!(EtcdEndpoints::parse(&many), Err(EndpointError::Many(8)));
    }
}
