//! The edge: takes connections, reads whom they want, and relays them.
//!
//! Every phase of a connection has its bound. What is counted is counted before anything is done,
//! and forgotten when the connection's task ends, however it ends.

mod routing;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_rules::budgets;
use gateway_rules::cache::Cache;
use gateway_rules::choice::Candidate;
use gateway_rules::guests::Guests;
use gateway_rules::hello::{self, Hello};
use gateway_rules::limits::Counts;
use gateway_rules::names::{Destination, DomainName, Handling};
use gateway_rules::proxy_protocol::{self, Ends, Version};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::carrier::Carrier;
use crate::certificates::{self, Certificates};
use crate::dns::Txt;
use crate::metrics::{Metrics, Reason};
use crate::opening::{self, Opened, OpeningError};
use crate::openings::Openings;
use crate::own_pages::{self, Own};
use crate::prefixed::Prefixed;
use crate::relay::relay;
use crate::slots::{Slot, locked};

use routing::{Reached, Refused, Target};

/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Questions to the resolver at a time; a name whose question has no room is refused for now.
const MAX_LOOKUPS: usize = 64;
/// The protocol inside a terminated connection.
const HTTP1: &[u8] = b"http/1.1";
/// The same where the name asks for it.
const HTTP2: &[u8] = b"h2";
/// What a client of HTTP/1.1 gets whose app cannot be reached.
const UNREACHABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
Content-Length: 44\r\nRetry-After: 1\r\nConnection: close\r\n\r\nNo instance of this app can be \
reached now.\n";

/// Times of a connection, which tests shorten.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For the hello.
    pub hello: Duration,
    /// For the rest of the handshake.
    pub handshake: Duration,
    /// For all tries to reach an instance.
    pub connect: Duration,
    /// For the domain name system.
    pub dns: Duration,
    /// Without a byte.
    pub idle: Duration,
    /// For a relay.
    pub total: Duration,
    /// For relays after the gateway was told to end.
    pub drain: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            hello: budgets::HELLO_WITHIN,
            handshake: budgets::HANDSHAKE_WITHIN,
            connect: budgets::CONNECT_WITHIN,
            dns: budgets::DNS_WITHIN,
            idle: budgets::IDLE,
            total: budgets::TOTAL,
            drain: budgets::DRAIN_WITHIN,
        }
    }
}

/// What an edge is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The base domains.
    pub bases: Vec<DomainName>,
    /// Whether a proxy in front says who connects.
    pub proxied: bool,
    /// Connections at a time, which descriptors bound.
    pub most: u32,
    /// Connections of one app at a time.
    pub most_per_app: u32,
    /// Connections without a hello at a time.
    pub most_openings: usize,
    /// Times.
    pub times: Times,
}

impl Settings {
    /// Of base domains, with so many connections at a time.
    pub fn new(bases: Vec<DomainName>, most: u32) -> Self {
        let (most_per_app, most_openings) = (budgets::MAX_PER_APP, budgets::MAX_OPENINGS);
        Self { bases, proxied: false, most, most_per_app, most_openings, times: Times::default() }
    }
}

/// A client that is led to an app: its hello, its ends, where to, and the app's instances.
type Led = (Hello, Ends, Destination, Vec<Candidate>);

/// The edge.
pub struct Edge<C, T> {
    settings: Settings,
    carrier: C,
    txt: T,
    guests: Arc<Mutex<Guests>>,
    own: Arc<Own>,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    counts: Arc<Mutex<Counts>>,
    cache: Mutex<Cache>,
    lookups: Semaphore,
    openings: Openings,
    metrics: Metrics,
    begun: Instant,
}

