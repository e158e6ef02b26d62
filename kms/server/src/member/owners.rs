//! Calls of owners: the root, the documents, and what a restart needs.

use std::collections::BTreeMap;

use attestation::{Image, Parts};
use kms_rules::Root;
use kms_rules::ledger::Entry;
use kms_rules::policy::SignedPolicy;
use kms_rules::shares::{self, Share};
use kms_rules::state::{self, Phase, Signed, State};
use kms_rules::time;
use protocol::digest::Ed25519Key;
use protocol::image::MAX_BYTES as MAX_IMAGE_BYTES;
use protocol::kms::{
    EpochKeys, EpochStatus, LedgerResponse, Request, RootCertificate, Share as ShareMessage,
    SignedDocument, StatusResponse,
};
use protocol::prpc::{self, Encoding, PrpcError};
use zeroize::Zeroize as _;

use super::epochs::Held;
use super::{Inner, Member, MemberError, Part};

/// Bytes of lines in one answer; a line that is larger comes alone.
const MAX_LEDGER_BYTES: usize = 1 << 20;
/// Entries that are opened at a time while the whole chain is read.
const READ_AT_ONCE: usize = 256;

impl Member {
    /// An owner's call.
    pub(super) fn owner(
        &self,
        owner: &Ed25519Key,
        request: &Request,
        encoding: Encoding,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        if let Some((signed, document)) = signed_document(request) {
            self.document(owner, signed, &document.envelope, now_secs)?;
            return Ok(prpc::encode(&self.status(&*self.inner()?), encoding));
        }
        if let Request::NewEpoch(request) = request {
            self.new_epoch(request, now_secs)?;
            return Ok(prpc::encode(&self.status(&*self.inner()?), encoding));
        }
        let mut inner = self.inner()?;
        match request {
            Request::Status => {}
            Request::Bootstrap => self.bootstrap(&mut inner, now_secs)?,
            Request::TakeShare => {
                let mut share = self.take_share(&mut inner, owner)?;
                let answer = prpc::encode(&share, encoding);
                share.share.zeroize();
                return Ok(answer);
            }
            Request::GiveShare(message) => self.give_share(&mut inner, owner, message)?,
            Request::Pending(request) => {
                return Ok(prpc::encode(&self.pending(&inner, request), encoding));
            }
            Request::GetPolicy => {
                let envelope = inner.state().policy().map(SignedPolicy::envelope);
                let envelope = envelope.unwrap_or_default().to_owned();
                return Ok(prpc::encode(&SignedDocument { envelope }, encoding));
            }
            Request::Ledger(request) => {
                return Ok(prpc::encode(&self.ledger(&inner, request.from)?, encoding));
            }
            Request::PutImage(request) => self.put_image(&mut inner, &request.image)?,
            Request::ClearImageCache => {
                inner.store.clear_images()?;
                self.change_images(BTreeMap::clear);
            }
            _ => return Err(PrpcError::NotFound("a call of owners".to_owned()).into()),
        }
        self.show(&inner);
        Ok(prpc::encode(&self.status(&inner), encoding))
    }

    fn status(&self, inner: &Inner) -> StatusResponse {
        let (state, stored) = (inner.state(), inner.certified.as_ref());
        let phase = inner.phase(&self.key);
        let identity = state.identity().or(stored.map(|root| root.identity));
        let epoch = stored.map_or(state.epoch(), |root| root.epoch);
        StatusResponse {
            state: phase.name().to_owned(),
            key_provider_id: self.key_provider_id.to_string(),
            member: self.key.0.to_vec(),
            identity: identity.map(|key| key.0.to_vec()).unwrap_or_default(),
            epoch,
            // A locked ledger is counted and cannot be read.
            entries: state.entries().max(inner.store.entries()),
            head: state.head().0.to_vec(),
            policy_version: state.policy().map_or(0, SignedPolicy::version),
            list_version: state.list().map_or(0, |list| list.version),
            shares: u32::try_from(inner.given.len()).unwrap_or(u32::MAX),
            pending: inner.collection.pending(&self.owners),
            holders: self.holders(inner),
            certified: inner.certified.is_some(),
            epochs: epochs(state),
            offered: self.offered(inner).map(|root| json(&root)).unwrap_or_default(),
            heads: self.all_heads(inner),
            time: self.clock.reading().map(|reading| time::told(state, &reading)),
        }
    }

