//! `hello`: a web page that says what runs here and what it was measured as.
//!
//! An ordinary container: it holds no key, has no right over anything and proves nothing; it
//! repeats what the guest's agent says on dstack's socket. Proof is `dstyx verify`, from outside.
//! Every client is a stranger, so requests are bounded in size, time and number.

#![forbid(unsafe_code)]

mod info;
mod page;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

const PORT: u16 = 8080;
/// Beyond this many at once, connections are closed unread: each costs a thread.
const MAX_CONNECTIONS: usize = 64;
/// A browser's request has about 1 KiB.
const MAX_REQUEST_BYTES: u64 = 8 * 1024;
/// For a whole request or answer to make progress.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    match end_on_signal().and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: port {PORT} cannot be served: {error}");
            eprintln!("hint: is another program listening there?");
            ExitCode::FAILURE
        }
    }
}

/// The first process of a container is deaf to signals that it does not ask for, and would be
/// stopped the hard way.
fn end_on_signal() -> io::Result<()> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals.thread_block()?;
    thread::Builder::new().spawn(move || {
        // Nothing is written here that could be lost.
        std::process::exit(if signals.wait().is_ok() { 0 } else { 1 })
    })?;
    Ok(())
}

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    println!("listening on port {PORT}");
    loop {
        let Ok((client, _)) = listener.accept() else {
            // Out of descriptors or a client that went away: neither lasts.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if CONNECTIONS.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let spawned = thread::Builder::new().spawn(move || {
            // A client that breaks off is its own business.
            let _ = answer(&client);
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(client: &TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut request = BufReader::new(client.take(MAX_REQUEST_BYTES));
    let mut line = String::new();
    request.read_line(&mut line)?;
    // The rest is of no interest, but an unread request resets the connection under the answer.
    let mut header = String::new();
    while request.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = respond(&line);
    let mut client = client;
    write!(
        client,
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Status line and page for a request line.
fn respond(line: &str) -> (&'static str, String) {
    let mut parts = line.split_ascii_whitespace();
    match (parts.next(), parts.next()) {
        (Some("GET"), Some("/")) => ("200 OK", page::page(&info::fetch())),
        (Some("GET"), Some(_)) => {
            ("404 Not Found", "<p>There is only one page: <a href=\"/\">/</a>".into())
        }
        (Some(_), Some(_)) => ("405 Method Not Allowed", "<p>Only GET is answered.".into()),
        _ => ("400 Bad Request", "<p>This is no request.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_page_is_served() {
        assert_eq!(respond("GET / HTTP/1.1\r\n").0, "200 OK");
        assert_eq!(respond("GET /etc/passwd HTTP/1.1\r\n").0, "404 Not Found");
        assert_eq!(respond("POST / HTTP/1.1\r\n").0, "405 Method Not Allowed");
        assert_eq!(respond("\r\n").0, "400 Bad Request");
    }
}
