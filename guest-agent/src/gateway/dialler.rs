//! Tunnels to a few gateways, each dialled again when it ends, and the streams that gateways open
//! in them.
//!
//! What fails is tried again after a bounded wait, at another address if there is one; a gateway
//! that is away at boot, or for days, costs a connection attempt now and then. A tunnel ends when
//! the statement of the gateway's KMS does, unless the gateway shows the next one in time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use attestation::released::ReleasedGuest;
use channel::{Attester, ChannelError, Party};
use containers::app::AppState;
use futures_util::future::join_all;
use protocol::error::chain;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tunnel::{Side, Tunnel, TunnelStream};

use super::candidates::Candidates;
use super::judge::TheGateway;
use super::ports::Ports;

/// Gateways to which tunnels are kept at a time: two may fail at once.
const GATEWAYS: usize = 3;
/// Tunnels to each: one that breaks takes no more than half of the streams with it. A gateway takes
/// four.
const TUNNELS: usize = 2;
/// Streams of all tunnels at a time; each has a connection to the app, and so half of the files
/// that the agent may have open (1,024).
const MAX_STREAMS: usize = 512;
/// How long a connection may take to come: a host that drops packets costs this much.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long the app may take to accept one: as long as a gateway waits for an answer.
const APP_WITHIN: Duration = Duration::from_secs(5);
/// First wait after a tunnel ended or did not come about; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait: a gateway that is back is found within half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Tries without a tunnel, after which another address is tried if there is one.
const MAX_FAILURES: u32 = 3;
/// How often it is looked whether the KMS has stated something newer; it does every two minutes.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Least time between two statements of one gateway that are judged: each costs signatures.
const JUDGE_EVERY: Duration = Duration::from_secs(10);

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
enum DialError {
    /// the connection
    #[error("no connection: {0}")]
    Connect(String),
    /// the channel
    #[error("no channel: {}", chain(.0))]
    Channel(#[from] ChannelError),
}

/// Text of the newest release statement of this guest, if there is one.
pub type Release = Box<dyn Fn() -> Option<Arc<str>> + Send + Sync>;

/// Keeps the tunnels of a guest.
pub struct Dialler<A> {
    /// This guest, and what a gateway must be.
    pub party: Party<A, TheGateway>,
    /// What the KMS says of this guest.
    pub release: Release,
    /// How far the app is.
    pub app: watch::Receiver<AppState>,
    /// What of it gateways reach.
    pub ports: Ports,
    /// Where gateways are.
    pub candidates: Candidates,
    /// Streams that may be opened.
    pub streams: Arc<Semaphore>,
}

/// Room for all streams of a guest.
pub fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_STREAMS))
}