    /// Owners whose shares are here, or who took theirs from here.
    fn holders(&self, inner: &Inner) -> Vec<String> {
        let taken = inner.to_take.iter().enumerate().filter(|(_, part)| part.taken);
        let holding = inner.given.keys().copied().chain(taken.map(|(index, _)| index));
        holding
            .filter_map(|index| self.cluster.owners.get(index))
            .map(ToString::to_string)
            .collect()
    }

    /// Makes the root, once: not over a root that is here, nor over one that is stored.
    fn bootstrap(&self, inner: &mut Inner, now_secs: u64) -> Result<(), MemberError> {
        self.in_phase(inner, "Bootstrap", Phase::Unborn)?;
        let root = Root::generate()?;
        let identity = root.identity_key();
        let entry = state::bootstrap(inner.state(), &self.cluster, identity, self.key, now_secs)?;
        let parts = shares::split(&root, self.cluster.threshold, self.cluster.owners.len())?;
        inner.root = Some(Held::first(root)?);
        inner.hold();
        inner.to_take = parts.into_iter().map(|share| Part { share, taken: false }).collect();
        inner.replica.go_alone(&entry, self.now())?;
        self.settled(inner)
    }

    /// The owner's own share, as often as it asks: an answer may be lost.
    fn take_share(
        &self,
        inner: &mut Inner,
        owner: &Ed25519Key,
    ) -> Result<ShareMessage, MemberError> {
        let place = self.place(owner)?;
        let offered = self.offered(inner).map(|root| root.epoch);
        let epoch = offered.unwrap_or_else(|| inner.state().epoch());
        let part = inner.to_take.get_mut(place).ok_or(MemberError::NoShares)?;
        part.taken = true;
        Ok(ShareMessage { epoch, share: part.share.to_bytes().to_vec() })
    }

    /// Takes an owner's own share; with enough of them the root is here, and the ledger is read.
    fn give_share(
        &self,
        inner: &mut Inner,
        owner: &Ed25519Key,
        message: &ShareMessage,
    ) -> Result<(), MemberError> {
        self.in_phase(inner, "GiveShare", Phase::Locked)?;
        let certified = inner.certified.as_ref().ok_or(MemberError::NoRoot)?;
        if message.epoch != certified.epoch {
            let (found, expected) = (message.epoch, certified.epoch);
            return Err(MemberError::Epoch { found, expected });
        }
        let share = Share::parse(&message.share)?;
        let (place, found) = (self.place(owner)?, share.owner_index());
        if place != found {
            return Err(MemberError::OtherOwner { found: found + 1, caller: place + 1 });
        }
        inner.given.insert(place, share);
        if inner.given.len() < usize::from(self.cluster.threshold) {
            return Ok(());
        }
        // Right or wrong, they were used: after an error owners give theirs again.
        let shares: Vec<Share> = std::mem::take(&mut inner.given).into_values().collect();
        let root = shares::combine(&shares, self.cluster.threshold, &certified.identity)?;
        let held = Held::of_certified(root, certified, inner.keyring.as_deref())?;
        let state = self.read_ledger(inner, &held)?;
        inner.replica.restore(state);
        inner.root = Some(held);
        inner.hold();
        Ok(())
    }

    /// The state of everything that is stored; each entry must follow the one before it.
    pub(super) fn read_ledger(&self, inner: &Inner, held: &Held) -> Result<State, MemberError> {
        let mut state = State::default();
        while state.entries() < inner.store.entries() {
            for line in inner.store.read(&held.store_key, state.entries(), READ_AT_ONCE)? {
                let index = state.entries();
                let faulty = |what: String| MemberError::Line { index, what };
                let line = std::str::from_utf8(&line).map_err(|error| faulty(error.to_string()))?;
                let entry = Entry::parse(line).map_err(|error| faulty(error.to_string()))?;
                state.apply(&entry)?;
            }
        }
        if state.cluster() != Some(&self.cluster) {
            return Err(MemberError::Foreign("cluster"));
        }
        if state.identity() != inner.certified.as_ref().map(|root| root.identity) {
            return Err(MemberError::Foreign("root"));
        }
        Ok(state)
    }

