//! Waiting for published ports: a container that runs may need a moment until it listens.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::output::Output;
use crate::vm::Vm;

/// How long a service may take to listen before a person is told that it does not yet.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that stays open this long has somebody at its end; without a listener it is closed
/// at once.
const HELD: Duration = Duration::from_millis(150);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until every published port of `vm` is served; what is not served in time is said, and is
/// no failure.
pub fn wait(vm: &Vm, output: &Output) {
    let deadline = Instant::now() + TIMEOUT;
    for url in &vm.urls {
        let address = url.trim_start_matches("http://").trim_end_matches('/').parse();
        let Ok(address) = address else { continue };
        while !served(address) {
            if Instant::now() > deadline {
                output.step(&format!(
                    "{url} is not served yet; `dstyx logs {} --console` may say why",
                    vm.name
                ));
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn served(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    if stream.set_read_timeout(Some(HELD)).is_err() {
        return false;
    }
    match stream.read(&mut [0]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_hangs_up_is_not_served_and_one_that_holds_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holder = std::thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (held, _) = listener.accept().unwrap();
            std::thread::sleep(2 * HELD);
            drop(held);
        });
        assert!(!served(address));
        assert!(served(address));
        holder.join().unwrap();
        assert!(!served(address));
    }
}
