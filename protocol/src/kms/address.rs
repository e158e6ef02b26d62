//! Where a KMS may be reached: `https://HOST:PORT`, as a host or a measured file hints it.

use std::fmt;

use super::CHANNEL_PORT;

/// The only scheme: TLS is spoken, whose certificate decides nothing.
const SCHEME: &str = "https://";

/// a hint that is no address of a KMS
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not https://HOST:PORT")]
pub struct AddressError(String);

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Parses a hint. Without a port it is [`CHANNEL_PORT`]; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(url.chars().take(256).collect());
        let rest = url.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, behind)
            }
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(legal) {
            return Err(wrong());
        }
        let port = match port {
            "" => CHANNEL_PORT,
            port => {
                let digits = port.strip_prefix(':').ok_or_else(wrong)?;
                let number = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits);
                number.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// As the resolver takes it.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port_are_addresses_and_nothing_else_is() {
        let rows = [
            ("https://10.0.2.2:8443", "10.0.2.2:8443"),
            ("https://kms.example/", "kms.example:8443"),
            ("https://[fd00::1]:9000", "[fd00::1]:9000"),
            ("https://[fd00::1]", "[fd00::1]:8443"),
        ];
        for (url, shown) in rows {
            assert_eq!(Address::parse(url).unwrap().to_string(), shown);
        }
        for url in [
            "http://10.0.2.2:8443",
            "10.0.2.2:8443",
            "https://",
            "https://:1",
            "https://a:",
            "https://a:65536",
            "https://a:+1",
            "https://a:1:2",
            "https://a:1/path",
            "https://user@a:1",
            "https://[a]:1",
            "https://[fd00::1]1",
            "https://fd00::1",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
