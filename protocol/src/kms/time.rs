//! What time a KMS has: the servers that it asks, and what it tells a guest.
//!
//! A guest's clock is its host's. The KMS's time says how far it can be wrong, and what it rests
//! on; a guest dates the KMS's own evidence by it.

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};

/// Environment variable of the KMS's measured compose file with the time servers that it asks,
/// `HOST:PORT` with commas between them. Without it the KMS has its machine's clock.
pub const TIME_SERVERS_VARIABLE: &str = "DSTYX_KMS_TIME_SERVERS";
/// Port of the key exchange of Network Time Security (RFC 8915, section 4).
const KEY_EXCHANGE_PORT: u16 = 4460;
/// Fewest servers: the smallest number of which one that lies is outvoted.
const MIN_SERVERS: usize = 3;
/// Most servers: more of them make no liar less likely to be outvoted by much.
const MAX_SERVERS: usize = 7;
/// Longest name, that of DNS.
const MAX_HOST_BYTES: usize = 253;

/// Why these are no time servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeServersError {
    /// another form
    #[error("{0:?} is no time server, expected HOST:PORT")]
    Server(String),
    /// too few or too many
    #[error("{MIN_SERVERS} to {MAX_SERVERS} time servers are expected, found {0}")]
    Number(usize),
    /// one that would vote twice
    #[error("the time server {0} is named twice")]
    Twice(String),
}

/// A server of Network Time Security, which its certificate must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeServer {
    /// A name or an address.
    pub host: String,
    /// The port of its key exchange.
    pub port: u16,
}

impl TimeServer {
    /// Reads the servers of [`TIME_SERVERS_VARIABLE`]. Without a port it is the registered one; an
    /// IPv6 address stands in brackets.
    ///
    /// # Errors
    /// If one has another form or is named twice, or there are fewer than 3 or more than 7.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, TimeServersError> {
        let found = text.split(',').count();
        if !(MIN_SERVERS..=MAX_SERVERS).contains(&found) {
            return Err(TimeServersError::Number(found));
        }
        let servers: Vec<Self> = text.split(',').map(Self::parse).collect::<Result<_, _>>()?;
        let twice = servers.iter().enumerate().find(|(at, server)| {
            servers[..*at].iter().any(|other| other.host.eq_ignore_ascii_case(&server.host))
        });
        match twice {
            Some((_, server)) => Err(TimeServersError::Twice(server.host.clone())),
            None => Ok(servers),
        }
    }

    fn parse(text: &str) -> Result<Self, TimeServersError> {
        let wrong = || TimeServersError::Server(text.chars().take(MAX_HOST_BYTES).collect());
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(inside) => {
                let (host, behind) = inside.ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, behind)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
        if !(1..=MAX_HOST_BYTES).contains(&host.len()) || !host.bytes().all(legal) {
            return Err(wrong());
        }
        let port = match port {
            "" => KEY_EXCHANGE_PORT,
            port => {
                let digits = port.strip_prefix(':').ok_or_else(wrong)?;
                let digits = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits);
                let port = digits.and_then(|digits| digits.parse().ok());
                port.filter(|port| *port > 0).ok_or_else(wrong)?
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What a KMS's time rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// A majority of the time servers that its measured file names.
    Servers,
    /// Its ledger, whose last entry, or whose newest collateral, is later than what else says.
    Ledger,
    /// The clock of its machine, which its host sets: no time servers are named.
    Machine,
}

impl TimeSource {
    const ALL: [Self; 3] = [Self::Servers, Self::Ledger, Self::Machine];

    /// Its name in [`GetTimeResponse::rests_on`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Ledger => "ledger",
            Self::Machine => "machine",
        }
    }
}

impl fmt::Display for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Asks what time it is.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTimeRequest {}

/// What time the KMS has.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTimeResponse {
    /// Milliseconds since 1970.
    #[prost(uint64, tag = "100")]
    pub time_ms: u64,
    /// How far the true time can be from it, in milliseconds; none where nothing bounds it.
    #[prost(uint64, optional, tag = "101")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_ms: Option<u64>,
    /// The name of a [`TimeSource`].
    #[prost(string, tag = "102")]
    pub rests_on: String,
    /// Time servers that agreed.
    #[prost(uint32, tag = "103")]
    pub agreeing: u32,
    /// Time servers that are named.
    #[prost(uint32, tag = "104")]
    pub named: u32,
}

