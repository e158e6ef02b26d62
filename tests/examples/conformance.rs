//! Stands in for the images of compose-spec's conformance tests: `conformance server` and
//! `conformance client`.
//!
//! The server answers as that of compose-spec/conformance-tests does, on `HTTP_PORT` or 8080:
//! `/ping` says that it is there, `/ping?address=HOST:PORT/PATH` says what another one says,
//! `/volumefile?filename=NAME` shows a file below `/volumes`. Beyond that it echoes datagrams on
//! port 10001, remembers what `/scalechecker?value=NAME` is told and shows it at `/scaled`. The
//! client tells its host name to `server`. Nothing but the standard library: the program is the
//! whole image.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const HTTP_PORT: u16 = 8080;
const ECHO_PORT: u16 = 10001;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long the client asks for a server that has not started yet.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest request line, answer or file.
const MAX_BYTES: u64 = 64 * 1024;

/// The clients that have reported.
static CLIENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        Some("server") => serve(),
        Some("client") => report(),
        _ => Err(io::Error::other("say server or client")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let port = env::var("HTTP_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(HTTP_PORT);
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    let echo = UdpSocket::bind(("0.0.0.0", ECHO_PORT))?;
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((bytes, sender)) = echo.recv_from(&mut datagram) {
            // Who has gone does not wait for an answer.
            let _ = echo.send_to(&datagram[..bytes], sender);
        }
    });
    println!("listening on port {port}");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(|| answer(stream));
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new((&stream).take(MAX_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    // Who closes with unread bytes resets the connection.
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (status, body) = route(target);
    let reason = if status == 200 { "OK" } else { "Bad Request" };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn route(target: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let value = query.split_once('=').map_or("", |(_, value)| value);
    match path {
        "/ping" if value.is_empty() => (200, response("PONG FROM TARGET")),
        "/ping" => match fetch(value) {
            Ok(body) => (200, body),
            Err(_) => (400, response(&format!("Could not reach address: {value}"))),
        },
        "/volumefile" => match fs::read_to_string(format!("/volumes/{value}")) {
            Ok(text) => (200, response(&text)),
            Err(error) => (400, response(&error.to_string())),
        },
        "/scalechecker" => {
            let mut clients = CLIENTS.lock().expect("no thread panics with it");
            clients.insert(value.to_owned());
            (200, response("OK"))
        }
        "/scaled" => {
            let clients = CLIENTS.lock().expect("no thread panics with it");
            (200, response(&clients.iter().cloned().collect::<Vec<_>>().join(" ")))
        }
        _ => (400, response("unknown path")),
    }
}

/// What the originals answer with: one line of JSON.
fn response(text: &str) -> String {
    let escaped: String = text.chars().flat_map(char::escape_default).collect();
    format!("{{\"response\":\"{escaped}\"}}\n")
}

/// Body of `GET http://address`, `HOST:PORT/PATH`, whatever its status.
fn fetch(address: &str) -> io::Result<String> {
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let target = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut reply)?;
    let (_, body) = reply.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}

fn report() -> io::Result<()> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let started = Instant::now();
    loop {
        match fetch(&format!("server:{HTTP_PORT}/scalechecker?value={}", name.trim())) {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > CLIENT_TIMEOUT => return Err(error),
            Err(_) => thread::sleep(Duration::from_secs(1)),
        }
    }
}