impl<C, T> std::fmt::Debug for Edge<C, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<C: Carrier, T: Txt> Edge<C, T> {
    /// An edge without guests and certificates.
    ///
    /// # Errors
    /// If the TLS library refuses its settings.
    pub fn new(
        settings: Settings,
        guests: Arc<Mutex<Guests>>,
        carrier: C,
        txt: T,
    ) -> Result<Arc<Self>, rustls::Error> {
        let own = Arc::new(Own::default());
        let served = || Arc::clone(&own.certificates);
        Ok(Arc::new(Self {
            carrier,
            txt,
            guests,
            http1: certificates::config(served(), HTTP1)?,
            http2: certificates::config(served(), HTTP2)?,
            own,
            counts: Arc::new(Mutex::new(Counts::new(settings.most, settings.most_per_app))),
            cache: Mutex::new(Cache::default()),
            lookups: Semaphore::new(MAX_LOOKUPS),
            openings: Openings::new(settings.most_openings),
            metrics: Metrics::default(),
            begun: Instant::now(),
            settings,
        }))
    }

    /// What is served under the base domains.
    pub fn certificates(&self) -> &Certificates {
        &self.own.certificates
    }

    /// What its own pages are made of.
    pub fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The counters as a text.
    pub fn metrics_text(&self) -> String {
        self.metrics.text(locked(&self.counts).all())
    }

    /// Serves until `ending` says so; relays then have a time to end by themselves.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut ending: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ending.wait_for(|ending| *ending) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            };
            match accepted {
                Ok((stream, peer)) => self.accept(stream, peer, &ending, &mut tasks),
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if timeout(self.settings.times.drain, drained).await.is_err() {
            tracing::warn!("{} connections are ended", tasks.len());
        }
    }

