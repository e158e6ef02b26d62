//! The PROXY protocol, versions 1 and 2: who connected, told by a proxy in front.
//!
//! Read only where the operator's file says that every connection comes from such a proxy, and then
//! required: a header that may be absent is one that a client can write itself. Written where an
//! app's measured file asks for it. Source: HAProxy's `proxy-protocol.txt` of 2025-06-03.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Longest line of version 1, with its end (section 2.1).
const MAX_LINE_BYTES: usize = 107;
/// Longest part of version 2 behind its 16 bytes: addresses, and what load balancers add, which is
/// at most a name of a server and parts of a client's certificate.
const MAX_V2_BYTES: usize = 2048;
/// How version 1 begins.
const V1: &[u8] = b"PROXY ";
/// How version 2 begins (section 2.2).
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before what its length counts.
const V2_HEAD_BYTES: usize = 16;
/// Version 2, the proxy's own connection.
const LOCAL: u8 = 0x20;
/// Version 2, a connection of somebody else.
const PROXY: u8 = 0x21;
/// Version 2: no family.
const UNSPEC: u8 = 0;
/// Version 2: TCP over IPv4, 12 bytes of addresses.
const TCP4: u8 = 0x11;
/// Version 2: TCP over IPv6, 36 bytes of addresses.
const TCP6: u8 = 0x21;

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// neither version
    #[error("the connection does not begin with a header of the PROXY protocol")]
    None,
    /// the line of version 1
    #[error("version 1: {0}")]
    Line(&'static str),
    /// version 2 with command or version {0:#04x}
    #[error("version 2: {0:#04x} is neither LOCAL (0x20) nor PROXY (0x21)")]
    Command(u8),
    /// version 2 with family {0:#04x}
    #[error("version 2: family {0:#04x} is neither TCP over IPv4 (0x11) nor over IPv6 (0x21)")]
    Family(u8),
    /// version 2 with {found} bytes
    #[error("version 2: {found} bytes, from {least} to {MAX_V2_BYTES} are accepted")]
    Length {
        /// Bytes stated.
        found: usize,
        /// Bytes of the addresses.
        least: usize,
    },
    /// version 2 with a broken list behind its addresses
    #[error("version 2: what follows the addresses is no list of types, lengths and values")]
    List,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who connected.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The ends; none where the proxy connected on its own account, or does not know.
    pub ends: Option<Ends>,
    /// Bytes of the header; the client's come behind them.
    pub bytes: usize,
}

/// The versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Reads a header; nothing if more bytes are needed.
///
/// # Errors
/// If no bytes behind these can make it a header.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if begins(bytes, V2) {
        return read_v2(bytes);
    }
    if begins(bytes, V1) {
        return read_v1(bytes);
    }
    Err(ProxyError::None)
}

/// Whether `bytes` are as much of `start` as there can be.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        let full = seen.len() == MAX_LINE_BYTES;
        return if full { Err(ProxyError::Line("longer than 107 bytes")) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&seen[V1.len()..end]);
    let line = line.map_err(|_| ProxyError::Line("not text"))?;
    let mut parts = line.split(' ');
    let ends = match parts.next() {
        // What follows is ignored, as the specification asks.
        Some("UNKNOWN") => return Ok(Some(Header { ends: None, bytes: end + 2 })),
        Some("TCP4") => ends_v1::<Ipv4Addr>(&mut parts)?,
        Some("TCP6") => ends_v1::<Ipv6Addr>(&mut parts)?,
        _ => return Err(ProxyError::Line("neither TCP4, TCP6 nor UNKNOWN")),
    };
    if parts.next().is_some() {
        return Err(ProxyError::Line("more than two addresses and two ports"));
    }
    Ok(Some(Header { ends: Some(ends), bytes: end + 2 }))
}

fn ends_v1<'a, A>(parts: &mut impl Iterator<Item = &'a str>) -> Result<Ends, ProxyError>
where
    A: FromStr + Into<IpAddr>,
{
    let mut address = || {
        let address: Option<A> = parts.next().and_then(|word| word.parse().ok());
        address.map(Into::into).ok_or(ProxyError::Line("an address that is none of its family"))
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let word = parts.next().filter(|word| {
            word.bytes().all(|b| b.is_ascii_digit()) && (*word == "0" || !word.starts_with('0'))
        });
        let port = word.and_then(|word| word.parse().ok());
        port.ok_or(ProxyError::Line("a port that is none"))
    };
    let (from, to): (u16, u16) = (port()?, port()?);
    Ok(Ends { source: (source, from).into(), destination: (destination, to).into() })
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_HEAD_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let addresses = match (command, family) {
        (LOCAL, _) => 0,
        (PROXY, UNSPEC) => 0,
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        (PROXY, other) => return Err(ProxyError::Family(other)),
        (other, _) => return Err(ProxyError::Command(other)),
    };
    if !(addresses..=MAX_V2_BYTES).contains(&length) {
        return Err(ProxyError::Length { found: length, least: addresses });
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let header = |ends| Ok(Some(Header { ends, bytes: V2_HEAD_BYTES + length }));
    if addresses == 0 {
        // A receiver skips what it has no meaning for.
        return header(None);
    }
    let (addresses, list) = payload.split_at(addresses);
    check_list(list)?;
    header(Some(ends_v2(addresses)))
}

/// The ends in 12 or 36 bytes.
fn ends_v2(bytes: &[u8]) -> Ends {
    let (addresses, ports) = bytes.split_at(bytes.len() - 4);
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("16 bytes, as it is not 4")),
    };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Ends {
        source: (address(source), port(0)).into(),
        destination: (address(destination), port(2)).into(),
    }
}

