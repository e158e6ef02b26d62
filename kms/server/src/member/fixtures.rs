//! A cluster whose owners a test holds, its documents, and a guest that its policy names.

#![allow(clippy::unwrap_used)] // a test whose input cannot be made has failed

use std::path::Path;

use attestation::TrustAnchor;
use attestation::policy::TcbStatus;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use kms_rules::measurements::BootMeasurements;
use kms_rules::policy::{Instances, PolicyApp, PolicyFile};
use protocol::digest::{AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId};
use protocol::kms::{
    Cluster, KmsImage, KmsList, Resumption, RootCertificate, Share, SignedDocument, StatusResponse,
    payload_type,
};
use protocol::prpc::{Arguments, Message};
use serde::Serialize;

use super::*;
use crate::store::Location;

pub mod pads;

/// The app that its policy names.
pub const APP: AppId = AppId([0xaa; 20]);
/// That app's measured file.
pub const FILE: ComposeHash = ComposeHash([1; 32]);
/// The image in which it may run.
pub const IMAGE: OsImageHash = OsImageHash([3; 32]);

/// A cluster and the data directory of its one KMS.
pub struct Place {
    /// What its KMS is told.
    pub config: Config,
    keys: Vec<SigningKey>,
}

/// Who signs environments of the app.
pub fn env_signer() -> SigningKey {
    SigningKey::from_seed(&[0x11; 32])
}

impl Place {
    /// With this many owners, of whom `threshold` decide.
    pub fn new(data: &Path, owners: u8, threshold: u8) -> Self {
        let mut keys: Vec<_> =
            (1..=owners).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
        keys.sort_by_key(|key| key.signer().key());
        let owners = keys.iter().map(|key| key.signer().key()).collect();
        let cluster = Cluster { name: "test".into(), owners, threshold };
        let (anchor, store) = (TrustAnchor::Intel, Location::Directory(data.to_owned()));
        let (pccs, boot_auth, time_servers, peers) = (None, None, Vec::new(), Vec::new());
        let config = Config { cluster, anchor, pccs, boot_auth, time_servers, peers, store };
        Self { config, keys }
    }

    /// The seed of an owner's private key.
    pub fn seed(&self, place: usize) -> [u8; 32] {
        let key = self.keys[place].signer().key();
        let seeds = (1..).map(|byte| [byte; 32]);
        seeds.into_iter().find(|seed| SigningKey::from_seed(seed).signer().key() == key).unwrap()
    }

    /// A new process over the same data.
    pub fn start(&self) -> Member {
        Member::open(&self.config).unwrap()
    }

    /// The caller that is this owner.
    pub fn owner(&self, place: usize) -> Caller {
        Caller::Owner(self.keys[place].signer().key())
    }

    /// This owner's key.
    pub fn key(&self, place: usize) -> Ed25519Key {
        self.keys[place].signer().key()
    }

    /// A document with the signatures of as many owners as decide.
    pub fn signed(&self, payload_type: &'static str, document: &impl Serialize) -> SignedDocument {
        let deciding: Vec<usize> = (0..usize::from(self.config.cluster.threshold)).collect();
        self.signed_by(&deciding, payload_type, document)
    }

    /// A document with the signatures of these owners.
    pub fn signed_by(
        &self,
        owners: &[usize],
        payload_type: &'static str,
        document: &impl Serialize,
    ) -> SignedDocument {
        let payload = serde_json::to_vec(document).unwrap();
        let mut envelope = Envelope::new(PayloadType(payload_type), payload);
        owners.iter().for_each(|owner| envelope.sign(&self.keys[*owner]));
        SignedDocument { envelope: envelope.to_json() }
    }

    /// The certificate of the root that a KMS says it has.
    pub fn certificate(&self, status: &StatusResponse) -> SignedDocument {
        self.signed(payload_type::ROOT, &self.root(status))
    }

    /// The root that a KMS says it has, as owners sign it.
    pub fn root(&self, status: &StatusResponse) -> RootCertificate {
        let identity = Ed25519Key(status.identity.clone().try_into().unwrap());
        let key_provider_id = self.config.cluster.id();
        RootCertificate { key_provider_id, epoch: status.epoch, identity, renewal: None }
    }

    /// A list with one entry.
    pub fn list(&self, version: u64) -> SignedDocument {
        self.list_of(version, KmsImage { os_image_hash: IMAGE, compose_hash: FILE })
    }

    /// A list with this entry.
    pub fn list_of(&self, version: u64, image: KmsImage) -> SignedDocument {
        self.signed(payload_type::LIST, &self.list_file(version, image))
    }

