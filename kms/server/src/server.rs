//! Two ports: attached channels, on which guests, owners and other processes of the KMS call, and
//! plain TLS for what anybody may know.
//!
//! Whoever connects is a stranger. Connections, their time and their requests are bounded; a
//! channel carries a request only behind the proofs of both ends.

mod calls;
mod certificate;
mod public;

use std::sync::Arc;
use std::time::Duration;

use channel::{Attester, Judge, Party, Settings, Side, TlsKey};
use protocol::channel::{ALPN_KMS, Role};
use service::budget::Budget;
use service::server::Bounds;
use tokio::net::TcpListener;

use crate::judge::Peer;
use crate::member::Member;

pub use certificate::{CertificateError, self_signed};
pub use public::serve as serve_public;

use calls::Session;

/// Channels at a time, those that are not open yet included: guests come at boot, and then every
/// few minutes.
const MAX_CHANNELS: usize = 128;
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
    let side = Side::Server { clients: vec![Role::Agent, Role::Owner, Role::App] };
    let settings = Settings { own: Role::App, side };
    Party { settings, alpn: ALPN_KMS, key, attester, judge }
}

/// Serves channels until its task is ended.
pub async fn serve_channels<A, J>(listener: TcpListener, party: Party<A, J>, member: Arc<Member>)
where
    A: Attester + 'static,
    J: Judge<Peer = Peer> + 'static,
{
    let party = Arc::new(party);
    let budget = Budget::new(MAX_HELD_BYTES);
    service::server::accept(listener, MAX_CHANNELS, move |stream| {
        let (party, member, budget) = (Arc::clone(&party), Arc::clone(&member), budget.clone());
        async move {
            match channel::accept(stream, &party).await {
                Ok(channel) => {
                    let (peer, stream) = channel.into_parts();
                    let bounds = match peer {
                        Peer::Process(_) => BETWEEN_PROCESSES,
                        Peer::Guest(_) | Peer::Owner(_) => CHANNEL,
                    };
                    let session = Session::of_peer(peer, member, budget);
                    // Over time or broken off by the client: there is nobody to tell.
                    let _ = service::server::connection(stream, Arc::new(session), bounds).await;
                }
                // Not louder: strangers could fill the console.
                Err(error) => tracing::debug!("no channel: {error}"),
            }
        }
    })
    .await;
}

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(test)]
mod tests;
