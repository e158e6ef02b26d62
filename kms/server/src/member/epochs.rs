//! Roots of several epochs: held, written down, offered, certified.

use kms_rules::Root;
use kms_rules::certificates::{AppAuthority, RootAuthority, Window};
use kms_rules::derivation::dstack::{DstackError, Roots};
use kms_rules::derivation::{EpochRoot, Keyring};
use kms_rules::shares;
use kms_rules::state::{self, Phase};
use protocol::digest::AppId;
use protocol::kms::{EpochKeys, MAX_DOCUMENT_BYTES, NewEpochRequest, Renewal, RootCertificate};
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::agreement::AGREED_WITHIN;
use super::{Inner, Member, MemberError, Part};
use crate::store::StoreKey;

/// Largest record: a certificate and a keyring of the most epochs, in hex.
const MAX_RECORD_BYTES: usize = 256 << 10;

/// The newest root, and what is derived from all roots for every call.
pub(super) struct Held {
    pub(super) root: Root,
    pub(super) keyring: Keyring,
    pub(super) store_key: StoreKey,
    /// That of the newest epoch in which apps get keys.
    pub(super) authority: RootAuthority,
}

impl Held {
    /// Of the first root.
    pub(super) fn first(root: Root) -> Result<Self, MemberError> {
        let keyring = Keyring::first(state::FIRST_EPOCH, &root);
        Self::new(root, keyring)
    }

    fn new(root: Root, keyring: Keyring) -> Result<Self, MemberError> {
        let store_key = StoreKey::new(keyring.store_key());
        let newest = keyring.epochs().values().next_back().ok_or(MemberError::NoRoot)?;
        let authority = authority(newest)?;
        Ok(Self { root, keyring, store_key, authority })
    }

    /// The newest root again, with the sealed roots of the epochs before it.
    pub(super) fn of_certified(
        root: Root,
        certified: &RootCertificate,
        sealed: Option<&[u8]>,
    ) -> Result<Self, MemberError> {
        let Some(sealed) = sealed else { return Self::of_given(root, certified, &[]) };
        let (id, epoch) = (&certified.key_provider_id, certified.epoch);
        let opened = StoreKey::new(root.keyring_key()).open(id, epoch.into(), sealed);
        let opened = opened.ok_or(MemberError::NoKeyring(epoch))?;
        Self::of_given(root, certified, &opened)
    }

    /// The same with the roots as another process has them; there are none in the first epoch.
    pub(super) fn of_given(
        root: Root,
        certified: &RootCertificate,
        keyring: &[u8],
    ) -> Result<Self, MemberError> {
        match (certified.renewal.is_some(), keyring) {
            (false, []) => Self::first(root),
            (true, [_, ..]) => {
                let keyring = Keyring::parse(keyring)?;
                Self::new(root, keyring)
            }
            _ => Err(MemberError::NoKeyring(certified.epoch)),
        }
    }

    /// What is stored of the newest root.
    pub(super) fn record(
        &self,
        certified: &RootCertificate,
        envelope: &str,
    ) -> Result<String, MemberError> {
        if certified.renewal.is_none() {
            return Ok(envelope.to_owned());
        }
        let (id, epoch) = (&certified.key_provider_id, certified.epoch);
        let key = StoreKey::new(self.root.keyring_key());
        let sealed = key.seal(id, epoch.into(), &self.keyring.to_bytes());
        Ok(RootRecord::text(envelope, &sealed))
    }

    /// The root of an epoch whose keys can be had.
    pub(super) fn epoch(&self, epoch: u32) -> Result<&EpochRoot, MemberError> {
        self.keyring.epochs().get(&epoch).ok_or(MemberError::NoRoot)
    }

    /// The newest epoch in which apps get keys.
    pub(super) fn newest(&self) -> Result<&EpochRoot, MemberError> {
        self.keyring.epochs().values().next_back().ok_or(MemberError::NoRoot)
    }

    /// PEM of the certificate authority of an epoch.
    pub(super) fn authority_pem(&self, epoch: u32) -> Result<String, MemberError> {
        match self.keyring.epochs().last_key_value() {
            Some((newest, _)) if *newest == epoch => Ok(self.authority.pem().to_owned()),
            _ => Ok(authority(self.epoch(epoch)?)?.pem().to_owned()),
        }
    }

    /// The authority of an app in an epoch.
    pub(super) fn app(&self, epoch: u32, app_id: AppId) -> Result<AppAuthority, MemberError> {
        let root = self.epoch(epoch)?;
        let key = root.app_ca(&app_id)?;
        match self.keyring.epochs().last_key_value() {
            Some((newest, _)) if *newest == epoch => Ok(self.authority.app(app_id, key)?),
            _ => Ok(authority(root)?.app(app_id, key)?),
        }
    }
}

