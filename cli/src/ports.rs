//! Ports of this host for a machine: chosen, and known to be the machine's once QEMU runs.
//!
//! QEMU takes its ports itself, so between the choice and its start another process can take one.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use vmm_configs::Transport;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::qmp;

/// QEMU's message about a port that it could not have.
const TAKEN: &str = "Could not set up host forwarding rule";
/// How long QEMU may take until it answers; one that is slower is watched like any other.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(10);

/// What became of a QEMU that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It has its ports.
    Runs,
    /// It ended since another process had taken one of them.
    PortTaken,
}

/// `wanted` on `address` if it is free, else any free port.
pub fn free(address: IpAddr, wanted: u16, transport: Transport) -> Outcome<SocketAddr> {
    let bind = |port| match transport {
        Transport::Tcp => {
            TcpListener::bind((address, port)).and_then(|listener| listener.local_addr())
        }
        Transport::Udp => UdpSocket::bind((address, port)).and_then(|socket| socket.local_addr()),
    };
    bind(wanted).or_else(|_| bind(0)).hint(address, "give an address of this host with --bind")
}

/// Waits until QEMU answers on its control socket, which it does only with all of its ports.
pub fn of_started(qemu: &mut Child, control_socket: &Path, log: &Path) -> Outcome<Started> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        let ended = qemu.try_wait().hint("QEMU", "start the machine again")?;
        if let Some(status) = ended {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains(TAKEN) {
                return Ok(Started::PortTaken);
            }
            let last = text.lines().last().unwrap_or("it said nothing");
            return Err(Failure::new(
                format!("QEMU ended at once ({status}): {last}"),
                format!("all that it said is in {}", log.display()),
            ));
        }
        if qmp::answers(control_socket) {
            break;
        }
        std::thread::sleep(POLL);
    }
    Ok(Started::Runs)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_taken_port_gives_another() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = free("127.0.0.1".parse().unwrap(), port, Transport::Tcp).unwrap();
        assert_ne!(other.port(), port);
    }

    #[test]
    fn a_port_that_was_taken_since_is_told_from_other_ends() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("qemu.log");
        let ended = |text: &str| {
            fs::write(&log, text).unwrap();
            let mut child = Command::new("false").spawn().unwrap();
            of_started(&mut child, &directory.path().join("none.sock"), &log)
        };
        let taken = "qemu: -netdev user: Could not set up host forwarding rule 'tcp:[::1]:80-:80'";
        assert_eq!(ended(taken).unwrap(), Started::PortTaken);
        let failure = ended("a warning\nno such file: kernel\n").unwrap_err();
        assert!(failure.to_string().contains("no such file: kernel"), "{failure}");
    }
}
