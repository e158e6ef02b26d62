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

/// Status and body of a form that is sent to `path`.
///
/// # Errors
/// If nobody answers in HTTP.
pub fn post_form(
    host: impl ToSocketAddrs,
    path: &str,
    form: &str,
) -> std::io::Result<(u16, Vec<u8>)> {
    let length = form.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    );
    exchange(host, &request)
}

/// Status and body of any request, whose answer may take so long.
///
/// # Errors
/// If nobody answers in HTTP.
pub fn send(
    host: impl ToSocketAddrs,
    method: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
) -> std::io::Result<(u16, Vec<u8>)> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/json\r\n\r\n"
    );
    exchange_within(host, &[head.as_bytes(), body].concat(), timeout)
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
    let head = format!("GET {path} HTTP/1.1\r\nHost: guest\r\nAccept: {accept}");
    exchange(host, &format!("{head}\r\nConnection: close\r\n\r\n"))
}

/// Sends one request and reads until the guest closes.
fn exchange(host: impl ToSocketAddrs, request: &str) -> std::io::Result<(u16, Vec<u8>)> {
    exchange_within(host, request.as_bytes(), TIMEOUT)
}

fn exchange_within(
    host: impl ToSocketAddrs,
    request: &[u8],
    timeout: Duration,
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
    let status = reply.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match (status, end) {
        (Some(status), Some(end)) => {
            let body = reply.split_off(end + 4);
            let head = String::from_utf8_lossy(&reply).to_ascii_lowercase();
            let in_pieces = head.contains("\r\ntransfer-encoding: chunked\r\n");
            Ok((status, if in_pieces { joined(&body)? } else { body }))
        }
        _ => Err(Error::other(String::from_utf8_lossy(&reply).into_owned())),
    }
}

/// A body that came in pieces, each behind a line with its length (RFC 9112, section 7.1).
fn joined(mut body: &[u8]) -> std::io::Result<Vec<u8>> {
    let broken = || Error::other("a body in pieces that breaks off");
    let mut whole = Vec::new();
    loop {
        let line = body.iter().position(|byte| *byte == b'\r').ok_or_else(broken)?;
        let length = std::str::from_utf8(&body[..line]).ok();
        let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or_else(broken)?;
        if length == 0 {
            return Ok(whole);
        }
        let piece = body.get(line + 2..line + 2 + length).ok_or_else(broken)?;
        whole.extend_from_slice(piece);
        body = body.get(line + 2 + length + 2..).ok_or_else(broken)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_and_a_broken_body_is_none() {
        assert_eq!(joined(b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n").unwrap(), b"abc0123456789");
        assert!(joined(b"3\r\nabc\r\n").is_err() && joined(b"4\r\nabc").is_err());
    }
}
