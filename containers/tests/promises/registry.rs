//! A registry on loopback that serves blobs by digest, and lies in a chosen way.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use containers::images::{Mirror, RegistrySettings};

use crate::image::Blobs;

/// What a registry does with a blob that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Honest,
    /// One byte changed.
    OtherBytes,
    /// Half of the bytes, and a length that says so.
    Shorter,
    /// Half of the bytes of what the length says.
    Dropped,
    /// Bytes without end.
    Endless,
    /// HTTP 500.
    Broken,
    /// A redirect.
    Redirect,
}

/// Mirrors alone.
pub fn mirrored(mirrors: Vec<Mirror>) -> RegistrySettings {
    RegistrySettings { mirrors, ..RegistrySettings::default() }
}

/// Starts a registry that behaves so for manifests and for blobs; ends with the test process.
pub fn serve(blobs: Blobs, manifests: Behaviour, other: Behaviour) -> Mirror {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let blobs = blobs.clone();
            thread::spawn(move || answer(stream, &blobs, manifests, other));
        }
    });
    Mirror::parse(&format!("http://127.0.0.1:{port}")).expect("address")
}

/// Errors end the connection, which is what a client sees of them.
fn answer(stream: TcpStream, blobs: &Blobs, manifests: Behaviour, other: Behaviour) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1)?;
    let behaviour = if path.contains("/manifests/") { manifests } else { other };
    let found = blobs.0.get(path.rsplit('/').next()?);
    respond(stream, found.map(Vec::as_slice), behaviour)
}

fn respond(mut stream: TcpStream, found: Option<&[u8]>, behaviour: Behaviour) -> Option<()> {
    let Some(bytes) = found else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok();
    };
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let half = bytes.len() / 2;
    match behaviour {
        Behaviour::Honest => {
            stream.write_all(head(bytes.len()).as_bytes()).ok()?;
            stream.write_all(bytes).ok()
        }
        Behaviour::OtherBytes => {
            let mut lie = bytes.to_vec();
            lie[half] ^= 1;
            stream.write_all(head(lie.len()).as_bytes()).ok()?;
            stream.write_all(&lie).ok()
        }
        Behaviour::Shorter | Behaviour::Dropped => {
            let said = if behaviour == Behaviour::Shorter { half } else { bytes.len() };
            stream.write_all(head(said).as_bytes()).ok()?;
            stream.write_all(&bytes[..half]).ok()
        }
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            loop {
                stream.write_all(&[b' '; 4096]).ok()?;
                thread::sleep(Duration::from_micros(50));
            }
        }
        Behaviour::Broken => stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").ok(),
        Behaviour::Redirect => {
            stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").ok()
        }
    }
}