/// What follows the addresses: types of one byte, lengths of two, values.
fn check_list(mut list: &[u8]) -> Result<(), ProxyError> {
    while !list.is_empty() {
        let Some(([_, high, low], rest)) = list.split_first_chunk::<3>() else {
            return Err(ProxyError::List);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        list = rest.get(length..).ok_or(ProxyError::List)?;
    }
    Ok(())
}

/// The header that tells an app who connected.
pub fn write(version: Version, ends: Ends) -> Vec<u8> {
    let Ends { source, destination } = one_family(ends);
    match version {
        Version::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
                .into_bytes()
        }
        Version::V2 => {
            let mut addresses = Vec::with_capacity(36);
            for end in [source, destination] {
                match end.ip() {
                    IpAddr::V4(address) => addresses.extend(address.octets()),
                    IpAddr::V6(address) => addresses.extend(address.octets()),
                }
            }
            addresses.extend(source.port().to_be_bytes());
            addresses.extend(destination.port().to_be_bytes());
            let family = if source.is_ipv4() { TCP4 } else { TCP6 };
            let length = [0, if source.is_ipv4() { 12 } else { 36 }];
            [&V2[..], &[PROXY, family], &length, &addresses].concat()
        }
    }
}

/// Both ends as IPv4 where both are, mapped or not; else both as IPv6.
fn one_family(ends: Ends) -> Ends {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    let (source, destination) = (plain(ends.source), plain(ends.destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return Ends { source, destination };
    }
    Ends { source: wide(source), destination: wide(destination) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn the_lines_of_the_specification_are_read() {
        let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\nGET";
        let found = read(line).unwrap().unwrap();
        assert_eq!(found.ends, Some(ends("255.255.255.255:65535", "255.255.255.255:65535")));
        assert_eq!(found.bytes, 56);
        let line = b"PROXY TCP6 2001:db8::1 ::1 0 443\r\n";
        assert_eq!(read(line).unwrap().unwrap().ends, Some(ends("[2001:db8::1]:0", "[::1]:443")));
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff:: what ever\r\n"] {
            assert_eq!(read(line), Ok(Some(Header { ends: None, bytes: line.len() })));
        }
    }

    #[test]
    fn a_line_is_strict() {
        for line in [
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
        ] {
            assert!(matches!(read(line.as_bytes()), Err(ProxyError::Line(_))), "{line:?}");
        }
        assert_eq!(read(&[b'P'; 3]), Err(ProxyError::None));
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 96]].concat();
        assert_eq!(endless.len(), MAX_LINE_BYTES);
        assert!(matches!(read(&endless), Err(ProxyError::Line(_))));
        assert_eq!(read(&endless[..106]), Ok(None));
    }

    #[test]
    fn version_2_is_strict() {
        let good = write(Version::V2, ends("192.0.2.1:1000", "198.51.100.2:443"));
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            read(&bytes)
        };
        assert_eq!(with(12, 0x11), Err(ProxyError::Command(0x11)));
        assert_eq!(with(12, 0x22), Err(ProxyError::Command(0x22)));
        for family in [0x12, 0x22, 0x31, 0x32, 0x10, 0xff] {
            assert_eq!(with(13, family), Err(ProxyError::Family(family)));
        }
        assert_eq!(with(15, 11), Err(ProxyError::Length { found: 11, least: 12 }));
        assert!(matches!(with(14, 0xff), Err(ProxyError::Length { .. })));
        // The proxy's own connection, a health check: no addresses, whatever stands there.
        assert_eq!(with(12, LOCAL), Ok(Some(Header { ends: None, bytes: 28 })));
        let list = |tail: &[u8]| {
            let mut bytes = [&good[..], tail].concat();
            bytes[15] += tail.len() as u8;
            read(&bytes)
        };
        assert_eq!(list(&[4, 0, 2, 0, 0]).unwrap().unwrap().bytes, 33);
        for tail in [&[4][..], &[4, 0], &[4, 0, 3, 0, 0], &[4, 0, 0, 1]] {
            assert_eq!(list(tail), Err(ProxyError::List));
        }
    }

    #[test]
    fn a_hello_or_a_request_is_no_header() {
        for bytes in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n", b"\r\n\r\nGET", b"proxy "] {
            assert_eq!(read(bytes), Err(ProxyError::None));
        }
    }

    #[test]
    fn ends_of_two_families_become_one() {
        let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
        for version in [Version::V1, Version::V2] {
            let found = read(&write(version, mixed)).unwrap().unwrap().ends.unwrap();
            assert_eq!(found, ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"));
        }
        let mapped = ends("[::ffff:192.0.2.1]:1", "192.0.2.2:2");
        let line = write(Version::V1, mapped);
        assert_eq!(line, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_is_written_and_no_earlier(
            source: IpAddr, destination: IpAddr, from: u16, to: u16, binary: bool, tail: Vec<u8>,
        ) {
            let ends = Ends {
                source: (source, from).into(),
                destination: (destination, to).into(),
            };
            let version = if binary { Version::V2 } else { Version::V1 };
            let header = write(version, ends);
            for length in 0..header.len() {
                prop_assert_eq!(read(&header[..length]), Ok(None));
            }
            let found = read(&[&header[..], &tail].concat());
            let bytes = header.len();
            prop_assert_eq!(found, Ok(Some(Header { ends: Some(one_family(ends)), bytes })));
        }
    }
}
