//! What a verifier remembers from one look to the next: heads, so that neither a log nor a gateway
//! can show another history later.

use std::collections::BTreeMap;

use gateway_domain::ct::TreeHead;
use gateway_domain::published::Head;
use protocol::digest::Sha256Digest;
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};

/// Largest file: a few dozen logs.
pub const MAX_BYTES: usize = 256 << 10;
/// The only version.
const VERSION: u32 = 1;

/// Heads that were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Of the gateway's published evidence.
    pub evidence: Option<Head>,
    /// Of logs, by their names in hex.
    pub logs: BTreeMap<String, KeptLog>,
}

/// A log's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptLog {
    /// Entries under it.
    pub size: u64,
    /// The hash over them.
    pub root: Sha256Digest,
    /// Entries before this position were looked at, or were there before the first look.
    pub read: u64,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// another JSON
    #[error(transparent)]
    Json(#[from] JsonError),
    /// another version
    #[error("version {0}, expected {VERSION}")]
    Version(u32),
    /// more read than there was
    #[error("the log {0} was read beyond its head")]
    Beyond(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    evidence: Option<Head>,
    #[serde(deserialize_with = "strict_json::unique_map")]
    logs: BTreeMap<String, KeptLog>,
}

impl Kept {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn parse(text: &[u8]) -> Result<Self, KeptError> {
        let raw: Raw = strict_json::parse(text, MAX_BYTES)?;
        if raw.version != VERSION {
            return Err(KeptError::Version(raw.version));
        }
        match raw.logs.iter().find(|(_, log)| log.read > log.size) {
            Some((id, _)) => Err(KeptError::Beyond(id.clone())),
            None => Ok(Self { evidence: raw.evidence, logs: raw.logs }),
        }
    }

    /// The file.
    pub fn to_json(&self) -> Vec<u8> {
        let raw = Raw { version: VERSION, evidence: self.evidence, logs: self.logs.clone() };
        serde_json::to_vec_pretty(&raw).expect("strings and numbers serialise")
    }
}

impl KeptLog {
    /// A head that was seen, read up to a position.
    pub fn new(head: &TreeHead, read: u64) -> Self {
        Self { size: head.size, root: Sha256Digest(head.root), read }
    }

    /// As proofs take it.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root.0, timestamp_ms: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_survives_and_is_read_strictly() {
        let log = KeptLog { size: 9, root: Sha256Digest([1; 32]), read: 4 };
        let kept = Kept { evidence: Some(Head::EMPTY), logs: [("ab".to_owned(), log)].into() };
        assert_eq!(Kept::parse(&kept.to_json()), Ok(kept.clone()));
        let text = String::from_utf8(kept.to_json()).unwrap();
        let parse = |text: &str| Kept::parse(text.as_bytes());
        assert_eq!(
            parse(&text.replace("\"read\": 4", "\"read\": 10")),
            Err(KeptError::Beyond("ab".into()))
        );
        assert_eq!(
            parse(&text.replacen("\"version\": 1", "\"version\": 2", 1)),
            Err(KeptError::Version(2))
        );
        assert!(matches!(parse(&text.replacen('{', "{\"x\":1,", 1)), Err(KeptError::Json(_))));
    }
}
