//! The records of the key exchange (RFC 8915, section 4), which TLS 1.3 carries.

use std::fmt;

use protocol::reader::{ReadError, Reader};

use super::{AEAD, Direction};

/// Label of the keys that TLS exports (RFC 8915, section 5.1).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-network-time-security";
/// Bytes of a key of AEAD_AES_SIV_CMAC_256.
pub const KEY_BYTES: usize = 32;
/// Largest answer that is read: servers send eight cookies of about a hundred bytes.
pub const MAX_EXCHANGE_BYTES: usize = 16 << 10;
/// Largest cookie: with it a query fits one packet of any network.
const MAX_COOKIE_BYTES: usize = 1024;
/// Longest name of a server, that of DNS.
const MAX_HOST_BYTES: usize = 253;
/// Bytes before the body of a record: kind and length.
const HEADER_BYTES: usize = 4;
/// Bit of a kind that must be understood.
const CRITICAL: u16 = 0x8000;
/// NTPv4 among the protocols of the exchange.
const NTP: u16 = 0;

const END: u16 = 0;
const NEXT_PROTOCOL: u16 = 1;
const ERROR: u16 = 2;
const WARNING: u16 = 3;
const AEAD_ALGORITHM: u16 = 4;
const COOKIE: u16 = 5;
const SERVER: u16 = 6;
const PORT: u16 = 7;

/// Why an exchange gave nothing to ask with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// a record that ends early, or bytes behind the last one
    #[error("the records: {0}")]
    Read(#[from] ReadError),
    /// the server's own error
    #[error("the server answers with {what} {code}")]
    Server {
        /// Error or warning.
        what: &'static str,
        /// Its code.
        code: u16,
    },
    /// a record that must be understood and is not
    #[error("the record {0} is unknown and must be understood")]
    Unknown(u16),
    /// a record with another body, or where none may be
    #[error("the record {0} is not as the protocol says")]
    Record(u16),
    /// something is missing
    #[error("there is no {0}")]
    Missing(&'static str),
}

/// What the client says: NTPv4, with the one algorithm.
pub fn request() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, body) in [
        (NEXT_PROTOCOL, &NTP.to_be_bytes()[..]),
        (AEAD_ALGORITHM, &AEAD.to_be_bytes()[..]),
        (END, &[][..]),
    ] {
        let length = u16::try_from(body.len()).expect("at most two bytes");
        bytes.extend((kind | CRITICAL).to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

/// Context of the key for one direction.
pub fn exporter_context(direction: Direction) -> [u8; 5] {
    let ([a, b], [c, d]) = (NTP.to_be_bytes(), AEAD.to_be_bytes());
    [a, b, c, d, u8::from(direction == Direction::Answer)]
}

/// Whether these bytes have the last record in them.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while let Ok((kind, _)) = record(&mut reader) {
        if kind & !CRITICAL == END {
            return true;
        }
    }
    false
}

/// What the server gave: a cookie, and where it wants to be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Exchanged {
    cookie: Vec<u8>,
    server: Option<String>,
    port: Option<u16>,
}

/// Without the cookie, by which a query could be told to be this client's.
impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, port, .. } = self;
        f.debug_struct("Exchanged").field("server", server).field("port", port).finish()
    }
}

impl Exchanged {
    /// Reads all records of an answer. Records that need not be understood are passed over.
    ///
    /// # Errors
    /// If it is not an answer to [`request`], or bytes are behind its last record.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExchangeError> {
        let mut reader = Reader::new(bytes);
        let (mut protocol, mut algorithm) = (None, None);
        let (mut cookie, mut server, mut port) = (None, None, None);
        loop {
            let (kind, body) = record(&mut reader)?;
            let bare = kind & !CRITICAL;
            match bare {
                END => {
                    unless(body.is_empty(), END)?;
                    break;
                }
                ERROR => return Err(told("error", ERROR, body)),
                WARNING => return Err(told("warning", WARNING, body)),
                NEXT_PROTOCOL => once(&mut protocol, bare, number(bare, body)?)?,
                AEAD_ALGORITHM => once(&mut algorithm, bare, number(bare, body)?)?,
                PORT => once(&mut port, bare, number(bare, body)?)?,
                SERVER => once(&mut server, bare, host(body)?)?,
                COOKIE => {
                    unless((1..=MAX_COOKIE_BYTES).contains(&body.len()), COOKIE)?;
                    // One query takes one.
                    cookie.get_or_insert_with(|| body.to_vec());
                }
                unknown if kind & CRITICAL != 0 => return Err(ExchangeError::Unknown(unknown)),
                _ => {}
            }
        }
        reader.finish()?;
        unless(protocol.is_none_or(|found| found == NTP), NEXT_PROTOCOL)?;
        unless(algorithm.is_none_or(|found| found == AEAD), AEAD_ALGORITHM)?;
        unless(port != Some(0), PORT)?;
        protocol.ok_or(ExchangeError::Missing("protocol"))?;
        algorithm.ok_or(ExchangeError::Missing("algorithm"))?;
        let cookie = cookie.ok_or(ExchangeError::Missing("cookie"))?;
        Ok(Self { cookie, server, port })
    }

    /// What a query carries, from which the server has its keys.
    pub fn cookie(&self) -> &[u8] {
        &self.cookie
    }

    /// The host to ask; none for that of the exchange.
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// The port to ask; none for that of NTP.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

fn record<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8]), ReadError> {
    let header: [u8; HEADER_BYTES] = reader.array("record")?;
    let [a, b, c, d] = header;
    let length = usize::from(u16::from_be_bytes([c, d]));
    Ok((u16::from_be_bytes([a, b]), reader.take("body", length)?))
}

