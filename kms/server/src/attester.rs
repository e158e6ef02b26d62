//! What a KMS proves on every channel: a quote of its guest over this connection, and its root's
//! signature over the same.

use std::sync::Arc;

use agent_client::{Collaterals, Socket, SocketError};
use channel::Attester;
use protocol::channel::{Binding, Proof, Role};
use protocol::digest::OsImageHash;
use protocol::event_log::RUNTIME_REGISTER;
use protocol::evidence::Evidence;
use protocol::kms::{Cluster, MemberClaim, Statement, signed_by_member, signed_by_root};

/// What the KMS holds that it states of itself.
pub trait Holder: Send + Sync + 'static {
    /// The text of an image.json that owners put.
    fn image(&self, name: &OsImageHash) -> Option<String>;
    /// The envelope of the root's certificate.
    fn root_certificate(&self) -> Option<String>;
    /// The envelope of the list of what may be a KMS.
    fn list(&self) -> Option<String>;
    /// The signature of the root's identity; none without a root.
    fn sign(&self, bytes: &[u8]) -> Option<[u8; 64]>;
    /// The key of this process, with its signature.
    fn member(&self, bytes: &[u8]) -> MemberClaim;
}

/// Proves by the guest's own quotes.
#[derive(Debug)]
pub struct GuestAttester<H> {
    cluster: Cluster,
    socket: Socket,
    app_compose: Vec<u8>,
    collaterals: Arc<Collaterals>,
    holder: Arc<H>,
}

impl<H: Holder> GuestAttester<H> {
    /// Asks the guest's agent for the measured file.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub async fn new(
        cluster: Cluster,
        socket: Socket,
        collaterals: Arc<Collaterals>,
        holder: Arc<H>,
    ) -> Result<Self, SocketError> {
        let app_compose = socket.app_compose().await?;
        Ok(Self { cluster, socket, app_compose, collaterals, holder })
    }

    async fn statement(&self, evidence: &Evidence, binding: &Binding) -> Statement {
        // Without it a peer can still fetch its own, or try again.
        let collateral = match self.collaterals.of(&evidence.quote).await {
            Ok(collateral) => String::from_utf8(collateral.to_json()).ok(),
            Err(error) => {
                tracing::warn!("for the KMS's own platform: {error}");
                None
            }
        };
        let signature = self.holder.sign(&signed_by_root(&binding.exporter, &evidence.quote));
        // Guests of any version read what a KMS states to them; processes are of the list's.
        let to_process = binding.expected == Role::App;
        let signed = signed_by_member(&binding.exporter, &evidence.quote);
        Statement {
            cluster: self.cluster.clone(),
            image: self.holder.image(&evidence.claims.os_image_hash).unwrap_or_default(),
            collateral,
            root: self.holder.root_certificate(),
            list: self.holder.list(),
            signature: signature.map(hex::encode),
            member: to_process.then(|| self.holder.member(&signed)),
        }
    }
}

impl<H: Holder> Attester for GuestAttester<H> {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let report_data = binding.report_data().ok_or("a KMS has a role with a quote")?;
        let evidence = self.socket.attest(&report_data).await;
        let evidence = evidence.map_err(|error| {
            // The peer learns no more than that; the log has the reason.
            tracing::error!("no quote: {error}");
            "the guest gives no quote".to_owned()
        })?;
        let statement = self.statement(&evidence, binding).await.to_json();
        let own = evidence.event_log.into_iter().filter(|event| event.imr == RUNTIME_REGISTER);
        Ok(Proof {
            quote: evidence.quote,
            event_log: own.collect(),
            claims: evidence.claims,
            app_compose: self.app_compose.clone(),
            statement,
        })
    }
}
