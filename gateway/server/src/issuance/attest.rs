//! Evidence about accounts and keys: a quote of the own guest's, with the collateral of its time,
//! stored and shown before anything rests on it.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use agent_client::{Collaterals, NoCollateral, Socket, SocketError};
use gateway_acme::Attest;
use gateway_domain::published::{Entry, Subject};
use protocol::evidence::Evidence;
use tokio::runtime::Handle;

use crate::own_pages::Own;
use crate::slots::locked;
use crate::store::{Store, StoreError};

/// Publishes by the guest's own quotes; it blocks, and is used on threads of its own.
#[derive(Debug, Clone)]
pub struct GuestAttest {
    /// The agent.
    pub socket: Socket,
    /// The collateral of this platform.
    pub collaterals: Arc<Collaterals>,
    /// Where the lines are.
    pub store: Arc<Mutex<Store>>,
    /// Where they are shown.
    pub own: Arc<Own>,
    /// What runs the calls.
    pub runtime: Handle,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
enum NoEvidence {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Collateral(#[from] NoCollateral),
    #[error("the collateral is no text")]
    Text,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GuestAttest {
    fn published(&self, subject: &Subject) -> Result<Entry, NoEvidence> {
        if let Some(entry) = locked(&self.store).entry(|known| known == subject)? {
            return Ok(entry);
        }
        let report_data = subject.report_data();
        let evidence = self.runtime.block_on(self.socket.attest(&report_data))?;
        let collateral = self.runtime.block_on(self.collaterals.of(&evidence.quote))?;
        let collateral = String::from_utf8(collateral.to_json()).map_err(|_| NoEvidence::Text)?;
        let made_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let evidence = Evidence { nonce: [0; 32], app_compose: None, ..evidence };
        let entry = Entry { made_secs, subject: subject.clone(), evidence, collateral };
        let mut store = locked(&self.store);
        store.publish(&entry)?;
        self.own.show_evidence(store.evidence()?);
        Ok(entry)
    }
}

impl Attest for GuestAttest {
    fn publish(&self, subject: &Subject) -> Result<Entry, String> {
        self.published(subject).map_err(|error| protocol::error::chain(&error))
    }
}
