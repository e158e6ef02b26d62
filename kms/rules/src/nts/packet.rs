//! One query of NTP under the keys of an exchange, and the answer to it (RFC 5905, section 7.3;
//! RFC 8915, section 5).

use std::fmt;

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes128Siv;
use protocol::reader::{ReadError, Reader};
use zeroize::Zeroizing;

use super::KEY_BYTES;

/// Largest answer: one packet of any network.
pub const MAX_ANSWER_BYTES: usize = 1472;
/// Bytes of a packet before its extension fields.
const HEADER_BYTES: usize = 48;
/// Bytes of a query's own id, as the RFC asks.
const ID_BYTES: usize = 32;
/// Bytes of a nonce that fit the algorithm best.
const NONCE_BYTES: usize = 16;
/// Most extension fields before the authenticator.
const MAX_FIELDS: usize = 16;
/// Version 4, client.
const QUERY: u8 = 0x23;
/// Version 4, server.
const ANSWER: u8 = 0x24;
/// Leap indicator of a server that knows no time.
const UNSYNCHRONIZED: u8 = 3;
/// Strata of servers that know the time.
const STRATA: std::ops::RangeInclusive<u8> = 1..=15;

const UNIQUE_IDENTIFIER: u16 = 0x0104;
const COOKIE: u16 = 0x0204;
const AUTHENTICATOR: u16 = 0x0404;

/// Why a datagram is no answer to a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// a packet that ends early, or bytes behind its last field
    #[error("the packet: {0}")]
    Read(#[from] ReadError),
    /// more than one packet may have
    #[error("the packet has {0} bytes, at most {MAX_ANSWER_BYTES} are read")]
    Size(usize),
    /// another version or mode
    #[error("the packet begins with {0:#04x}, which no server of NTP version 4 sends")]
    Mode(u8),
    /// another query's
    #[error("the packet answers another query")]
    Other,
    /// the server refuses the query
    #[error("the server says {0:?} in place of a time")]
    Kiss(String),
    /// an extension field that cannot be
    #[error("the extension field {0:#06x} is not as the protocol says")]
    Field(u16),
    /// no authenticator
    #[error("the packet is not authenticated")]
    Unauthenticated,
    /// another key, or other bytes
    #[error("the packet is not authenticated by the key of this exchange")]
    Forged,
    /// a server without a time
    #[error("the server knows no time itself: leap indicator {leap}, stratum {stratum}")]
    Unsynchronized {
        /// Its leap indicator.
        leap: u8,
        /// Its distance from a clock.
        stratum: u8,
    },
}

/// Random bytes of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    /// What the answer repeats as the time at which it was asked; says nothing of this clock.
    pub transmit: [u8; 8],
    /// The query's own id.
    pub id: [u8; ID_BYTES],
    /// The nonce of its authenticator.
    pub nonce: [u8; NONCE_BYTES],
}

/// A query that waits for its answer.
pub struct Query {
    random: Random,
    answer_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

/// What a server said of the time; only an authenticated answer to a query becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// When the query came, in 2⁻³² seconds since 1900 or a later era.
    pub received: u64,
    /// When the answer left.
    pub sent: u64,
    /// How far the server's clock is from the one that it has its time from, there and back, in
    /// 2⁻¹⁶ seconds.
    pub root_delay: u32,
    /// How far that may be wrong besides.
    pub root_dispersion: u32,
}

impl Query {
    /// A query under the keys of an exchange, and its bytes.
    pub fn new(
        query_key: &[u8; KEY_BYTES],
        answer_key: Zeroizing<[u8; KEY_BYTES]>,
        cookie: &[u8],
        random: Random,
    ) -> (Self, Vec<u8>) {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = QUERY;
        bytes[40..48].copy_from_slice(&random.transmit);
        push(&mut bytes, UNIQUE_IDENTIFIER, &random.id);
        push(&mut bytes, COOKIE, cookie);
        let sealed = seal(query_key, &bytes, &random.nonce);
        push(&mut bytes, AUTHENTICATOR, &authenticator(&random.nonce, &sealed));
        (Self { random, answer_key }, bytes)
    }