fn number(kind: u16, body: &[u8]) -> Result<u16, ExchangeError> {
    let bytes = body.try_into().map_err(|_| ExchangeError::Record(kind))?;
    Ok(u16::from_be_bytes(bytes))
}

fn told(what: &'static str, kind: u16, body: &[u8]) -> ExchangeError {
    match number(kind, body) {
        Ok(code) => ExchangeError::Server { what, code },
        Err(error) => error,
    }
}

fn host(body: &[u8]) -> Result<String, ExchangeError> {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    let lengths = 1..=MAX_HOST_BYTES;
    let host = (lengths.contains(&body.len()) && body.iter().all(legal)).then(|| body.to_vec());
    let host = host.and_then(|bytes| String::from_utf8(bytes).ok());
    host.ok_or(ExchangeError::Record(SERVER))
}

fn once<T>(slot: &mut Option<T>, kind: u16, value: T) -> Result<(), ExchangeError> {
    unless(slot.replace(value).is_none(), kind)
}

fn unless(holds: bool, kind: u16) -> Result<(), ExchangeError> {
    if holds { Ok(()) } else { Err(ExchangeError::Record(kind)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(records: &[(u16, &[u8])]) -> Vec<u8> {
        let length = |body: &[u8]| u16::try_from(body.len()).unwrap().to_be_bytes();
        let one =
            |(kind, body): &(u16, &[u8])| [&kind.to_be_bytes()[..], &length(body), body].concat();
        records.iter().flat_map(one).collect()
    }

    /// An answer with these records before its end.
    fn answer(more: &[(u16, &[u8])]) -> Vec<u8> {
        let first: [(u16, &[u8]); 3] =
            [(CRITICAL | 1, &[0, 0]), (CRITICAL | 4, &[0, 15]), (5, b"cookie")];
        let end: [(u16, &[u8]); 1] = [(CRITICAL, &[])];
        records(&[&first[..], more, &end].concat())
    }

    #[test]
    fn the_request_and_the_exporter_s_context_are_those_of_the_rfc() {
        let expected = [0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15, 0x80, 0, 0, 0];
        assert_eq!(request(), expected);
        assert_eq!(exporter_context(Direction::Query), [0, 0, 0, 15, 0]);
        assert_eq!(exporter_context(Direction::Answer), [0, 0, 0, 15, 1]);
    }

    #[test]
    fn an_answer_gives_a_cookie_and_where_to_ask() {
        let parsed = Exchanged::parse(&answer(&[])).unwrap();
        assert_eq!((parsed.cookie(), parsed.server(), parsed.port()), (&b"cookie"[..], None, None));
        let more = answer(&[(5, b"other"), (6, b"ntp.example"), (7, &[0x10, 1]), (0x4000, b"?")]);
        let parsed = Exchanged::parse(&more).unwrap();
        assert_eq!((parsed.server(), parsed.port()), (Some("ntp.example"), Some(0x1001)));
        assert_eq!(parsed.cookie(), b"cookie");
        for cut in 0..more.len() {
            assert!(!is_whole(&more[..cut]) && Exchanged::parse(&more[..cut]).is_err(), "{cut}");
        }
        assert!(is_whole(&more));
    }

    #[test]
    fn what_is_no_answer_to_the_request_is_refused() {
        let refused = |bytes: &[u8]| Exchanged::parse(bytes).unwrap_err();
        let mut behind = answer(&[]);
        behind.push(0);
        assert!(matches!(refused(&behind), ExchangeError::Read(_)));
        let long = [0; MAX_COOKIE_BYTES + 1];
        let rows: [(&[(u16, &[u8])], ExchangeError); 12] = [
            (&[(CRITICAL | 2, &[0, 1])], ExchangeError::Server { what: "error", code: 1 }),
            (&[(CRITICAL | 3, &[0, 2])], ExchangeError::Server { what: "warning", code: 2 }),
            (&[(2, &[])], ExchangeError::Record(ERROR)),
            (&[(CRITICAL | 99, &[])], ExchangeError::Unknown(99)),
            (&[(1, &[0, 0])], ExchangeError::Record(NEXT_PROTOCOL)),
            (&[(4, &[0, 15])], ExchangeError::Record(AEAD_ALGORITHM)),
            (&[(5, &[])], ExchangeError::Record(COOKIE)),
            (&[(5, &long)], ExchangeError::Record(COOKIE)),
            (&[(6, b"a b")], ExchangeError::Record(SERVER)),
            (&[(6, b"a"), (6, b"a")], ExchangeError::Record(SERVER)),
            (&[(7, &[0, 0])], ExchangeError::Record(PORT)),
            (&[(7, &[1])], ExchangeError::Record(PORT)),
        ];
        for (more, expected) in rows {
            assert_eq!(refused(&answer(more)), expected);
        }
        let none = records(&[(0, &[])]);
        assert_eq!(refused(&none), ExchangeError::Missing("protocol"));
        let other = records(&[(1, &[0, 0]), (4, &[0, 30]), (5, b"c"), (0, &[])]);
        assert_eq!(refused(&other), ExchangeError::Record(AEAD_ALGORITHM));
        let other = records(&[(1, &[0, 1]), (4, &[0, 15]), (5, b"c"), (0, &[])]);
        assert_eq!(refused(&other), ExchangeError::Record(NEXT_PROTOCOL));
        let bare = records(&[(1, &[0, 0]), (4, &[0, 15]), (0, &[])]);
        assert_eq!(refused(&bare), ExchangeError::Missing("cookie"));
    }
}
