//! The record of what was decided in a run: ids, digests, decisions and reasons, and no data.
//!
//! Entries are sealed for each custodian of the run's Pads, who may read which of its own Pads took
//! part and why one of them refused, and of others the decision alone. The sealed entries are
//! chained by their hashes, and a delegator has the head before an output leaves.

use std::collections::{BTreeMap, BTreeSet};

use pad_cbor::{CborError, Reader, Writer, read_whole};
use pad_format::run::{MAX_PADS, RUN_ID_BYTES, RunId};
use pad_format::sealed::{self, Purpose, ResultSecret, SealedError};
use pad_format::{CustodianId, PadDigest, PadId};
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;

use crate::delegator::{AuditEntry, Delegator, Denied, Party, SealedRecord};
use crate::engines::RunView;
use crate::refusal::Refusal;

/// First field of each hash of the chain.
const LABEL: &[u8] = b"dstyx-pad-audit-1";
/// Events of one entry: a run proposes at most 64 outputs.
const MAX_EVENTS: usize = 128;
/// Reasons of one event; a dataset of 10,000 Pads may have as many, of which the first ones tell
/// enough. A reader's own come first.
const MAX_REASONS: usize = 8;
/// Reasons of one entry: a program may have proposed many outputs that were refused.
const MAX_ENTRY_REASONS: usize = 16;
/// Bytes of a reason.
const MAX_REASON_BYTES: usize = 320;
/// Own Pads that an entry lists: a delegator keeps every entry, and takes 16 KiB of one.
const MAX_LISTED: usize = 128;
/// Engines of one run.
const MAX_ENGINES: usize = 1024;
/// Largest entry: the most events, listed Pads, engines and reasons, and below the 16 KiB of a
/// sealed one that a delegator takes.
pub const MAX_ENTRY_BYTES: usize = 15 << 10;

/// An entry as one custodian reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// The entry's place in the run's record, from 0.
    pub sequence: u64,
    /// When the run was submitted, in seconds since 1970.
    pub time: u64,
    /// SHA-256 of the program.
    pub program: Sha256Digest,
    /// The program's owner, if it was proved.
    pub owner: Option<CustodianId>,
    /// The engines of the run.
    pub engines: Vec<Sha256Digest>,
    /// The custodian's own Pads in the dataset, of which there are more if 128 are listed.
    pub pads: Vec<PadDigest>,
    /// How many Pads the dataset has.
    pub all_pads: u64,
    /// The decisions, in their order.
    pub events: Vec<Event>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The program may read the dataset.
    DatasetAllowed,
    /// It may not.
    DatasetRefused(Vec<String>),
    /// A new Pad leaves.
    PadAllowed {
        /// Its id.
        id: PadId,
        /// Its digest.
        digest: PadDigest,
        /// Its custodian.
        custodian: CustodianId,
    },
    /// A result in plain leaves, sealed for the program's owner.
    PlainAllowed {
        /// SHA-256 of the sealed result.
        sealed: Sha256Digest,
    },
    /// An output does not leave.
    OutputRefused(Vec<String>),
    /// The Pad has other policies now.
    Updated {
        /// Its new digest.
        digest: PadDigest,
    },
    /// The Pad keeps its policies.
    UpdateRefused(Vec<String>),
}

/// A decision with refusals that are not yet written for anybody.
pub(crate) enum Decision {
    DatasetAllowed,
    DatasetRefused(Vec<Refusal>),
    PadAllowed { id: PadId, digest: PadDigest, custodian: CustodianId },
    PlainAllowed { sealed: Sha256Digest },
    OutputRefused(Vec<Refusal>),
    Updated { digest: PadDigest },
    UpdateRefused(Vec<Refusal>),
}

/// The record of one run.
pub(crate) struct Journal {
    run: RunId,
    time: u64,
    sequence: u64,
    head: Sha256Digest,
    /// Pads of the dataset and their custodians.
    pads: Vec<(PadDigest, CustodianId)>,
    /// Decisions that no delegator has.
    pending: Vec<Decision>,
}