    pub(super) fn ledger(&self, inner: &Inner, from: u64) -> Result<LedgerResponse, MemberError> {
        let phase = inner.phase(&self.key);
        let locked = MemberError::Phase { call: "Ledger", phase };
        let total = inner.state().entries();
        let mut answer = LedgerResponse { entries: Vec::new(), total };
        let mut bytes = 0;
        for index in from..total {
            let line = inner.line(index)?;
            bytes += line.len();
            if bytes > MAX_LEDGER_BYTES && !answer.entries.is_empty() {
                break;
            }
            answer.entries.push(line);
        }
        if phase == Phase::Locked { Err(locked) } else { Ok(answer) }
    }

    pub(super) fn put_image(&self, inner: &mut Inner, image: &str) -> Result<(), MemberError> {
        let (found, limit) = (image.len(), MAX_IMAGE_BYTES);
        if found > limit {
            return Err(MemberError::LargeImage { found, limit });
        }
        Image::ours(image.as_bytes(), Parts::default())?;
        let name = inner.store.put_image(image.as_bytes())?;
        self.change_images(|images| drop(images.insert(name, image.to_owned())));
        Ok(())
    }

    fn place(&self, owner: &Ed25519Key) -> Result<usize, MemberError> {
        let place = self.cluster.owners.iter().position(|key| key == owner);
        place.ok_or(MemberError::NoShares)
    }

    pub(super) fn in_phase(
        &self,
        inner: &Inner,
        call: &'static str,
        wanted: Phase,
    ) -> Result<(), MemberError> {
        inner.usable()?;
        let phase = inner.phase(&self.key);
        if phase == wanted { Ok(()) } else { Err(MemberError::Phase { call, phase }) }
    }

    /// Nothing changes while entries may be missing.
    pub(super) fn not_waiting(&self, inner: &Inner, call: &'static str) -> Result<(), MemberError> {
        inner.usable()?;
        match inner.phase(&self.key) {
            phase @ (Phase::Locked | Phase::Waiting) => Err(MemberError::Phase { call, phase }),
            Phase::Unborn | Phase::Uncertified | Phase::Serving => Ok(()),
        }
    }
}

impl Inner {
    /// The line of an entry, stored or not.
    pub(super) fn line(&self, index: u64) -> Result<String, MemberError> {
        let stored = self.store.entries();
        let line = match usize::try_from(index.saturating_sub(stored)) {
            Ok(at) if index >= stored => self.pending.get(at).cloned(),
            _ => {
                let held = self.root.as_ref().ok_or(MemberError::NoRoot)?;
                let read = self.store.read(&held.store_key, index, 1)?;
                read.first().map(|line| String::from_utf8_lossy(line).into_owned())
            }
        };
        line.ok_or(MemberError::Broken)
    }
}

/// The documents that owners sign, each with its type.
fn signed_document(request: &Request) -> Option<(Signed, &SignedDocument)> {
    match request {
        Request::CertifyRoot(document) => Some((Signed::Root, document)),
        Request::SetList(document) => Some((Signed::List, document)),
        Request::SetPolicy(document) => Some((Signed::Policy, document)),
        Request::Resume(document) => Some((Signed::Resumption, document)),
        _ => None,
    }
}

/// The epochs whose keys can be had, and what runs on each.
fn epochs(state: &State) -> Vec<EpochStatus> {
    let status = |(epoch, keys): (&u32, &EpochKeys)| EpochStatus {
        epoch: *epoch,
        keys: keys.name().to_owned(),
        instances: state::instances_on(state, *epoch),
    };
    state.epochs().live().iter().map(status).collect()
}

fn json(document: &RootCertificate) -> String {
    serde_json::to_string(document).expect("strings and numbers serialise")
}