/// Why an answer tells no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToldTimeError {
    /// a source that nobody knows
    #[error("the time rests on {0:?}, expected servers, ledger or machine")]
    Source(String),
    /// servers that bound nothing, or another source that claims a bound
    #[error("a time that rests on {rests_on} has the bound {bound_ms:?}")]
    Bound {
        /// What it rests on.
        rests_on: TimeSource,
        /// The bound.
        bound_ms: Option<u64>,
    },
    /// fewer servers than a majority
    #[error("{agreeing} of {named} time servers agreed, which is no majority")]
    Servers {
        /// Servers that agreed.
        agreeing: u32,
        /// Servers that are named.
        named: u32,
    },
}

impl GetTimeResponse {
    /// What the time rests on, if the answer is one that a KMS gives.
    ///
    /// # Errors
    /// If the source is unknown, or bound and numbers do not belong to it.
    pub fn source(&self) -> Result<TimeSource, ToldTimeError> {
        let Self { bound_ms, agreeing, named, .. } = *self;
        let known = TimeSource::ALL.into_iter().find(|source| source.name() == self.rests_on);
        let rests_on = known.ok_or_else(|| {
            ToldTimeError::Source(crate::prpc::shortened(&self.rests_on, 64).to_owned())
        })?;
        if bound_ms.is_some() != (rests_on == TimeSource::Servers) {
            return Err(ToldTimeError::Bound { rests_on, bound_ms });
        }
        if rests_on == TimeSource::Servers && (agreeing <= named / 2 || agreeing > named) {
            return Err(ToldTimeError::Servers { agreeing, named });
        }
        Ok(rests_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_three_to_seven_names_with_ports_and_each_has_one_vote() {
        let good = "time.example:4460,10.0.0.1:1,[fd00::1]:65535";
        let servers = TimeServer::parse_all(good).unwrap();
        let shown: Vec<_> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(","), good);
        let servers = TimeServer::parse_all("a,b,[::1]").unwrap();
        assert!(servers.iter().all(|server| server.port == KEY_EXCHANGE_PORT));
        for (text, found) in [("", 1), ("a", 1), ("a,b", 2), ("a,b,c,d,e,f,g,h", 8)] {
            assert_eq!(TimeServer::parse_all(text), Err(TimeServersError::Number(found)));
        }
        for bad in ["", "a:", "a:0", "a:65536", "a:+1", ":1", "a:1:2", "https://a", "[a]:1", "a b"]
        {
            let error = TimeServer::parse_all(&format!("x,y,{bad}")).unwrap_err();
            assert_eq!(error, TimeServersError::Server(bad.to_owned()));
        }
        let twice = TimeServer::parse_all("a:1,b,A:2");
        assert_eq!(twice, Err(TimeServersError::Twice("A".into())));
    }

    #[test]
    fn an_answer_whose_parts_do_not_belong_together_tells_no_time() {
        let told = |rests_on: &str, bound_ms, agreeing, named| {
            let rests_on = rests_on.to_owned();
            GetTimeResponse { time_ms: 1, bound_ms, rests_on, agreeing, named }.source()
        };
        assert_eq!(told("servers", Some(1), 2, 3), Ok(TimeSource::Servers));
        assert_eq!(told("ledger", None, 0, 0), Ok(TimeSource::Ledger));
        assert_eq!(told("machine", None, 0, 0), Ok(TimeSource::Machine));
        assert!(matches!(told("", None, 0, 0), Err(ToldTimeError::Source(_))));
        assert!(matches!(told("host", None, 0, 0), Err(ToldTimeError::Source(_))));
        assert!(matches!(told("servers", None, 2, 3), Err(ToldTimeError::Bound { .. })));
        assert!(matches!(told("machine", Some(1), 0, 0), Err(ToldTimeError::Bound { .. })));
        for (agreeing, named) in [(1, 3), (0, 0), (2, 4), (4, 3)] {
            let refused = told("servers", Some(1), agreeing, named);
            assert_eq!(refused, Err(ToldTimeError::Servers { agreeing, named }));
        }
    }
}