impl Journal {
    pub fn new(run: RunId, time: u64) -> Self {
        let head = Sha256Digest::of(&length_prefixed(&[LABEL, &run.0]));
        Self { run, time, sequence: 0, head, pads: Vec::new(), pending: Vec::new() }
    }

    /// Takes down which Pads the dataset has.
    pub fn begin(&mut self, pads: Vec<(PadDigest, CustodianId)>) {
        self.pads = pads;
    }

    /// Takes down a decision.
    pub fn decided(&mut self, decision: Decision) {
        self.pending.push(decision);
    }

    fn custodians(&self) -> BTreeSet<CustodianId> {
        self.pads.iter().map(|(_, custodian)| *custodian).collect()
    }

    /// Gives the pending decisions away; they are pending still if a delegator does not take them.
    pub fn flush(
        &mut self,
        run: &RunView,
        engines: &[Sha256Digest],
        parties: &BTreeMap<CustodianId, Party>,
        delegator: &mut dyn Delegator,
    ) -> Result<(), Denied> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        for custodian in self.custodians() {
            // A dataset of a custodian who did not enrol is refused, and there is nobody to tell.
            let Some(party) = parties.get(&custodian) else { continue };
            let entry = self.entry(run, engines, &custodian);
            records.push(entry.sealed_for(custodian, party)?);
        }
        let head = head(&self.head, self.sequence, &records);
        let (run, sequence, previous) = (self.run, self.sequence, self.head);
        delegator.audit(&AuditEntry { run, sequence, previous, head, records })?;
        self.head = head;
        self.sequence += 1;
        self.pending.clear();
        Ok(())
    }

    /// The pending decisions; the first refusals tell their reasons.
    fn events(&self, reader: &CustodianId) -> Vec<Event> {
        let mut left = MAX_ENTRY_REASONS;
        let shown = self.pending.iter().map(|decision| {
            let mut event = decision.shown_to(reader);
            if let Some(reasons) = event.reasons() {
                reasons.truncate(left);
                left -= reasons.len();
            }
            event
        });
        shown.collect()
    }

    /// What a custodian may read of the pending decisions.
    fn entry(&self, run: &RunView, engines: &[Sha256Digest], reader: &CustodianId) -> Entry {
        let own = self.pads.iter().filter(|(_, custodian)| custodian == reader);
        Entry {
            run: self.run,
            sequence: self.sequence,
            time: self.time,
            program: run.program,
            owner: run.owner,
            engines: engines.to_vec(),
            pads: own.map(|(digest, _)| *digest).take(MAX_LISTED).collect(),
            all_pads: self.pads.len() as u64,
            events: self.events(reader),
        }
    }
}

/// The head of a record with one more entry.
pub fn head(previous: &Sha256Digest, sequence: u64, records: &[SealedRecord]) -> Sha256Digest {
    let sequence = sequence.to_le_bytes();
    let digests: Vec<_> = records.iter().map(|record| Sha256Digest::of(&record.bytes)).collect();
    let mut fields = vec![LABEL, previous.as_bytes(), &sequence];
    for (record, digest) in records.iter().zip(&digests) {
        fields.extend([record.custodian.0.as_bytes(), digest.as_bytes()]);
    }
    Sha256Digest::of(&length_prefixed(&fields))
}

impl Decision {
    fn shown_to(&self, reader: &CustodianId) -> Event {
        match self {
            Self::DatasetAllowed => Event::DatasetAllowed,
            Self::DatasetRefused(refusals) => Event::DatasetRefused(reasons(refusals, reader)),
            Self::PadAllowed { id, digest, custodian } => {
                Event::PadAllowed { id: *id, digest: *digest, custodian: *custodian }
            }
            Self::PlainAllowed { sealed } => Event::PlainAllowed { sealed: *sealed },
            Self::OutputRefused(refusals) => Event::OutputRefused(reasons(refusals, reader)),
            Self::Updated { digest } => Event::Updated { digest: *digest },
            Self::UpdateRefused(refusals) => Event::UpdateRefused(reasons(refusals, reader)),
        }
    }
}

