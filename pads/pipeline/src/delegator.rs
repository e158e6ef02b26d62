//! What a run asks the key delegators of its custodians, as one interface.
//!
//! The implementation speaks with them over attested channels, or reads keys from files for the
//! author of a program. It proves who gave a key: [`ReleasedKey::from`].

use pad_format::enrolment::ResultKey;
use pad_format::metadata::{KeyId, Metadata};
use pad_format::run::RunId;
use pad_format::{CustodianId, DataKey, PadDigest, PadId};
use protocol::digest::Sha256Digest;

/// Answers for the key delegators of a run's custodians.
pub trait Delegator {
    /// The data keys of these Pads, one for each, in their order. A delegator gives the key of a
    /// Pad only if every stated engine is on that Pad's release list.
    ///
    /// # Errors
    /// If a delegator refuses or cannot be asked.
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied>;

    /// Counts uses of quotas. Uses of one account by one owner are one use, which all of them have
    /// to allow. A use that was counted is not given back.
    ///
    /// # Errors
    /// If one is used up, or a delegator cannot be asked.
    fn spend(&mut self, run: RunId, uses: &[Spend]) -> Result<(), Denied>;

    /// Keeps the key of a new Pad for its custodian.
    ///
    /// # Errors
    /// If the custodian's delegator did not keep it.
    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied>;

    /// Takes the head of the audit record, and the record as it is sealed for each custodian.
    ///
    /// # Errors
    /// If a delegator did not take it.
    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied>;

    /// Takes the new key of a Pad whose policies were replaced, and gives the old one to nobody any
    /// more.
    ///
    /// # Errors
    /// If the custodian's delegator did not do both; one that does neither, as this one, refuses.
    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        let _ = new;
        Err(Denied::Failed("policies are not replaced by this delegator".to_owned()))
    }
}

/// A question for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// The run.
    pub run: RunId,
    /// SHA-256 of the program; all zero where policies are replaced and no program runs.
    pub program: Sha256Digest,
    /// The program's owner, whose signature was verified.
    pub owner: Option<CustodianId>,
    /// All engines of the run, ascending.
    pub engines: Vec<Sha256Digest>,
    /// The Pads.
    pub pads: Vec<WantedPad>,
}

/// A Pad whose key is asked for; all of it is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPad {
    /// Its digest.
    pub digest: PadDigest,
    /// Its metadata, whose delegator is the one of the custodian's signed enrolment.
    pub metadata: Metadata,
}

/// A data key and the delegator that gave it.
pub struct ReleasedKey {
    /// The key.
    pub key: DataKey,
    /// The proved `key_provider_id` of the delegator.
    pub from: Sha256Digest,
}

/// What an owner may use of an account, as an engine stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaUse {
    /// The account.
    pub account: [u8; 16],
    /// The owner.
    pub owner: CustodianId,
    /// How many uses are allowed.
    pub uses: u64,
    /// In how many seconds.
    pub period_secs: u64,
}

/// A use that is to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend {
    /// The `key_provider_id` of the delegator that counts.
    pub key_provider_id: Sha256Digest,
    /// The engine that asks for it; accounts of different engines are never the same one.
    pub engine: Sha256Digest,
    /// The custodian whose Pad's policy asks for it; each has accounts of its own.
    pub custodian: CustodianId,
    /// The quota.
    pub quota: QuotaUse,
}

/// The key of a new Pad.
pub struct NewKey<'a> {
    /// The run that made it.
    pub run: RunId,
    /// The Pad.
    pub pad_id: PadId,
    /// The id under which the delegator is to keep the key.
    pub key_id: KeyId,
    /// The key.
    pub key: &'a DataKey,
    /// The Pad's custodian.
    pub custodian: CustodianId,
    /// The `key_provider_id` of the custodian's delegator.
    pub key_provider_id: Sha256Digest,
    /// The release list: engines of the run, to all of which every parent's custodian agreed.
    pub engines: Vec<Sha256Digest>,
    /// The Pads that it was made from.
    pub parents: Vec<PadDigest>,
}

/// The new key of a Pad whose owners agreed on other policies.
pub struct UpdatedKey<'a> {
    /// The run that replaced them.
    pub run: RunId,
    /// The Pad under its old key.
    pub old: WantedPad,
    /// The id under which the delegator is to keep the new key.
    pub key_id: KeyId,
    /// The new key.
    pub key: &'a DataKey,
    /// The signed update, which was verified; that its owners are enough, the engines said.
    pub signed: Vec<u8>,
}

/// One link of a run's audit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The run.
    pub run: RunId,
    /// The entry's place in the run's record, from 0.
    pub sequence: u64,
    /// The head before this entry.
    pub previous: Sha256Digest,
    /// The head with this entry.
    pub head: Sha256Digest,
    /// The entry, sealed for each custodian of the run's Pads.
    pub records: Vec<SealedRecord>,
}

/// An entry as one custodian may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// The custodian.
    pub custodian: CustodianId,
    /// The `key_provider_id` of its delegator.
    pub key_provider_id: Sha256Digest,
    /// The sealed entry.
    pub bytes: Vec<u8>,
}

/// A custodian of a run, by its verified enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    pub custodian: pad_format::Custodian,
    pub key_provider_id: Sha256Digest,
    pub result_key: ResultKey,
    /// The address of its delegator, a hint.
    pub uri: pad_format::metadata::Uri,
}

/// Why a delegator did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// a Pad whose key is not released
    #[error("the key of Pad {index} is not released: {reason}")]
    Pad {
        /// Its place in the question.
        index: usize,
        /// The delegator's reason.
        reason: String,
    },
    /// a quota without a use left
    #[error("use {index} is not left")]
    Use {
        /// Its place in the question.
        index: usize,
    },
    /// anything else
    #[error("{0}")]
    Failed(String),
}
