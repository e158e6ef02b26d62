//! Phase 6: the guest has an address. What the host said about the network is a hint that can only
//! deny service.
//!
//! It is the last phase of the boot, because no other needs a peer: a host that answers slowly, or
//! not at all, delays nothing that is measured.

use protocol::status::{Phase, Refusal};

use super::AppMeasured;
use crate::halt::Halt;
use crate::network::Network;
use crate::status;

/// Holding one says: the app is measured, and an IPv4 lease is configured.
pub struct Networked {
    /// The lease, to be renewed as long as the guest runs.
    pub network: Network,
    /// The services that get a socket for Pads.
    pub pad_services: Vec<String>,
}

impl Networked {
    /// Brings the interfaces up and obtains the first lease, in bounded time.
    pub fn enter(AppMeasured { pad_services }: AppMeasured) -> Result<Self, Halt> {
        let network = Network::configure().map_err(|error| {
            Halt::new(Phase::Networked, Refusal::NetworkFailed, error.to_string())
        })?;
        status::reached(Phase::Networked);
        Ok(Self { network, pad_services })
    }
}
