//! The health check: the same program, asking the one that serves whether it can read its database.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Below the compose file's limit for the whole check.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a healthy program's answer begins with.
const HEALTHY: &[u8] = b"HTTP/1.1 200 ";

/// Asks `GET /health` of the program on `port` of this container.
pub fn check(port: u16) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = TcpStream::connect_timeout(&address, TIMEOUT)?;
    server.set_read_timeout(Some(TIMEOUT))?;
    server.set_write_timeout(Some(TIMEOUT))?;
    server.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; HEALTHY.len()];
    server.read_exact(&mut answer)?;
    if answer != HEALTHY {
        let found = answer.escape_ascii();
        return Err(io::Error::other(format!("the answer begins with \"{found}\"")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answered_with(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            let mut request = [0; 64];
            let read = client.read(&mut request)?;
            assert!(request[..read].starts_with(b"GET /health "));
            client.write_all(answer)
        });
        let checked = check(port);
        server.join().unwrap().unwrap();
        checked
    }

    #[test]
    fn only_a_200_is_healthy() {
        assert!(answered_with(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        for other in [&b"HTTP/1.1 500 Internal Server Error\r\n\r\n"[..], b"HTTP/1.1 20", b""] {
            assert!(answered_with(other).is_err(), "{}", other.escape_ascii());
        }
    }
}
