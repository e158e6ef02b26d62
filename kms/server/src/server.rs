//! Two ports: attached channels, on which guests, owners and other processes of the KMS call, and
//! plain TLS for what anybody may know.
//!
//! Whoever connects is a stranger. Connections, their time and their requests are bounded; a
//! channel carries a request only behind the proofs of both ends, and then has a slot among those
//! of its kind of peer.

mod calls;
mod certificate;
mod public;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use channel::{Attester, Judge, Party, Settings, Side, TlsKey, VerifiedChannel};
use protocol::channel::{ALPN_KMS, Role};
use service::budget::Budget;
use service::server::{Bounds, Listener as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::judge::Peer;
use crate::member::Member;

pub use certificate::{CertificateError, self_signed};
pub use public::serve as serve_public;

use calls::Session;
use slots::{Openings, Slots};

/// Connections at a time whose peers have not proved themselves.
const MAX_OPENINGS: usize = 128;
/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of answers that clients have not read yet.
const MAX_HELD_BYTES: usize = 16 << 20;
/// How long a channel may last: its peer was proved, opening another takes two quotes, and an
/// owner's tool does other things between two calls.
const CHANNEL: Bounds = Bounds { idle: Duration::from_secs(120), whole: Duration::from_secs(600) };

/// How long one with another process may last: it carries the heartbeats of members.
const BETWEEN_PROCESSES: Bounds =
    Bounds { idle: Duration::from_secs(120), whole: Duration::from_secs(24 * 3600) };

/// The KMS's end of every channel that others open.
pub fn party<A, J>(key: TlsKey, attester: Arc<A>, judge: Arc<J>) -> Party<A, J> {
    let side = Side::Server { clients: vec![Role::Agent, Role::Pads, Role::Owner, Role::App] };
    let settings = Settings { own: Role::App, side };
    Party { settings, alpn: ALPN_KMS, key, attester, judge }
}

/// Serves channels until its task is ended.
pub async fn serve_channels<A, J>(listener: TcpListener, party: Party<A, J>, member: Arc<Member>)
where
    A: Attester + 'static,
    J: Judge<Peer = Peer> + 'static,
{
    let (party, slots) = (Arc::new(party), Arc::new(Slots::new()));
    let mut openings = Openings::new(MAX_OPENINGS);
    let budget = Budget::new(MAX_HELD_BYTES);
    loop {
        match listener.next().await {
            Ok(stream) => {
                let (party, slots) = (Arc::clone(&party), Arc::clone(&slots));
                let (member, budget) = (Arc::clone(&member), budget.clone());
                openings.admit(async move {
                    match channel::accept(stream, &party).await {
                        Ok(channel) => serve(channel, &slots, member, budget),
                        // Not louder: strangers could fill the console.
                        Err(error) => tracing::debug!("no channel: {error}"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers on a channel in a task of its own, if there is a slot for its peer.
fn serve<S>(channel: VerifiedChannel<Peer, S>, slots: &Slots, member: Arc<Member>, budget: Budget)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, stream) = channel.into_parts();
    let Some(slot) = slots.take(&peer) else {
        return tracing::warn!("a channel is closed: its kind of peer has no slot left");
    };
    let bounds = match peer {
        Peer::Process(_) => BETWEEN_PROCESSES,
        Peer::Guest(_) | Peer::Middleware(_) | Peer::Owner(_) | Peer::Custodian(_) => CHANNEL,
    };
    let session = Arc::new(Session::of_peer(peer, member, budget));
    tokio::spawn(async move {
        let _slot = slot;
        // Over time or broken off by the client: there is nobody to tell.
        let _ = service::server::connection(stream, session, bounds).await;
    });
}

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(test)]
mod tests;
