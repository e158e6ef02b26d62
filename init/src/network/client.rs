//! The DHCP client: one socket, one state, one deadline; driven by whoever waits for either.
//!
//! Nothing blocks here, so the same client gets the first lease during the boot and renews it in
//! PID 1's loop. A packet that is not an answer to the request under way is dropped without a word.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::lease::Lease;
use super::message::{self, Kind, Reply, Request};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// First wait for an answer: the usual server is the hypervisor itself.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait while there is no lease.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Shortest wait between attempts to extend a lease; RFC 2131 wants a minute, but leases can be as
/// short.
const SHORTEST_EXTEND_WAIT: Duration = Duration::from_secs(10);
/// Requests for one offer before the search starts again.
const SELECT_ATTEMPTS: u32 = 4;
/// Packets taken at a time: a flood waits for the next turn of the loop.
const PACKETS_A_TURN: usize = 32;

/// Why the client cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// its socket
    #[error("DHCP socket: {0}")]
    Socket(#[from] io::Error),
}

/// What the client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// An offer.
    Searching { wait: Duration },
    /// The acknowledgement of an offer that was selected.
    Selecting { address: Ipv4Addr, server: Ipv4Addr, attempts: u32 },
    /// The time to extend, or an answer to having asked.
    Bound { lease: Lease, since: Instant },
}

/// Obtains and keeps one lease.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    hardware_address: [u8; 6],
    transaction: u32,
    state: State,
    deadline: Instant,
}

