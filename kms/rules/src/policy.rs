//! The policy: which guests get keys, as a file that enough owners signed.
//!
//! The file is the payload of an envelope ([`payload_type::POLICY`]): strict JSON, a version that
//! only rises, and at most 30 days of validity. What is not named gets nothing, an empty list
//! refuses everybody, and what weakens a rule has `danger` in its name. The file's form is
//! [`PolicyFile`]; only [`SignedPolicy::verify`] makes it a policy.

mod file;
mod judging;

use attestation::kms::{KmsRefusal, Owners};
use protocol::digest::{AppId, ComposeHash, Sha256Digest};
use protocol::kms::{Cluster, MAX_DOCUMENT_BYTES, payload_type};
use protocol::rule::unless;

pub use file::{
    Instances, MAX_MEMBERS, PolicyApp, PolicyFile, STORAGE_TO_NAME, ToleratedTcb, UnsoundPolicy,
};
pub use judging::{GuestRefusal, Judging};

/// Longest validity: a policy that nobody renews ends.
pub const MAX_VALIDITY_SECS: u64 = 30 * 24 * 3600;
/// Largest envelope: the largest payload in base64, with the signatures of every owner.
pub const MAX_ENVELOPE_BYTES: usize = 2 * MAX_DOCUMENT_BYTES;

/// A policy that enough owners of the cluster signed.
///
/// Holding one proves that they did, and that it was sound and newer than the one before at the
/// time it was verified; whether it is still valid is asked at each release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPolicy {
    file: PolicyFile,
    envelope: String,
}

/// Why an envelope is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// an envelope beyond its budget
    #[error("the policy's envelope has {0} bytes, at most {MAX_ENVELOPE_BYTES} are read")]
    TooLarge(usize),
    /// signatures or payload
    #[error("the policy")]
    Document(#[from] KmsRefusal),
    /// another cluster's policy
    #[error("the policy is of the key provider {found}, expected {expected}")]
    KeyProvider {
        /// As the policy names it.
        found: Sha256Digest,
        /// The cluster's.
        expected: Sha256Digest,
    },
    /// a policy that was replaced
    #[error("the policy has version {found}, expected one above {previous}")]
    Version {
        /// Its version.
        found: u64,
        /// That of the policy that counts.
        previous: u64,
    },
    /// a policy that ends before it begins
    #[error("the policy is valid from {not_before_secs} to {not_after_secs}, which is never")]
    Never {
        /// First second, since 1970.
        not_before_secs: u64,
        /// Last second, since 1970.
        not_after_secs: u64,
    },
    /// a policy that is valid too long
    #[error("the policy is valid for {0} s, at most {MAX_VALIDITY_SECS} are accepted")]
    TooLong(u64),
    /// a policy of the future
    #[error("the policy is valid from {not_before_secs} on, and now is {now_secs}")]
    NotYet {
        /// First second, since 1970.
        not_before_secs: u64,
        /// The KMS's time.
        now_secs: u64,
    },
    /// a policy of the past
    #[error("the policy was valid until {not_after_secs}, and now is {now_secs}")]
    Expired {
        /// Last second, since 1970.
        not_after_secs: u64,
        /// The KMS's time.
        now_secs: u64,
    },
    /// a file that means nothing
    #[error("the policy: {0}")]
    Unsound(#[from] UnsoundPolicy),
}

impl PolicyRefusal {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "name fewer apps and platforms in one policy",
            Self::Document(_) => "sign the file with the keys of enough owners of this cluster",
            Self::KeyProvider { .. } => "take the policy of this cluster",
            Self::Version { .. } => "raise the version and let the owners sign it again",
            Self::Never { .. } => "give a not_after_secs behind not_before_secs",
            Self::TooLong(_) => "give a not_after_secs at most 30 days behind not_before_secs",
            Self::NotYet { .. } => "wait, or look at the clocks of this machine and of the KMS",
            Self::Expired { .. } => "let the owners sign a new version",
            Self::Unsound(_) => "correct the file and let the owners sign it again",
        }
    }
}

impl SignedPolicy {
    /// Verifies an envelope; `previous_version` is that of the policy that counts (0 without one),
    /// `now_secs` the KMS's time in seconds since 1970.
    ///
    /// # Errors
    /// If too few owners signed it, it is another cluster's, not newer than the previous one, not
    /// valid now, valid too long, or means nothing.
    pub fn verify(
        envelope: &str,
        cluster: &Cluster,
        previous_version: u64,
        now_secs: u64,
    ) -> Result<Self, PolicyRefusal> {
        let owners = Owners::of(cluster, cluster.id())?;
        Self::verify_by(envelope, &owners, previous_version, now_secs)
    }

    /// The same for a policy that these owners must have signed.
    pub(crate) fn verify_by(
        envelope: &str,
        owners: &Owners,
        previous_version: u64,
        now_secs: u64,
    ) -> Result<Self, PolicyRefusal> {
        let size = envelope.len();
        unless(size <= MAX_ENVELOPE_BYTES, || PolicyRefusal::TooLarge(size))?;
        let file: PolicyFile = owners.document(envelope, payload_type::POLICY, "policy")?;
        let (found, expected) = (file.key_provider_id, owners.key_provider_id());
        unless(found == expected, || PolicyRefusal::KeyProvider { found, expected })?;
        let (found, previous) = (file.version, previous_version);
        unless(found > previous, || PolicyRefusal::Version { found, previous })?;
        file.check()?;
        check_validity(&file)?;
        let policy = Self { file, envelope: envelope.to_owned() };
        policy.check_valid_at(now_secs)?;
        Ok(policy)
    }

    /// Refuses a policy that is not valid at this time.
    ///
    /// # Errors
    /// If it is not valid yet, or no more.
    pub fn check_valid_at(&self, now_secs: u64) -> Result<(), PolicyRefusal> {
        let PolicyFile { not_before_secs, not_after_secs, .. } = self.file;
        let begun = now_secs >= not_before_secs;
        unless(begun, || PolicyRefusal::NotYet { not_before_secs, now_secs })?;
        let lasts = now_secs <= not_after_secs;
        unless(lasts, || PolicyRefusal::Expired { not_after_secs, now_secs })
    }

    /// What the owners signed.
    pub fn file(&self) -> &PolicyFile {
        &self.file
    }

    /// The envelope, as it was set.
    pub fn envelope(&self) -> &str {
        &self.envelope
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.file.version
    }

    /// The rules of an app, and their place in the file.
    pub fn app(&self, app_id: &AppId) -> Option<(usize, &PolicyApp)> {
        self.file.apps.iter().enumerate().find(|(_, app)| app.app_id == *app_id)
    }

    /// Whether some app of the policy has this file.
    pub fn names_file(&self, compose_hash: &ComposeHash) -> bool {
        self.file.apps.iter().any(|app| app.compose_hashes.contains(compose_hash))
    }
}

fn check_validity(file: &PolicyFile) -> Result<(), PolicyRefusal> {
    let PolicyFile { not_before_secs, not_after_secs, .. } = *file;
    let ends = not_after_secs >= not_before_secs;
    unless(ends, || PolicyRefusal::Never { not_before_secs, not_after_secs })?;
    let secs = not_after_secs.saturating_sub(not_before_secs);
    unless(secs <= MAX_VALIDITY_SECS, || PolicyRefusal::TooLong(secs))
}

#[cfg(test)]
mod tests;
