//! What owners decide: the root, the list, the policy, and that a new process may go on.
//!
//! Each document is decided about by one function of state, envelope and owners. [`review`] asks it
//! for one owner's signature alone, before there are enough: what comes of that is no entry.

use attestation::kms::Owners;
use protocol::digest::Ed25519Key;
use protocol::kms::{Cluster, KmsList, Resumption, RootCertificate, payload_type};
use protocol::rule::unless;

use super::epochs::check_renewal;
use super::refused_document::{DocumentRefused, born};
use super::{FIRST_EPOCH, State};
use crate::ledger::{Bootstrap, Document, Entry, EpochOffered, Kind, Resumed, RootCertified};
use crate::policy::{MAX_ENVELOPE_BYTES, SignedPolicy};

/// How far open counters jump where entries may be missing: more mounts than those can have been
/// of one instance.
pub const COUNTERS_AT_RESUMPTION: u64 = 1024;

/// What an owner's signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signed {
    /// The certificate of the root.
    Root,
    /// The list of what may be a KMS.
    List,
    /// The policy.
    Policy,
    /// The word that a new process goes on.
    Resumption,
}

impl Signed {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::List, Self::Policy, Self::Resumption];

    /// The document's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root certificate",
            Self::List => "list",
            Self::Policy => "policy",
            Self::Resumption => "resumption",
        }
    }

    /// The one with this type of payload.
    pub fn of_payload(payload_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signed| signed.payload_type() == payload_type)
    }

    /// The type of its envelope's payload.
    pub fn payload_type(self) -> &'static str {
        match self {
            Self::Root => payload_type::ROOT,
            Self::List => payload_type::LIST,
            Self::Policy => payload_type::POLICY,
            Self::Resumption => payload_type::RESUMPTION,
        }
    }
}

/// Whether a document of one owner would count here, had enough others signed it too; `member` is
/// this process's key.
///
/// # Errors
/// If the owner did not sign it, or it would be refused whoever signed it.
pub fn review(
    state: &State,
    owner: &Ed25519Key,
    signed: Signed,
    envelope: &str,
    member: &Ed25519Key,
    clock_secs: u64,
) -> Result<(), DocumentRefused> {
    let owners = owners(state, envelope)?.only(owner)?;
    match signed {
        Signed::Root => read_root(state, &owners, envelope).map(drop),
        Signed::List => read_list(state, &owners, envelope).map(drop),
        Signed::Policy => read_policy(state, &owners, envelope, state.now(clock_secs)).map(drop),
        Signed::Resumption => {
            let resumption = read_resumption(state, &owners, envelope)?;
            check_member(&resumption, member)
        }
    }
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
    unless(state.born.is_none() && state.entries == 0, || DocumentRefused::Born)?;
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
    read_root(state, &owners(state, envelope)?, envelope)?;
    let kind = Kind::RootCertified(RootCertified { envelope: envelope.to_owned() });
    Ok(state.next(kind, clock_secs))
}

fn read_root(state: &State, owners: &Owners, envelope: &str) -> Result<(), DocumentRefused> {
    let born = born(state)?;
    let RootCertificate { epoch, identity, renewal, .. } = owners.root(envelope)?;
    if born.certificate.is_none() {
        let ours = (epoch, identity, renewal) == (born.epoch, born.identity, None);
        return unless(ours, || DocumentRefused::OtherRoot { epoch, identity });
    }
    let offered = state.epochs().offered().ok_or(DocumentRefused::Certified)?;
    let EpochOffered { epoch: next, identity: made, renewal: asked } = offered;
    let ours = (&epoch, &identity, renewal.as_ref()) == (next, made, Some(asked));
    unless(ours, || DocumentRefused::OtherRoot { epoch, identity })?;
    check_renewal(state, asked)
}

/// The owners' list of what may be a KMS.
///
/// # Errors
/// If too few signed it, it is empty, or not newer than the one that counts.
pub fn set_list(state: &State, envelope: &str, clock_secs: u64) -> Result<Entry, DocumentRefused> {
    let list = read_list(state, &owners(state, envelope)?, envelope)?;
    let document = Document { version: list.version, envelope: envelope.to_owned() };
    Ok(state.next(Kind::ListSet(document), clock_secs))
}

pub(super) fn read_list(
    state: &State,
    owners: &Owners,
    envelope: &str,
) -> Result<KmsList, DocumentRefused> {
    let list = owners.list(envelope)?;
    let (found, previous) = (list.version, state.list().map_or(0, |list| list.version));
    unless(found > previous, || DocumentRefused::ListVersion { found, previous })?;
    unless(!list.images.is_empty(), || DocumentRefused::EmptyList)?;
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
    let owners = owners(state, envelope)?;
    let policy = read_policy(state, &owners, envelope, state.now(clock_secs))?;
    let document = Document { version: policy.version(), envelope: envelope.to_owned() };
    Ok(state.next(Kind::PolicySet(document), clock_secs))
}

pub(super) fn read_policy(
    state: &State,
    owners: &Owners,
    envelope: &str,
    now_secs: u64,
) -> Result<SignedPolicy, DocumentRefused> {
    let previous = state.policy.as_ref().map_or(0, SignedPolicy::version);
    Ok(SignedPolicy::verify_by(envelope, owners, previous, now_secs)?)
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
    let resumption = read_resumption(state, &owners(state, envelope)?, envelope)?;
    check_member(&resumption, member)?;
    let resumed = Resumed {
        member: *member,
        lowest_counter: lowest_counter_after(state, state.now(clock_secs)),
        envelope: envelope.to_owned(),
    };
    Ok(state.next(Kind::Resumed(resumed), clock_secs))
}

pub(super) fn read_resumption(
    state: &State,
    owners: &Owners,
    envelope: &str,
) -> Result<Resumption, DocumentRefused> {
    let born = born(state)?;
    let resumption: Resumption =
        owners.document(envelope, payload_type::RESUMPTION, "resumption")?;
    let id = resumption.key_provider_id;
    unless(id == born.cluster.id(), || DocumentRefused::OtherCluster(id))?;
    let here = (resumption.entries, resumption.head) == (state.entries, state.head);
    unless(here, || DocumentRefused::OtherHead {
        found: resumption.entries,
        found_head: resumption.head,
        entries: state.entries,
        head: state.head,
    })?;
    // A member whose cluster lost its majority goes on alone; one that is alone has no need to.
    let alone = state.members.len() == 1 && state.members.is_enrolled(&resumption.member);
    unless(!alone, || DocumentRefused::AlreadyServing)?;
    Ok(resumption)
}

fn check_member(resumption: &Resumption, member: &Ed25519Key) -> Result<(), DocumentRefused> {
    let (found, expected) = (resumption.member, *member);
    unless(found == expected, || DocumentRefused::OtherMember { found, expected })
}

/// A number that no mount can have had, even if the newest entries are missing.
pub(super) fn lowest_counter_after(state: &State, now_secs: u64) -> u64 {
    let given = state.instances.values().filter_map(super::Instance::open_counter).max();
    let highest = given.unwrap_or_default().max(state.lowest_counter_at(now_secs));
    highest.saturating_add(COUNTERS_AT_RESUMPTION)
}

/// All owners, for an envelope within its budget.
pub(super) fn owners(state: &State, envelope: &str) -> Result<Owners, DocumentRefused> {
    let born = born(state)?;
    let size = envelope.len();
    unless(size <= MAX_ENVELOPE_BYTES, || DocumentRefused::TooLarge(size))?;
    Ok(Owners::of(&born.cluster, born.cluster.id())?)
}
