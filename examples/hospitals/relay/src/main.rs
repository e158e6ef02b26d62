//! `relay`: passes connections from outside a guest on to its socket for Pads.
//!
//! An ordinary container, which holds no key and decides nothing. It sees what its clients send:
//! sealed Pads, programs, signatures, results that are sealed for their owners, and the plain input
//! of a run, which is in plain for whoever carries it here too. Every client is a stranger, so
//! connections are bounded in number and in time; what is asked for is judged behind the socket.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

const PORT: u16 = 8080;
/// Where the guest's agent answers the service that the measured file names.
const SOCKET: &str = "/run/dstyx/pads.sock";
/// As many as the agent serves at once; each costs two threads.
const MAX_CONNECTIONS: usize = 16;
/// Longest silence: a run takes ten minutes, and its program is compiled before.
const TIMEOUT: Duration = Duration::from_secs(900);
/// For a client to whom nothing can be passed on.
const NO_SOCKET: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\ncontent-length: 106\r\n\
     connection: close\r\n\r\n{\"error\":\"the guest has no socket for Pads here\",\"hint\":\"does the \
     measured file name it in pad_services?\"}";

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
            let _ = pass(&client, Path::new(SOCKET));
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Passes on what a client sends, and what is answered, until the socket's side has said all.
fn pass(client: &TcpStream, socket: &Path) -> io::Result<()> {
    client.set_read_timeout(Some(TIMEOUT))?;
    client.set_write_timeout(Some(TIMEOUT))?;
    let Ok(guest) = UnixStream::connect(socket) else {
        let mut client = client;
        return client.write_all(NO_SOCKET.as_bytes());
    };
    guest.set_read_timeout(Some(TIMEOUT))?;
    guest.set_write_timeout(Some(TIMEOUT))?;
    let guest = &guest;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            let (mut from, mut to) = (client, guest);
            // Whichever side broke off, the other one learns it by this.
            if io::copy(&mut from, &mut to).is_err() {
                let _ = guest.shutdown(Shutdown::Both);
            }
            let _ = guest.shutdown(Shutdown::Write);
        })?;
        let (mut from, mut to) = (guest, client);
        let answered = io::copy(&mut from, &mut to);
        // Ends the thread, which may still wait for the client.
        let _ = guest.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
        answered.map(drop)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A client of a relay to this socket.
    fn client(socket: &Path) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = socket.to_owned();
        thread::spawn(move || pass(&accepted, &socket));
        client
    }

    #[test]
    fn both_sides_have_every_byte_of_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("pads.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let request: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let length = request.len();
        let guest = thread::spawn(move || {
            let (mut guest, _) = listener.accept().unwrap();
            let mut read = vec![0; length];
            guest.read_exact(&mut read).unwrap();
            guest.write_all(&read).unwrap();
        });
        let client = client(&socket);
        let sending = client.try_clone().unwrap();
        let sender = thread::spawn(move || (&sending).write_all(&request).map(|()| request));
        let mut answer = Vec::new();
        (&client).read_to_end(&mut answer).unwrap();
        assert_eq!(answer, sender.join().unwrap().unwrap());
        guest.join().unwrap();
    }

    #[test]
    fn without_a_socket_the_client_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut answer = String::new();
        client(&directory.path().join("none")).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    }
}