    /// A connection beyond all slots is closed, and the rest go on.
    fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        ending: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        self.metrics.accepted();
        let Ok(slot) = Slot::take(&self.counts) else {
            return self.metrics.ended(Reason::Full);
        };
        // Relayed writes are whole already: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let (edge, ending) = (Arc::clone(self), ending.clone());
        tasks.spawn(async move {
            if let Err(reason) = edge.connection(stream, peer, &slot, ending).await {
                edge.metrics.ended(reason);
            }
        });
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        slot: &Slot,
        ending: watch::Receiver<bool>,
    ) -> Result<(), Reason> {
        let Opened { hello, ends } = Box::pin(self.open(&mut stream)).await?;
        let own = stream.local_addr().unwrap_or(peer);
        let ends = ends.unwrap_or(Ends { source: peer, destination: own });
        let target = match Box::pin(self.target(&hello.name, slot)).await {
            Ok(target) => target,
            Err(refused) => return self.refuse(&mut stream, &hello.name, refused).await,
        };
        match target {
            Target::Own(page) => {
                let stream = Box::pin(self.handshake(stream, hello, &self.http1)).await?;
                let ending = *ending.borrow();
                own_pages::serve(stream, page, Arc::clone(&self.own), ending).await;
                Ok(())
            }
            Target::App(destination, candidates, _app) => match destination.handling {
                Handling::Passthrough => {
                    self.pass_through(stream, (hello, ends, destination, candidates)).await
                }
                Handling::Terminate | Handling::TerminateHttp2 => {
                    self.terminate(stream, (hello, ends, destination, candidates)).await
                }
            },
        }
    }

    /// The app ends TLS itself; it gets all bytes of the client.
    async fn pass_through(&self, mut stream: TcpStream, led: Led) -> Result<(), Reason> {
        let (hello, ends, destination, candidates) = led;
        match self.reach(ends.source.ip(), destination.port, candidates).await {
            Ok(reached) => self.carry(stream, reached, ends, bytes_of(hello)).await,
            Err(refused) => self.refuse(&mut stream, &hello.name, refused).await,
        }
    }

    /// TLS ends here; the app gets what is inside.
    async fn terminate(&self, stream: TcpStream, led: Led) -> Result<(), Reason> {
        let (hello, ends, destination, candidates) = led;
        let config = self.config(destination);
        let mut stream = Box::pin(self.handshake(stream, hello, config)).await?;
        let reached = self.reach(ends.source.ip(), destination.port, candidates).await;
        let Ok(reached) = reached else {
            self.unreachable(&mut stream, destination).await;
            return Err(Reason::Unreachable);
        };
        self.carry(stream, reached, ends, Vec::new()).await
    }

    fn config(&self, destination: Destination) -> &Arc<ServerConfig> {
        match destination.handling {
            Handling::TerminateHttp2 => &self.http2,
            Handling::Terminate | Handling::Passthrough => &self.http1,
        }
    }

    /// Reads the hello, in time and as long as this connection keeps its place.
    async fn open(&self, stream: &mut TcpStream) -> Result<Opened, Reason> {
        let mut place = self.openings.take();
        let read = timeout(self.settings.times.hello, opening::read(stream, self.settings.proxied));
        let read = tokio::select! {
            read = read => read,
            () = place.displaced() => return Err(Reason::Displaced),
        };
        drop(place);
        let error = match read {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(_) => return Err(Reason::Late),
        };
        tracing::debug!("no hello: {}", protocol::error::chain(&error));
        match error {
            OpeningError::Hello(refused) => {
                self.answer(stream, &refused.answer).await;
                Err(Reason::Hello)
            }
            OpeningError::Proxy(_) => Err(Reason::ProxyHeader),
            OpeningError::Io(_) | OpeningError::Ended => Err(Reason::Hello),
        }
    }

    /// Tells a client before its handshake that there is nothing for it.
    async fn refuse(
        &self,
        stream: &mut TcpStream,
        name: &DomainName,
        refused: Refused,
    ) -> Result<(), Reason> {
        tracing::debug!("{name}: {}", protocol::error::chain(&refused));
        let (reason, answer) = match refused {
            Refused::Name(_) | Refused::Custom(_) | Refused::Unknown(_) => {
                (Reason::Name, hello::unknown_name())
            }
            Refused::Limit(_) => (Reason::AppFull, hello::unreachable()),
            Refused::Unreachable => (Reason::Unreachable, hello::unreachable()),
        };
        self.answer(stream, answer).await;
        Err(reason)
    }

    /// Writes a last answer. What the client has still under way is read before the connection
    /// ends, or a reset would overtake the answer.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, answer: &[u8]) {
        let last = async {
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            tokio::io::copy(stream, &mut tokio::io::sink()).await
        };
        // Whether it arrives changes nothing here.
        let _ = timeout(self.settings.times.hello.min(LINGER), last).await;
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        hello: Hello,
        config: &Arc<ServerConfig>,
    ) -> Result<TlsStream<Prefixed<TcpStream>>, Reason> {
        let Hello { accepted, mut bytes, taken, .. } = hello;
        bytes.drain(..taken);
        let stream = Prefixed::new(bytes, stream);
        let start = StartHandshake::from_parts(accepted, stream);
        let made = timeout(self.settings.times.handshake, start.into_stream(Arc::clone(config)));
        match made.await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!("handshake: {error}");
                Err(Reason::Handshake)
            }
            Err(_) => Err(Reason::Handshake),
        }
    }

    /// An app's client of HTTP/1.1 is told in its own protocol.
    async fn unreachable<S>(&self, stream: &mut TlsStream<S>, destination: Destination)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let http = stream.get_ref().1.alpn_protocol() == Some(HTTP1);
        if http && destination.handling == Handling::Terminate {
            self.answer(stream, UNREACHABLE).await;
        }
    }

    /// Relays until the end. `first` are bytes of the client that were read already.
    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut client: S,
        reached: Reached<C::Stream>,
        ends: Ends,
        first: Vec<u8>,
    ) -> Result<(), Reason> {
        let Reached { mut stream, header, _load } = reached;
        let mut head = match header {
            true => proxy_protocol::write(Version::V2, ends),
            false => Vec::new(),
        };
        head.extend(first);
        if !head.is_empty() {
            let sent = timeout(self.settings.times.connect, stream.write_all(&head)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Reason::Broken);
            }
        }
        drop(head);
        let times = &self.settings.times;
        let (ended, carried) = relay(&mut client, &mut stream, times.idle, times.total).await;
        self.metrics.relayed(&ended, carried);
        Ok(())
    }
}

/// What a client has sent; the reader's state, which a relay has no use for, is dropped.
fn bytes_of(hello: Hello) -> Vec<u8> {
    hello.bytes
}

/// How long a client's last bytes are read after its answer.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
