//! The frames between `pad-runner`, which runs engines and programs and has no network, and its
//! supervisor, which speaks with key delegators for it.
//!
//! Both are of one build. Frames are as in `pad_run::frames`: bounded by their kind before anything
//! is allocated, with one spelling, and nothing behind the last field.

use std::ops::RangeInclusive;

use pad_format::metadata::{KeyId, MAX_URI_BYTES};
use pad_format::run::{MAX_PADS, RunId};
use pad_format::{CustodianId, DataKey, PadDigest, PadId, Uuid, enrolment, run, update};
use pad_run::codec::{bytes, many, option, put, put_many, put_option, text};
use pad_run::frames::{Frame, FrameError};
use pad_run::{Contents, Limits, MAX_PLAIN_BYTES, MAX_WINDOW_BYTES};
use protocol::channel::EXPORTER_BYTES;
use protocol::digest::Sha256Digest;
use protocol::reader::Reader;
use zeroize::Zeroizing;

use self::fields::{
    bounded, denied, digest, read_entry, read_key_id, read_request, read_spend, read_wanted, short,
    value, write_denied, write_entry, write_request, write_spend, write_wanted,
};
use crate::audit::MAX_ENTRY_BYTES;
use crate::delegator::{AuditEntry, Denied, KeyRequest, ReleasedKey, Spend, WantedPad};

mod fields;

/// Bytes of a frame: a submission with the most enrolments, or a question for the most keys.
const MAX_BYTES: usize = 32 << 20;
/// Engines of one run.
pub const MAX_ENGINES: usize = 64;
/// Enrolments of one run.
const MAX_PARTIES: usize = 1024;
/// Uses of quotas of one run.
const MAX_USES: usize = 100_000;
/// Bytes of a reason.
const MAX_REASON_BYTES: usize = 4096;
/// Bytes of a sealed entry.
const MAX_RECORD_BYTES: usize = MAX_ENTRY_BYTES + 64;
/// Bytes of a path.
const MAX_PATH_BYTES: usize = 4096;

/// What the supervisor says.
pub enum Command {
    /// The first frame: where compiled code is kept, and the key of its MACs.
    Begin(Option<Cache>),
    /// Asks for a run id; it has the time in seconds since 1970.
    Draw(u64),
    /// A run. The program, the engines and the Pads follow as open files.
    Submit(Box<Submitted>),
    /// Other policies for the one Pad of a run without a program. The file that the new Pad is
    /// written to, the engines and the Pad follow as open files.
    Update(Box<Replacement>),
    /// Keys that were released.
    Keys(Vec<ReleasedKey>),
    /// What was asked for is done.
    Done,
    /// What was asked for is refused.
    Denied(Denied),
}

/// A directory of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Its path.
    pub path: String,
    /// The key of its MACs.
    pub key: Zeroizing<[u8; 32]>,
}

/// A run without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: RunId,
    /// Keying material of the submitter's channel.
    pub exporter: [u8; EXPORTER_BYTES],
    /// The time, in seconds since 1970.
    pub now: u64,
    /// What the program may use.
    pub limits: Limits,
    /// How many engines there are.
    pub engines: u32,
    /// How many Pads there are.
    pub pads: u32,
    /// The plain input.
    pub plain: Option<Zeroizing<Vec<u8>>>,
    /// The signed run.
    pub signed: Option<Vec<u8>>,
    /// Signed enrolments and the addresses of their delegators.
    pub parties: Vec<(Vec<u8>, String)>,
}

/// Other policies for a Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The run, which has one Pad.
    pub run: Submitted,
    /// The new policies, without attributes.
    pub contents: Contents,
    /// The signed update.
    pub signed: Vec<u8>,
}

