//! Whether a KMS released keys to a guest: the judgement of a release statement by those who did
//! not see the guest prove itself to the KMS, such as gateways and the agents of other guests.
//!
//! An app id in a guest's evidence is its host's word: anybody can launch an own app under another
//! one's id, and its evidence is genuine. The KMS gives keys to the pairs of app and measured file
//! that its owners named, so a statement of the right KMS makes the id a fact. Whoever hands a
//! statement on is the attacker: it may be another guest's, another KMS's, or of yesterday.

use protocol::digest::{AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, Sha256Digest};
use protocol::kms::{ReleaseError, ReleaseStatement, RootCertificate, SignedRelease, payload_type};
use protocol::rule::unless;

use crate::kms::{KmsRefusal, Owners};
use crate::signatures::{self, KeyError, PayloadType, SignatureError, Signer, Trust};
use crate::verified::{MeasuredApp, VerifiedEvidence};

/// How far the verifier's clock may be behind the KMS's: machines whose clocks are kept are nearer.
pub const CLOCKS_DIFFER_SECS: u64 = 300;

/// What a release statement must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseRules {
    /// The hash of the KMS's cluster.
    pub key_provider_id: Sha256Digest,
    /// The oldest epoch whose root counts. Owners whose old shares came into wrong hands begin
    /// another epoch, and verifiers who know of it ask for that.
    pub minimum_epoch: u32,
}

/// A statement that counts.
///
/// Holding one proves, as far as the root of the KMS is in its hands alone: at the stated time the
/// KMS would have given, and had given, the keys of this app and instance to a guest that proved
/// this measured file, this image and this key of its agent; the guest then had the instance's
/// newest mount; and at the verifier's time the statement has not ended. It does not prove that the
/// guest runs now, that no later one has superseded it since, or whose connection it came over:
/// that is [`Self::check_evidence`]'s to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRelease {
    statement: ReleaseStatement,
    root: RootCertificate,
}

/// Why a statement does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefusal {
    /// another KMS, or not its owners' signatures
    #[error("the KMS of the release statement")]
    Kms(#[from] KmsRefusal),
    /// a root that was replaced
    #[error("the root is of epoch {found}, at least {minimum} is expected")]
    OldEpoch {
        /// The certified root's.
        found: u32,
        /// The oldest that counts.
        minimum: u32,
    },
    /// an identity that is no key
    #[error("the identity of the certified root")]
    Identity(#[from] KeyError),
    /// not signed by the certified root
    #[error("the identity {identity} of the certified root did not sign the release statement")]
    Signature {
        /// The certified identity.
        identity: Ed25519Key,
        /// What is wrong with the envelope.
        #[source]
        source: SignatureError,
    },
    /// a payload that is no statement
    #[error("the signed statement")]
    Statement(#[from] ReleaseError),
    /// a statement about another KMS
    #[error("the statement is of the key provider {found}, its root of {expected}")]
    OtherKms {
        /// As the statement says.
        found: Sha256Digest,
        /// As the root's certificate says.
        expected: Sha256Digest,
    },
    /// a statement about another root
    #[error("the statement is of the root of epoch {found}, the certificate of {expected}")]
    OtherEpoch {
        /// As the statement says.
        found: u32,
        /// As the root's certificate says.
        expected: u32,
    },
    /// a statement of the future
    #[error(
        "the statement was signed at {issued_secs}, more than {CLOCKS_DIFFER_SECS} s after now ({now_secs})"
    )]
    Early {
        /// When it was signed.
        issued_secs: u64,
        /// The verifier's time.
        now_secs: u64,
    },
    /// a statement that has ended
    #[error("the statement held until {not_after_secs}, and now is {now_secs}")]
    Ended {
        /// Its last second.
        not_after_secs: u64,
        /// The verifier's time.
        now_secs: u64,
    },
    /// evidence whose report data containers could have made
    #[error("the evidence lets containers use the guest's own report data")]
    Unreserved,
    /// another app
    #[error("the evidence is of the app {found}, the statement of {expected}")]
    App {
        /// As measured.
        found: AppId,
        /// As the KMS stated.
        expected: AppId,
    },
    /// another instance
    #[error("the evidence is of the instance {found:?}, the statement of {expected:?}")]
    Instance {
        /// As measured.
        found: Option<InstanceId>,
        /// As the KMS stated.
        expected: Option<InstanceId>,
    },
    /// another measured file
    #[error("the evidence is of the measured file {found}, the statement of {expected}")]
    File {
        /// As measured.
        found: ComposeHash,
        /// As the KMS stated.
        expected: ComposeHash,
    },
    /// another image
    #[error("the evidence is of the image {found}, the statement of {expected}")]
    Image {
        /// As judged.
        found: OsImageHash,
        /// As the KMS stated.
        expected: OsImageHash,
    },
    /// another process of an agent
    #[error("the agent shows the key {found}, the statement is of {expected}")]
    AgentKey {
        /// SHA-256 of the key that it showed.
        found: Sha256Digest,
        /// As the KMS stated.
        expected: Sha256Digest,
    },
}

