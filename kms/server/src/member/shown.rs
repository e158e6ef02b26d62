//! What channels and public calls read of a KMS: a copy, so that they do not wait for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use kms_rules::derivation::{EpochRoot, env_key_signed, x25519_public_key};
use kms_rules::policy::SignedPolicy;
use kms_rules::state::{self, Phase, State};
use protocol::digest::{AppId, Ed25519Key, OsImageHash};
use protocol::kms::{GetMetaResponse, KmsImage, PublicKeyResponse};

use super::epochs::Held;
use super::{Member, MemberError};

/// The copy.
pub(super) struct Shown {
    pub(super) phase: Phase,
    /// No decision is older than this, in seconds since 1970.
    pub(super) not_before_secs: u64,
    /// When the newest collateral that was judged was issued.
    pub(super) newest_collateral_secs: u64,
    pub(super) root_certificate: Option<String>,
    pub(super) list: Option<String>,
    /// What is on it.
    pub(super) listed: Option<Vec<KmsImage>>,
    pub(super) policy: Option<Arc<SignedPolicy>>,
    /// Keys of members of custodians, and of those who may become some.
    pub(super) custodians: Arc<[Ed25519Key]>,
    /// As of which enrolment and policy.
    custodians_of: (u64, u64),
    pub(super) root: Option<OfRoot>,
    /// The epoch whose root is offered, while it is not here.
    pub(super) lacks: Option<u32>,
    pub(super) images: BTreeMap<OsImageHash, String>,
}

/// Keys under the root that are used without a decision.
pub(super) struct OfRoot {
    pub(super) epoch: u32,
    pub(super) identity: SigningKey,
    root_k256: k256::ecdsa::SigningKey,
    authority: String,
}

impl OfRoot {
    pub(super) fn new(held: &Held) -> Self {
        let Held { epoch, root, authority, .. } = held;
        let root_k256 = held.newest().map_or_else(|_| root.root_k256(), EpochRoot::root_k256);
        Self {
            epoch: *epoch,
            identity: root.identity(),
            root_k256,
            authority: authority.pem().to_owned(),
        }
    }
}

impl Shown {
    /// Whether the keys under this root are shown.
    pub(super) fn is_of(&self, held: &Held) -> bool {
        let shown = self.root.as_ref().map(|root| root.identity.verifying_key());
        shown == Some(held.root.identity().verifying_key())
    }

    /// Shows who may open a channel as a custodian.
    pub(super) fn show_custodians(&mut self, state: &State) {
        let policy = state.policy();
        let of = (state.custody().enrolments(), policy.map_or(0, SignedPolicy::version));
        if self.custodians_of != of {
            let listed = policy.iter().flat_map(|policy| policy.file().pad_custodians.clone());
            let keys: BTreeSet<Ed25519Key> = state.custody().members().chain(listed).collect();
            (self.custodians, self.custodians_of) = (keys.into_iter().collect(), of);
        }
    }

    /// Of a process that has images and nothing else.
    pub(super) fn of_images(images: Vec<(OsImageHash, Vec<u8>)>) -> Self {
        let text = |(name, image)| Some((name, String::from_utf8(image).ok()?));
        Self {
            phase: Phase::Unborn,
            not_before_secs: 0,
            newest_collateral_secs: 0,
            root_certificate: None,
            list: None,
            listed: None,
            policy: None,
            custodians: Arc::default(),
            custodians_of: (0, 0),
            root: None,
            lacks: None,
            images: images.into_iter().filter_map(text).collect(),
        }
    }
}

impl Member {
    /// What anybody may know.
    pub(super) fn meta(&self) -> GetMetaResponse {
        let shown = self.shown();
        let root_k256 = shown
            .root
            .as_ref()
            .map(|root| root.root_k256.verifying_key().to_sec1_point(true).as_bytes().to_vec());
        let gateway = shown.policy.as_ref().and_then(|policy| policy.file().gateway_app_id);
        GetMetaResponse {
            ca_cert: shown.root.as_ref().map(|root| root.authority.clone()).unwrap_or_default(),
            allow_any_upgrade: false,
            k256_pubkey: root_k256.unwrap_or_default(),
            is_dev: self.emulated,
            gateway_app_id: gateway.map(|id| id.to_string()),
            key_provider_id: self.key_provider_id.to_string(),
            state: shown.phase.name().to_owned(),
        }
    }

    /// The key to which an app's environment is encrypted, with dstack's two signatures.
    pub(super) fn environment_key(
        &self,
        app_id: &[u8],
        now_secs: u64,
    ) -> Result<PublicKeyResponse, MemberError> {
        let app_id = AppId(app_id.try_into().map_err(|_| MemberError::AppId(app_id.len()))?);
        let call = "GetAppEnvEncryptPubKey";
        let inner = self.inner()?;
        let phase = inner.phase(&self.key);
        let held = inner.root.as_ref().filter(|_| phase == Phase::Serving);
        let held = held.ok_or(MemberError::Phase { call, phase })?;
        let epoch = state::environment_epoch(inner.state(), &app_id);
        let root = held.epoch(epoch)?;
        let public_key = x25519_public_key(&*root.environment_key(&app_id)?);
        let root_k256 = root.root_k256();
        let sign = |time| env_key_signed(&root_k256, &app_id, time, &public_key).to_vec();
        Ok(PublicKeyResponse {
            signature: sign(None),
            timestamp: now_secs,
            signature_v1: sign(Some(now_secs)),
            public_key: public_key.to_vec(),
            epoch,
        })
    }
}
