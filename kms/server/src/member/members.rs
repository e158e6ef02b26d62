//! Calls of the other processes of this KMS, and what this one has to say to them.

use kms_rules::boot_auth::Word;
use kms_rules::consensus::{InstallError, Question};
use kms_rules::heads;
use kms_rules::ledger::Entry;
use kms_rules::state::{self, Phase};
use protocol::digest::{Ed25519Key, OsImageHash, PlatformId};
use protocol::kms::{
    AdmitRequest, AppendResponse, ImagesResponse, KmsKeyResponse, MemberHead, ProposeResponse,
    Request, RootCertificate, VoteResponse, signed_head,
};
use protocol::prpc::{self, Empty, Encoding, PrpcError};
use tokio::sync::{mpsc, watch};

use super::agreement::AGREED_WITHIN;
use super::epochs::Held;
use super::outbox::Proposal;
use super::{Inner, Member, MemberError};
use crate::judge::Process;

/// Bytes of images in one answer; a further one has to be put by owners.
const MAX_IMAGES_BYTES: usize = 2 << 20;
/// Protobuf alone, between programs of one version.
const ENCODING: Encoding = Encoding::Protobuf;

impl Member {
    /// A call of another process.
    pub(super) fn process(
        &self,
        process: &Process,
        request: &Request,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        match request {
            Request::GetKmsKey(request) => match request.epoch {
                0 => self.give_root(process, now_secs),
                epoch => self.give_offered(process, epoch, now_secs),
            },
            Request::Admit(request) => self.admit(process, request, now_secs),
            Request::Ledger(request) => {
                let inner = self.inner()?;
                self.may_read(&inner, process, now_secs)?;
                Ok(prpc::encode(&self.ledger(&inner, request.from)?, ENCODING))
            }
            Request::Images => {
                self.may_read(&*self.inner()?, process, now_secs)?;
                Ok(prpc::encode(&self.all_images(), ENCODING))
            }
            Request::Head => {
                let inner = self.inner()?;
                self.may_read(&inner, process, now_secs)?;
                Ok(prpc::encode(&self.head(&inner), ENCODING))
            }
            Request::Append(request) => {
                let mut inner = self.inner()?;
                inner.usable()?;
                if process.root.is_none() && !inner.state().members().is_enrolled(&process.key) {
                    return Err(MemberError::NoMember(process.key));
                }
                let answer = inner.replica.append(&process.key, request, self.now());
                self.settled(&mut inner)?;
                Ok(prpc::encode::<AppendResponse>(&answer, ENCODING))
            }
            Request::Vote(request) => {
                let mut inner = self.inner()?;
                inner.usable()?;
                let answer = inner.replica.vote(&process.key, request, self.now());
                Ok(prpc::encode::<VoteResponse>(&answer, ENCODING))
            }
            Request::Propose(request) => {
                let taken = self.proposed_by(&process.key, &request.line)?;
                Ok(prpc::encode(&ProposeResponse { taken }, ENCODING))
            }
            _ => Err(PrpcError::NotFound("a call of a KMS's processes".to_owned()).into()),
        }
    }

    /// Members read the ledger, and whoever may become one.
    fn may_read(&self, inner: &Inner, process: &Process, now_secs: u64) -> Result<(), MemberError> {
        if inner.state().members().is_enrolled(&process.key) {
            return Ok(());
        }
        Ok(state::may_replicate(inner.state(), &process.facts, &self.key, now_secs)?)
    }

    /// What the second source says of a process that the policy allows; asked outside of every
    /// lock.
    fn word_about_process(&self, process: &Process, now_secs: u64) -> Result<Word, MemberError> {
        let Some(boot_auth) = &self.boot_auth else { return Ok(Word::Allows) };
        let facts = &process.facts;
        state::may_replicate(self.inner()?.state(), facts, &self.key, now_secs)?;
        Ok(boot_auth.kms(facts))
    }

    /// The root leaves only behind the entry that says to whom.
    fn give_root(&self, process: &Process, now_secs: u64) -> Result<Vec<u8>, MemberError> {
        let word = self.word_about_process(process, now_secs)?;
        let (inner, _) = self.agreed(AGREED_WITHIN, |inner| {
            let asking = (&process.facts, process.key);
            Ok(word.narrow(state::give_root(inner.state(), asking, &self.key, now_secs))?)
        })?;
        Ok(inner.root.as_ref().ok_or(MemberError::NoRoot)?.to_answer())
    }