/// Reasons about Pads of others stay theirs: a figure tells about their data.
fn reasons(refusals: &[Refusal], reader: &CustodianId) -> Vec<String> {
    let is_others = |refusal: &&Refusal| refusal.pad.is_some_and(|pad| pad.custodian != *reader);
    let own = refusals.iter().filter(|refusal| !is_others(refusal)).map(Refusal::to_string);
    let others = refusals.iter().filter(is_others).filter_map(|refusal| refusal.pad);
    let others = others.map(|pad| format!("refused for a Pad of {}", pad.custodian.shown()));
    let shown = own.chain(others).take(MAX_REASONS);
    shown.map(|text| short(&text)).collect()
}

/// A text within its budget.
fn short(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Entry {
    /// Opens an entry that was sealed for a custodian.
    ///
    /// # Errors
    /// If it was not sealed for this secret, run and place, or is no entry.
    pub fn open(
        secret: &ResultSecret,
        run: RunId,
        sequence: u64,
        sealed: &[u8],
    ) -> Result<Self, EntryError> {
        let bytes = sealed::open(secret, Purpose::Audit, &about(run, sequence), sealed)?;
        let entry = Self::parse(&bytes)?;
        if (entry.run, entry.sequence) != (run, sequence) {
            return Err(EntryError::Other);
        }
        Ok(entry)
    }

    fn sealed_for(&self, custodian: CustodianId, party: &Party) -> Result<SealedRecord, Denied> {
        let about = about(self.run, self.sequence);
        let sealed = sealed::seal(&party.result_key, Purpose::Audit, &about, &self.to_bytes());
        let bytes = sealed.map_err(|error| Denied::Failed(error.to_string()))?;
        Ok(SealedRecord { custodian, key_provider_id: party.key_provider_id, bytes })
    }

    /// Reads the one encoding of an entry.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLarge(bytes.len()));
        }
        read_whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        let mut map = reader.map("entry")?;
        map.required(reader, 1)?;
        let run = RunId(reader.fixed::<RUN_ID_BYTES>("entry: run")?);
        map.required(reader, 2)?;
        let sequence = reader.uint("entry: sequence", 0..=u64::MAX)?;
        map.required(reader, 3)?;
        let time = reader.uint("entry: time", 0..=u64::MAX)?;
        map.required(reader, 4)?;
        let program = digest(reader, "entry: program")?;
        let owner = match map.optional(reader, 5)? {
            true => Some(CustodianId(digest(reader, "entry: owner")?)),
            false => None,
        };
        map.required(reader, 6)?;
        let engines =
            many(reader, "entry: engines", MAX_ENGINES, |reader| digest(reader, "entry: engine"))?;
        map.required(reader, 7)?;
        let pads = many(reader, "entry: Pads", MAX_LISTED, |reader| {
            digest(reader, "entry: Pad").map(PadDigest)
        })?;
        map.required(reader, 8)?;
        let all_pads = reader.uint("entry: number of Pads", 0..=MAX_PADS as u64)?;
        map.required(reader, 9)?;
        let events = many(reader, "entry: events", MAX_EVENTS, Event::read)?;
        map.end(reader)?;
        Ok(Self { run, sequence, time, program, owner, engines, pads, all_pads, events })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(8 + usize::from(self.owner.is_some()));
        writer.uint(1).bytes(&self.run.0).uint(2).uint(self.sequence).uint(3).uint(self.time);
        writer.uint(4).bytes(self.program.as_bytes());
        if let Some(owner) = &self.owner {
            writer.uint(5).bytes(owner.0.as_bytes());
        }
        writer.uint(6).array(self.engines.len());
        self.engines.iter().for_each(|engine| {
            writer.bytes(engine.as_bytes());
        });
        writer.uint(7).array(self.pads.len());
        self.pads.iter().for_each(|pad| {
            writer.bytes(pad.0.as_bytes());
        });
        writer.uint(8).uint(self.all_pads).uint(9).array(self.events.len());
        self.events.iter().for_each(|event| event.write(&mut writer));
        writer.finish()
    }
}

