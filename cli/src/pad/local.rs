//! Key delegators of a local run: keys from files, quotas of this user, records beside the outputs.
//!
//! It stands for every delegator that a Pad names, and proves nothing. It is for the author of a
//! program or policy, who has all the keys.

use std::path::Path;

use pad_format::run::RunId;
use pad_format::{DataKey, PadId};
use pad_pipeline::Delegator;
use pad_pipeline::delegator::{
    AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend, UpdatedKey, WantedPad,
};
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use super::data_key::DataKeyFile;
use super::quotas::Quotas;
use super::record::RecordFile;

/// What a local run has in place of delegators.
pub struct LocalDelegator<'a> {
    /// The time of the run.
    pub now: u64,
    /// Keys of the run's Pads.
    pub keys: Vec<DataKeyFile>,
    /// Uses of quotas.
    pub quotas: Quotas,
    /// What the names of records' files begin with.
    pub records: &'a Path,
    /// Keys of new Pads. They are in memory until their Pads are written: the process that ends
    /// before loses both.
    pub kept: Vec<Kept>,
}

/// The key of a new Pad.
pub struct Kept {
    /// The Pad.
    pub pad_id: PadId,
    /// The release list; empty for a Pad whose policies were replaced.
    pub engines: Vec<Sha256Digest>,
    /// The key.
    pub key: DataKey,
}

impl LocalDelegator<'_> {
    fn released(&self, index: usize, wanted: &WantedPad, engines: &[Sha256Digest]) -> Released {
        let refused = |reason: String| Denied::Pad { index, reason };
        let file = self.keys.iter().find(|file| file.pad == wanted.digest);
        let file = file.ok_or_else(|| refused("no key file of this Pad was given".to_owned()))?;
        let other = engines.iter().find(|engine| !file.engines.contains(engine));
        if let Some(engine) = other {
            return Err(refused(format!("the engine {engine} is not on its release list")));
        }
        Ok(ReleasedKey { key: copied(&file.key), from: wanted.metadata.delegator.key_provider_id })
    }
}

type Released = Result<ReleasedKey, Denied>;

impl Delegator for LocalDelegator<'_> {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        let pads = request.pads.iter().enumerate();
        pads.map(|(index, wanted)| self.released(index, wanted, &request.engines)).collect()
    }

    fn spend(&mut self, _: RunId, uses: &[Spend]) -> Result<(), Denied> {
        match self.quotas.spend(uses, self.now) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(index)) => Err(Denied::Use { index }),
            Err(failure) => Err(Denied::Failed(failure.to_string())),
        }
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        self.kept.push(Kept {
            pad_id: new.pad_id,
            engines: new.engines.clone(),
            key: copied(new.key),
        });
        Ok(())
    }

    /// The old key is in its file: nobody can take it back from there.
    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        let pad_id = new.old.metadata.pad_id;
        self.kept.push(Kept { pad_id, engines: Vec::new(), key: copied(new.key) });
        Ok(())
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        let written = RecordFile::of(entry).save(self.records);
        written.map_err(|failure| Denied::Failed(failure.to_string()))
    }
}

fn copied(key: &DataKey) -> DataKey {
    DataKey::from_bytes(Zeroizing::new(*key.as_bytes()))
}
