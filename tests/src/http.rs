//! The least HTTP that asks a guest something.

use std::io::{Error, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest answer: a quote by an emulated guest on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Body of `GET path`.
///
/// # Errors
/// If nobody answers, or not with 200.
pub fn get(host: impl ToSocketAddrs, path: &str) -> std::io::Result<Vec<u8>> {
    get_as(host, path, "*/*")
}

/// The same of one media type, or several with commas between.
///
/// # Errors
/// As [`get`].
pub fn get_as(host: impl ToSocketAddrs, path: &str, accept: &str) -> std::io::Result<Vec<u8>> {
    match answer(host, path, accept)? {
        (200, body) => Ok(body),
        (status, body) => {
            Err(Error::other(format!("{status}: {}", String::from_utf8_lossy(&body))))
        }
    }
}

/// Status and body of `GET path`.
///
/// # Errors
/// If nobody answers in HTTP.
pub fn answer(
    host: impl ToSocketAddrs,
    path: &str,
    accept: &str,
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: guest\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
    let status = reply.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match (status, end) {
        (Some(status), Some(end)) => Ok((status, reply.split_off(end + 4))),
        _ => Err(Error::other(String::from_utf8_lossy(&reply).into_owned())),
    }
}
