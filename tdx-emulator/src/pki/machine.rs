//! Which of the emulated machines it is: hosts of one kind, each with ids and keys of its own.

use sha2::{Digest as _, Sha256};

/// One emulated machine.
///
/// Machines share their FMSPC, their security versions and so their collateral, and differ in PPID,
/// platform instance id, PCK key and attestation key, as two hosts of one model do. Without a seed
/// it is the machine of the test vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine(Option<[u8; Self::SEED_BYTES]>);

impl Machine {
    /// Length of a seed.
    pub const SEED_BYTES: usize = 32;

    /// The machine whose ids and keys follow from a seed.
    pub fn of_seed(seed: [u8; Self::SEED_BYTES]) -> Self {
        Self(Some(seed))
    }

    /// An id of the machine, or `default` for the one of the test vectors.
    pub(crate) fn id(self, label: &str, default: [u8; 16]) -> [u8; 16] {
        let Some(seed) = self.0 else { return default };
        let digest = Sha256::new().chain_update(label).chain_update(seed).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }

    /// What tells its keys from other machines'.
    pub(super) fn seed(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |seed| seed)
    }
}