/// Judges what was handed on; `now_secs` is the verifier's time in seconds since 1970.
///
/// # Errors
/// The first rule that refuses.
pub fn judge_release(
    signed: &SignedRelease,
    rules: &ReleaseRules,
    now_secs: u64,
) -> Result<VerifiedRelease, ReleaseRefusal> {
    let root = Owners::of(&signed.cluster, rules.key_provider_id)?.root(&signed.root)?;
    let (found, minimum) = (root.epoch, rules.minimum_epoch);
    unless(found >= minimum, || ReleaseRefusal::OldEpoch { found, minimum })?;
    let statement = signed_by(&root, &signed.statement)?;
    let (found, expected) = (statement.key_provider_id, root.key_provider_id);
    unless(found == expected, || ReleaseRefusal::OtherKms { found, expected })?;
    let (found, expected) = (statement.root_epoch, root.epoch);
    unless(found == expected, || ReleaseRefusal::OtherEpoch { found, expected })?;
    let ReleaseStatement { issued_secs, not_after_secs, .. } = statement;
    let begun = issued_secs <= now_secs.saturating_add(CLOCKS_DIFFER_SECS);
    unless(begun, || ReleaseRefusal::Early { issued_secs, now_secs })?;
    unless(now_secs <= not_after_secs, || ReleaseRefusal::Ended { not_after_secs, now_secs })?;
    Ok(VerifiedRelease { statement, root })
}

/// The payload of an envelope that the root's identity signed.
fn signed_by(root: &RootCertificate, envelope: &str) -> Result<ReleaseStatement, ReleaseRefusal> {
    let identity = root.identity;
    let refused = |source| ReleaseRefusal::Signature { identity, source };
    let trust = Trust::new(vec![Signer::from_key(&identity)?], 1).map_err(refused)?;
    let payload_type = PayloadType(payload_type::RELEASE);
    let signed = signatures::verify(envelope.as_bytes(), payload_type, &trust).map_err(refused)?;
    Ok(ReleaseStatement::parse(signed.payload())?)
}

impl VerifiedRelease {
    /// What the KMS states.
    pub fn statement(&self) -> &ReleaseStatement {
        &self.statement
    }

    /// The root whose identity signed.
    pub fn root(&self) -> &RootCertificate {
        &self.root
    }

    /// Whether the statement is of the guest whose evidence was judged on a connection on which its
    /// agent showed the key `agent_spki` (SubjectPublicKeyInfo in DER).
    ///
    /// # Errors
    /// The first fact that is another one.
    pub fn check_evidence(
        &self,
        evidence: &VerifiedEvidence,
        agent_spki: &[u8],
    ) -> Result<(), ReleaseRefusal> {
        self.check_guest(evidence, Some(Sha256Digest::of(agent_spki)))
    }

    /// The same for a key whose hash is known, or for a container of the guest, whose key the KMS
    /// never saw.
    pub(crate) fn check_guest(
        &self,
        evidence: &VerifiedEvidence,
        agent_key: Option<Sha256Digest>,
    ) -> Result<(), ReleaseRefusal> {
        unless(evidence.proves_roles(), || ReleaseRefusal::Unreserved)?;
        self.check_facts(evidence.app(), evidence.image().os_image_hash, agent_key)
    }

    fn check_facts(
        &self,
        app: &MeasuredApp,
        image: OsImageHash,
        agent_key: Option<Sha256Digest>,
    ) -> Result<(), ReleaseRefusal> {
        let stated = &self.statement;
        let (found, expected) = (app.app_id, stated.app_id);
        unless(found == expected, || ReleaseRefusal::App { found, expected })?;
        let (found, expected) = (app.instance_id, stated.instance_id);
        unless(found == expected, || ReleaseRefusal::Instance { found, expected })?;
        let (found, expected) = (app.compose_hash, stated.compose_hash);
        unless(found == expected, || ReleaseRefusal::File { found, expected })?;
        let (found, expected) = (image, stated.os_image_hash);
        unless(found == expected, || ReleaseRefusal::Image { found, expected })?;
        let expected = stated.agent_key;
        let found = agent_key.unwrap_or(expected);
        unless(found == expected, || ReleaseRefusal::AgentKey { found, expected })
    }
}

#[cfg(test)]
mod tests;
