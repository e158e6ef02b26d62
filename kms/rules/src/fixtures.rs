//! A cluster of three owners of whom two decide, its documents, and a guest that gets keys.

use std::sync::OnceLock;

use attestation::policy::TcbStatus;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use protocol::digest::{
    AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId, Sha256Digest,
};
use protocol::kms::{Cluster, KmsImage, KmsList, Resumption, RootCertificate, payload_type};
use serde::Serialize;

use crate::guest::Guest;
use crate::ledger::Entry;
use crate::measurements::BootMeasurements;
use crate::policy::{Instances, PolicyApp, PolicyFile};
use crate::refused::Refused;
use crate::state::{
    COUNTERS_SINCE_SECS, State, bootstrap, certify_root, open_disk, release, set_list, set_policy,
};

/// A time at which everything here is valid.
pub(crate) const NOW: u64 = COUNTERS_SINCE_SECS + 600_000 * 60;
/// The key of the process that serves.
pub(crate) const MEMBER: Ed25519Key = Ed25519Key([77; 32]);
/// The app that gets keys.
pub(crate) const APP: AppId = AppId([0xaa; 20]);
/// Its instance.
pub(crate) const INSTANCE: InstanceId = InstanceId([0xbb; 20]);
/// Its measured files, the older one first.
pub(crate) const FILES: [ComposeHash; 2] = [ComposeHash([1; 32]), ComposeHash([2; 32])];
/// Images that it may run in, the older one first.
pub(crate) const IMAGES: [OsImageHash; 2] = [OsImageHash([3; 32]), OsImageHash([4; 32])];

/// The owners' keys, in the cluster's order.
pub(crate) fn owners() -> Vec<SigningKey> {
    let mut keys: Vec<_> = (1..=3).map(|byte| SigningKey::from_seed(&[byte; 32])).collect();
    keys.sort_by_key(|key| key.signer().key());
    keys
}

pub(crate) fn cluster() -> Cluster {
    let owners = owners().iter().map(|key| key.signer().key()).collect();
    Cluster { name: "test".into(), owners, threshold: 2 }
}

/// An envelope with the signatures of these owners.
pub(crate) fn signed(
    payload_type: &'static str,
    document: &impl Serialize,
    signers: &[usize],
) -> String {
    let payload = serde_json::to_vec(document).unwrap();
    let mut envelope = Envelope::new(PayloadType(payload_type), payload);
    for signer in signers {
        envelope.sign(&owners()[*signer]);
    }
    envelope.to_json()
}

pub(crate) fn certificate() -> RootCertificate {
    let (key_provider_id, identity) = (cluster().id(), Ed25519Key([9; 32]));
    RootCertificate { key_provider_id, epoch: 1, identity, renewal: None }
}

pub(crate) fn list(version: u64) -> KmsList {
    let image = KmsImage { os_image_hash: IMAGES[0], compose_hash: ComposeHash([8; 32]) };
    KmsList { key_provider_id: cluster().id(), version, images: vec![image] }
}

pub(crate) fn resumption(state: &State, member: Ed25519Key) -> Resumption {
    let (entries, head) = (state.entries(), state.head());
    Resumption { key_provider_id: cluster().id(), member, entries, head }
}

pub(crate) fn policy_app() -> PolicyApp {
    PolicyApp {
        app_id: APP,
        compose_hashes: FILES.to_vec(),
        instances: Instances::default(),
        danger_privileged: false,
        danger_storage: Vec::new(),
        danger_go_back_to: Vec::new(),
        env_signers: Vec::new(),
        certifiable_names: vec!["app.example".into(), "*.wild.example".into()],
    }
}

pub(crate) fn policy_file(version: u64) -> PolicyFile {
    PolicyFile {
        key_provider_id: cluster().id(),
        version,
        not_before_secs: NOW - 3600,
        not_after_secs: NOW + 24 * 3600,
        apps: vec![policy_app()],
        os_images: IMAGES.to_vec(),
        danger_go_back_to_images: Vec::new(),
        platform_ids: Some(vec![PlatformId([5; 16])]),
        minimum_tcb_evaluation_number: Some(17),
        minimum_tcb_date_secs: Some(NOW - 1_000_000),
        tolerate_tcb: Vec::new(),
        gateway_app_id: None,
        replicas: None,
        pad_custodians: Vec::new(),
    }
}

pub(crate) fn policy_envelope(file: &PolicyFile) -> String {
    signed(payload_type::POLICY, file, &[0, 2])
}

/// A guest that the policy names, at the moment when it asks for its keys.
pub(crate) fn guest() -> Guest {
    Guest {
        app_id: APP,
        instance_id: Some(INSTANCE),
        compose_hash: FILES[0],
        os_image_hash: IMAGES[0],
        agent_key: Sha256Digest([7; 32]),
        measurements: BootMeasurements::default(),
        platform_ids: vec![PlatformId([5; 16]), PlatformId([6; 16])],
        privileged: false,
        reserves_report_data: true,
        ready: false,
        storage: "btrfs",
        stops: false,
        tcb_status: TcbStatus::UpToDate,
        advisory_ids: Vec::new(),
        tcb_evaluation_number: 17,
        tcb_date_secs: NOW - 1_000_000,
        collateral_issued_secs: NOW - 1000,
    }
}

/// A ledger and its state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kms {
    pub(crate) state: State,
    pub(crate) entries: Vec<Entry>,
}

impl Kms {
    /// A root was made.
    pub(crate) fn born() -> Self {
        let mut kms = Self::default();
        let identity = certificate().identity;
        kms.append(bootstrap(&kms.state, &cluster(), identity, MEMBER, NOW - 100).unwrap());
        kms
    }

    /// Certified, with a list and the policy.
    pub(crate) fn serving() -> Self {
        static SERVING: OnceLock<Kms> = OnceLock::new(); // a dozen signatures
        SERVING.get_or_init(|| Self::with_policy(&policy_file(1))).clone()
    }

    pub(crate) fn with_policy(file: &PolicyFile) -> Self {
        let mut kms = Self::born();
        let root = signed(payload_type::ROOT, &certificate(), &[0, 1]);
        kms.append(certify_root(&kms.state, &root, NOW - 100).unwrap());
        let list = signed(payload_type::LIST, &list(1), &[1, 2]);
        kms.append(set_list(&kms.state, &list, NOW - 100).unwrap());
        kms.set_policy(file);
        kms
    }

    pub(crate) fn set_policy(&mut self, file: &PolicyFile) {
        let entry = set_policy(&self.state, &policy_envelope(file), NOW - 100).unwrap();
        self.append(entry);
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        self.state.apply(&entry).unwrap();
        self.entries.push(entry);
    }

    pub(crate) fn release(&mut self, guest: &Guest) -> Result<(), Refused> {
        let entry = release(&self.state, guest, &MEMBER, NOW)?;
        self.append(entry);
        Ok(())
    }

    /// Opens the disk, and gives the counter.
    pub(crate) fn open(&mut self, guest: &Guest, now: u64) -> Result<u64, Refused> {
        let entry = open_disk(&self.state, guest, &MEMBER, now)?;
        self.append(entry);
        let key = (guest.app_id, guest.instance_id);
        Ok(self.state.instances()[&key].mount().unwrap().counter)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.entries.iter().map(Entry::to_line).collect()
    }
}

/// A digest that is nobody's.
pub(crate) fn strange() -> Sha256Digest {
    Sha256Digest([0xee; 32])
}
