//! From a KMS that has just started to one that serves: what its owner does, in order, each step
//! said before it is done.
//!
//! Which step is next is a pure function of what the KMS says and of what this owner has seen. The
//! KMS is verified before any of it: [`Calls`] travel on its channel only. What is signed is
//! written down before it leaves, so that a lost answer leads to the same signature again.

use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{
    Cluster, EpochKeys, KmsImage, KmsList, LedgerRequest, LedgerResponse, MAX_DOCUMENT_BYTES,
    Resumption, RootCertificate, Share, SignedDocument, StatusResponse, payload_type,
};
use protocol::prpc::Empty;
use protocol::strict_json;
use zeroize::Zeroize as _;

use super::channel::Calls;
use super::ledger;
use super::memory::{Head, Memory, OwnShare, Resumed, Seen};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::owner::Owner;

/// A fresh KMS takes three steps; a loop that makes no progress ends.
const MAX_STEPS: usize = 6;

/// What an owner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The KMS has no root: it makes one.
    Bootstrap,
    /// The root is new: this owner takes its share, and certifies root and list.
    Certify,
    /// The root is not in memory: this owner's share rebuilds it.
    GiveShare,
    /// Something may be missing behind the state: this owner signs that it counts.
    Resume,
    /// The KMS serves.
    Done,
}

/// Why this owner does not go on with a KMS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// another key provider
    #[error("the KMS calls itself {found}; this owner's is {expected}")]
    Foreign {
        /// What it says.
        found: String,
        /// What it must be.
        expected: Sha256Digest,
    },
    /// the state is lost
    #[error(
        "the KMS has no root, but this owner certified one already: its disk was lost or put back to its first day"
    )]
    Lost,
    /// another root
    #[error("epoch {epoch} has the root {found}; this owner certified {certified}")]
    OtherRoot {
        /// The epoch.
        epoch: u32,
        /// What the KMS has.
        found: Ed25519Key,
        /// What was certified.
        certified: Ed25519Key,
    },
    /// a field that is no key or hash
    #[error("{0} has another length than 32 bytes")]
    Length(&'static str),
    /// a ledger that ends before what was seen
    #[error(
        "the ledger has {found} entries; this owner has seen {seen}: an older state was put back"
    )]
    Shorter {
        /// What the KMS has.
        found: u64,
        /// What was seen.
        seen: u64,
    },
    /// a ledger that does not contain what was seen
    #[error(
        "the ledger's entry {entries} is not the one that this owner has seen: this is another history"
    )]
    Branched {
        /// The last entry that was seen.
        entries: u64,
    },
    /// a second process from one entry
    #[error(
        "this user's key signed already that the process {member} goes on from entry {entries}: two would give out the same open counters"
    )]
    Resumed {
        /// Entries of the ledger.
        entries: u64,
        /// The process of the earlier signature.
        member: Ed25519Key,
    },
    /// entries that do not lead to the stated head
    #[error("the ledger's entries do not lead to the head that the KMS states")]
    Head,
    /// an unknown state
    #[error("the KMS is in the state {0:?}, which this version does not know")]
    State(String),
}

/// What comes next for a KMS that says `status`, for an owner who has seen `seen`.
///
/// # Errors
/// If what the KMS says contradicts what was certified.
pub fn next(
    status: &StatusResponse,
    seen: &Seen,
    key_provider_id: Sha256Digest,
) -> Result<Step, CeremonyError> {
    if status.key_provider_id != key_provider_id.to_string() {
        let found = status.key_provider_id.chars().take(64).collect();
        return Err(CeremonyError::Foreign { found, expected: key_provider_id });
    }
    let step = match status.state.as_str() {
        "unborn" if seen.head.is_some() => return Err(CeremonyError::Lost),
        "unborn" => return Ok(Step::Bootstrap),
        "locked" => return Ok(Step::GiveShare),
        "uncertified" => Step::Certify,
        "waiting" => Step::Resume,
        "serving" => Step::Done,
        other => return Err(CeremonyError::State(other.chars().take(32).collect())),
    };
    let found = Ed25519Key(bytes("identity", &status.identity)?);
    match &seen.root {
        // Before a head was seen the root may have been lost with its process: nothing is under it.
        Some(root)
            if seen.head.is_some() && root.epoch == status.epoch && root.identity != found =>
        {
            let (epoch, certified) = (root.epoch, root.identity);
            Err(CeremonyError::OtherRoot { epoch, found, certified })
        }
        _ => Ok(step),
    }
}