impl<A: Attester + 'static> Dialler<A> {
    /// Dials until its task is ended.
    pub async fn run(self: Arc<Self>) {
        let mut slots = JoinSet::new();
        for _ in 0..GATEWAYS.min(self.candidates.len()) {
            let dialler = Arc::clone(&self);
            slots.spawn(async move { match dialler.slot().await {} });
        }
        slots.join_all().await;
    }

    /// Keeps tunnels to one gateway after another.
    async fn slot(&self) -> Infallible {
        loop {
            if let Some(place) = self.candidates.take(Instant::now()) {
                let up = AtomicUsize::new(0);
                join_all((0..TUNNELS).map(|_| self.keep(place, &up))).await;
                self.candidates.fail(place, Instant::now());
            }
            sleep(FIRST_WAIT).await;
        }
    }

    /// Keeps one of the [`TUNNELS`] at a place until none comes about there and another place is
    /// free. `up` counts those that are open.
    async fn keep(&self, place: usize, up: &AtomicUsize) {
        let (mut wait, mut failures) = (FIRST_WAIT, 0);
        loop {
            let begun = Instant::now();
            match self.dial(place, up).await {
                Ok(ended) => {
                    tracing::info!(
                        "the tunnel to {} ended: {ended}",
                        self.candidates.address(place)
                    );
                    failures = 0;
                }
                Err(error) => {
                    tracing::info!("no tunnel to {}: {error}", self.candidates.address(place));
                    failures += 1;
                }
            }
            // A gateway that ends every tunnel at once is not asked faster than one that is away.
            if begun.elapsed() >= LONGEST_WAIT {
                wait = FIRST_WAIT;
            }
            let given_up = failures >= MAX_FAILURES && up.load(Ordering::Relaxed) == 0;
            if given_up && self.candidates.has_free() {
                return;
            }
            sleep(spread(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Opens a tunnel and keeps it to its end; why it ended.
    async fn dial(&self, place: usize, up: &AtomicUsize) -> Result<String, DialError> {
        let address = self.candidates.address(place).host_and_port();
        let failed = |error: &dyn std::error::Error| DialError::Connect(error.to_string());
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address))
            .await
            .map_err(|late| failed(&late))?
            .map_err(|error| failed(&error))?;
        // Frames are written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let shown = (self.release)();
        let channel = channel::connect(stream, &self.party).await?;
        let (gateway, stream) = channel.into_parts();
        tracing::info!("a tunnel to {} is open", self.candidates.address(place));
        up.fetch_add(1, Ordering::Relaxed);
        let ended = self.tunnel(gateway, stream, shown).await;
        up.fetch_sub(1, Ordering::Relaxed);
        Ok(ended)
    }

    async fn tunnel<S>(&self, gateway: ReleasedGuest, stream: S, shown: Option<Arc<str>>) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let tunnel = Tunnel::new(Side::Guest);
        let (sender, statements) = watch::channel(Vec::new());
        let opened = |stream, port| self.open(&tunnel, stream, port);
        let stated = |statement| drop(sender.send_replace(statement));
        tokio::select! {
            ended = tunnel.run(stream, |_| {}, opened, stated) => chain(&ended),
            refused = self.hold(gateway, statements) => refused,
            never = self.speak(&tunnel, shown) => match never {},
        }
    }

    /// Tells a gateway whether the app is ready, and what the KMS says of this guest, whenever that
    /// changes.
    async fn speak(&self, tunnel: &Tunnel, mut shown: Option<Arc<str>>) -> Infallible {
        let (mut states, mut ready) = (self.app.clone(), None);
        loop {
            let is_ready = *states.borrow_and_update() == AppState::Running;
            if ready.replace(is_ready) != Some(is_ready) {
                tunnel.say_ready(is_ready);
            }
            let release = (self.release)();
            if release != shown
                && let Some(text) = &release
                && tunnel.say_statement(text.as_bytes())
            {
                shown = release;
            }
            // An app that nobody drives any more changes no more.
            if let Ok(Err(_)) = timeout(LOOK_EVERY, states.changed()).await {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Judges the statements that a gateway shows, until one is refused or none holds any more; why
    /// the tunnel ends.
    async fn hold(
        &self,
        mut gateway: ReleasedGuest,
        mut statements: watch::Receiver<Vec<u8>>,
    ) -> String {
        let judge = &self.party.judge;
        loop {
            let end = Instant::now() + Duration::from_secs(judge.left_secs(&gateway));
            match timeout_at(end, statements.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "it is over".to_owned(),
                Err(_) => return "the gateway's release statement has ended".to_owned(),
            }
            let shown = statements.borrow_and_update().clone();
            gateway = match judge.renewed(&gateway, &shown) {
                Ok(gateway) => gateway,
                Err(refusal) => return refusal,
            };
            sleep_until(end.min(Instant::now() + JUDGE_EVERY)).await;
        }
    }

    /// Connects a stream to a port, if a gateway may reach that; otherwise it is dropped, which
    /// refuses it.
    fn open(&self, tunnel: &Tunnel, stream: TunnelStream, port: NonZeroU16) {
        let Some(address) = self.ports.address(port) else {
            return tracing::debug!("a gateway wants port {port}, which it may not reach");
        };
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            return tracing::warn!("a stream is refused: {MAX_STREAMS} are open");
        };
        let tunnel = tunnel.clone();
        tokio::spawn(async move {
            relay(&tunnel, stream, address).await;
            drop(place);
        });
    }
}

/// Carries bytes between a stream and the app, each direction to its own end.
async fn relay(tunnel: &Tunnel, mut stream: TunnelStream, address: SocketAddr) {
    let Ok(Ok(mut app)) = timeout(APP_WITHIN, TcpStream::connect(address)).await else { return };
    let _ = app.set_nodelay(true);
    tunnel.connect(&stream);
    if copy_bidirectional(&mut stream, &mut app).await.is_err() {
        // Half of a request must not look like the whole of one.
        let _ = app.set_zero_linger();
    }
}

/// A wait of about that length, so that guests do not all come back at the same moment.
fn spread(wait: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without randomness they do.
    let _ = getrandom::fill(&mut byte);
    wait.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
}
