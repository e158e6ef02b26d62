//! What owners decide: the root, the list, the policy, and that a new process may go on.

use attestation::kms::{KmsRefusal, Owners};
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{Cluster, ClusterError, KmsList, Resumption, RootCertificate, payload_type};

use super::{Born, FIRST_EPOCH, State};
use crate::ledger::{Bootstrap, Document, Entry, Kind, Resumed, RootCertified};
use crate::policy::{MAX_ENVELOPE_BYTES, PolicyRefusal, SignedPolicy};

/// How far open counters jump where entries may be missing: more mounts than those can have been
/// of one instance.
pub const COUNTERS_AT_RESUMPTION: u64 = 1024;

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

/// A root was made: the first entry.
///
/// # Errors
/// If there is one, or the cluster cannot be.
pub fn bootstrap(
    state: &State,
    cluster: &Cluster,
    identity: Ed25519Key,
    member: Ed25519Key,
    clock_secs: u64,
) -> Result<Entry, DocumentRefused> {
    if state.born.is_some() || state.entries != 0 {
        return Err(DocumentRefused::Born);
    }
    cluster.check()?;
    let cluster = cluster.clone();
    let kind = Kind::Bootstrap(Bootstrap { cluster, epoch: FIRST_EPOCH, identity, member });
    Ok(state.next(kind, clock_secs))
}

/// The owners' certificate of the root.
///
/// # Errors
/// If too few signed it, or it is of another root or a second one.
pub fn certify_root(
    state: &State,
    envelope: &str,
    clock_secs: u64,
) -> Result<Entry, DocumentRefused> {
    let (born, owners) = owners(state, envelope)?;
    let RootCertificate { epoch, identity, .. } = owners.root(envelope)?;
    if (epoch, identity) != (born.epoch, born.identity) {
        return Err(DocumentRefused::OtherRoot { epoch, identity });
    }
    if born.certificate.is_some() {
        return Err(DocumentRefused::Certified);
    }
    let kind = Kind::RootCertified(RootCertified { envelope: envelope.to_owned() });
    Ok(state.next(kind, clock_secs))
}

/// The owners' list of what may be a KMS.
///
/// # Errors
/// If too few signed it, it is empty, or not newer than the one that counts.
pub fn set_list(state: &State, envelope: &str, clock_secs: u64) -> Result<Entry, DocumentRefused> {
    let list = read_list(state, envelope)?;
    let document = Document { version: list.version, envelope: envelope.to_owned() };
    Ok(state.next(Kind::ListSet(document), clock_secs))
}

pub(super) fn read_list(state: &State, envelope: &str) -> Result<KmsList, DocumentRefused> {
    let (_, owners) = owners(state, envelope)?;
    let list = owners.list(envelope)?;
    let previous = state.list().map_or(0, |list| list.version);
    if list.version <= previous {
        return Err(DocumentRefused::ListVersion { found: list.version, previous });
    }
    if list.images.is_empty() {
        return Err(DocumentRefused::EmptyList);
    }
    Ok(list)
}

/// The owners' policy.
///
/// # Errors
/// See [`SignedPolicy::verify`].
pub fn set_policy(
    state: &State,
    envelope: &str,
    clock_secs: u64,
) -> Result<Entry, DocumentRefused> {
    let policy = read_policy(state, envelope, state.now(clock_secs))?;
    let document = Document { version: policy.version(), envelope: envelope.to_owned() };
    Ok(state.next(Kind::PolicySet(document), clock_secs))
}

pub(super) fn read_policy(
    state: &State,
    envelope: &str,
    now_secs: u64,
) -> Result<SignedPolicy, DocumentRefused> {
    let born = state.born.as_ref().ok_or(DocumentRefused::Unborn)?;
    let previous = state.policy.as_ref().map_or(0, SignedPolicy::version);
    Ok(SignedPolicy::verify(envelope, &born.cluster, previous, now_secs)?)
}

/// The owners' word that the process with the key `member` goes on from this state.
///
/// # Errors
/// If too few signed it, or it is of another cluster, process or state.
pub fn resume(
    state: &State,
    envelope: &str,
    member: &Ed25519Key,
    clock_secs: u64,
) -> Result<Entry, DocumentRefused> {
    let resumption = read_resumption(state, envelope)?;
    if resumption.member != *member {
        let (found, expected) = (resumption.member, *member);
        return Err(DocumentRefused::OtherMember { found, expected });
    }
    let resumed = Resumed {
        member: *member,
        lowest_counter: lowest_counter_after(state, state.now(clock_secs)),
        envelope: envelope.to_owned(),
    };
    Ok(state.next(Kind::Resumed(resumed), clock_secs))
}

pub(super) fn read_resumption(
    state: &State,
    envelope: &str,
) -> Result<Resumption, DocumentRefused> {
    let (born, owners) = owners(state, envelope)?;
    let resumption: Resumption =
        owners.document(envelope, payload_type::RESUMPTION, "resumption")?;
    if resumption.key_provider_id != born.cluster.id() {
        return Err(DocumentRefused::OtherCluster(resumption.key_provider_id));
    }
    if (resumption.entries, resumption.head) != (state.entries, state.head) {
        return Err(DocumentRefused::OtherHead {
            found: resumption.entries,
            found_head: resumption.head,
            entries: state.entries,
            head: state.head,
        });
    }
    if resumption.member == born.member {
        return Err(DocumentRefused::AlreadyServing);
    }
    Ok(resumption)
}

/// A number that no mount can have had, even if the newest entries are missing.
pub(super) fn lowest_counter_after(state: &State, now_secs: u64) -> u64 {
    let given = state.instances.values().filter_map(super::Instance::open_counter).max();
    let highest = given.unwrap_or_default().max(state.lowest_counter_at(now_secs));
    highest.saturating_add(COUNTERS_AT_RESUMPTION)
}

fn owners<'a>(state: &'a State, envelope: &str) -> Result<(&'a Born, Owners), DocumentRefused> {
    let born = state.born.as_ref().ok_or(DocumentRefused::Unborn)?;
    if envelope.len() > MAX_ENVELOPE_BYTES {
        return Err(DocumentRefused::TooLarge(envelope.len()));
    }
    Ok((born, Owners::of(&born.cluster, born.cluster.id())?))
}