    /// A process gets its vote, after its earlier one on the platform lost its own.
    fn admit(
        &self,
        process: &Process,
        request: &AdmitRequest,
        now_secs: u64,
    ) -> Result<Vec<u8>, MemberError> {
        let found = request.platform_id.len();
        let platform = request.platform_id.as_slice().try_into().map(PlatformId);
        let platform = platform.map_err(|_| MemberError::PlatformId(found))?;
        let certified = self.inner()?.certified.clone();
        if process.root.is_none() || process.root != certified {
            return Err(MemberError::WithoutRoot(process.key));
        }
        loop {
            let agreed = self.agreed(AGREED_WITHIN, |inner| {
                let (asking, own) = ((&process.facts, process.key), (&self.key, platform));
                Ok(state::admit(inner.state(), asking, own, now_secs)?)
            })?;
            if agreed.1.is_none() {
                return Ok(prpc::encode(&Empty {}, ENCODING));
            }
        }
    }

    fn all_images(&self) -> ImagesResponse {
        let mut bytes = 0;
        let fits = |image: &&String| {
            bytes += image.len();
            bytes <= MAX_IMAGES_BYTES
        };
        let shown = self.shown();
        ImagesResponse { images: shown.images.values().take_while(fits).cloned().collect() }
    }

    /// This process's word for how its ledger ends.
    pub(super) fn head(&self, inner: &Inner) -> MemberHead {
        use ed25519_dalek::Signer as _;
        let (entries, head) = (inner.state().entries(), inner.state().head());
        let signature = self.signing.sign(&signed_head(&self.key_provider_id, entries, &head));
        MemberHead {
            member: self.key.0.to_vec(),
            entries,
            head: head.0.to_vec(),
            signature: signature.to_bytes().to_vec(),
        }
    }

    /// Keeps a member's word, for owners.
    ///
    /// # Errors
    /// If it is not that member's.
    pub fn take_head(&self, from: &Ed25519Key, head: MemberHead) -> Result<(), MemberError> {
        let signed = heads::verify(&head, &self.key_provider_id)?;
        if signed.member != *from {
            return Err(MemberError::NoMember(signed.member));
        }
        self.inner()?.heads.insert(signed.member, head);
        Ok(())
    }

    /// The words of all members: this one's, and the others' as it last heard of them.
    pub(super) fn all_heads(&self, inner: &Inner) -> Vec<MemberHead> {
        let members = inner.state().members();
        let own = members.is_enrolled(&self.key).then(|| self.head(inner));
        let others = inner.heads.iter().filter(|(key, _)| members.is_enrolled(key));
        own.into_iter().chain(others.map(|(_, head)| head.clone())).collect()
    }

    /// The key of this process.
    pub fn key(&self) -> Ed25519Key {
        self.key
    }

    /// How far this process is.
    pub fn phase(&self) -> Phase {
        self.shown().phase
    }

    /// The epoch of the newest certified root that is here; 0 without one.
    pub fn root_epoch(&self) -> u32 {
        self.shown().root.as_ref().map_or(0, |root| root.epoch)
    }

