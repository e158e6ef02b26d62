//! Roots of several epochs: held, written down, offered, certified.

use kms_rules::Root;
use kms_rules::certificates::{AppAuthority, RootAuthority, Window};
use kms_rules::consensus::Roots as HeldRoots;
use kms_rules::derivation::dstack::{DstackError, Roots};
use kms_rules::derivation::{EpochRoot, Keyring};
use kms_rules::ledger::EpochOffered;
use kms_rules::shares;
use kms_rules::state::{self, Phase};
use protocol::digest::{AppId, Ed25519Key};
use protocol::kms::{
    EpochKeys, KmsKeyResponse, MAX_DOCUMENT_BYTES, NewEpochRequest, Renewal, RootCertificate,
    RootKey,
};
use protocol::prpc::{self, Encoding};
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::agreement::AGREED_WITHIN;
use super::{Inner, Member, MemberError, Part};
use crate::judge::Process;
use crate::store::StoreKey;

/// Largest record: a certificate and a keyring of the most epochs, in hex.
const MAX_RECORD_BYTES: usize = 256 << 10;

/// The newest root, and what is derived from all roots for every call.
pub(super) struct Held {
    /// The epoch that began with it.
    pub(super) epoch: u32,
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
        Self::new(state::FIRST_EPOCH, root, keyring)
    }

    fn new(epoch: u32, root: Root, keyring: Keyring) -> Result<Self, MemberError> {
        let store_key = StoreKey::new(keyring.store_key());
        let newest = keyring.epochs().values().next_back().ok_or(MemberError::NoRoot)?;
        let authority = authority(newest)?;
        Ok(Self { epoch, root, keyring, store_key, authority })
    }

    /// The roots of the epoch that is offered with a root which was made here.
    fn next(
        &self,
        offered: &EpochOffered,
        root: Root,
        dstack: Option<&Roots>,
    ) -> Result<Self, MemberError> {
        let EpochOffered { epoch, renewal, .. } = offered;
        let own = EpochRoot::new(&root, dstack);
        let own = (renewal.keys != EpochKeys::None).then_some(own);
        let keyring = self.keyring.renewed(*epoch, own, &renewal.retires);
        Self::new(*epoch, root, keyring)
    }

    /// The key under which owners certify the root.
    pub(super) fn identity(&self) -> Ed25519Key {
        self.root.identity_key()
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
                Self::new(certified.epoch, root, keyring)
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

/// The roots of an epoch that is offered, which take the place of the earlier ones with the owners'
/// certificate.
pub(super) struct Offer {
    pub(super) held: Held,
    /// Whether the root was made here: then its shares are here, too.
    own: bool,
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
            if let Some(root) = self.offered(inner) {
                return Err(MemberError::Offered(root.epoch));
            }
            let state = inner.state();
            Ok(Some(state::offer_epoch(state, identity, renewal.clone(), now_secs)?))
        })?;
        let offered =
            inner.state().epochs().offered().filter(|offered| offered.identity == identity);
        let held = inner.root.as_ref().zip(offered).ok_or(MemberError::NoRoot)?;
        let held = held.0.next(held.1, root, dstack.as_ref())?;
        inner.to_take = parts.into_iter().map(|share| Part { share, taken: false }).collect();
        inner.offer = Some(Offer { held, own: true });
        inner.hold();
        self.show(&inner);
        Ok(())
    }

    /// The certificate that owners sign for the root that is offered; none if its shares are not
    /// here.
    pub(super) fn offered(&self, inner: &Inner) -> Option<RootCertificate> {
        inner.offer.as_ref().filter(|offer| offer.own)?;
        self.asked_for(inner)
    }

    /// The certificate that makes the root that is offered the newest one.
    fn asked_for(&self, inner: &Inner) -> Option<RootCertificate> {
        let offered = inner.state().epochs().offered()?;
        Some(RootCertificate {
            key_provider_id: self.key_provider_id,
            epoch: offered.epoch,
            identity: offered.identity,
            renewal: Some(offered.renewal.clone()),
        })
    }

    /// The epoch whose root is offered, if this process is a member without it.
    pub(super) fn lacks(&self, inner: &Inner) -> Option<u32> {
        let state = inner.state();
        let offered = state.epochs().offered()?;
        let lacks = inner.offer.is_none() && state.members().is_enrolled(&self.key);
        lacks.then_some(offered.epoch)
    }

    /// Gives a member the root of an epoch that is offered or certified. The ledger names it as a
    /// member, so no further entry says to whom it goes.
    pub(super) fn give_offered(
        &self,
        process: &Process,
        epoch: u32,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let inner = self.inner()?;
        inner.usable()?;
        let state = inner.state();
        if !state.members().is_enrolled(&process.key) {
            return Err(MemberError::NoMember(process.key));
        }
        state::may_replicate(state, &process.facts, &self.key, now_secs)?;
        let offered = inner.offer.as_ref().map(|offer| &offer.held);
        let mut here = offered.into_iter().chain(&inner.root);
        let held = here.find(|held| held.epoch == epoch).ok_or(MemberError::NoRoot)?;
        Ok(held.to_answer())
    }

    /// Takes the root that is offered from a member; it counts with the owners' certificate.
    ///
    /// # Errors
    /// If it is another root than the ledger has as offered.
    pub fn take_offered(&self, answer: KmsKeyResponse) -> Result<(), MemberError> {
        let mut inner = self.inner()?;
        let Some(asked) = self.asked_for(&inner).filter(|_| inner.offer.is_none()) else {
            return Ok(());
        };
        let held = Held::of_answer(answer, &asked)?;
        inner.offer = Some(Offer { held, own: false });
        self.settled(&mut inner)
    }
}

