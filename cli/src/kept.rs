//! What outlives a virtual machine: its data disk, the seed of its instance id and its app id.
//!
//! The disk opens only with a key that the KMS derives from app id and instance id, so the three
//! belong together. They lie outside the machine's directory, which `down` removes. Nothing here is
//! secret: the host has all of it anyway.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::app_compose;
use protocol::digest::{AppId, ComposeHash, InstanceId, decode_hex};
use protocol::identity::SEED_BYTES;
use protocol::strict_json;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::vm::Vm;
use crate::{data_disk, paths, private};

mod transfer;

/// A record has a few hundred bytes; an app publishes some ports.
const MAX_RECORD_BYTES: u64 = 64 << 10;
/// Name of the record.
const RECORD: &str = "kept.json";
/// Name of the disk.
const DISK: &str = "data.img";

/// The record beside a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The id under which the app was first started; an upgraded app keeps it.
    pub app_id: AppId,
    /// Each version that was started on this disk, the newest last.
    pub compose_hashes: Vec<ComposeHash>,
    /// Hex of the seed of the instance id.
    instance_id_seed: String,
    /// Ports of this host by the guest's, so that addresses stay as they were.
    pub ports: BTreeMap<u16, u16>,
    /// Whether it came from another host, so that the app may name another user's key and KMS.
    #[serde(default)]
    imported: bool,
}

/// A kept disk and its record.
#[derive(Debug, Clone)]
pub struct Kept {
    directory: PathBuf,
    /// The record.
    pub record: Record,
}

/// Why a kept disk does not fit an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// the kept disk is of another version of the app
    #[error("the kept disk is of the app {kept}; this version is {asked}")]
    OtherVersion {
        /// The newest that ran on it.
        kept: ComposeHash,
        /// What would be started.
        asked: ComposeHash,
    },
    /// nothing to upgrade
    #[error("there is no kept disk to upgrade")]
    NothingToUpgrade,
}

impl Record {
    /// A record of an app that never ran, with a seed of the system's randomness.
    fn new(hash: ComposeHash) -> Outcome<Self> {
        Ok(Self {
            app_id: AppId::from_compose_hash(&hash),
            compose_hashes: vec![hash],
            instance_id_seed: hex::encode(random_seed()?),
            ports: BTreeMap::new(),
            imported: false,
        })
    }

    /// The record for a start of the app `hash`: the same version goes on; another one needs a
    /// person's word, since under another id the disk would be made anew.
    fn started(mut self, hash: ComposeHash, upgrade: bool) -> Result<Self, KeptError> {
        let newest = self.compose_hashes.last().copied();
        if newest != Some(hash) {
            if !upgrade {
                let kept = newest.unwrap_or(ComposeHash::ZERO);
                return Err(KeptError::OtherVersion { kept, asked: hash });
            }
            self.compose_hashes.retain(|known| *known != hash);
            self.compose_hashes.push(hash);
        }
        Ok(self)
    }

    /// Whether its disk came from another host, and this is the version that ran there last.
    pub fn is_imported_as(&self, hash: ComposeHash) -> bool {
        self.imported && self.compose_hashes.last() == Some(&hash)
    }

    /// The bytes of [`RECORD`].
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and numbers serialise")
    }

    /// The seed.
    pub fn seed(&self) -> Outcome<[u8; SEED_BYTES]> {
        decode_hex(&self.instance_id_seed).hint("the kept disk's seed", "was the record edited?")
    }

    /// The instance that the seed makes of the app.
    pub fn instance_id(&self) -> Outcome<InstanceId> {
        Ok(InstanceId::derive(&self.seed()?, &self.app_id))
    }

    /// The id to state at launch: none where the compose hash says it.
    pub fn stated_app_id(&self) -> Option<AppId> {
        let implied = self.compose_hashes.last().map(AppId::from_compose_hash);
        (implied != Some(self.app_id)).then_some(self.app_id)
    }
}

impl Kept {
    /// The disk of the machine `name` for a start of the app `hash`; a record is made where there
    /// is none. Nothing is written before [`Kept::save`].
    pub fn for_start(name: &str, hash: ComposeHash, upgrade: bool) -> Outcome<Self> {
        let directory = directory(name)?;
        let record = match read(&directory)? {
            Some(record) => record.started(hash, upgrade),
            None if upgrade => Err(KeptError::NothingToUpgrade),
            None => return Ok(Self { record: Record::new(hash)?, directory }),
        };
        let record = record.map_err(|error| {
            Failure::new(
                format!("{name}: {error}"),
                format!(
                    "`dstyx up DIR --upgrade` starts the new version on the data of the old one; `dstyx down {name} --volumes` removes the data; --name gives the app another machine"
                ),
            )
        })?;
        Ok(Self { record, directory })
    }

    /// The same for a program that seals what it stores, whatever version it is of.
    pub fn for_any_version(name: &str, hash: ComposeHash) -> Outcome<Self> {
        let directory = directory(name)?;
        let record = match read(&directory)? {
            // Another version is another app here: nothing is derived from its id.
            Some(record) => Record {
                app_id: AppId::from_compose_hash(&hash),
                compose_hashes: vec![hash],
                ..record
            },
            None => Record::new(hash)?,
        };
        Ok(Self { record, directory })
    }

