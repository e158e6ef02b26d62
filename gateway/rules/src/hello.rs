//! The first message of a client, read once for routing and for terminating.
//!
//! The reader is rustls's: what it takes as the client's hello is what a terminated connection goes
//! on with, so no two readers can disagree about a name. Records and segments may be cut anywhere.
//! A connection that cannot become one of ours gets its answer at the first byte that shows it.

use rustls::server::{Accepted, Acceptor};

use crate::budgets::{MAX_HELLO_BYTES, MAX_HELLO_WIRE_BYTES};
use crate::names::{DomainName, NameError};

/// The content type of a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// The alert `unexpected_message`, fatal, as a record (RFC 8446, section 6).
const UNEXPECTED: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];
/// The alert `unrecognized_name` (RFC 6066, section 3).
const UNRECOGNIZED: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The alert `internal_error`, by which a client learns that another try may help.
const INTERNAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
/// Largest alert that the reader makes.
const MAX_ALERT_BYTES: usize = 64;
/// What a client gets that speaks HTTP in the clear.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Content-Length: 33\r\nConnection: close\r\n\r\nThis port speaks TLS: use https.\n";

/// Why a client's first bytes are no hello for this gateway.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// HTTP without TLS
    #[error("HTTP without TLS")]
    PlainHttp,
    /// the first byte is {0}, a handshake begins with 22
    #[error("the first byte is {0}, a handshake begins with {HANDSHAKE}")]
    NoTls(u8),
    /// no hello that TLS 1.2 or 1.3 knows
    #[error("the hello")]
    Tls(#[source] rustls::Error),
    /// more than {MAX_HELLO_WIRE_BYTES} bytes, or {MAX_HELLO_BYTES} without the headers of records
    #[error(
        "the hello has more than {MAX_HELLO_BYTES} bytes, or {MAX_HELLO_WIRE_BYTES} with the \
         headers of its records"
    )]
    TooLong,
    /// the client names no server
    #[error("the hello names no server")]
    NoName,
    /// the name of the server
    #[error("the name of the server")]
    Name(#[from] NameError),
}

/// the client's first bytes
#[derive(Debug, thiserror::Error)]
#[error("the client's first bytes")]
pub struct HelloRefused {
    /// Why it is refused.
    #[source]
    pub error: HelloError,
    /// What the client is sent before the connection ends.
    pub answer: Vec<u8>,
}

/// What a client is told of a name that leads nowhere, before its handshake.
pub fn unknown_name() -> &'static [u8] {
    &UNRECOGNIZED
}

/// What a client is told where its app cannot be reached now.
pub fn unreachable() -> &'static [u8] {
    &INTERNAL
}

/// A hello of a client.
pub struct Hello {
    /// The server that it names, which nothing proves.
    pub name: DomainName,
    /// The protocols that it offers, the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// The reader's state, from which a terminated connection goes on.
    pub accepted: Accepted,
    /// All bytes that the client has sent, for a connection that is passed through.
    pub bytes: Vec<u8>,
    /// How many of them the reader has taken; the rest comes after the hello.
    pub taken: usize,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a hello as its bytes come.
#[derive(Default)]
pub struct HelloReader {
    acceptor: Acceptor,
    bytes: Vec<u8>,
}

impl HelloReader {
    /// Takes bytes of the client; the hello, once it is complete. Nothing may follow after that.
    ///
    /// # Errors
    /// If the connection cannot become one of this gateway's.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Hello>, HelloRefused> {
        if self.bytes.is_empty() {
            check_first(bytes)?;
        }
        let mut taken = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while taken < self.bytes.len() {
            let mut rest = &self.bytes[taken..];
            match self.acceptor.read_tls(&mut rest) {
                Ok(read) if read > 0 => taken += read,
                Ok(_) | Err(_) => return Err(refused(HelloError::TooLong, &UNEXPECTED)),
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return self.complete(accepted, taken).map(Some),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut answer = Vec::with_capacity(MAX_ALERT_BYTES);
                    // A vector takes every byte.
                    let _ = alert.write_all(&mut answer);
                    if answer.is_empty() {
                        answer.extend(UNEXPECTED);
                    }
                    return Err(HelloRefused { error: HelloError::Tls(error), answer });
                }
            }
        }
        match self.bytes.len() {
            0..MAX_HELLO_WIRE_BYTES => Ok(None),
            _ => Err(refused(HelloError::TooLong, &UNEXPECTED)),
        }
    }

    fn complete(&mut self, accepted: Accepted, taken: usize) -> Result<Hello, HelloRefused> {
        let hello = accepted.client_hello();
        let Some(name) = hello.server_name() else {
            return Err(refused(HelloError::NoName, &UNRECOGNIZED));
        };
        let name = DomainName::parse(name)
            .map_err(|error| refused(HelloError::Name(error), &UNRECOGNIZED))?;
        let alpn = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect());
        let alpn = alpn.unwrap_or_default();
        Ok(Hello { name, alpn, accepted, bytes: std::mem::take(&mut self.bytes), taken })
    }
}

/// The first byte tells TLS from all else; no client waits for more before it is answered.
fn check_first(bytes: &[u8]) -> Result<(), HelloRefused> {
    match bytes.first() {
        None | Some(&HANDSHAKE) => Ok(()),
        Some(b'A'..=b'Z') => Err(refused(HelloError::PlainHttp, PLAIN_HTTP)),
        Some(&other) => Err(refused(HelloError::NoTls(other), &UNEXPECTED)),
    }
}

fn refused(error: HelloError, answer: &[u8]) -> HelloRefused {
    HelloRefused { error, answer: answer.to_vec() }
}

#[cfg(test)]
mod tests;
