//! A KMS for tests, of which there is no more than what it signs.

#![allow(clippy::unwrap_used)] // a test whose input cannot be made has failed

use attestation::signatures::{Envelope, PayloadType, SigningKey};
use protocol::digest::Sha256Digest;
use protocol::kms::{
    Cluster, RELEASE_VERSION, ReleaseStatement, ReleasedAt, RootCertificate, SignedRelease,
    payload_type,
};
use serde_json::to_vec;

/// Its owner and its root, of a test's choice.
#[derive(Debug, Clone, Copy)]
pub struct Kms {
    /// Seed of the owner's key and of the root's identity.
    pub seed: u8,
}

impl Kms {
    fn owner(self) -> SigningKey {
        SigningKey::from_seed(&[self.seed; 32])
    }

    fn identity(self) -> SigningKey {
        SigningKey::from_seed(&[!self.seed; 32])
    }

    fn cluster(self) -> Cluster {
        let owners = vec![self.owner().signer().key()];
        Cluster { name: "test".into(), owners, threshold: 1 }
    }

    /// Who it is.
    pub fn id(self) -> Sha256Digest {
        self.cluster().id()
    }

    /// What it states of a guest, an hour from now on; everything else is the test's to fill in.
    pub fn statement(self, guest: &attestation::MeasuredApp, now_secs: u64) -> ReleaseStatement {
        ReleaseStatement {
            version: RELEASE_VERSION,
            key_provider_id: self.id(),
            root_epoch: 1,
            app_id: guest.app_id,
            instance_id: guest.instance_id,
            compose_hash: guest.compose_hash,
            os_image_hash: protocol::digest::OsImageHash([0; 32]),
            agent_key: Sha256Digest([0; 32]),
            open_counter: 7,
            policy_version: 1,
            released: ReleasedAt { entry: 0, hash: Sha256Digest([0; 32]), time_secs: now_secs },
            issued_secs: now_secs,
            not_after_secs: now_secs + 3600,
        }
    }

    /// The text of a statement that it signs.
    pub fn signed(self, statement: &ReleaseStatement) -> String {
        let envelope = |payload_type, payload, key: &SigningKey| {
            let mut envelope = Envelope::new(PayloadType(payload_type), payload);
            envelope.sign(key);
            envelope.to_json()
        };
        let root = RootCertificate {
            key_provider_id: self.id(),
            epoch: 1,
            identity: self.identity().signer().key(),
            renewal: None,
        };
        SignedRelease {
            cluster: self.cluster(),
            root: envelope(payload_type::ROOT, to_vec(&root).unwrap(), &self.owner()),
            statement: envelope(payload_type::RELEASE, statement.to_json(), &self.identity()),
        }
        .to_json()
    }
}
