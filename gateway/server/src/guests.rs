//! The port on which guests dial: each proves itself on an attested channel, and keeps a tunnel for
//! as long as its KMS goes on to vouch for it.
//!
//! Whoever connects is a stranger until its evidence was judged. A tunnel ends with the release
//! statement that was shown last, within the hour; guests show the next ones inside of it, and so
//! does the gateway to them. What a guest may be reached under is never asked of it.

mod identity;
mod judge;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use channel::{Attester, Party, Settings, Side, VerifiedChannel};
use protocol::channel::Role;
use service::server::Listener as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::openings::Openings;
use crate::tunnels::Tunnels;

pub use identity::{Identity, IdentityError, Images};
pub use judge::{Guest, GuestJudge, GuestRefusal, Judging, Terms, judge_guest};

/// Connections at a time whose guests have not proved themselves.
const MAX_OPENINGS: usize = 128;
/// Tunnels at a time: a thousand guests with four each.
const MAX_OPEN: usize = 4096;
/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the agent is asked for a newer statement of this guest; it has one every two minutes.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// Least time between two statements of one guest that are judged: each costs signatures.
const JUDGE_EVERY: Duration = Duration::from_secs(10);

/// Takes guests until its task is ended. `identity` is how this gateway proves itself to them,
/// `judge` what they must be.
pub async fn serve(
    listener: TcpListener,
    tunnels: Arc<Tunnels>,
    identity: Arc<Identity>,
    judge: Arc<GuestJudge>,
) {
    let port = Arc::new(Port {
        party: Party {
            settings: Settings {
                own: Role::App,
                side: Side::Server { clients: vec![Role::Agent] },
            },
            alpn: tunnel::ALPN,
            key: identity.key().clone(),
            attester: Arc::clone(&identity),
            judge,
        },
        tunnels,
        open: Arc::new(Semaphore::new(MAX_OPEN)),
    });
    tokio::select! {
        never = accept(listener, Arc::clone(&port)) => match never {},
        never = renew(&identity, &port.tunnels) => match never {},
    }
}

struct Port<A> {
    party: Party<A, GuestJudge>,
    tunnels: Arc<Tunnels>,
    open: Arc<Semaphore>,
}

async fn accept<A: Attester + 'static>(listener: TcpListener, port: Arc<Port<A>>) -> Infallible {
    let openings = Openings::new(MAX_OPENINGS);
    loop {
        let stream = match listener.next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (port, mut place) = (Arc::clone(&port), openings.take());
        tokio::spawn(async move {
            let opened = tokio::select! {
                opened = channel::accept(stream, &port.party) => opened,
                () = place.displaced() => return,
            };
            drop(place);
            match opened {
                Ok(channel) => port.keep(channel).await,
                // Not louder: strangers could fill the console.
                Err(error) => tracing::debug!("no tunnel: {error}"),
            }
        });
    }
}

/// Shows guests what the KMS says of this gateway, whenever it says something new.
async fn renew(identity: &Identity, tunnels: &Tunnels) -> Infallible {
    let mut shown = String::new();
    loop {
        match identity.release().await {
            Ok(release) if release != shown => {
                tunnels.say_statement(release.as_bytes());
                shown = release;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("this gateway's release statement: {error}"),
        }
        sleep(ASK_EVERY).await;
    }
}

impl<A> Port<A> {
    /// Keeps the tunnel of a guest that was judged.
    async fn keep<S>(&self, channel: VerifiedChannel<Guest, S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (guest, stream) = channel.into_parts();
        let Ok(_place) = self.open.try_acquire() else {
            return tracing::warn!("a tunnel is closed: {MAX_OPEN} are open");
        };
        let facts = guest.facts().clone();
        let (app, instance) = (facts.app, facts.instance);
        let (shown, statements) = watch::channel(Vec::new());
        let stated = |statement| drop(shown.send_replace(statement));
        tokio::select! {
            ended = self.tunnels.run(facts, stream, stated) => match ended {
                Ok(ended) => tracing::debug!("a tunnel of {app}, {instance}: {ended}"),
                Err(error) => tracing::info!("a tunnel of {app}, {instance}: {error}"),
            },
            refused = hold(&self.party.judge, guest, statements) => {
                tracing::info!("a tunnel of {app}, {instance} ends: {refused}");
            }
        }
    }
}

/// Judges the statements that a guest shows, until one is refused or none holds any more; why its
/// tunnel ends.
async fn hold(
    judge: &GuestJudge,
    mut guest: Guest,
    mut statements: watch::Receiver<Vec<u8>>,
) -> String {
    loop {
        let now_secs = judge.now_secs();
        let left = guest.not_after_secs().saturating_sub(now_secs);
        let end = Instant::now() + Duration::from_secs(left);
        match timeout_at(end, statements.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "it is over".to_owned(),
            Err(_) => return "its release statement has ended".to_owned(),
        }
        let shown = statements.borrow_and_update().clone();
        guest = match judge.renewed(&guest, &shown) {
            Ok(guest) => guest,
            Err(refusal) => return protocol::error::chain(&refusal),
        };
        sleep_until(end.min(Instant::now() + JUDGE_EVERY)).await;
    }
}

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(test)]
mod tests;