/// What `pad-runner` says.
pub enum Report {
    /// The first frame: it is ready. What programs are not cut off from, which is nothing in a
    /// guest.
    Begun(Vec<String>),
    /// A run id.
    Drawn(RunId),
    /// Asks for keys.
    Keys(KeyRequest),
    /// Asks to count uses.
    Spend(RunId, Vec<Spend>),
    /// Asks to keep a key.
    Keep(Box<KeyToKeep>),
    /// Gives an entry of the audit record away.
    Audit(AuditEntry),
    /// Gives the new key of a Pad with other policies away.
    Update(Box<KeyOfUpdate>),
    /// A new Pad of this length leaves, whose bytes follow.
    Pad(u64),
    /// A sealed result of this length leaves, whose bytes follow.
    Plain(u64),
    /// Bytes of an output.
    Part(Zeroizing<Vec<u8>>),
    /// A refusal.
    Refusal(String),
    /// The end of a run, or why none was begun or no id drawn.
    Ended(Result<(), String>),
}

/// The key of a new Pad, as it is sent.
#[derive(PartialEq, Eq)]
pub struct KeyToKeep {
    /// The run that made it.
    pub run: RunId,
    /// The Pad.
    pub pad_id: PadId,
    /// The id of the key.
    pub key_id: KeyId,
    /// The key.
    pub key: Zeroizing<[u8; 32]>,
    /// The custodian.
    pub custodian: CustodianId,
    /// Its delegator.
    pub key_provider_id: Sha256Digest,
    /// The release list.
    pub engines: Vec<Sha256Digest>,
    /// The Pads that it was made from.
    pub parents: Vec<PadDigest>,
}

/// The new key of a Pad with other policies, as it is sent.
#[derive(PartialEq, Eq)]
pub struct KeyOfUpdate {
    /// The run that replaced them.
    pub run: RunId,
    /// The Pad under its old key.
    pub old: WantedPad,
    /// The id of the new key.
    pub key_id: KeyId,
    /// The new key.
    pub key: Zeroizing<[u8; 32]>,
    /// The signed update.
    pub signed: Vec<u8>,
}

const BEGIN: u8 = 1;
const DRAW: u8 = 2;
const SUBMIT: u8 = 3;
const KEYS: u8 = 4;
const DONE: u8 = 5;
const DENIED: u8 = 6;
const UPDATE: u8 = 7;

