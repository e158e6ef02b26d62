//! The owner's view: what an app does not publish, for the holders of the keys that its measured
//! file names.
//!
//! An attested channel on a port of its own. The client proves first, by a signature over the
//! connection, so that a stranger costs no quote; then the guest proves itself, and the routes of
//! the public port answer as if the app published its logs and figures. Whoever connects is the
//! attacker until the signature is an owner's. An owner reads: nothing here changes the guest.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;

use attestation::owner::judge_owner;
use channel::{Judge, Party, Settings, Side, TlsKey};
use protocol::app_compose::AppCompose;
use protocol::channel::{ALPN_OWNER, Binding, OwnerProof, Proof, Refusal, RefusalCode, Role};
use protocol::digest::Ed25519Key;
use protocol::handover::OWNER_PORT;
use service::Answers;
use service::server::Bounds;
use tokio::net::TcpListener;

use crate::boot::Boot;
use crate::kms_client::AgentProof;
use crate::quotes::QuoteDesk;

/// Channels at a time, those that are not open yet included: a few people look after an app, and
/// each of their commands opens one.
const MAX_CHANNELS: usize = 8;
const _: () = assert!(OWNER_PORT == compose::OWNER_PORT, "no service may publish it");

/// The port, listening.
pub struct OwnerPort {
    listener: TcpListener,
    key: TlsKey,
}

impl OwnerPort {
    /// Listens where the measured file names owners.
    pub async fn open(app: &AppCompose) -> io::Result<Option<Self>> {
        if app.owners.is_empty() {
            return Ok(None);
        }
        let key = TlsKey::generate().map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, OWNER_PORT)).await?;
        Ok(Some(Self { listener, key }))
    }

    /// Opens channels, and answers on them with `answers`, until its task is ended.
    pub fn serve<A: Answers>(
        self,
        boot: &Boot,
        desk: Arc<QuoteDesk>,
        answers: Arc<A>,
    ) -> impl Future<Output = ()> + Send + use<A> {
        let side = Side::Server { clients: vec![Role::Owner] };
        let claims = boot.handover.claims.clone();
        let attester = AgentProof { desk, claims, app_compose: Arc::clone(&boot.app_compose) };
        let party = Arc::new(Party {
            settings: Settings { own: Role::Agent, side },
            alpn: ALPN_OWNER,
            key: self.key,
            attester: Arc::new(attester),
            judge: Arc::new(OwnerJudge { owners: boot.app.owners.clone() }),
        });
        service::server::accept(self.listener, MAX_CHANNELS, move |stream| {
            let (party, answers) = (Arc::clone(&party), Arc::clone(&answers));
            async move {
                match channel::accept(stream, &party).await {
                    Ok(channel) => {
                        let (_, stream) = channel.into_parts();
                        let bounds = Bounds::OF_STRANGERS;
                        // Over time or broken off by the client: there is nobody to tell.
                        let _ = service::server::connection(stream, answers, bounds).await;
                    }
                    // Not louder: strangers could fill the console.
                    Err(error) => tracing::debug!("no channel: {error}"),
                }
            }
        })
    }
}

/// The same boot as its owners see it: logs and figures are open.
pub fn as_seen_by_owners(boot: &Boot) -> Boot {
    let app = AppCompose { public_logs: true, public_sysinfo: true, ..(*boot.app).clone() };
    Boot { app: Arc::new(app), ..boot.clone() }
}

/// Accepts the owners, and nobody else.
struct OwnerJudge {
    owners: Vec<Ed25519Key>,
}

impl Judge for OwnerJudge {
    type Peer = Ed25519Key;

    async fn judge(&self, _: Proof, _: &Binding) -> Result<Ed25519Key, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "an owner proves with a key, not with evidence"))
    }

    async fn judge_owner(&self, proof: OwnerProof, signed: &[u8]) -> Result<Ed25519Key, Refusal> {
        judge_owner(&self.owners, &proof, signed)
            .map_err(|refusal| Refusal::new(RefusalCode::Owner, &refusal.to_string()))
    }

    fn unattested(&self) -> Result<Ed25519Key, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "what is public is answered on the other port"))
    }
}

#[cfg(test)]
mod tests;
