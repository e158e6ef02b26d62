//! Who a KMS is: the judgement of a KMS by those who would take keys from it or give it a share.
//!
//! A KMS is known by what its owners signed, never by an address or a certificate: its cluster is
//! the pinned one, its image and its measured file are on the owners' list, its evidence was made
//! for this very connection, and the root that they certified signs for it. An owner's tool, which
//! has to judge a KMS before anything is signed, states image and file itself.
//!
//! Every rule reports through [`unless`]; signatures are counted where all are, and evidence is
//! judged by the one judgement.

use ed25519_dalek::{Signature, VerifyingKey};
use protocol::channel::EXPORTER_BYTES;
use protocol::digest::{Ed25519Key, ReportData, Sha256Digest};
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::kms::{
    Cluster, ClusterError, KmsImage, KmsList, MAX_DOCUMENT_BYTES, RootCertificate, Statement,
    payload_type, signed_by_member, signed_by_root,
};
use protocol::rule::unless;
use protocol::strict_json::{self, JsonError};
use serde::de::DeserializeOwned;

use crate::anchor::TrustAnchor;
use crate::collateral::{Collateral, CollateralError};
use crate::image::{Image, ImageFault, Parts};
use crate::judgement::appraise;
use crate::policy::{AcceptedApp, ExpectedReportData, Policy};
use crate::reference::StatedImage;
use crate::refusal::Refusal;
use crate::signatures::{self, KeyError, PayloadType, SignatureError, Signer, Trust};
use crate::stated::{StatedFirmware, StatedMachine};
use crate::verified::VerifiedEvidence;

/// What a KMS must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsRules {
    /// The hash of its cluster.
    pub key_provider_id: Sha256Digest,
    /// Whose signatures count on its quote.
    pub anchor: TrustAnchor,
    /// Which image and which measured file it may have.
    pub accepts: Accepts,
    /// Least TCB evaluation number of its collateral; it holds whatever the verifier's clock says,
    /// which may be its host's.
    pub minimum_evaluation_number: Option<u32>,
}

/// Which image and which measured file a KMS may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// Those on a list that its owners signed; the root must be certified too. This is what guests
    /// ask for.
    Listed {
        /// The oldest version of the list that counts.
        minimum_version: u64,
    },
    /// Those that the owner states, who has not signed anything yet.
    Exactly {
        /// Pairs of image and measured file.
        images: Vec<KmsImage>,
        /// The exact bytes of the image's image.json.
        image_json: Vec<u8>,
    },
}

/// A KMS that is what it must be.
///
/// Holding one proves: the evidence was made for this connection by one of the accepted images with
/// an accepted measured file, and, where the root is certified, the root that the owners certified
/// signed for this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedKms {
    cluster: Cluster,
    evidence: VerifiedEvidence,
    root: Option<RootCertificate>,
    list: Option<KmsList>,
}

impl VerifiedKms {
    /// Name, owners and threshold; their hash is the pinned one.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What runs there.
    pub fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }

    /// The root that signed for the connection; always there where the rules say
    /// [`Accepts::Listed`].
    pub fn root(&self) -> Option<&RootCertificate> {
        self.root.as_ref()
    }

    /// The owners' list; always there where the rules say [`Accepts::Listed`].
    pub fn list(&self) -> Option<&KmsList> {
        self.list.as_ref()
    }
}

