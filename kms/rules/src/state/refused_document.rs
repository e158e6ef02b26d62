//! Why a document of owners, or a call of one, is refused.

use attestation::kms::KmsRefusal;
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::ClusterError;

use super::{Born, State};
use crate::derivation::MAX_EPOCHS;
use crate::policy::{MAX_ENVELOPE_BYTES, PolicyRefusal};

/// Why an owner's call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRefused {
    /// a second root
    #[error("a root was made already")]
    Born,
    /// no root
    #[error("no root was made yet")]
    Unborn,
    /// a cluster that cannot be
    #[error("the cluster in the measured file")]
    Cluster(#[from] ClusterError),
    /// an envelope beyond its budget
    #[error("the envelope has {0} bytes, at most {MAX_ENVELOPE_BYTES} are read")]
    TooLarge(usize),
    /// signatures or payload
    #[error(transparent)]
    Document(#[from] KmsRefusal),
    /// another root
    #[error("the certificate is of epoch {epoch} with the identity {identity}, which is not here")]
    OtherRoot {
        /// As the certificate says.
        epoch: u32,
        /// As the certificate says.
        identity: Ed25519Key,
    },
    /// a second certificate
    #[error("the root is certified already")]
    Certified,
    /// an epoch before the first root is certified
    #[error("the root of the first epoch is not certified yet")]
    Uncertified,
    /// another epoch
    #[error("the epoch {found} follows none, expected {expected}")]
    Epoch {
        /// As it says.
        found: u32,
        /// The next one.
        expected: u32,
    },
    /// keys that were taken over, or not
    #[error("an epoch with keys of the kind {0} and the roots of a dstack KMS do not go together")]
    TakenOver(&'static str),
    /// epochs to retire, out of order
    #[error("the epochs to retire are expected in ascending order")]
    RetiresOrder,
    /// an epoch that is not there
    #[error("there is no epoch {0} to retire")]
    UnknownEpoch(u32),
    /// no epoch or too many
    #[error("{0} epochs with keys would be left, expected 1 to {MAX_EPOCHS}")]
    EpochsLeft(usize),
    /// instances that would lose their disks
    #[error(
        "{found} instances run on an epoch to retire and would lose their disks; \
         danger_loses_instances allows {allowed}"
    )]
    Instances {
        /// Instances on those epochs.
        found: u64,
        /// As the certificate says.
        allowed: u64,
    },
    /// an older list
    #[error("the list has version {found}, expected one above {previous}")]
    ListVersion {
        /// Its version.
        found: u64,
        /// That of the list that counts.
        previous: u64,
    },
    /// a list that nobody is on
    #[error("the list is empty, so that nothing may be this KMS")]
    EmptyList,
    /// the policy
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// another cluster's resumption
    #[error("the resumption is of the key provider {0}")]
    OtherCluster(Sha256Digest),
    /// another process
    #[error("the resumption is for the process {found}, this one is {expected}")]
    OtherMember {
        /// As the document says.
        found: Ed25519Key,
        /// This process's key.
        expected: Ed25519Key,
    },
    /// another state
    #[error(
        "the resumption is of {found} entries with the head {found_head}, here are {entries} with \
         {head}"
    )]
    OtherHead {
        /// As the document says.
        found: u64,
        /// As the document says.
        found_head: Sha256Digest,
        /// Here.
        entries: u64,
        /// Here.
        head: Sha256Digest,
    },
    /// a process that serves
    #[error("this process may serve already")]
    AlreadyServing,
}

pub(super) fn born(state: &State) -> Result<&Born, DocumentRefused> {
    state.born.as_ref().ok_or(DocumentRefused::Unborn)
}