fn authority(epoch: &EpochRoot) -> Result<RootAuthority, MemberError> {
    Ok(RootAuthority::new(epoch.root_ca(), Window::OF_A_ROOT)?)
}

/// A root that was made here, and the owners' certificate that it waits for is of the epoch that
/// the state has as offered.
pub(super) struct Offer {
    root: Root,
    dstack: Option<Roots>,
}

/// What is stored of the newest root: the owners' certificate, and beside a later epoch's the
/// sealed roots of those before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootRecord {
    pub(super) certificate: String,
    pub(super) keyring: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    certificate: String,
    keyring: String,
}

impl RootRecord {
    /// Reads the text; that of a first epoch is its certificate alone.
    pub(super) fn parse(text: &str) -> Result<Self, JsonError> {
        if !text.starts_with("{\"certificate\":") {
            return Ok(Self { certificate: text.to_owned(), keyring: None });
        }
        let RawRecord { certificate, keyring } =
            strict_json::parse(text.as_bytes(), MAX_RECORD_BYTES)?;
        let keyring = hex::decode(&keyring).unwrap_or_default(); // what does not open is refused
        Ok(Self { certificate, keyring: Some(keyring) })
    }

    fn text(certificate: &str, keyring: &[u8]) -> String {
        let certificate = certificate.to_owned();
        let raw = RawRecord { certificate, keyring: hex::encode(keyring) };
        serde_json::to_string(&raw).expect("strings serialise")
    }
}

impl Member {
    /// Makes the root of another epoch, which counts once owners certified it.
    pub(super) fn new_epoch(
        &self,
        request: &NewEpochRequest,
        now_secs: u64,
    ) -> Result<(), MemberError> {
        let renewal: Renewal = strict_json::parse(request.renewal.as_bytes(), MAX_DOCUMENT_BYTES)
            .map_err(MemberError::Renewal)?;
        let dstack = taken_over(request)?;
        let (found, expected) = (dstack.as_ref().map(Roots::digest), renewal.dstack);
        if found != expected {
            return Err(MemberError::OtherDstackRoots { found, expected });
        }
        let root = Root::generate()?;
        let identity = root.identity_key();
        let parts = shares::split(&root, self.cluster.threshold, self.cluster.owners.len())?;
        let (mut inner, _) = self.agreed(AGREED_WITHIN, |inner| {
            self.in_phase(inner, "NewEpoch", Phase::Serving)?;
            let state = inner.state();
            Ok(Some(state::offer_epoch(state, identity, renewal.clone(), now_secs)?))
        })?;
        inner.to_take = parts.into_iter().map(|share| Part { share, taken: false }).collect();
        inner.offer = Some(Offer { root, dstack });
        Ok(())
    }

    /// The certificate that owners sign for the root that is offered; none if it is not here.
    pub(super) fn offered(&self, inner: &Inner) -> Option<RootCertificate> {
        inner.offer.as_ref()?;
        let offered = inner.state().epochs().offered()?;
        Some(RootCertificate {
            key_provider_id: self.key_provider_id,
            epoch: offered.epoch,
            identity: offered.identity,
            renewal: Some(offered.renewal.clone()),
        })
    }
}

impl Inner {
    /// The roots of the epoch that a certificate begins; none if it is the one that is here.
    pub(super) fn renewed(&self, certified: &RootCertificate) -> Result<Option<Held>, MemberError> {
        let begun = self.certified.as_ref().is_some_and(|earlier| earlier != certified);
        let (Some(renewal), true) = (&certified.renewal, begun) else { return Ok(None) };
        let (Some(held), Some(Offer { root, dstack })) = (&self.root, &self.offer) else {
            return Err(MemberError::NoRoot);
        };
        let own = EpochRoot::new(root, dstack.as_ref());
        let own = (renewal.keys != EpochKeys::None).then_some(own);
        let keyring = held.keyring.renewed(certified.epoch, own, &renewal.retires);
        Ok(Some(Held::new(root.copied(), keyring)?))
    }
}

fn taken_over(request: &NewEpochRequest) -> Result<Option<Roots>, MemberError> {
    if request.dstack_ca.is_empty() && request.dstack_k256.is_empty() {
        return Ok(None);
    }
    let scalar = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map(Zeroizing::new);
    let both = scalar(&request.dstack_ca).ok().zip(scalar(&request.dstack_k256).ok());
    let (ca, k256) = both.ok_or(MemberError::DstackRoots(DstackError::NoScalar))?;
    Ok(Some(Roots::new(&ca, &k256)?))
}

#[cfg(test)]
mod tests;
