//! How an application and an instance get their ids. Source: dstack 312dc605, `dstack-types` and
//! `dstack-util`.

use sha2::{Digest, Sha256};

use crate::digest::{AppId, ComposeHash, InstanceId};

/// Bytes of an instance id seed.
pub const SEED_BYTES: usize = 20;

impl AppId {
    /// The id of an application that was given none: the first 20 bytes of its compose hash.
    pub fn from_compose_hash(hash: &ComposeHash) -> Self {
        Self(first_20(&hash.0))
    }
}

impl InstanceId {
    /// SHA-256(seed ‖ app id), first 20 bytes.
    pub fn derive(seed: &[u8; SEED_BYTES], app_id: &AppId) -> Self {
        let hash: [u8; 32] =
            Sha256::new().chain_update(seed).chain_update(app_id.0).finalize().into();
        Self(first_20(&hash))
    }
}

fn first_20(hash: &[u8; 32]) -> [u8; 20] {
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_prefixes_of_their_hashes() {
        let hash = ComposeHash::of(b"{}");
        let app = AppId::from_compose_hash(&hash);
        assert_eq!(app.0, hash.0[..20]);
        let expected = Sha256::new().chain_update([7; 20]).chain_update(app.0).finalize();
        assert_eq!(InstanceId::derive(&[7; 20], &app).0, expected[..20]);
    }
}
