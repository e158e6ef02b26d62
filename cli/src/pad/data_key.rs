//! The file of a Pad's data key, for its custodian alone: it opens the Pad, and is what a delegator
//! is given.

use std::path::{Path, PathBuf};

use pad_format::keys::DATA_KEY_BYTES;
use pad_format::metadata::KeyId;
use pad_format::{CustodianId, DataKey, Metadata, PadDigest, PadId};
use protocol::digest::Sha256Digest;
use protocol::strict_json;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::{new_file, private};

/// Largest file.
const MAX_BYTES: usize = 8 * 1024;
/// What to do about a file that is none.
const HINT: &str = "`dstyx pad pack` writes such a file beside its Pad, with .key behind its name";

/// A data key, and of which Pad it is.
pub struct DataKeyFile {
    /// The Pad.
    pub pad_id: PadId,
    /// The Pad's digest.
    pub pad: PadDigest,
    /// Who owns it.
    pub custodian: CustodianId,
    /// What the Pad calls its key.
    pub key_id: KeyId,
    /// The release list: the key is for runs whose engines are all among these, ascending.
    pub engines: Vec<Sha256Digest>,
    /// The key.
    pub key: DataKey,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    pad_id: String,
    pad: Sha256Digest,
    custodian: Sha256Digest,
    key_id: String,
    engines: Vec<Sha256Digest>,
    data_key: Zeroizing<String>,
}

impl DataKeyFile {
    /// The file beside a Pad.
    pub fn beside(pad: &Path) -> PathBuf {
        let mut name = pad.as_os_str().to_owned();
        name.push(".key");
        name.into()
    }

    /// Joins a key with what its Pad says of itself, and the release list.
    pub fn of(
        metadata: &Metadata,
        pad: PadDigest,
        mut engines: Vec<Sha256Digest>,
        key: DataKey,
    ) -> Self {
        engines.sort_unstable();
        engines.dedup();
        let Metadata { pad_id, custodian, crypto, .. } = metadata;
        let (pad_id, custodian, key_id) = (*pad_id, *custodian, crypto.key_id.clone());
        Self { pad_id, pad, custodian, key_id, engines, key }
    }

    /// Reads a file, which nobody else may read.
    ///
    /// # Errors
    /// If there is none, others may read it, or it holds anything else.
    pub fn load(file: &Path) -> Outcome<Self> {
        let bytes = private::read(file, MAX_BYTES as u64)?.ok_or_else(|| {
            Failure::new(format!("{}: there is no such file", file.display()), HINT)
        })?;
        // No error repeats a part of the file.
        Self::parse(&bytes).ok_or_else(|| {
            Failure::new(format!("{}: no file of a Pad's data key", file.display()), HINT)
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let raw: Raw = strict_json::parse(bytes, MAX_BYTES).ok()?;
        if raw.engines.is_empty() || !raw.engines.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let mut key = Zeroizing::new([0; DATA_KEY_BYTES]);
        hex::decode_to_slice(&*raw.data_key, &mut key[..]).ok()?;
        Some(Self {
            pad_id: PadId::new(raw.pad_id.parse().ok()?).ok()?,
            pad: PadDigest(raw.pad),
            custodian: CustodianId(raw.custodian),
            key_id: KeyId::new(&hex::decode(&raw.key_id).ok()?).ok()?,
            engines: raw.engines,
            key: DataKey::from_bytes(key),
        })
    }

    /// Writes a file that is not there yet.
    ///
    /// # Errors
    /// If it is, or cannot be written.
    pub fn save(&self, file: &Path) -> Outcome<()> {
        let raw = Raw {
            pad_id: self.pad_id.to_string(),
            pad: self.pad.0,
            custodian: self.custodian.0,
            key_id: hex::encode(self.key_id.as_bytes()),
            engines: self.engines.clone(),
            data_key: Zeroizing::new(hex::encode(self.key.as_bytes())),
        };
        // Sized at once: a buffer that grows leaves copies of a secret behind.
        let mut json = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        serde_json::to_writer_pretty(&mut *json, &raw).expect("it holds strings");
        json.push(b'\n');
        new_file::write_new(file, private::FILE_MODE, &json)
    }

    /// Refuses a key of another Pad, with an error that says so.
    ///
    /// # Errors
    /// If it is one.
    pub fn check(&self, claimed: &Metadata, digest: PadDigest) -> Outcome<()> {
        let (found, expected) = (self.pad_id, claimed.pad_id);
        if found != expected {
            let what = format!("the key is of the Pad {found}, and this is {expected}");
            return Err(Failure::new(what, "give the key file that was written with this Pad"));
        }
        if self.pad != digest {
            let what = format!("the key is of another sealing of the Pad {found} than this one");
            return Err(Failure::new(what, "was the Pad packed again, or changed on its way?"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file() -> DataKeyFile {
        DataKeyFile {
            pad_id: PadId::generate().unwrap(),
            pad: PadDigest(Sha256Digest([1; 32])),
            custodian: CustodianId(Sha256Digest([2; 32])),
            key_id: KeyId::new(b"key-1").unwrap(),
            engines: vec![Sha256Digest([3; 32]), Sha256Digest([4; 32])],
            key: DataKey::from_bytes(Zeroizing::new([0x42; 32])),
        }
    }

    #[test]
    fn a_data_key_is_for_its_user_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = DataKeyFile::beside(&directory.path().join("a.pad"));
        assert!(path.ends_with("a.pad.key"));
        let written = file();
        written.save(&path).unwrap();
        let read = DataKeyFile::load(&path).unwrap();
        assert_eq!(read.key.as_bytes(), written.key.as_bytes());
        assert_eq!(
            (read.pad_id, read.pad, &read.key_id),
            (written.pad_id, written.pad, &written.key_id)
        );
        assert!(written.save(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(DataKeyFile::load(&path).is_err());
    }

    #[test]
    fn an_error_repeats_nothing_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        private::create(&path, b"{\"data_key\": \"5ec2e7\"}").unwrap();
        let refused = DataKeyFile::load(&path).map(drop).unwrap_err();
        assert!(!format!("{refused} {}", refused.hint).contains("5ec2e7"), "{refused}");
    }

    #[test]
    fn a_file_with_another_key_or_release_list_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        file().save(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        assert!(DataKeyFile::parse(good.as_bytes()).is_some());
        let (three, four) = ("03".repeat(32), "04".repeat(32));
        for (from, to) in [
            ("4242\"", "42\""),
            (three.as_str(), four.as_str()),
            (four.as_str(), three.as_str()),
            (three.as_str(), "03"),
            ("\"key_id\": \"", "\"key_id\": \"0"),
            ("\"pad_id\"", "\"pad\""),
            ("{", "{ \"more\": 1,"),
        ] {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good);
            assert!(DataKeyFile::parse(changed.as_bytes()).is_none(), "{changed}");
        }
    }
}
