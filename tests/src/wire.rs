//! A connection of a guest to a peer that a test can cut: bytes pass until so many have passed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Bytes that pass at a time.
const PIECE_BYTES: usize = 4096;

/// A port on loopback whose connections go on to a peer. It serves until the test ends.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    passed: u64,
    /// After how many bytes it is cut.
    cut_at: u64,
    is_cut: bool,
    /// Both ends of every connection.
    ends: Vec<TcpStream>,
}

impl Wire {
    /// One to this peer, which need not be there yet.
    pub fn to(peer: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { passed: 0, cut_at: u64::MAX, is_cut: false, ends: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connected(&shared, client, peer);
            }
        });
        Self { address, state }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that have passed so far, in both directions.
    pub fn passed(&self) -> u64 {
        locked(&self.state).passed
    }

    /// Cuts every connection once so many more bytes have passed; nobody connects from then on.
    pub fn cut_after(&self, bytes: u64) {
        let mut state = locked(&self.state);
        state.cut_at = state.passed + bytes;
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        locked(&self.state).is_cut
    }

    /// Lets clients connect again, and cuts nothing any more.
    pub fn mend(&self) {
        let mut state = locked(&self.state);
        (state.is_cut, state.cut_at) = (false, u64::MAX);
    }
}

impl State {
    /// How many of these bytes pass.
    fn passes(&mut self, bytes: usize) -> usize {
        if self.is_cut {
            return 0;
        }
        let passes = usize::try_from(self.cut_at - self.passed).unwrap_or(usize::MAX).min(bytes);
        self.passed += passes as u64;
        if passes < bytes {
            self.is_cut = true;
            // One that is closed already is as good as cut.
            self.ends.drain(..).for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
        passes
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

fn connected(state: &Arc<Mutex<State>>, client: TcpStream, peer: SocketAddr) {
    if locked(state).is_cut {
        return;
    }
    let Ok(server) = TcpStream::connect(peer) else { return };
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
        locked(state).ends.push(end.try_clone().unwrap());
    }
    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
    for (from, to) in [(client, server), back] {
        let state = Arc::clone(state);
        thread::spawn(move || pass(&state, from, to));
    }
}

fn pass(state: &Mutex<State>, mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; PIECE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let passes = locked(state).passes(read);
        if to.write_all(&piece[..passes]).is_err() || passes < read {
            break;
        }
    }
    for end in [from, to] {
        // The other direction may have done it.
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_until_the_wire_is_cut_and_again_once_it_is_mended() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Wire::to(listener.local_addr().unwrap());
        thread::spawn(move || {
            for peer in listener.incoming().map_while(Result::ok) {
                let (mut from, mut to) = (peer.try_clone().unwrap(), peer);
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        });
        let says = |text: &[u8]| {
            let mut stream = TcpStream::connect(wire.address()).unwrap();
            let mut heard = vec![0; text.len()];
            stream.write_all(text).and_then(|()| stream.read_exact(&mut heard)).map(|()| heard)
        };
        assert_eq!(says(b"hello").unwrap(), b"hello");
        assert_eq!(wire.passed(), 10);
        // In the middle of the answer.
        wire.cut_after(7);
        assert!(says(b"hello").is_err() && wire.is_cut());
        assert!(says(b"hello").is_err());
        assert_eq!(wire.passed(), 17);
        wire.mend();
        assert_eq!(says(b"again").unwrap(), b"again");
    }
}
