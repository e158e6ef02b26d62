//! Which version of the app the volumes belong to, as the data disk has it.
//!
//! The record is on the disk that the KMS keeps from going back, so neither the host nor an app
//! chooses what it says.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use protocol::digest::ComposeHash;
use protocol::strict_json;
use serde::{Deserialize, Serialize};

use super::UpgradeError;

/// Two hashes and their names.
const MAX_BYTES: usize = 1024;

/// The versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version that the app goes back to: the first, or the last that came to run.
    pub settled: ComposeHash,
    /// A later version that was started and has not come to run; the snapshot is of the volumes
    /// before its first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_trial: Option<ComposeHash>,
    /// Whether the volumes are being put back: then nothing else may be done with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoing: bool,
}

/// What comes before the start of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is recorded as the first.
    Settle,
    /// Nothing: it is the settled one.
    Run,
    /// A snapshot, which begins its trial.
    Begin,
    /// Nothing: its trial goes on, and the snapshot is there.
    GoOn,
    /// The volumes are put back as they were before another version's trial, and it is decided
    /// again.
    Undo,
}

impl Step {
    /// The step before a start of `version` on a disk with this record.
    pub fn before(record: Option<&Record>, version: ComposeHash) -> Self {
        let Some(record) = record else { return Self::Settle };
        match record.on_trial {
            _ if record.undoing => Self::Undo,
            Some(on_trial) if on_trial == version => Self::GoOn,
            Some(_) => Self::Undo,
            None if record.settled == version => Self::Run,
            None => Self::Begin,
        }
    }
}

impl Record {
    /// The record of an app whose version came to run.
    pub fn settled(version: ComposeHash) -> Self {
        Self { settled: version, on_trial: None, undoing: false }
    }

    /// The record in a file, if there is one.
    pub fn read(path: &Path) -> Result<Option<Self>, UpgradeError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(UpgradeError::io(path)(error)),
        };
        let mut json = Vec::new();
        let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut json);
        read.map_err(UpgradeError::io(path))?;
        Ok(Some(strict_json::parse(&json, MAX_BYTES)?))
    }

    /// Writes the record in place of the one that is there; it and all that was done to the volumes
    /// before are on the disk when this returns.
    pub fn write(&self, path: &Path) -> Result<(), UpgradeError> {
        let new = path.with_extension("new");
        let json = serde_json::to_vec(self).expect("hashes and booleans serialise");
        let write = || {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            // The name is only on the disk when its directory is.
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        write().map_err(UpgradeError::io(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ComposeHash = ComposeHash([1; 32]);
    const B: ComposeHash = ComposeHash([2; 32]);
    const C: ComposeHash = ComposeHash([3; 32]);

    fn before(record: Record, version: ComposeHash) -> Step {
        Step::before(Some(&record), version)
    }

    #[test]
    fn only_another_version_than_the_settled_one_is_put_on_trial() {
        assert_eq!(Step::before(None, A), Step::Settle);
        assert_eq!(before(Record::settled(A), A), Step::Run);
        assert_eq!(before(Record::settled(A), B), Step::Begin);
    }

    #[test]
    fn a_trial_that_was_cut_short_goes_on_and_is_undone_for_every_other_version() {
        let on_trial = Record { on_trial: Some(B), ..Record::settled(A) };
        assert_eq!(before(on_trial, B), Step::GoOn);
        assert_eq!(before(on_trial, A), Step::Undo);
        assert_eq!(before(on_trial, C), Step::Undo);
    }

    #[test]
    fn what_is_being_undone_is_undone_to_its_end_whichever_version_starts() {
        let undoing = Record { on_trial: Some(B), undoing: true, ..Record::settled(A) };
        for version in [A, B, C] {
            assert_eq!(before(undoing, version), Step::Undo);
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("version.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let undoing = Record { on_trial: Some(B), undoing: true, ..Record::settled(A) };
        for record in [Record::settled(A), undoing] {
            record.write(&path).unwrap();
            assert_eq!(Record::read(&path).unwrap(), Some(record));
        }
        for wrong in ["", "{}", r#"{"settled":"00"}"#] {
            fs::write(&path, wrong).unwrap();
            assert!(Record::read(&path).is_err(), "{wrong}");
        }
    }
}
