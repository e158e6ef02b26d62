//! Phase 4: the guest has an address. What the host said about the network is a hint that can only deny service.

use protocol::status::{Phase, Refusal};

use super::LaunchRead;
use crate::halt::Halt;
use crate::network::Network;
use crate::status;

/// Holding one says: an IPv4 lease is configured; [`Network`] keeps it.
pub struct Networked {
    pub(super) launched: LaunchRead,
    pub(super) network: Network,
}

impl Networked {
    /// Brings the interfaces up and obtains the first lease, in bounded time.
    pub fn enter(launched: LaunchRead) -> Result<Self, Halt> {
        let network = Network::configure()
            .map_err(|error| Halt::new(Phase::Networked, Refusal::NetworkFailed, error.to_string()))?;
        status::reached(Phase::Networked);
        Ok(Self { launched, network })
    }
}
