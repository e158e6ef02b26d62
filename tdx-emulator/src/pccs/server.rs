//! The HTTP server in front of it: on loopback only, one request a connection.
//!
//! Guests reach it through the host's loopback, so its peers are hostile: a request has a size and
//! a time, and there are a few connections at once.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Answer, Question, collateral_at};
use crate::lie::Lie;
use crate::pki::PkiError;

/// Connections that are served at once; the others wait in the kernel.
const WORKERS: usize = 8;
/// Largest request; those of the API have some hundred bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// For a request to come, and again for its answer to go: peers are on this host.
const PEER_TIMEOUT: Duration = Duration::from_secs(2);
/// Before accepting again where the kernel refused, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// an address that others can reach
    #[error("{0} is not on loopback: what is served proves nothing and is for this host only")]
    NotLoopback(SocketAddr),
    /// the address cannot be listened on
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// collateral cannot be made at this time
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    lie: Option<Lie>,
    clock: fn() -> SystemTime,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one. `clock` says when an answer is given.
    pub fn bind(
        address: SocketAddr,
        lie: Option<Lie>,
        clock: fn() -> SystemTime,
    ) -> Result<Self, ServerError> {
        if !address.ip().is_loopback() {
            return Err(ServerError::NotLoopback(address));
        }
        collateral_at(clock(), lie)?;
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address, lie, clock })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process ends.
    pub fn run(&self) {
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| self.work());
            }
        });
    }

    fn work(&self) {
        loop {
            match self.listener.accept() {
                // A peer that says nothing or hangs up hears nothing: it is nobody else's problem.
                Ok((stream, _)) => drop(self.serve(stream)),
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PEER_TIMEOUT))?;
        let head = read_head(&mut stream)?;
        let (status, answer) = self.answer(&head);
        let Answer { chain, body } = answer.unwrap_or(Answer { chain: None, body: Vec::new() });
        let chain = chain.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{chain}\r\n"
        )?;
        stream.write_all(&body)
    }

    fn answer(&self, head: &str) -> (&'static str, Option<Answer>) {
        let line: Vec<&str> = head.lines().next().unwrap_or_default().split(' ').collect();
        let ["GET", target, "HTTP/1.1" | "HTTP/1.0"] = line[..] else {
            return ("400 Bad Request", None);
        };
        let Some(question) = Question::parse(target).filter(Question::is_about_this_platform)
        else {
            return ("404 Not Found", None);
        };
        let collateral = collateral_at((self.clock)(), self.lie).ok();
        match collateral.and_then(|collateral| question.answer(&collateral).ok()) {
            Some(answer) => ("200 OK", Some(answer)),
            None => ("500 Internal Server Error", None),
        }
    }
}

/// Request line and headers; there is nothing behind them.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + PEER_TIMEOUT;
    let mut head = Vec::new();
    let mut block = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > MAX_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut block)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend(&block[..count]),
        }
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}