impl Event {
    fn reasons(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Self::DatasetRefused(reasons)
            | Self::OutputRefused(reasons)
            | Self::UpdateRefused(reasons) => Some(reasons),
            _ => None,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::DatasetAllowed => {
                writer.array(1).uint(1);
            }
            Self::DatasetRefused(reasons) => write_reasons(writer.array(2).uint(2), reasons),
            Self::PadAllowed { id, digest, custodian } => {
                writer.array(4).uint(3).bytes(id.uuid().as_bytes());
                writer.bytes(digest.0.as_bytes()).bytes(custodian.0.as_bytes());
            }
            Self::PlainAllowed { sealed } => {
                writer.array(2).uint(4).bytes(sealed.as_bytes());
            }
            Self::OutputRefused(reasons) => write_reasons(writer.array(2).uint(5), reasons),
            Self::Updated { digest } => {
                writer.array(2).uint(6).bytes(digest.0.as_bytes());
            }
            Self::UpdateRefused(reasons) => write_reasons(writer.array(2).uint(7), reasons),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        let items = reader.array("event", 1..=4)?;
        let kind = reader.uint("event: kind", 1..=7)?;
        match (kind, items) {
            (1, 1) => Ok(Self::DatasetAllowed),
            (2, 2) => read_reasons(reader).map(Self::DatasetRefused),
            (3, 4) => {
                let id = reader.fixed("event: Pad")?;
                let id = pad_format::Uuid::from_bytes(id).and_then(PadId::new);
                Ok(Self::PadAllowed {
                    id: id.map_err(|_| EntryError::PadId)?,
                    digest: PadDigest(digest(reader, "event: Pad")?),
                    custodian: CustodianId(digest(reader, "event: custodian")?),
                })
            }
            (4, 2) => Ok(Self::PlainAllowed { sealed: digest(reader, "event: result")? }),
            (5, 2) => read_reasons(reader).map(Self::OutputRefused),
            (6, 2) => Ok(Self::Updated { digest: PadDigest(digest(reader, "event: Pad")?) }),
            (7, 2) => read_reasons(reader).map(Self::UpdateRefused),
            _ => Err(EntryError::Event(kind)),
        }
    }
}

fn write_reasons(writer: &mut Writer, reasons: &[String]) {
    writer.array(reasons.len());
    reasons.iter().for_each(|reason| {
        writer.text(reason);
    });
}

fn read_reasons(reader: &mut Reader<'_>) -> Result<Vec<String>, EntryError> {
    many(reader, "event: reasons", MAX_REASONS, |reader| {
        Ok(reader.text("event: reason", 0..=MAX_REASON_BYTES)?.to_owned())
    })
}

fn many<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, EntryError>,
) -> Result<Vec<T>, EntryError> {
    let count = reader.array(field, 0..=most)?;
    (0..count).map(|_| read(reader)).collect()
}

fn digest(reader: &mut Reader<'_>, field: &'static str) -> Result<Sha256Digest, EntryError> {
    Ok(Sha256Digest(reader.fixed(field)?))
}

fn about(run: RunId, sequence: u64) -> Vec<u8> {
    length_prefixed(&[&run.0, &sequence.to_le_bytes()])
}

/// Why something is no entry of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// more than the budget
    #[error("an entry of {0} bytes, at most {MAX_ENTRY_BYTES} are accepted")]
    TooLarge(usize),
    /// not sealed for the reader
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// not the encoding of one
    #[error("the entry: {0}")]
    Cbor(#[from] CborError),
    /// an event of no kind
    #[error("the entry: an event of kind {0} has another length")]
    Event(u64),
    /// an id of no Pad
    #[error("the entry: an id that no Pad has")]
    PadId,
    /// another entry than it was sealed as
    #[error("the entry is of another run or place than it was sealed for")]
    Other,
}