/// Whether the ledger that ends at `stated` contains the one that ended at `seen`; `entries` are
/// its lines from there on.
///
/// # Errors
/// If it is shorter, another one, or its lines do not lead to the stated head.
pub fn extends(
    seen: Option<Head>,
    stated: Head,
    entries: &[String],
) -> Result<Head, CeremonyError> {
    let seen = seen.unwrap_or(Head { entries: 0, hash: Sha256Digest::ZERO });
    if stated.entries < seen.entries {
        return Err(CeremonyError::Shorter { found: stated.entries, seen: seen.entries });
    }
    let branched = CeremonyError::Branched { entries: seen.entries };
    if stated.entries == seen.entries {
        return if stated.hash == seen.hash { Ok(stated) } else { Err(branched) };
    }
    let reached = ledger::extend(seen, entries).map_err(|_| branched)?;
    if reached == stated { Ok(stated) } else { Err(CeremonyError::Head) }
}

/// An owner with what it has seen, and how it tells a person what it does.
pub struct Ceremony<'a> {
    /// The owner.
    pub owner: &'a Owner,
    /// Whose KMS it is.
    pub cluster: &'a Cluster,
    /// What it keeps.
    pub memory: &'a mut Memory,
    /// What runs there, which the list names.
    pub image: KmsImage,
    /// The root that the KMS proved when the channel was opened.
    pub proved: Option<RootCertificate>,
    /// The list that it proved.
    pub listed: Option<KmsList>,
    /// Says a step.
    pub say: &'a dyn Fn(&str),
}