    /// A list with this entry, as owners sign it.
    pub fn list_file(&self, version: u64, image: KmsImage) -> KmsList {
        KmsList { key_provider_id: self.config.cluster.id(), version, images: vec![image] }
    }

    /// A policy that names [`guest`].
    pub fn policy(&self, version: u64) -> SignedDocument {
        self.policy_of(version, APP, KmsImage { os_image_hash: IMAGE, compose_hash: FILE })
    }

    /// A policy that names this app in this image.
    pub fn policy_of(&self, version: u64, app_id: AppId, pair: KmsImage) -> SignedDocument {
        self.signed(payload_type::POLICY, &self.policy_file(version, app_id, pair))
    }

    /// The same, as owners sign it.
    pub fn policy_file(&self, version: u64, app_id: AppId, pair: KmsImage) -> PolicyFile {
        let app = PolicyApp {
            app_id,
            compose_hashes: vec![pair.compose_hash],
            instances: Instances::Number(100),
            danger_privileged: false,
            danger_storage: Vec::new(),
            danger_go_back_to: Vec::new(),
            env_signers: vec![env_signer().signer().key()],
            certifiable_names: Vec::new(),
        };
        let now_secs = Clock::of_machine().secs().unwrap();
        PolicyFile {
            key_provider_id: self.config.cluster.id(),
            version,
            not_before_secs: now_secs - 60,
            not_after_secs: now_secs + 3600,
            apps: vec![app],
            os_images: vec![pair.os_image_hash],
            danger_go_back_to_images: Vec::new(),
            platform_ids: None,
            minimum_tcb_evaluation_number: None,
            minimum_tcb_date_secs: None,
            tolerate_tcb: Vec::new(),
            gateway_app_id: None,
            replicas: None,
            pad_custodians: Vec::new(),
        }
    }

    /// The owners' word that a process goes on from what it has.
    pub fn resumption(&self, status: &StatusResponse) -> SignedDocument {
        self.signed(payload_type::RESUMPTION, &self.resumption_file(status))
    }

    /// The same, as owners sign it.
    pub fn resumption_file(&self, status: &StatusResponse) -> Resumption {
        Resumption {
            key_provider_id: self.config.cluster.id(),
            member: Ed25519Key(status.member.clone().try_into().unwrap()),
            entries: status.entries,
            head: Sha256Digest(status.head.clone().try_into().unwrap()),
        }
    }

    /// A process that was bootstrapped and gives keys, and every owner's share.
    pub fn serving(&self) -> (Member, Vec<Share>) {
        let member = self.start();
        let status: StatusResponse = call(&member, &self.owner(0), Request::Bootstrap).unwrap();
        let owners = 0..self.keys.len();
        let shares = owners.map(|place| call(&member, &self.owner(place), Request::TakeShare));
        let shares = shares.collect::<Result<_, _>>().unwrap();
        for request in [
            Request::CertifyRoot(self.certificate(&status)),
            Request::SetList(self.list(1)),
            Request::SetPolicy(self.policy(1)),
        ] {
            let _: StatusResponse = call(&member, &self.owner(0), request).unwrap();
        }
        assert_eq!(self.status(&member).state, "serving");
        (member, shares)
    }

    /// What an owner reads.
    pub fn status(&self, member: &Member) -> StatusResponse {
        call(member, &self.owner(0), Request::Status).unwrap()
    }
}

/// An instance that the policy names, at the moment when it asks for its keys.
pub fn guest(instance: u8) -> Guest {
    Guest {
        app_id: APP,
        instance_id: Some(InstanceId([instance; 20])),
        compose_hash: FILE,
        os_image_hash: IMAGE,
        agent_key: Sha256Digest([7; 32]),
        measurements: BootMeasurements::default(),
        platform_ids: vec![PlatformId([5; 16])],
        privileged: false,
        reserves_report_data: true,
        ready: false,
        storage: "btrfs",
        stops: false,
        tcb_status: TcbStatus::UpToDate,
        advisory_ids: Vec::new(),
        tcb_evaluation_number: 17,
        tcb_date_secs: 0,
        collateral_issued_secs: 0,
    }
}

/// One call, its answer read as a client reads it.
pub fn call<R: Message>(
    member: &Member,
    caller: &Caller,
    request: Request,
) -> Result<R, MemberError> {
    let answer = member.answer(caller, request, Encoding::Protobuf)?;
    Ok(Arguments::Body(Encoding::Protobuf, &answer).decode().unwrap())
}