    /// Reads the answer to this query.
    ///
    /// # Errors
    /// If it is another's, not authenticated, or tells no time.
    pub fn read(&self, bytes: &[u8]) -> Result<Answer, AnswerError> {
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(AnswerError::Size(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let header: [u8; HEADER_BYTES] = reader.array("header")?;
        let [first, stratum, ..] = header;
        // The two highest bits are the leap indicator.
        if first & 0x3f != ANSWER {
            return Err(AnswerError::Mode(first));
        }
        if header[24..32] != self.random.transmit {
            return Err(AnswerError::Other);
        }
        if stratum == 0 {
            // It need not be authenticated: a server that lost its keys cannot. It says no time.
            let code = header[12..16].iter().filter(|byte| byte.is_ascii_alphanumeric());
            return Err(AnswerError::Kiss(code.map(|byte| char::from(*byte)).collect()));
        }
        self.authenticate(bytes, reader)?;
        let leap = first >> 6;
        if leap == UNSYNCHRONIZED || !STRATA.contains(&stratum) {
            return Err(AnswerError::Unsynchronized { leap, stratum });
        }
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u64::from(u32::from_be_bytes(word))
        };
        let time = |at: usize| word(at) << 32 | word(at + 4);
        let short = |at: usize| u32::try_from(word(at)).unwrap_or(u32::MAX);
        let (root_delay, root_dispersion) = (short(4), short(8));
        Ok(Answer { received: time(32), sent: time(40), root_delay, root_dispersion })
    }

    /// The authenticator covers all that is before it, and nothing may be behind it.
    fn authenticate(&self, bytes: &[u8], mut reader: Reader<'_>) -> Result<(), AnswerError> {
        let mut answers = false;
        for _ in 0..MAX_FIELDS {
            if reader.left() == 0 {
                break;
            }
            let covered = &bytes[..reader.offset()];
            let (kind, body) = field(&mut reader)?;
            match kind {
                UNIQUE_IDENTIFIER if body != self.random.id => return Err(AnswerError::Other),
                UNIQUE_IDENTIFIER => answers = true,
                AUTHENTICATOR => {
                    reader.finish()?;
                    let opened = opens(&self.answer_key, covered, body)?;
                    return if !opened {
                        Err(AnswerError::Forged)
                    } else if !answers {
                        Err(AnswerError::Other)
                    } else {
                        Ok(())
                    };
                }
                _ => {}
            }
        }
        Err(AnswerError::Unauthenticated)
    }
}

/// Appends an extension field, filled up to whole words.
fn push(bytes: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let length = (4 + body.len()).next_multiple_of(4);
    let stated = u16::try_from(length).expect("bodies are bounded by the exchange");
    bytes.extend(kind.to_be_bytes());
    bytes.extend(stated.to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len() + length - 4 - body.len(), 0);
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8]), AnswerError> {
    let [a, b, c, d]: [u8; 4] = reader.array("extension field")?;
    let kind = u16::from_be_bytes([a, b]);
    let length = usize::from(u16::from_be_bytes([c, d]));
    let body = length.checked_sub(4).filter(|body| body % 4 == 0);
    let body = body.ok_or(AnswerError::Field(kind))?;
    Ok((kind, reader.take("extension field", body)?))
}

/// Body of an authenticator: the lengths of nonce and sealed fields, and both, in whole words.
fn authenticator(nonce: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in [nonce, sealed] {
        let length = u16::try_from(part.len()).expect("a nonce and a tag");
        body.extend(length.to_be_bytes());
    }
    for part in [nonce, sealed] {
        body.extend(part);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

/// Seals no fields: a tag over what is covered.
fn seal(key: &[u8; KEY_BYTES], covered: &[u8], nonce: &[u8]) -> Vec<u8> {
    let sealed = Aes128Siv::new(key.into()).encrypt([covered, nonce], &[]);
    sealed.expect("two headers and no text are within every bound")
}

/// Whether an authenticator's body is made by this key over what is covered. The sealed fields are
/// cookies for further queries, of which there are none.
fn opens(key: &[u8; KEY_BYTES], covered: &[u8], body: &[u8]) -> Result<bool, AnswerError> {
    let mut reader = Reader::new(body);
    let [a, b, c, d]: [u8; 4] = reader.array("authenticator")?;
    let lengths = [[a, b], [c, d]].map(|length| usize::from(u16::from_be_bytes(length)));
    let mut part = |length: usize| -> Result<_, ReadError> {
        Ok(reader.take("authenticator", length.next_multiple_of(4))?.split_at(length))
    };
    let ((nonce, behind_nonce), (sealed, behind)) = (part(lengths[0])?, part(lengths[1])?);
    // Padding is covered by nothing, so it may say nothing.
    let mut padding = [behind_nonce, behind, reader.rest()].into_iter().flatten();
    if nonce.is_empty() || padding.any(|byte| *byte != 0) {
        return Err(AnswerError::Field(AUTHENTICATOR));
    }
    Ok(Aes128Siv::new(key.into()).decrypt([covered, nonce], sealed).is_ok())
}

#[cfg(test)]
mod tests;