/// Why something is not the KMS that it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsRefusal {
    /// a cluster that cannot be
    #[error("the stated cluster")]
    Cluster(#[from] ClusterError),
    /// another cluster
    #[error("the key provider is {found}, expected {expected}")]
    Foreign {
        /// The hash of the stated cluster.
        found: Sha256Digest,
        /// The pinned one.
        expected: Sha256Digest,
    },
    /// an owner's key that is none
    #[error("an owner's key")]
    OwnerKey(#[from] KeyError),
    /// a key that is none of the owners'
    #[error("{0} is not the key of an owner of this cluster")]
    NoOwner(Ed25519Key),
    /// a document without enough signatures
    #[error("the owners' {document}")]
    Signatures {
        /// The document.
        document: &'static str,
        /// What is wrong with its signatures.
        #[source]
        source: SignatureError,
    },
    /// a document that cannot be read
    #[error("the owners' {document}")]
    Document {
        /// The document.
        document: &'static str,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// a document that is missing
    #[error("there is no {0} with the owners' signatures")]
    Missing(&'static str),
    /// a document of another cluster
    #[error("the owners' {document} is of the key provider {found}")]
    OtherCluster {
        /// The document.
        document: &'static str,
        /// The cluster that it names.
        found: Sha256Digest,
    },
    /// a list that was replaced
    #[error("the list has version {found}, at least {minimum} is expected")]
    OldList {
        /// Its version.
        found: u64,
        /// The oldest that counts.
        minimum: u64,
    },
    /// an image.json that is none
    #[error("the stated image")]
    Image(#[from] ImageFault),
    /// collateral that is none
    #[error("the stated collateral")]
    Collateral(#[from] CollateralError),
    /// evidence that does not pass
    #[error("the evidence of the KMS: {0}")]
    Evidence(Box<Refusal>),
    /// collateral that is too old, whatever a clock says
    #[error("the collateral has the TCB evaluation number {found}, at least {minimum} is expected")]
    OldEvaluation {
        /// The collateral's.
        found: u32,
        /// The least that counts.
        minimum: u32,
    },
    /// an image and a measured file that are accepted, but not together
    #[error("image {} with measured file {} is not accepted", .0.os_image_hash, .0.compose_hash)]
    Pair(KmsImage),
    /// an image whose containers could speak for the guest itself
    #[error("the image lets containers use the guest's own report data")]
    Unreserved,
    /// no key of the process, or one that did not sign
    #[error("the process's own key did not sign for this connection")]
    Member,
    /// the root does not sign for this connection
    #[error("the certified root did not sign for this connection")]
    RootSignature,
}

/// What was stated and proved on one connection, read once to be judged at several times: what does
/// not depend on the time is not computed again.
#[derive(Debug)]
pub struct KmsProof {
    /// What it proved.
    pub evidence: Evidence,
    /// What it stated.
    pub statement: Statement,
    /// That of the connection's binding.
    pub report_data: ReportData,
    /// What only the connection's two ends know.
    pub exporter: [u8; EXPORTER_BYTES],
    stated: Stated,
}

/// What a statement says of image and collateral, or why it cannot be read.
#[derive(Debug)]
struct Stated {
    image: Result<Image, ImageFault>,
    collateral: Result<Option<Collateral>, CollateralError>,
}

impl Stated {
    fn read(statement: &Statement, image_json: &[u8]) -> Self {
        let collateral = statement.collateral.as_deref();
        let collateral = collateral.map(|text| Collateral::parse(text.as_bytes())).transpose();
        Self { image: Image::ours(image_json, Parts::default()), collateral }
    }
}

impl KmsProof {
    /// Judges nothing yet.
    pub fn new(
        evidence: Evidence,
        statement: Statement,
        report_data: ReportData,
        exporter: [u8; EXPORTER_BYTES],
    ) -> Self {
        let stated = Stated::read(&statement, statement.image.as_bytes());
        Self { evidence, statement, report_data, exporter, stated }
    }

    /// [`judge_kms`] at one time.
    ///
    /// # Errors
    /// If the KMS is not what the rules ask for; the first reason.
    pub fn judge(&self, rules: &KmsRules, now_secs: u64) -> Result<VerifiedKms, KmsRefusal> {
        let Self { evidence, statement, report_data, exporter, stated } = self;
        match rules.accepts {
            Accepts::Listed { .. } => {
                judge_stated((evidence, statement, stated), *report_data, exporter, rules, now_secs)
            }
            // The image is that of the rules.
            Accepts::Exactly { .. } => {
                judge_kms(evidence, statement, *report_data, exporter, rules, now_secs)
            }
        }
    }
}

/// Judges what was stated and proved on one connection; `report_data` is that of the connection's
/// binding, `now_secs` the verifier's time in seconds since 1970.
///
/// # Errors
/// If the KMS is not what the rules ask for; the first reason.
pub fn judge_kms(
    evidence: &Evidence,
    statement: &Statement,
    report_data: ReportData,
    exporter: &[u8; EXPORTER_BYTES],
    rules: &KmsRules,
    now_secs: u64,
) -> Result<VerifiedKms, KmsRefusal> {
    let stated = Stated::read(
        statement,
        match &rules.accepts {
            Accepts::Listed { .. } => statement.image.as_bytes(),
            Accepts::Exactly { image_json, .. } => image_json,
        },
    );
    judge_stated((evidence, statement, &stated), report_data, exporter, rules, now_secs)
}

fn judge_stated(
    (evidence, statement, stated): (&Evidence, &Statement, &Stated),
    report_data: ReportData,
    exporter: &[u8; EXPORTER_BYTES],
    rules: &KmsRules,
    now_secs: u64,
) -> Result<VerifiedKms, KmsRefusal> {
    let owners = Owners::of(&statement.cluster, rules.key_provider_id)?;
    let root = statement.root.as_deref().map(|text| owners.root(text)).transpose()?;
    let list = statement.list.as_deref().map(|text| owners.list(text)).transpose()?;
    let images = match &rules.accepts {
        Accepts::Listed { minimum_version } => {
            unless(root.is_some(), || KmsRefusal::Missing("root certificate"))?;
            let list = list.as_ref().ok_or(KmsRefusal::Missing("list"))?;
            let (found, minimum) = (list.version, *minimum_version);
            unless(found >= minimum, || KmsRefusal::OldList { found, minimum })?;
            &list.images
        }
        Accepts::Exactly { images, .. } => images,
    };
    let policy = policy(rules, images, report_data);
    let verified = judge_evidence(evidence, stated, policy, now_secs)?;
    let (found, minimum) =
        (verified.tcb().evaluation_number, rules.minimum_evaluation_number.unwrap_or_default());
    unless(found >= minimum, || KmsRefusal::OldEvaluation { found, minimum })?;
    let pair = KmsImage {
        os_image_hash: verified.image().os_image_hash,
        compose_hash: verified.app().compose_hash,
    };
    unless(images.contains(&pair), || KmsRefusal::Pair(pair))?;
    if let Some(root) = &root {
        check_root_signature(root, statement, exporter, &evidence.quote)?;
    }
    let cluster = statement.cluster.clone();
    Ok(VerifiedKms { cluster, evidence: verified, root, list })
}

/// A policy that accepts these images and these measured files, under the files' own app ids.
fn policy(rules: &KmsRules, images: &[KmsImage], report_data: ReportData) -> Policy {
    let expected = ExpectedReportData::Exactly(report_data);
    let mut policy = Policy::strict(rules.anchor.clone(), expected);
    policy.images = Some(images.iter().map(|pair| pair.os_image_hash).collect());
    policy.apps = Some(images.iter().map(|pair| AcceptedApp::of(pair.compose_hash)).collect());
    policy.forbidden_events = vec![event_name::DANGER_PRIVILEGED.to_owned()];
    policy
}

fn judge_evidence(
    evidence: &Evidence,
    stated: &Stated,
    policy: Policy,
    now_secs: u64,
) -> Result<VerifiedEvidence, KmsRefusal> {
    let image = stated.image.as_ref().map_err(Clone::clone)?;
    let collateral = stated.collateral.as_ref().map_err(Clone::clone)?.as_ref();
    let stated = StatedImage {
        image,
        machine: &StatedMachine::default(),
        firmware: &StatedFirmware::default(),
        others: &[],
        firmware_log: &[],
    };
    let appraisal = appraise(evidence, Some(&stated), policy, collateral, now_secs)?;
    let verified =
        appraisal.into_verified().map_err(|refusal| KmsRefusal::Evidence(Box::new(refusal)))?;
    unless(verified.proves_roles(), || KmsRefusal::Unreserved)?;
    Ok(verified)
}

fn check_root_signature(
    root: &RootCertificate,
    statement: &Statement,
    exporter: &[u8; EXPORTER_BYTES],
    quote: &[u8],
) -> Result<(), KmsRefusal> {
    let signature = statement.signature.as_deref().and_then(|text| hex::decode(text).ok());
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let key = VerifyingKey::from_bytes(&root.identity.0).ok();
    let signed = signature.zip(key).is_some_and(|(signature, key)| {
        key.verify_strict(&signed_by_root(exporter, quote), &signature).is_ok()
    });
    unless(signed, || KmsRefusal::RootSignature)
}

/// The key under which the ledger knows the process that made this quote for this connection; its
/// evidence is judged by [`judge_kms`].
///
/// # Errors
/// If it states none, or that key did not sign.
pub fn member_of(
    statement: &Statement,
    exporter: &[u8; EXPORTER_BYTES],
    quote: &[u8],
) -> Result<Ed25519Key, KmsRefusal> {
    let claim = statement.member.as_ref().ok_or(KmsRefusal::Member)?;
    let signature = hex::decode(&claim.signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let key = VerifyingKey::from_bytes(&claim.key.0).ok();
    let signed = signature.zip(key).is_some_and(|(signature, key)| {
        key.verify_strict(&signed_by_member(exporter, quote), &signature).is_ok()
    });
    unless(signed, || KmsRefusal::Member)?;
    Ok(claim.key)
}

/// The owners of a cluster, whose signatures count on its documents.
#[derive(Debug, Clone)]
pub struct Owners {
    key_provider_id: Sha256Digest,
    trust: Trust,
}

impl Owners {
    /// The owners of a stated cluster, which must be the pinned one.
    ///
    /// # Errors
    /// If it is another one, or none.
    pub fn of(cluster: &Cluster, key_provider_id: Sha256Digest) -> Result<Self, KmsRefusal> {
        cluster.check()?;
        let found = cluster.id();
        let expected = key_provider_id;
        unless(found == expected, || KmsRefusal::Foreign { found, expected })?;
        let signers: Result<Vec<Signer>, _> = cluster.owners.iter().map(Signer::from_key).collect();
        let trust = Trust::new(signers?, usize::from(cluster.threshold));
        let trust = trust.map_err(|source| KmsRefusal::Signatures { document: "keys", source })?;
        Ok(Self { key_provider_id, trust })
    }

    /// One of these owners alone: a document is looked at before the others signed it.
    ///
    /// # Errors
    /// If the key is not one of theirs.
    pub fn only(&self, owner: &Ed25519Key) -> Result<Self, KmsRefusal> {
        let named = self.trust.signers().iter().any(|signer| signer.key() == *owner);
        unless(named, || KmsRefusal::NoOwner(*owner))?;
        let trust = Trust::new(vec![Signer::from_key(owner)?], 1);
        let trust = trust.map_err(|source| KmsRefusal::Signatures { document: "keys", source })?;
        Ok(Self { key_provider_id: self.key_provider_id, trust })
    }

    /// The hash of their cluster.
    pub fn key_provider_id(&self) -> Sha256Digest {
        self.key_provider_id
    }

    /// Whose signatures count, and how many are needed.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The certificate of a root in an envelope.
    ///
    /// # Errors
    /// If too few owners signed it, or it is another cluster's.
    pub fn root(&self, envelope: &str) -> Result<RootCertificate, KmsRefusal> {
        const DOCUMENT: &str = "root certificate";
        let root: RootCertificate = self.document(envelope, payload_type::ROOT, DOCUMENT)?;
        self.check_cluster(root.key_provider_id, DOCUMENT)?;
        Ok(root)
    }

    /// The list of what may be a KMS in an envelope.
    ///
    /// # Errors
    /// If too few owners signed it, or it is another cluster's.
    pub fn list(&self, envelope: &str) -> Result<KmsList, KmsRefusal> {
        const DOCUMENT: &str = "list";
        let list: KmsList = self.document(envelope, payload_type::LIST, DOCUMENT)?;
        self.check_cluster(list.key_provider_id, DOCUMENT)?;
        Ok(list)
    }

    /// A document of any type whose payload is JSON; whose cluster it names is not looked at.
    ///
    /// # Errors
    /// If too few owners signed it, or its payload is another document.
    pub fn document<T: DeserializeOwned>(
        &self,
        envelope: &str,
        payload_type: &'static str,
        document: &'static str,
    ) -> Result<T, KmsRefusal> {
        let signed =
            signatures::verify(envelope.as_bytes(), PayloadType(payload_type), &self.trust)
                .map_err(|source| KmsRefusal::Signatures { document, source })?;
        strict_json::parse(signed.payload(), MAX_DOCUMENT_BYTES)
            .map_err(|source| KmsRefusal::Document { document, source })
    }

    fn check_cluster(&self, found: Sha256Digest, document: &'static str) -> Result<(), KmsRefusal> {
        unless(found == self.key_provider_id, || KmsRefusal::OtherCluster { document, found })
    }
}