impl Frame for Command {
    fn lengths(kind: u8) -> Option<RangeInclusive<usize>> {
        match kind {
            BEGIN => Some(1..=1 + 4 + MAX_PATH_BYTES + 32),
            DRAW => Some(8..=8),
            SUBMIT | UPDATE => Some(1..=MAX_BYTES),
            KEYS => Some(4..=4 + MAX_PADS * 64),
            DONE => Some(0..=0),
            DENIED => Some(1..=1 + 8 + 4 + MAX_REASON_BYTES),
            _ => None,
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        match kind {
            BEGIN => option(reader, "cache", |reader| {
                let path = text(reader, "cache: path", MAX_PATH_BYTES)?;
                Ok(Cache { path, key: Zeroizing::new(reader.array("cache: key")?) })
            })
            .map(Self::Begin),
            DRAW => Ok(Self::Draw(reader.u64("time")?)),
            SUBMIT => Submitted::read(reader).map(|submitted| Self::Submit(Box::new(submitted))),
            UPDATE => Replacement::read(reader).map(|update| Self::Update(Box::new(update))),
            KEYS => many(reader, "keys", MAX_PADS, |reader| {
                let key = DataKey::from_bytes(Zeroizing::new(reader.array("key")?));
                Ok(ReleasedKey { key, from: digest(reader, "key: delegator")? })
            })
            .map(Self::Keys),
            DONE => Ok(Self::Done),
            DENIED => denied(reader).map(Self::Denied),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn write(&self, to: &mut Vec<u8>) -> u8 {
        match self {
            Self::Begin(cache) => {
                put_option(to, cache.as_ref(), |to, cache| {
                    put(to, cache.path.as_bytes());
                    to.extend(cache.key.iter());
                });
                BEGIN
            }
            Self::Draw(now) => {
                to.extend(now.to_le_bytes());
                DRAW
            }
            Self::Submit(submitted) => {
                submitted.write(to);
                SUBMIT
            }
            Self::Update(update) => {
                update.write(to);
                UPDATE
            }
            Self::Keys(keys) => {
                put_many(to, keys, |to, released| {
                    to.extend(released.key.as_bytes());
                    to.extend(released.from.0);
                });
                KEYS
            }
            Self::Done => DONE,
            Self::Denied(denied) => {
                write_denied(to, denied);
                DENIED
            }
        }
    }
}

impl Submitted {
    /// How many files follow: the program, or that of a new Pad, the engines and the Pads.
    pub fn files(&self) -> usize {
        1 + self.engines as usize + self.pads as usize
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            id: RunId(reader.array("run id")?),
            exporter: reader.array("exporter")?,
            now: reader.u64("time")?,
            limits: Limits {
                memory_bytes: reader.u64("memory")?,
                table_elements: reader.u32("tables")?,
                data_bytes: reader.u64("data")?,
                wall_millis: reader.u64("wall")?,
                proposals: reader.u32("proposals")?,
            },
            engines: bounded(reader, "engines", MAX_ENGINES)?,
            pads: bounded(reader, "Pads", MAX_PADS)?,
            plain: option(reader, "plain input", |reader| {
                bytes(reader, "plain input", MAX_PLAIN_BYTES).map(Zeroizing::new)
            })?,
            signed: option(reader, "signed run", |reader| {
                bytes(reader, "signed run", run::MAX_BYTES)
            })?,
            parties: many(reader, "enrolments", MAX_PARTIES, |reader| {
                let enrolment = bytes(reader, "enrolment", enrolment::MAX_BYTES)?;
                Ok((enrolment, text(reader, "address", MAX_URI_BYTES)?))
            })?,
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.id.0);
        to.extend(self.exporter);
        to.extend(self.now.to_le_bytes());
        to.extend(self.limits.memory_bytes.to_le_bytes());
        to.extend(self.limits.table_elements.to_le_bytes());
        to.extend(self.limits.data_bytes.to_le_bytes());
        to.extend(self.limits.wall_millis.to_le_bytes());
        to.extend(self.limits.proposals.to_le_bytes());
        to.extend(self.engines.to_le_bytes());
        to.extend(self.pads.to_le_bytes());
        put_option(to, self.plain.as_ref(), |to, plain| put(to, plain));
        put_option(to, self.signed.as_ref(), |to, signed| put(to, signed));
        put_many(to, &self.parties, |to, (enrolment, address)| {
            put(to, enrolment);
            put(to, address.as_bytes());
        });
    }
}

impl Replacement {
    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            run: Submitted::read(reader)?,
            contents: Contents::read(reader)?,
            signed: bytes(reader, "signed update", update::MAX_BYTES)?,
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        self.run.write(to);
        self.contents.write(to);
        put(to, &self.signed);
    }
}

/// Things of a kind that processes can be cut off from.
const MAX_MISSING: usize = 8;

const BEGUN: u8 = 128;
const DRAWN: u8 = 129;
const ASK_KEYS: u8 = 130;
const ASK_SPEND: u8 = 131;
const ASK_KEEP: u8 = 132;
const ASK_AUDIT: u8 = 133;
const PAD: u8 = 134;
const PLAIN: u8 = 135;
const PART: u8 = 136;
const REFUSAL: u8 = 137;
const ENDED: u8 = 138;
const ASK_UPDATE: u8 = 139;

impl Frame for Report {
    fn lengths(kind: u8) -> Option<RangeInclusive<usize>> {
        match kind {
            BEGUN => Some(4..=4 + MAX_MISSING * (4 + MAX_REASON_BYTES)),
            DRAWN => Some(16..=16),
            ASK_KEYS | ASK_SPEND | ASK_KEEP | ASK_AUDIT | ASK_UPDATE => Some(1..=MAX_BYTES),
            PAD | PLAIN => Some(8..=8),
            PART => Some(1..=MAX_WINDOW_BYTES as usize),
            REFUSAL => Some(4..=4 + MAX_REASON_BYTES),
            ENDED => Some(1..=1 + 4 + MAX_REASON_BYTES),
            _ => None,
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        match kind {
            BEGUN => many(reader, "missing", MAX_MISSING, |reader| {
                text(reader, "missing", MAX_REASON_BYTES)
            })
            .map(Self::Begun),
            DRAWN => Ok(Self::Drawn(RunId(reader.array("run id")?))),
            ASK_KEYS => read_request(reader).map(Self::Keys),
            ASK_SPEND => {
                let run = RunId(reader.array("run id")?);
                many(reader, "uses", MAX_USES, read_spend).map(|uses| Self::Spend(run, uses))
            }
            ASK_KEEP => KeyToKeep::read(reader).map(|key| Self::Keep(Box::new(key))),
            ASK_AUDIT => read_entry(reader).map(Self::Audit),
            ASK_UPDATE => KeyOfUpdate::read(reader).map(|key| Self::Update(Box::new(key))),
            PAD => Ok(Self::Pad(reader.u64("length")?)),
            PLAIN => Ok(Self::Plain(reader.u64("length")?)),
            PART => Ok(Self::Part(Zeroizing::new(reader.rest().to_vec()))),
            REFUSAL => text(reader, "refusal", MAX_REASON_BYTES).map(Self::Refusal),
            ENDED => {
                let reason = option(reader, "end", |reader| text(reader, "end", MAX_REASON_BYTES))?;
                Ok(Self::Ended(reason.map_or(Ok(()), Err)))
            }
            other => Err(FrameError::Kind(other)),
        }
    }

    fn write(&self, to: &mut Vec<u8>) -> u8 {
        match self {
            Self::Begun(missing) => {
                put_many(to, missing, |to, reason| put(to, short(reason).as_bytes()));
                BEGUN
            }
            Self::Drawn(run) => {
                to.extend(run.0);
                DRAWN
            }
            Self::Keys(request) => {
                write_request(to, request);
                ASK_KEYS
            }
            Self::Spend(run, uses) => {
                to.extend(run.0);
                put_many(to, uses, write_spend);
                ASK_SPEND
            }
            Self::Keep(key) => {
                key.write(to);
                ASK_KEEP
            }
            Self::Audit(entry) => {
                write_entry(to, entry);
                ASK_AUDIT
            }
            Self::Update(key) => {
                key.write(to);
                ASK_UPDATE
            }
            Self::Pad(length) => {
                to.extend(length.to_le_bytes());
                PAD
            }
            Self::Plain(length) => {
                to.extend(length.to_le_bytes());
                PLAIN
            }
            Self::Part(part) => {
                to.extend(part.iter());
                PART
            }
            Self::Refusal(reason) => {
                put(to, short(reason).as_bytes());
                REFUSAL
            }
            Self::Ended(ended) => {
                put_option(to, ended.as_ref().err(), |to, reason| {
                    put(to, short(reason).as_bytes())
                });
                ENDED
            }
        }
    }
}

impl KeyToKeep {
    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let run = RunId(reader.array("run id")?);
        let pad_id = Uuid::from_bytes(reader.array("Pad")?).and_then(PadId::new);
        let pad_id = pad_id.map_err(|error| value("Pad", &error))?;
        Ok(Self {
            run,
            pad_id,
            key_id: read_key_id(reader)?,
            key: Zeroizing::new(reader.array("key")?),
            custodian: CustodianId(digest(reader, "custodian")?),
            key_provider_id: digest(reader, "delegator")?,
            engines: many(reader, "engines", MAX_ENGINES, |reader| digest(reader, "engine"))?,
            parents: many(reader, "parents", MAX_PADS, |reader| {
                digest(reader, "parent").map(PadDigest)
            })?,
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.run.0);
        to.extend(self.pad_id.uuid().as_bytes());
        put(to, self.key_id.as_bytes());
        to.extend(self.key.iter());
        to.extend(self.custodian.0.0);
        to.extend(self.key_provider_id.0);
        put_many(to, &self.engines, |to, engine| to.extend(engine.0));
        put_many(to, &self.parents, |to, parent| to.extend(parent.0.0));
    }
}

impl KeyOfUpdate {
    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            run: RunId(reader.array("run id")?),
            old: read_wanted(reader)?,
            key_id: read_key_id(reader)?,
            key: Zeroizing::new(reader.array("key")?),
            signed: bytes(reader, "signed update", update::MAX_BYTES)?,
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.run.0);
        write_wanted(to, &self.old);
        put(to, self.key_id.as_bytes());
        to.extend(self.key.iter());
        put(to, &self.signed);
    }
}

#[cfg(test)]
mod tests;