impl Client {
    /// Binds to `interface` alone; the first request is sent by the first [`Self::advance`].
    pub fn start(
        interface: &str,
        hardware_address: [u8; 6],
        now: Instant,
    ) -> Result<Self, ClientError> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        let state = State::Searching { wait: FIRST_WAIT };
        Ok(Self {
            socket: socket.into(),
            hardware_address,
            transaction: transaction()?,
            state,
            deadline: now,
        })
    }

    /// Where answers arrive.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When something has to be sent.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether there is a lease.
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound { .. })
    }

    /// Takes packets that have arrived, sends what is due, and gives a lease that is new or
    /// renewed.
    pub fn advance(&mut self, now: Instant) -> Result<Option<Lease>, ClientError> {
        let mut packet = [0; message::MAX_BYTES];
        for _ in 0..PACKETS_A_TURN {
            let Ok(length) = self.socket.recv(&mut packet) else { break };
            let reply = message::decode(&packet[..length], self.transaction, self.hardware_address);
            if let Some(lease) = reply.ok().and_then(|reply| self.answer(&reply, now)) {
                return Ok(Some(lease));
            }
        }
        if now >= self.deadline {
            self.send_what_is_due(now)?;
        }
        Ok(None)
    }

    /// Moves on by an answer, if it is one to what was asked.
    fn answer(&mut self, reply: &Reply, now: Instant) -> Option<Lease> {
        match (&self.state, reply.kind) {
            (State::Searching { .. }, Kind::Offer) => {
                let offer = Lease::from_reply(reply).ok()?;
                self.state =
                    State::Selecting { address: offer.address, server: offer.server, attempts: 0 };
                self.deadline = now;
                None
            }
            (State::Selecting { address, server, .. }, Kind::Ack) => {
                let lease = Lease::from_reply(reply).ok()?;
                (lease.address == *address && lease.server == *server)
                    .then(|| self.bind(lease, now))
            }
            // Any server may extend the lease once T2 has passed; the address must stay.
            (State::Bound { lease: kept, .. }, Kind::Ack) => {
                let lease = Lease::from_reply(reply).ok()?;
                (lease.address == kept.address).then(|| self.bind(lease, now))
            }
            (State::Selecting { .. } | State::Bound { .. }, Kind::Nak) => {
                self.search(now);
                None
            }
            _ => None,
        }
    }

    fn bind(&mut self, lease: Lease, now: Instant) -> Lease {
        self.deadline = now + lease.renew_after;
        self.state = State::Bound { lease: lease.clone(), since: now };
        lease
    }

    fn search(&mut self, now: Instant) {
        self.state = State::Searching { wait: FIRST_WAIT };
        self.deadline = now;
    }

    fn send_what_is_due(&mut self, now: Instant) -> Result<(), ClientError> {
        let (request, to, wait) = match &mut self.state {
            State::Searching { wait } => {
                let this = *wait;
                *wait = (this * 2).min(LONGEST_WAIT);
                (Request::Discover, Ipv4Addr::BROADCAST, this)
            }
            State::Selecting { address, server, attempts } if *attempts < SELECT_ATTEMPTS => {
                let wait = FIRST_WAIT * (1 << *attempts);
                *attempts += 1;
                (Request::Select { address: *address, server: *server }, Ipv4Addr::BROADCAST, wait)
            }
            State::Bound { lease, since }
                if lease.valid_secs.is_none_or(|valid| now < *since + seconds(valid)) =>
            {
                let rebind_at = *since + lease.rebind_after;
                // Half of what is left until any server is asked, then until the end (RFC 2131,
                // 4.4.5).
                let (to, until) = match now < rebind_at {
                    true => (lease.server, rebind_at),
                    false => (
                        Ipv4Addr::BROADCAST,
                        lease.valid_secs.map_or(now, |valid| *since + seconds(valid)),
                    ),
                };
                let wait = (until.saturating_duration_since(now) / 2).max(SHORTEST_EXTEND_WAIT);
                (Request::Extend { address: lease.address }, to, wait)
            }
            // Nobody acknowledged the offer, or the lease has ended: the kernel has removed its
            // address by itself.
            State::Selecting { .. } | State::Bound { .. } => {
                self.transaction = transaction()?;
                self.search(now);
                return Ok(());
            }
        };
        self.deadline = now + wait;
        let message = message::encode(request, self.transaction, self.hardware_address);
        // A link that is not ready yet loses the packet; the next deadline sends another.
        let _ = self.socket.send_to(&message, SocketAddrV4::new(to, SERVER_PORT));
        Ok(())
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// A number that the network cannot guess.
fn transaction() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{HARDWARE_ADDRESS, packet};
    use super::*;

    const ADDRESS: [u8; 4] = [10, 0, 2, 15];

    /// A client on loopback that nobody hears.
    fn client(now: Instant) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let state = State::Searching { wait: FIRST_WAIT };
        Client { socket, hardware_address: HARDWARE_ADDRESS, transaction: 7, state, deadline: now }
    }

    fn reply(kind: u8, address: [u8; 4]) -> Reply {
        let options: [(u8, &[u8]); 4] =
            [(53, &[kind]), (54, &[10, 0, 2, 2]), (1, &[255, 255, 255, 0]), (51, &[0, 0, 3, 232])];
        message::decode(&packet(7, address, &options), 7, HARDWARE_ADDRESS).unwrap()
    }

    fn bound(now: Instant) -> Client {
        let mut client = client(now);
        assert_eq!(client.answer(&reply(2, ADDRESS), now), None);
        assert!(client.answer(&reply(5, ADDRESS), now).is_some());
        client
    }

    #[test]
    fn offer_and_acknowledgement_make_a_lease() {
        let now = Instant::now();
        let client = bound(now);
        assert!(client.is_bound());
        assert_eq!(client.deadline(), now + Duration::from_secs(500));
    }

    #[test]
    fn an_acknowledgement_of_something_else_is_dropped() {
        let now = Instant::now();
        let mut client = client(now);
        assert_eq!(client.answer(&reply(5, ADDRESS), now), None, "nothing was asked for");
        client.answer(&reply(2, ADDRESS), now);
        assert_eq!(client.answer(&reply(5, [10, 0, 2, 99]), now), None);
        assert!(!client.is_bound());
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut now = Instant::now();
        let mut client = client(now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            client.advance(now).unwrap();
            waits.push(client.deadline().duration_since(now).as_millis());
            now = client.deadline();
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000]);
    }

    #[test]
    fn a_lease_is_extended_and_a_lost_one_searched_anew() {
        let start = Instant::now();
        let mut client = bound(start);
        let half = start + Duration::from_secs(500);
        client.advance(half).unwrap();
        assert_eq!(client.deadline(), half + Duration::from_millis(187_500), "half way to T2");
        assert!(client.answer(&reply(5, ADDRESS), half).is_some());
        assert_eq!(client.deadline(), half + Duration::from_secs(500));
        client.advance(half + Duration::from_secs(1000)).unwrap();
        assert!(!client.is_bound());

        let mut client = bound(start);
        client.answer(&reply(6, [0; 4]), half);
        assert!(!client.is_bound());
    }

    #[test]
    fn an_unanswered_selection_is_given_up() {
        let mut now = Instant::now();
        let mut client = client(now);
        client.answer(&reply(2, ADDRESS), now);
        for _ in 0..=SELECT_ATTEMPTS {
            client.advance(now).unwrap();
            now = client.deadline();
        }
        assert!(matches!(client.state, State::Searching { .. }));
    }
}
