//! Requests of this process to others over HTTP: to a webhook, and to etcd.
//!
//! Whatever answers is not trusted with more than a connection: its head, its body and its time are
//! bounded, it is asked directly, and it leads nowhere else.

use std::io::Read as _;
use std::time::Duration;

use pccs::Roots;
use ureq::http::StatusCode;

/// Largest head of an answer; those of etcd and of webhooks have less than one KiB.
const MAX_HEADER_BYTES: usize = 8 << 10;

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long request and answer may take in all.
    pub whole: Duration,
    /// Largest body of an answer.
    pub answer_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// the connection
    #[error("{0}")]
    Request(Box<ureq::Error>),
    /// the answer broke off
    #[error("the answer broke off: {0}")]
    Body(#[from] std::io::Error),
    /// beyond its budget
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
}

/// Makes requests within its bounds.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    bounds: Bounds,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(Roots::CompiledIn.tls_config())
            .timeout_connect(Some(bounds.connect))
            .timeout_global(Some(bounds.whole))
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .proxy(None)
            .build()
            .into();
        Self { agent, bounds }
    }

    /// Posts JSON; status and body of the answer, whatever the status is. Blocks.
    ///
    /// # Errors
    /// If no whole answer comes within the bounds.
    pub fn post(&self, url: &str, json: &[u8]) -> Result<(StatusCode, Vec<u8>), HttpError> {
        let request = self.agent.post(url).content_type("application/json");
        let response = request.send(json).map_err(|error| HttpError::Request(Box::new(error)))?;
        let (status, most) = (response.status(), self.bounds.answer_bytes);
        let mut body = Vec::new();
        response.into_body().into_reader().take(most as u64 + 1).read_to_end(&mut body)?;
        if body.len() > most {
            return Err(HttpError::TooLong(most));
        }
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// What a client with a budget of 8 bytes makes of these bytes of a server.
    fn posted(answer: &'static [u8]) -> Result<(StatusCode, Vec<u8>), HttpError> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        });
        let second = Duration::from_secs(1);
        Client::new(Bounds { connect: second, whole: second, answer_bytes: 8 }).post(&url, b"{}")
    }

    #[test]
    fn an_answer_is_taken_up_to_its_budget_with_any_status_and_leads_nowhere() {
        let (status, body) =
            posted(b"HTTP/1.1 500 No\r\nContent-Length: 8\r\n\r\n12345678").unwrap();
        assert_eq!((status.as_u16(), body.as_slice()), (500, &b"12345678"[..]));
        let long = posted(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n123456789");
        assert!(matches!(long, Err(HttpError::TooLong(8))), "{long:?}");
        let elsewhere =
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(posted(elsewhere).unwrap().0, StatusCode::FOUND);
    }

    #[test]
    fn an_answer_that_breaks_off_or_has_a_head_beyond_its_budget_is_none() {
        let cut = posted(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n1234");
        assert!(matches!(cut, Err(HttpError::Body(_))), "{cut:?}");
        let head = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'a'; 9000], b"\r\n\r\n"].concat();
        let head = posted(head.leak());
        assert!(matches!(head, Err(HttpError::Request(_))), "{head:?}");
    }
}