    /// What is kept for the machine `name`, if anything.
    pub fn of(name: &str) -> Outcome<Option<Self>> {
        let directory = directory(name)?;
        Ok(read(&directory)?.map(|record| Self { record, directory }))
    }

    /// Names of the machines for which something is kept, in order.
    pub fn names() -> Outcome<Vec<String>> {
        let entries = match fs::read_dir(paths::disks_directory()?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::new(error, "is the state directory readable?")),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Writes the record and, where there is none, a disk of `gib` GiB.
    pub fn save(&self, gib: u64) -> Outcome<()> {
        self.write_record()?;
        match self.disk().exists() {
            true => Ok(()),
            false => data_disk::create(&self.disk(), gib),
        }
    }

    /// Keeps the ports on which the machine was published.
    pub fn remember_ports(&mut self, vm: &Vm) -> Outcome<()> {
        self.record.ports = vm.ports.iter().map(|(guest, host)| (*guest, host.port())).collect();
        self.write_record()
    }

    /// The disk's file.
    pub fn disk(&self) -> PathBuf {
        self.directory.join(DISK)
    }

    fn write_record(&self) -> Outcome<()> {
        let file = self.directory.join(RECORD);
        private::replace(&file, &self.record.to_json())
            .hint(file.display(), "is the directory writable?")
    }

    /// Writes disk and record to a new file.
    pub fn export(&self, file: &Path) -> Outcome<()> {
        transfer::export(self, file)
    }

    /// Keeps an exported disk for the machine `name`, for which none is kept.
    pub fn import(name: &str, file: &Path) -> Outcome<Record> {
        let directory = directory(name)?;
        if directory.exists() {
            return Err(Failure::new(
                format!("a disk is kept for {name} already"),
                format!(
                    "import it under another name; `dstyx down {name} --volumes` removes the disk"
                ),
            ));
        }
        transfer::import(file, &directory)
    }

    /// Removes disk and record; what was on the disk is lost.
    pub fn remove(self) -> Outcome<()> {
        fs::remove_dir_all(&self.directory)
            .hint(self.directory.display(), "remove the directory by hand")
    }
}

/// A seed of the system's randomness.
pub fn random_seed() -> Outcome<[u8; SEED_BYTES]> {
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
    Ok(seed)
}

fn directory(name: &str) -> Outcome<PathBuf> {
    app_compose::check_name(name)
        .map_err(|error| Failure::new(error, "choose another name with --name"))?;
    Ok(paths::disks_directory()?.join(name))
}

fn read(directory: &Path) -> Outcome<Option<Record>> {
    let file = directory.join(RECORD);
    let Some(json) = private::read(&file, MAX_RECORD_BYTES)? else { return Ok(None) };
    parse(&json, &file).map(Some)
}

fn parse(json: &[u8], file: &Path) -> Outcome<Record> {
    let limit = usize::try_from(MAX_RECORD_BYTES).unwrap_or(usize::MAX);
    let record: Record = strict_json::parse(json, limit)
        .hint(file.display(), "the record beside a kept disk was damaged or edited")?;
    record.seed()?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ComposeHash = ComposeHash([1; 32]);
    const SECOND: ComposeHash = ComposeHash([2; 32]);

    #[test]
    fn the_same_version_goes_on_under_its_id_and_another_needs_a_word() {
        let record = Record::new(FIRST).unwrap();
        assert_eq!(record.stated_app_id(), None);
        assert_eq!(record.clone().started(FIRST, false).unwrap(), record);
        let refused = KeptError::OtherVersion { kept: FIRST, asked: SECOND };
        assert_eq!(record.clone().started(SECOND, false), Err(refused));
        let upgraded = record.clone().started(SECOND, true).unwrap();
        assert_eq!(upgraded.app_id, record.app_id);
        assert_eq!(upgraded.stated_app_id(), Some(record.app_id));
        assert_eq!(upgraded.instance_id().unwrap(), record.instance_id().unwrap());
        assert_eq!(upgraded.compose_hashes, [FIRST, SECOND]);
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_an_edited_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("app");
        let kept = Kept { directory: directory.clone(), record: Record::new(FIRST).unwrap() };
        assert_eq!(read(&directory).unwrap(), None);
        kept.save(1).unwrap();
        kept.save(1).unwrap();
        assert_eq!(read(&directory).unwrap(), Some(kept.record.clone()));
        let file = directory.join(RECORD);
        let text = fs::read_to_string(&file).unwrap();
        for wrong in
            [text.replacen('{', r#"{"more":1,"#, 1), text.replace("_seed\": \"", "_seed\": \"0")]
        {
            private::replace(&file, wrong.as_bytes()).unwrap();
            assert!(read(&directory).is_err(), "{wrong}");
        }
        kept.remove().unwrap();
        assert!(!directory.exists());
    }
}
