//! What questions to delegators and their answers are made of, in frames.

use pad_format::metadata::{KeyId, MAX_KEY_ID_BYTES, MAX_METADATA_BYTES, Metadata};
use pad_format::run::{MAX_PADS, RunId};
use pad_format::{CustodianId, PadDigest};
use pad_run::codec::{bytes, many, option, put, put_many, put_option, text};
use pad_run::frames::FrameError;
use protocol::digest::Sha256Digest;
use protocol::reader::Reader;

use super::{MAX_ENGINES, MAX_REASON_BYTES, MAX_RECORD_BYTES};
use crate::delegator::{AuditEntry, Denied, KeyRequest, QuotaUse, SealedRecord, Spend, WantedPad};

const DENIED_PAD: u8 = 0;
const DENIED_USE: u8 = 1;
const DENIED_OTHER: u8 = 2;

pub(super) fn denied(reader: &mut Reader<'_>) -> Result<Denied, FrameError> {
    match reader.u8("denied")? {
        DENIED_PAD => Ok(Denied::Pad {
            index: index(reader)?,
            reason: text(reader, "reason", MAX_REASON_BYTES)?,
        }),
        DENIED_USE => Ok(Denied::Use { index: index(reader)? }),
        DENIED_OTHER => Ok(Denied::Failed(text(reader, "reason", MAX_REASON_BYTES)?)),
        found => Err(FrameError::Flag { field: "denied", found }),
    }
}

pub(super) fn write_denied(to: &mut Vec<u8>, denied: &Denied) {
    match denied {
        Denied::Pad { index, reason } => {
            to.push(DENIED_PAD);
            to.extend((*index as u64).to_le_bytes());
            put(to, short(reason).as_bytes());
        }
        Denied::Use { index } => {
            to.push(DENIED_USE);
            to.extend((*index as u64).to_le_bytes());
        }
        Denied::Failed(reason) => {
            to.push(DENIED_OTHER);
            put(to, short(reason).as_bytes());
        }
    }
}

/// A text within its budget.
pub(super) fn short(text: &str) -> &str {
    let end = (0..=MAX_REASON_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

pub(super) fn read_request(reader: &mut Reader<'_>) -> Result<KeyRequest, FrameError> {
    Ok(KeyRequest {
        run: RunId(reader.array("run id")?),
        program: digest(reader, "program")?,
        owner: option(reader, "owner", |reader| digest(reader, "owner").map(CustodianId))?,
        engines: many(reader, "engines", MAX_ENGINES, |reader| digest(reader, "engine"))?,
        pads: many(reader, "Pads", MAX_PADS, read_wanted)?,
    })
}

pub(super) fn read_wanted(reader: &mut Reader<'_>) -> Result<WantedPad, FrameError> {
    let pad = PadDigest(digest(reader, "Pad")?);
    let metadata = bytes(reader, "metadata", MAX_METADATA_BYTES)?;
    let metadata = Metadata::parse(&metadata).map_err(|error| value("metadata", &error))?;
    Ok(WantedPad { digest: pad, metadata })
}

pub(super) fn write_wanted(to: &mut Vec<u8>, pad: &WantedPad) {
    to.extend(pad.digest.0.0);
    put(to, &pad.metadata.to_bytes());
}

pub(super) fn write_request(to: &mut Vec<u8>, request: &KeyRequest) {
    to.extend(request.run.0);
    to.extend(request.program.0);
    put_option(to, request.owner.as_ref(), |to, owner| to.extend(owner.0.0));
    put_many(to, &request.engines, |to, engine| to.extend(engine.0));
    put_many(to, &request.pads, write_wanted);
}

pub(super) fn read_spend(reader: &mut Reader<'_>) -> Result<Spend, FrameError> {
    Ok(Spend {
        key_provider_id: digest(reader, "use: delegator")?,
        engine: digest(reader, "use: engine")?,
        custodian: CustodianId(digest(reader, "use: custodian")?),
        quota: QuotaUse {
            account: reader.array("use: account")?,
            owner: CustodianId(digest(reader, "use: owner")?),
            uses: reader.u64("use: uses")?,
            period_secs: reader.u64("use: period")?,
        },
    })
}

pub(super) fn write_spend(to: &mut Vec<u8>, spend: &Spend) {
    to.extend(spend.key_provider_id.0);
    to.extend(spend.engine.0);
    to.extend(spend.custodian.0.0);
    to.extend(spend.quota.account);
    to.extend(spend.quota.owner.0.0);
    to.extend(spend.quota.uses.to_le_bytes());
    to.extend(spend.quota.period_secs.to_le_bytes());
}

pub(super) fn read_key_id(reader: &mut Reader<'_>) -> Result<KeyId, FrameError> {
    let key_id = KeyId::new(&bytes(reader, "key id", MAX_KEY_ID_BYTES)?);
    key_id.map_err(|error| value("key id", &error))
}

pub(super) fn read_entry(reader: &mut Reader<'_>) -> Result<AuditEntry, FrameError> {
    Ok(AuditEntry {
        run: RunId(reader.array("run id")?),
        sequence: reader.u64("sequence")?,
        previous: digest(reader, "head before")?,
        head: digest(reader, "head")?,
        records: many(reader, "records", MAX_PADS, |reader| {
            Ok(SealedRecord {
                custodian: CustodianId(digest(reader, "record: custodian")?),
                key_provider_id: digest(reader, "record: delegator")?,
                bytes: bytes(reader, "record", MAX_RECORD_BYTES)?,
            })
        })?,
    })
}

pub(super) fn write_entry(to: &mut Vec<u8>, entry: &AuditEntry) {
    to.extend(entry.run.0);
    to.extend(entry.sequence.to_le_bytes());
    to.extend(entry.previous.0);
    to.extend(entry.head.0);
    put_many(to, &entry.records, |to, record| {
        to.extend(record.custodian.0.0);
        to.extend(record.key_provider_id.0);
        put(to, &record.bytes);
    });
}

pub(super) fn digest(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Sha256Digest, FrameError> {
    Ok(Sha256Digest(reader.array(field)?))
}

pub(super) fn index(reader: &mut Reader<'_>) -> Result<usize, FrameError> {
    let index = reader.u64("index")?;
    usize::try_from(index).map_err(|error| value("index", &error))
}

pub(super) fn bounded(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
) -> Result<u32, FrameError> {
    let found = reader.u32(field)?;
    if found as usize > most {
        return Err(FrameError::Budget { field, found: found as usize, most });
    }
    Ok(found)
}

pub(super) fn value(field: &'static str, error: &dyn std::error::Error) -> FrameError {
    FrameError::Value { field, reason: error.to_string() }
}
