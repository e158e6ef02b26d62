//! The app's resolver: listens on the guest's address on every bridge, and answers or passes on.
//!
//! It lives in the agent's process and comes back with it. Askers are hostile: what one may have
//! under way is bounded, and so is what all may, so that none can keep it from the others for long
//! or make it grow.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::names::{self, MAX_QUERY_BYTES, Reaction, View};
use super::plan::Plan;
use super::rules::DNS;
use super::upstream::{self, Transport};

/// Queries passed on and TCP connections of one container at a time: a busy server has a dozen.
const MAX_OF_ONE: usize = 64;
/// Of all: some 10 KiB each.
const MAX_OF_ALL: usize = 1024;
/// How long a TCP connection may wait for its next query, and how many it may bring.
const IDLE: Duration = Duration::from_secs(5);
const MAX_QUERIES: usize = 128;
/// After an error of a socket there is no use in trying at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A running resolver; ends when dropped.
#[derive(Debug)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
    /// Aborted with it.
    _listeners: JoinSet<()>,
}

/// What all its tasks know.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    joined: RwLock<BTreeSet<String>>,
    resolv_conf: PathBuf,
    turn: AtomicUsize,
    turns: Arc<Turns>,
}

impl Resolver {
    /// Listens on every bridge of `plan`, all of which are there; inside a tokio runtime.
    pub(super) async fn start(
        plan: &Plan,
        joined: &BTreeSet<String>,
        resolv_conf: PathBuf,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            plan: plan.clone(),
            joined: RwLock::new(joined.clone()),
            resolv_conf,
            turn: AtomicUsize::new(0),
            turns: Arc::default(),
        });
        let mut listeners = JoinSet::new();
        for gateway in plan.bridges.iter().flat_map(|bridge| bridge.gateways()) {
            let address = SocketAddr::new(gateway, DNS);
            let told = |error| io::Error::other(format!("resolver on {address}: {error}"));
            let udp = UdpSocket::bind(address).await.map_err(told)?;
            listeners.spawn(serve_udp(Arc::clone(&shared), Arc::new(udp)));
            let tcp = TcpListener::bind(address).await.map_err(told)?;
            listeners.spawn(serve_tcp(Arc::clone(&shared), tcp));
        }
        Ok(Self { shared, _listeners: listeners })
    }

    /// Tells which containers are there now.
    pub(super) fn set_joined(&self, joined: &BTreeSet<String>) {
        *self.shared.joined.write().unwrap_or_else(PoisonError::into_inner) = joined.clone();
    }
}

impl Shared {
    fn react(&self, bytes: &[u8], asker: IpAddr) -> Reaction {
        let joined = self.joined.read().unwrap_or_else(PoisonError::into_inner);
        let view = View { plan: &self.plan, joined: &joined };
        names::react(bytes, asker, &view, self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks outside: the servers that the service names, or the guest's; never ourselves.
    async fn ask(
        &self,
        query: &hickory_proto::op::Message,
        servers: Vec<IpAddr>,
        transport: Transport,
    ) -> Vec<u8> {
        let mut servers =
            if servers.is_empty() { upstream::servers(&self.resolv_conf).await } else { servers };
        servers.retain(|server| {
            self.plan.bridges.iter().all(|bridge| bridge.gateways().all(|own| own != *server))
        });
        let answer = upstream::ask(query, &servers, transport).await;
        answer.unwrap_or_else(|| names::without_records(query, ResponseCode::ServFail))
    }
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut asked = JoinSet::new();
    let mut buffer = vec![0; MAX_QUERY_BYTES];
    loop {
        while asked.try_join_next().is_some() {}
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match shared.react(&buffer[..length], peer.ip()) {
            Reaction::Ignore => {}
            Reaction::Answer(answer) => {
                let answer = match names::parse(&buffer[..length]) {
                    Some(query) => names::for_udp(&query, answer),
                    None => answer,
                };
                // A full queue loses answers, as any network may.
                let _ = socket.try_send_to(&answer, peer);
            }
            Reaction::Forward { query, servers } => {
                let Some(turn) = shared.turns.take(peer.ip()) else { continue };
                let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
                asked.spawn(async move {
                    let _place = turn;
                    let answer = shared.ask(&query, servers, Transport::Udp).await;
                    let _ = socket.try_send_to(&names::for_udp(&query, answer), peer);
                });
            }
        }
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(turn) = shared.turns.take(peer.ip()) else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _place = turn;
            // A broken connection is its peer's affair.
            let _ = converse(&shared, stream, peer.ip()).await;
        });
    }
}

async fn converse(shared: &Shared, mut stream: TcpStream, asker: IpAddr) -> io::Result<()> {
    for _ in 0..MAX_QUERIES {
        let Some(query) = tokio::time::timeout(IDLE, read_framed(&mut stream)).await?? else {
            return Ok(());
        };
        let answer = match shared.react(&query, asker) {
            Reaction::Ignore => return Ok(()),
            Reaction::Answer(answer) => answer,
            Reaction::Forward { query, servers } => {
                shared.ask(&query, servers, Transport::Tcp).await
            }
        };
        tokio::time::timeout(IDLE, upstream::write_framed(&mut stream, &answer)).await??;
    }
    Ok(())
}

/// The next query; `None` if it is longer than any.
async fn read_framed(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUERY_BYTES {
        return Ok(None);
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    Ok(Some(query))
}

/// What is under way, by asker.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<IpAddr, usize>>);

/// One of them; given back when dropped.
#[derive(Debug)]
struct Turn {
    turns: Arc<Turns>,
    asker: IpAddr,
}

impl Turns {
    fn take(self: &Arc<Self>, asker: IpAddr) -> Option<Turn> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&asker).copied().unwrap_or_default();
        if all >= MAX_OF_ALL || own >= MAX_OF_ONE {
            return None;
        }
        taken.insert(asker, own + 1);
        Some(Turn { turns: Arc::clone(self), asker })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.asker) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asker_takes_no_more_than_its_share() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held: Vec<Turn> = (0..MAX_OF_ONE).map_while(|_| turns.take(one)).collect();
        assert_eq!(held.len(), MAX_OF_ONE);
        assert!(turns.take(one).is_none());
        assert!(turns.take(other).is_some());
        drop(held);
        assert!(
            turns.0.lock().expect("not poisoned").is_empty(),
            "nothing is remembered of who left"
        );
        let askers = (0..=u8::MAX).map(|last| IpAddr::from([10, 0, 1, last]));
        let held: Vec<Turn> =
            askers.flat_map(|asker| [asker; 8]).filter_map(|asker| turns.take(asker)).collect();
        assert_eq!(held.len(), MAX_OF_ALL);
    }
}