impl Held {
    /// What another process gets.
    pub(super) fn to_answer(&self) -> Vec<u8> {
        let first = self.epoch == state::FIRST_EPOCH;
        let mut answer = KmsKeyResponse {
            roots: vec![RootKey { epoch: self.epoch, root: self.root.as_bytes().to_vec() }],
            keyring: if first { Vec::new() } else { self.keyring.to_bytes().to_vec() },
        };
        let encoded = prpc::encode(&answer, Encoding::Protobuf);
        answer.roots.iter_mut().for_each(|key| key.root.zeroize());
        answer.keyring.zeroize();
        encoded
    }

    /// The roots that another process gave, if they are those of this certificate.
    pub(super) fn of_answer(
        mut answer: KmsKeyResponse,
        certified: &RootCertificate,
    ) -> Result<Self, MemberError> {
        let given = answer.roots.iter().find(|key| key.epoch == certified.epoch);
        let bytes = given.and_then(|key| key.root.as_slice().try_into().ok()).map(Zeroizing::new);
        answer.roots.iter_mut().for_each(|key| key.root.zeroize());
        let keyring = Zeroizing::new(std::mem::take(&mut answer.keyring));
        let root = Root::from_bytes(bytes.ok_or(MemberError::Foreign("root"))?);
        if root.identity_key() != certified.identity {
            return Err(MemberError::Foreign("root"));
        }
        Self::of_given(root, certified, &keyring)
    }
}

impl Inner {
    /// States to the agreement which roots are here.
    pub(super) fn hold(&mut self) {
        self.replica.hold(HeldRoots {
            epoch: self.root.as_ref().map_or(0, |held| held.epoch),
            offered: self.offer.as_ref().map(|offer| offer.held.identity()),
        });
    }

    /// Replaces the roots by newer ones; the shares of a root that was made elsewhere are there.
    pub(super) fn begin(&mut self, held: Held, own: bool) {
        if !own {
            self.to_take.clear();
        }
        (self.root, self.offer) = (Some(held), None);
    }

    /// Ends an offer that was certified, or is not in the ledger any more.
    pub(super) fn settle_offer(&mut self) {
        let Some(offer) = self.offer.take() else { return };
        let (identity, state) = (offer.held.identity(), self.state());
        let offered = state.epochs().offered().map(|offered| offered.identity);
        match (state.identity() == Some(identity), offered == Some(identity)) {
            (true, _) => self.begin(offer.held, offer.own),
            (false, true) => self.offer = Some(offer),
            (false, false) if offer.own => self.to_take.clear(),
            (false, false) => {}
        }
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
