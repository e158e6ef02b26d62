//! What the guest's agent says about this launch: one bounded call of `Info` on dstack's socket.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// Bound by the compose file; without it a container has no way to the agent.
const SOCKET: &str = "/var/run/dstack.sock";
/// The answer holds the event log and the app-compose file, which may have half a MiB.
const MAX_ANSWER_BYTES: u64 = 2 << 20;
/// The agent is in the same machine.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Keys of the answer that hold JSON in a string.
const NESTED: [&str; 2] = ["tcb_info", "vm_config"];

/// Why the guest says nothing.
#[derive(Debug)]
pub enum InfoError {
    /// The agent cannot be reached.
    Unreachable(std::io::Error),
    /// The agent answered something else.
    Answer(&'static str),
}

impl fmt::Display for InfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "no answer from {SOCKET}: {error}"),
            Self::Answer(what) => write!(f, "the agent's answer {what}"),
        }
    }
}

/// Asks the agent; `tcb_info` and `vm_config` come as documents, not as the strings that they are
/// on the wire.
pub fn fetch() -> Result<Value, InfoError> {
    parse(&request().map_err(InfoError::Unreachable)?)
}

fn request() -> std::io::Result<Vec<u8>> {
    let mut agent = UnixStream::connect(SOCKET)?;
    agent.set_read_timeout(Some(TIMEOUT))?;
    agent.set_write_timeout(Some(TIMEOUT))?;
    agent.write_all(
        b"POST /Info HTTP/1.1\r\nhost: dstack\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
          connection: close\r\n\r\n{}",
    )?;
    let mut answer = Vec::new();
    agent.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The document in an answer that ends with its connection.
fn parse(answer: &[u8]) -> Result<Value, InfoError> {
    let text = std::str::from_utf8(answer).map_err(|_| InfoError::Answer("is no text"))?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or(InfoError::Answer("has no end of its header"))?;
    let status = head.split(' ').nth(1);
    if status != Some("200") {
        return Err(InfoError::Answer("has another status than 200"));
    }
    let json = |text: &str| serde_json::from_str(text).map_err(|_| InfoError::Answer("is no JSON"));
    let mut document: Value = json(body)?;
    for key in NESTED {
        if let Some(text) =
            document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
        {
            document[key] = json(text)?;
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_follows_the_header() {
        let answer = br#"HTTP/1.1 200 OK
content-type: application/json

{"app_name":"hello","tcb_info":"{\"mrtd\":\"d0\"}","vm_config":""}"#;
        let answer = String::from_utf8_lossy(answer).replace('\n', "\r\n");
        let document = parse(answer.as_bytes()).unwrap();
        assert_eq!(
            (&document["app_name"], &document["tcb_info"]["mrtd"]),
            (&"hello".into(), &"d0".into())
        );
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