impl Ceremony<'_> {
    /// Leads a KMS to where it serves, or to where it waits for other owners.
    ///
    /// # Errors
    /// If the KMS contradicts what was seen, or refuses.
    pub fn lead(&mut self, kms: &mut impl Calls) -> Outcome<StatusResponse> {
        for _ in 0..MAX_STEPS {
            let status: StatusResponse = kms.call("Status", &Empty {})?;
            let step = self.next(&status)?;
            if self.waits_for_others(step, &status) {
                (self.say)("this owner's part is done; the KMS waits for other owners");
                return Ok(status);
            }
            match step {
                Step::Bootstrap => self.bootstrap(kms)?,
                Step::Certify => self.certify(kms, &status)?,
                Step::GiveShare => self.give_share(kms, &status)?,
                Step::Resume => self.resume(kms, &status, false)?,
                Step::Done => {
                    self.take_share_late(kms, &status)?;
                    self.list(kms, &status)?;
                    return self.look(kms);
                }
            }
        }
        Err(Failure::new(
            "the KMS does not come to serve whatever is signed",
            "`dstyx kms status` shows its state, `dstyx logs kms --console` what it says",
        ))
    }

    /// What comes next.
    pub fn next(&self, status: &StatusResponse) -> Outcome<Step> {
        next(status, &self.memory.seen, self.cluster.id()).map_err(refused)
    }

    /// Whether this owner did what the step asks of each.
    fn waits_for_others(&self, step: Step, status: &StatusResponse) -> bool {
        let waits = |payload_type| status.waits_for_others(payload_type, &self.owner.public());
        match step {
            Step::Bootstrap | Step::Done => false,
            Step::Certify => {
                (status.certified || waits(payload_type::ROOT))
                    && (status.list_version > 0 || waits(payload_type::LIST))
            }
            Step::GiveShare => self.holds(status),
            Step::Resume => waits(payload_type::RESUMPTION),
        }
    }

    /// Whether the KMS has this owner's share, or gave it out.
    fn holds(&self, status: &StatusResponse) -> bool {
        status.holders.contains(&self.owner.public().to_string())
    }

    /// Asks how the KMS is, and keeps its head if it extends the last one.
    pub fn look(&mut self, kms: &mut impl Calls) -> Outcome<StatusResponse> {
        let status: StatusResponse = kms.call("Status", &Empty {})?;
        let head = self.checked_head(kms, &status)?;
        self.memory.seen.head = Some(head);
        self.memory.save()?;
        if let Some(proved) = self.proved.clone() {
            self.counts(proved)?;
        }
        Ok(status)
    }

    /// Enough owners certified a root: it is the one that this owner expects, and its share takes
    /// the place of earlier ones.
    fn counts(&mut self, root: RootCertificate) -> Outcome<()> {
        let epoch = root.epoch;
        if self.memory.seen.root.as_ref().is_none_or(|seen| seen.epoch < epoch) {
            self.memory.seen.root = Some(root);
            self.memory.save()?;
        }
        match self.memory.has_share(epoch) {
            true => self.memory.destroy_shares_before(epoch),
            false => Ok(()),
        }
    }

    /// Takes this owner's share of the root that the KMS offers for the next epoch, and certifies
    /// it.
    pub fn certify_offered(
        &mut self,
        kms: &mut impl Calls,
        status: &StatusResponse,
    ) -> Outcome<StatusResponse> {
        let root = offered(status, self.cluster.id())?;
        (self.say)(&format!("the KMS was verified: {}", renewal_sentence(&root)));
        let share = OwnShare::taken(kms.call("TakeShare", &Empty {})?);
        if share.epoch != root.epoch {
            return Err(Failure::new(
                format!("the KMS gives a share of epoch {}, expected {}", share.epoch, root.epoch),
                "nothing was signed; did its process start again? `dstyx kms status`",
            ));
        }
        // One of the same epoch that is kept is of a root that came to nothing.
        self.memory.replace_share(&share)?;
        (self.say)(&format!(
            "this user's key certifies the root of epoch {}, whose share is kept",
            root.epoch
        ));
        let status = self.send(kms, "CertifyRoot", payload_type::ROOT, &root)?;
        if status.epoch == root.epoch {
            self.counts(root)?;
        }
        Ok(status)
    }

    /// The KMS makes its root.
    pub fn bootstrap(&mut self, kms: &mut impl Calls) -> Outcome<()> {
        (self.say)("the KMS has no root yet: it makes one, inside its guest");
        let _: Empty = kms.call("Bootstrap", &Empty {})?;
        Ok(())
    }

    /// This owner takes its share of a root that it is about to certify.
    pub fn take_share(&mut self, kms: &mut impl Calls) -> Outcome<()> {
        (self.say)("the KMS was verified: this user takes and keeps its share of the root");
        let share = OwnShare::taken(kms.call("TakeShare", &Empty {})?);
        match self.memory.seen.head {
            Some(_) => self.memory.keep_share(&share),
            // A share that is kept already is of a root that came to nothing.
            None => self.memory.replace_share(&share),
        }
    }

    /// The share, the root's certificate and the list, in this order: a root without a share that
    /// was kept would be lost with the guest.
    fn certify(&mut self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<()> {
        if !self.holds(status) || !self.memory.has_share(status.epoch) {
            self.take_share(kms)?;
        }
        if !status.certified {
            self.certify_root(kms, status)?;
        }
        match status.list_version {
            0 => self.list(kms, status),
            _ => Ok(()),
        }
    }

    fn certify_root(&mut self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<()> {
        let identity = Ed25519Key(bytes("identity", &status.identity).map_err(refused)?);
        let key_provider_id = self.cluster.id();
        let root =
            RootCertificate { key_provider_id, epoch: status.epoch, identity, renewal: None };
        self.memory.seen.root = Some(root.clone());
        self.memory.save()?;
        (self.say)(&format!("this user's key certifies the root of epoch {}", root.epoch));
        self.send(kms, "CertifyRoot", payload_type::ROOT, &root).map(drop)
    }

    /// The share of an owner whom the others did not wait for, while the process that made the root
    /// lives.
    fn take_share_late(&mut self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<()> {
        let kept = self.memory.has_share(status.epoch);
        if status.holders.is_empty() || self.holds(status) || kept || !status.offered.is_empty() {
            return Ok(());
        }
        self.take_share(kms)
    }

    /// Signs a list that names what runs, unless the newest one is that. Every owner's tool makes
    /// the same list of what it verified, so that their signatures join.
    pub fn list(&mut self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<()> {
        let known = self.listed.as_ref().or(self.memory.seen.list.as_ref());
        let holds = known
            .is_some_and(|list| list.images == [self.image] && list.version == status.list_version);
        if holds {
            return Ok(());
        }
        let version = status.list_version + 1;
        let key_provider_id = self.cluster.id();
        let list = KmsList { key_provider_id, version, images: vec![self.image] };
        self.memory.seen.list = Some(list.clone());
        self.memory.save()?;
        (self.say)(&format!(
            "this user's key signs list {version}: a KMS may be image {} with the measured file {}",
            short(self.image.os_image_hash),
            short(self.image.compose_hash)
        ));
        self.send(kms, "SetList", payload_type::LIST, &list).map(drop)
    }

    /// The kept share rebuilds the root.
    pub fn give_share(&mut self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<()> {
        let share = self.memory.share(status.epoch)?.ok_or_else(|| {
            Failure::new(
                "the KMS waits for a share of its root, and this user keeps none",
                "take the user's data directory back from a backup; without a share the root is lost",
            )
        })?;
        (self.say)("the KMS was verified: this user gives its share of the root");
        let mut message = Share { epoch: share.epoch, share: share.bytes.to_vec() };
        let given: Outcome<Empty> = kms.call("GiveShare", &message);
        message.share.zeroize();
        given.map(drop)
    }

    /// Signs that the KMS goes on from its state, if that extends what was seen. What came after an
    /// earlier signature for the same state is not known here: unless `danger_again` says that it
    /// was nothing, no other process gets one.
    pub fn resume(
        &mut self,
        kms: &mut impl Calls,
        status: &StatusResponse,
        danger_again: bool,
    ) -> Outcome<()> {
        let head = self.checked_head(kms, status)?;
        let member = Ed25519Key(bytes("member", &status.member).map_err(refused)?);
        match self.memory.seen.resumed {
            Some(resumed) if resumed.head == head && resumed.member != member && !danger_again => {
                let (entries, member) = (head.entries, resumed.member);
                return Err(refused(CeremonyError::Resumed { entries, member }));
            }
            _ => self.memory.seen.resumed = Some(Resumed { head, member }),
        }
        self.memory.seen.head = Some(head);
        self.memory.save()?;
        (self.say)(&format!(
            "the KMS restarted: this user's key signs that it may go on from entry {}",
            head.entries
        ));
        let resumption = Resumption {
            key_provider_id: self.cluster.id(),
            member,
            entries: head.entries,
            head: head.hash,
        };
        self.send(kms, "Resume", payload_type::RESUMPTION, &resumption).map(drop)
    }

    /// The stated head, after a look at every entry since the last one that was seen.
    fn checked_head(&self, kms: &mut impl Calls, status: &StatusResponse) -> Outcome<Head> {
        let hash = Sha256Digest(bytes("head", &status.head).map_err(refused)?);
        let stated = Head { entries: status.entries, hash };
        let seen = self.memory.seen.head;
        let entries = fetch(kms, seen.map_or(0, |head| head.entries), stated.entries)?;
        extends(seen, stated, &entries).map_err(refused)
    }

    fn send(
        &self,
        kms: &mut impl Calls,
        method: &str,
        payload_type: &'static str,
        document: &impl serde::Serialize,
    ) -> Outcome<StatusResponse> {
        let envelope = self.owner.sign_document(payload_type, document);
        kms.call(method, &SignedDocument { envelope })
    }
}

/// The certificate that the KMS asks for.
fn offered(status: &StatusResponse, key_provider_id: Sha256Digest) -> Outcome<RootCertificate> {
    if status.offered.is_empty() {
        return Err(Failure::new(
            "the KMS offers no root for another epoch",
            "`dstyx kms epoch new` lets it make one; of several processes, the one that made it offers it",
        ));
    }
    let root: RootCertificate =
        strict_json::parse(status.offered.as_bytes(), MAX_DOCUMENT_BYTES)
            .hint("the root that the KMS offers", "is it of another version than this program?")?;
    let next = status.epoch.saturating_add(1);
    if root.key_provider_id != key_provider_id || root.epoch != next || root.renewal.is_none() {
        return Err(Failure::new(
            format!("the KMS offers a root of epoch {} of {}", root.epoch, root.key_provider_id),
            "nothing was signed",
        ));
    }
    Ok(root)
}

/// What comes and goes with an epoch.
pub fn renewal_sentence(root: &RootCertificate) -> String {
    let renewal = root.renewal.clone().unwrap_or_default();
    let mut says = match renewal.keys {
        EpochKeys::Dstyx => format!("epoch {} gives apps new keys", root.epoch),
        EpochKeys::Dstack => {
            let digest = renewal.dstack.map(short).unwrap_or_default();
            format!("epoch {} gives apps the keys of the dstack KMS {digest}", root.epoch)
        }
        EpochKeys::None => format!("epoch {} gives owners new shares", root.epoch),
    };
    for epoch in &renewal.retires {
        says += &format!(", and erases the root of epoch {epoch}");
    }
    if renewal.danger_loses_instances > 0 {
        says += &format!(
            "; danger: up to {} instances lose their disks",
            renewal.danger_loses_instances
        );
    }
    says
}

/// The ledger's lines from entry `from` to entry `to`.
///
/// # Errors
/// If the KMS refuses, or gives none although there should be some.
pub fn fetch(kms: &mut impl Calls, from: u64, to: u64) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    let mut at = from;
    while at < to {
        let page: LedgerResponse = kms.call("Ledger", &LedgerRequest { from: at })?;
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX);
        let taken = page.entries.len().min(wanted);
        if taken == 0 {
            return Err(Failure::new(
                format!("the KMS states {to} entries and gives none from {at} on"),
                "nothing was signed; is the KMS of this version?",
            ));
        }
        lines.extend(page.entries.into_iter().take(taken));
        at += taken as u64;
    }
    Ok(lines)
}

fn refused(error: CeremonyError) -> Failure {
    let hint = match error {
        CeremonyError::Lost => {
            "put back the KMS's disk; or, if every disk under the old root may be lost, move this user's directory `kms` away"
        }
        CeremonyError::Resumed { .. } => {
            "the KMS's store may have been put back: put the newest one in its place; if that process never served, `dstyx kms resume --danger-again`"
        }
        _ => "nothing was signed and no share was given",
    };
    Failure::new(error, hint)
}

fn bytes(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], CeremonyError> {
    bytes.try_into().map_err(|_| CeremonyError::Length(field))
}

/// The first digits of a digest, enough for a person to compare.
fn short(digest: impl ToString) -> String {
    digest.to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests;
