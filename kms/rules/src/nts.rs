//! Network Time Security (RFC 8915) as a client that asks once: the key exchange's records, and one
//! query of NTP with the answer to it. No I/O: bytes in, bytes out.
//!
//! Servers, and whoever is on the way to them, are the attacker. What is exchanged over TLS is
//! bounded and read strictly. An answer counts only if a key that came from that very exchange
//! authenticates it and it answers this query; nothing else of the datagram is looked at before.

mod exchange;
mod packet;

pub use exchange::{
    EXPORTER_LABEL, ExchangeError, Exchanged, KEY_BYTES, MAX_EXCHANGE_BYTES, exporter_context,
    is_whole, request,
};
pub use packet::{Answer, AnswerError, MAX_ANSWER_BYTES, Query, Random};

/// AEAD_AES_SIV_CMAC_256, which every server has.
const AEAD: u16 = 15;

/// The direction that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Query,
    /// From the server to the client.
    Answer,
}
