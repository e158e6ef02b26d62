//! One entry of the audit record of a local run, in a file beside the run's outputs: sealed for
//! each custodian, and marked as local.

use std::path::Path;

use pad_format::CustodianId;
use pad_format::run::{RUN_ID_BYTES, RunId};
use pad_pipeline::audit::{Entry, MAX_ENTRY_BYTES};
use pad_pipeline::delegator::AuditEntry;
use protocol::digest::{Sha256Digest, decode_hex};
use protocol::strict_json;
use serde::{Deserialize, Serialize};

use super::keys::MemberKeys;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::{files, new_file};

/// Largest file: an entry for each of some custodians, in hexadecimal digits.
const MAX_BYTES: usize = 8 * MAX_ENTRY_BYTES;
/// Who may read it: everybody, since entries are sealed.
const MODE: u32 = 0o644;
/// What to do about a file that is none.
const HINT: &str = "`dstyx pad run` and `update` write such files beside what comes out";

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordFile {
    /// True: no delegator has this entry, and no middleware was proved.
    local: bool,
    run: String,
    sequence: u64,
    previous: Sha256Digest,
    head: Sha256Digest,
    records: Vec<RawRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    custodian: Sha256Digest,
    key_provider_id: Sha256Digest,
    sealed: String,
}

impl RecordFile {
    /// That of an entry.
    pub fn of(entry: &AuditEntry) -> Self {
        let records = entry.records.iter().map(|record| RawRecord {
            custodian: record.custodian.0,
            key_provider_id: record.key_provider_id,
            sealed: hex::encode(&record.bytes),
        });
        Self {
            local: true,
            run: hex::encode(entry.run.0),
            sequence: entry.sequence,
            previous: entry.previous,
            head: entry.head,
            records: records.collect(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is none.
    pub fn load(file: &Path) -> Outcome<Self> {
        let bytes = files::read_bounded(file, MAX_BYTES as u64)?;
        strict_json::parse(&bytes, MAX_BYTES).hint(file.display(), HINT)
    }

    /// Writes it to a new file, whose name begins so.
    ///
    /// # Errors
    /// If there is such a file, or it cannot be written.
    pub fn save(&self, beginning: &Path) -> Outcome<()> {
        let json = serde_json::to_string_pretty(self).expect("it holds strings and numbers") + "\n";
        let mut file = beginning.as_os_str().to_owned();
        file.push(format!("record-{}.json", self.sequence + 1));
        new_file::write_new(Path::new(&file), MODE, json.as_bytes())
    }

    /// Opens the entry as a custodian reads it whose results are sealed to these keys: of each
    /// custodian that it may be, in the order of the file.
    ///
    /// # Errors
    /// If none is sealed to these keys.
    pub fn open(&self, keys: &MemberKeys) -> Outcome<Vec<(CustodianId, Entry)>> {
        let run = decode_hex::<RUN_ID_BYTES>(&self.run).hint("the record's run", HINT)?;
        let secret = keys.results();
        let entries = self.records.iter().filter_map(|record| {
            let sealed = hex::decode(&record.sealed).ok()?;
            let entry = Entry::open(&secret, RunId(run), self.sequence, &sealed).ok()?;
            Some((CustodianId(record.custodian), entry))
        });
        let entries: Vec<_> = entries.collect();
        if entries.is_empty() {
            let what = "the record is sealed for none of the custodians whose key this is";
            return Err(Failure::new(
                what,
                "give the private keys of a custodian of the run's Pads",
            ));
        }
        Ok(entries)
    }
}