    /// The epoch whose root is offered and not here yet, if this process is a member.
    pub fn lacks_root_of(&self) -> Option<u32> {
        self.shown().lacks
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// If what is stored is not known.
    pub fn tick(&self) -> Result<(), MemberError> {
        let mut inner = self.inner()?;
        inner.usable()?;
        let before = inner.replica.progress();
        inner.replica.tick(self.now());
        if inner.replica.progress() == before {
            return Ok(());
        }
        tracing::info!("members: {}", leader_text(inner.replica.leader().as_ref(), &self.key));
        self.settled(&mut inner)
    }

    /// What there is to ask of a member now.
    ///
    /// # Errors
    /// If what is stored is not known.
    pub fn question(&self, to: &Ed25519Key) -> Result<Option<Question>, MemberError> {
        let inner = self.inner()?;
        inner.usable()?;
        Ok(inner.replica.question(to))
    }

    /// Takes a member's answer to a leader.
    ///
    /// # Errors
    /// If what was agreed by it cannot be stored.
    pub fn appended(
        &self,
        from: &Ed25519Key,
        asked: &protocol::kms::AppendRequest,
        answer: &AppendResponse,
    ) -> Result<(), MemberError> {
        self.changes_by(|inner| inner.replica.appended(from, asked, answer, self.now()))
    }

    /// Takes a vote.
    ///
    /// # Errors
    /// If what was agreed by it cannot be stored.
    pub fn voted(
        &self,
        from: &Ed25519Key,
        asked: &protocol::kms::VoteRequest,
        answer: &VoteResponse,
    ) -> Result<(), MemberError> {
        self.changes_by(|inner| inner.replica.voted(from, asked, answer, self.now()))
    }

    fn changes_by(&self, change: impl FnOnce(&mut Inner)) -> Result<(), MemberError> {
        let mut inner = self.inner()?;
        inner.usable()?;
        let before = inner.replica.progress();
        change(&mut inner);
        match inner.replica.progress() == before {
            true => Ok(()),
            false => self.settled(&mut inner),
        }
    }

    /// Whether this member has agreed entries that are missing here.
    ///
    /// # Errors
    /// If what is stored is not known.
    pub fn is_behind(&self, member: &Ed25519Key) -> Result<bool, MemberError> {
        let mut inner = self.inner()?;
        Ok(inner.replica.take_ahead(member))
    }

    /// Agreed entries here.
    ///
    /// # Errors
    /// If what is stored is not known.
    pub fn entries(&self) -> Result<u64, MemberError> {
        Ok(self.inner()?.state().entries())
    }

    /// Proposals for this member, and word of changes.
    pub fn reaches(&self, member: Ed25519Key) -> (mpsc::Receiver<Proposal>, watch::Receiver<u64>) {
        (self.outbox.reaches(member), self.outbox.changes())
    }

    /// Takes the newest root from a member whose owners certified this very root. What this process
    /// has of an earlier epoch, in memory or stored, it replaces.
    ///
    /// # Errors
    /// If it is another one, or what is stored here is not of it.
    pub fn take_root(
        &self,
        answer: KmsKeyResponse,
        certified: &RootCertificate,
    ) -> Result<(), MemberError> {
        let mut inner = self.inner()?;
        if inner.root.as_ref().is_some_and(|held| held.epoch >= certified.epoch) {
            return Ok(());
        }
        let follows = |own: &RootCertificate| own.epoch < certified.epoch || own == certified;
        if !inner.certified.as_ref().is_none_or(follows) {
            return Err(MemberError::Foreign("root"));
        }
        let held = Held::of_answer(answer, certified)?;
        if inner.certified.is_some() && inner.root.is_none() {
            let state = self.read_ledger(&inner, &held)?;
            inner.replica.restore(state);
        }
        inner.begin(held, false);
        inner.given.clear();
        self.settled(&mut inner)
    }

    /// Takes agreed entries from a member's store.
    ///
    /// # Errors
    /// If one does not follow what is here: then the store has another history. Or if one
    /// certifies a root that is not here.
    pub fn install(&self, lines: &[String]) -> Result<(), MemberError> {
        let mut inner = self.inner()?;
        inner.usable()?;
        let from = inner.state().entries();
        let parse = |(index, line): (u64, &String)| {
            Entry::parse(line).map_err(|what| MemberError::Line { index, what: what.to_string() })
        };
        let entries = (from..).zip(lines).map(parse).collect::<Result<Vec<_>, _>>()?;
        let installed = inner.replica.install(&entries);
        self.settled(&mut inner)?;
        installed.map_err(|error| match error {
            InstallError::Ledger(error) => error.into(),
            InstallError::Rootless(epoch) => MemberError::Rootless(epoch),
        })
    }

    /// Keeps images that a member has; those that are here already are passed over.
    ///
    /// # Errors
    /// If one is none, or cannot be kept.
    pub fn take_images(&self, images: &[String]) -> Result<(), MemberError> {
        for image in images {
            let name = OsImageHash::of(image.as_bytes());
            if !self.shown().images.contains_key(&name) {
                self.put_image(&mut *self.inner()?, image)?;
            }
        }
        Ok(())
    }
}

fn leader_text(leader: Option<&Ed25519Key>, own: &Ed25519Key) -> String {
    match leader {
        Some(leader) if leader == own => "this one leads".to_owned(),
        Some(leader) => format!("{leader} leads"),
        None => "none leads".to_owned(),
    }
}
