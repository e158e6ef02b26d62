//! The public file of a custodian: its members' keys, how many of them decide, and the key to which
//! results in plain are sealed. Nothing in it is secret; whose it is, is for people to check.

use std::path::Path;

use pad_format::Custodian;
use pad_format::enrolment::ResultKey;
use protocol::digest::{Ed25519Key, decode_hex};
use protocol::strict_json;
use serde::{Deserialize, Serialize};

use super::keys::MemberKeys;
use crate::failure::{Hint as _, Outcome};
use crate::{files, new_file};

/// Largest file: the keys of the most members.
const MAX_BYTES: usize = 8 * 1024;
/// Who may read it: everybody.
const MODE: u32 = 0o644;
/// What to do about a file that is none.
const HINT: &str = "`dstyx pad keygen` and `dstyx pad joint` write such files";

/// A custodian and the key for its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The custodian.
    pub custodian: Custodian,
    /// The key to which results in plain are sealed.
    pub result_key: ResultKey,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    threshold: u8,
    members: Vec<Ed25519Key>,
    result_key: String,
}

impl Public {
    /// That of one member.
    pub fn single(keys: &MemberKeys) -> Self {
        Self { custodian: keys.custodian(), result_key: keys.result_key() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is none, or of a custodian that cannot be.
    pub fn load(file: &Path) -> Outcome<Self> {
        Self::parse(&files::read_bounded(file, MAX_BYTES as u64)?, file)
    }

    /// Reads what a file has.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(bytes: &[u8], file: &Path) -> Outcome<Self> {
        let raw: Raw = strict_json::parse(bytes, MAX_BYTES).hint(file.display(), HINT)?;
        let custodian = Custodian::joint(raw.members, raw.threshold).hint(file.display(), HINT)?;
        let result_key = decode_hex(&raw.result_key).hint(file.display(), HINT)?;
        Ok(Self { custodian, result_key: ResultKey(result_key) })
    }

    /// Writes a file that is not there yet.
    ///
    /// # Errors
    /// If it is, or cannot be written.
    pub fn save(&self, file: &Path) -> Outcome<()> {
        let raw = Raw {
            threshold: self.custodian.threshold(),
            members: self.custodian.members().to_vec(),
            result_key: hex::encode(self.result_key.0),
        };
        let json = serde_json::to_string_pretty(&raw).expect("it holds strings and numbers") + "\n";
        new_file::write_new(file, MODE, json.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custodian_is_written_and_read_again_strictly() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("d.custodian");
        let [a, b] = [(); 2].map(|()| MemberKeys::generate().unwrap());
        let custodian = Custodian::joint(vec![a.public(), b.public()], 2).unwrap();
        let public = Public { custodian, result_key: a.result_key() };
        public.save(&file).unwrap();
        assert_eq!(Public::load(&file).unwrap(), public);
        assert!(public.save(&file).is_err(), "nothing is written over");
        let good = std::fs::read_to_string(&file).unwrap();
        for (from, to) in [
            ("\"threshold\": 2", "\"threshold\": 3"),
            ("\"threshold\": 2", "\"threshold\": 0"),
            ("\"threshold\": 2", "\"threshold\": 2, \"name\": \"d\""),
            ("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 2"),
            (&b.public().to_string(), &a.public().to_string()),
            (&b.public().to_string(), "00"),
            ("result_key", "results"),
        ] {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good);
            assert!(Public::parse(changed.as_bytes(), &file).is_err(), "{changed}");
        }
    }
}
