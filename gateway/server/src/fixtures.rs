//! Guests on loopback in place of tunnels, for tests and benches: they prove nothing.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_rules::custom::Answer;
use gateway_rules::guests::{GuestFacts, Guests, TunnelId};
use protocol::app_compose::PortPolicy;
use protocol::digest::{AppId, InstanceId};
use tokio::net::TcpStream;

use crate::carrier::Carrier;
use crate::dns::Txt;
use crate::slots::locked;

/// Where a port of a guest is on loopback.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// At an address.
    At(SocketAddr),
    /// Nowhere: a stream to it is never opened and never refused.
    Silent,
}

/// Streams to loopback.
#[derive(Debug, Clone, Default)]
pub struct Loopback(Arc<Mutex<BTreeMap<(TunnelId, NonZeroU16), Place>>>);

impl Loopback {
    /// Admits a guest whose port is at a place, and says that its app is ready.
    pub fn admit(
        &self,
        guests: &Mutex<Guests>,
        (app, instance): (u8, u8),
        (port, place): (NonZeroU16, Place),
        ports: PortPolicy,
    ) {
        let (app, instance) = (AppId([app; 20]), InstanceId([instance; 20]));
        let tunnel = TunnelId(instance.0[0].into());
        let facts = GuestFacts { app, instance, open_counter: 1, ports };
        let mut guests = locked(guests);
        // The same guest again, with another port.
        guests.leave(instance, tunnel, Duration::ZERO);
        guests.admit(facts, tunnel, Duration::ZERO).expect("a guest of the test");
        guests.ready(instance, tunnel, true);
        locked(&self.0).insert((tunnel, port), place);
    }
}

impl Carrier for Loopback {
    type Stream = TcpStream;

    const DESCRIPTORS: u32 = 1;

    async fn open(&self, tunnel: TunnelId, port: NonZeroU16) -> io::Result<TcpStream> {
        let place = locked(&self.0).get(&(tunnel, port)).copied();
        match place {
            Some(Place::At(address)) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
            Some(Place::Silent) => pending().await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// TXT records of a test.
#[derive(Debug, Clone, Default)]
pub struct Records(Arc<Mutex<BTreeMap<String, Answer>>>);

impl Records {
    /// What is answered about a place.
    pub fn set(&self, place: &str, answer: Answer) {
        locked(&self.0).insert(place.to_owned(), answer);
    }
}

impl Txt for Records {
    async fn ask(&self, place: &str) -> (Answer, Duration) {
        let none = || Answer::Records(Vec::new());
        (locked(&self.0).get(place).cloned().unwrap_or_else(none), Duration::from_secs(60))
    }
}
