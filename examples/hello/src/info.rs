//! What the guest's agent says about this launch: one bounded request to `/info`.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::gateway;

const PORT: u16 = 8090;
/// The real answer has about 2 KiB.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// The agent is in the same machine.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why the guest says nothing.
#[derive(Debug)]
pub enum InfoError {
    /// This container has no default route.
    NoGateway,
    /// The agent cannot be reached at the gateway.
    Unreachable(SocketAddr, std::io::Error),
    /// The agent answered something else.
    Answer(&'static str),
}

impl fmt::Display for InfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGateway => f.write_str("this container has no default route"),
            Self::Unreachable(address, error) => write!(f, "no answer from {address}: {error}"),
            Self::Answer(what) => write!(f, "the agent's answer {what}"),
        }
    }
}

/// Asks the agent.
pub fn fetch() -> Result<Value, InfoError> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let gateway = gateway::default_gateway(&routes).ok_or(InfoError::NoGateway)?;
    let answer = request(gateway).map_err(|error| InfoError::Unreachable((gateway, PORT).into(), error))?;
    parse(&answer)
}

fn request(gateway: Ipv4Addr) -> std::io::Result<Vec<u8>> {
    let mut agent = TcpStream::connect_timeout(&(gateway, PORT).into(), TIMEOUT)?;
    agent.set_read_timeout(Some(TIMEOUT))?;
    agent.set_write_timeout(Some(TIMEOUT))?;
    write!(agent, "GET /info HTTP/1.1\r\nhost: {gateway}:{PORT}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    agent.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The document in an answer that ends with its connection.
fn parse(answer: &[u8]) -> Result<Value, InfoError> {
    let text = std::str::from_utf8(answer).map_err(|_| InfoError::Answer("is no text"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(InfoError::Answer("has no end of its header"))?;
    let status = head.split(' ').nth(1);
    if status != Some("200") {
        return Err(InfoError::Answer("has another status than 200"));
    }
    serde_json::from_str(body).map_err(|_| InfoError::Answer("is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_follows_the_header() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"name\":\"hello\"}";
        assert_eq!(parse(answer).unwrap()["name"], "hello");
    }

    #[test]
    fn other_answers_are_refused_with_their_reason() {
        for (answer, reason) in [
            (&b"HTTP/1.1 503 Busy\r\n\r\n{}"[..], "the agent's answer has another status than 200"),
            (b"HTTP/1.1 200 OK\r\n\r\n{", "the agent's answer is no JSON"),
            (b"HTTP/1.1 200 OK\r\n", "the agent's answer has no end of its header"),
            (b"\xff", "the agent's answer is no text"),
        ] {
            assert_eq!(parse(answer).unwrap_err().to_string(), reason);
        }
    }
}
