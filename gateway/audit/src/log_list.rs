//! The logs that a verifier knows, in the form of the list that browsers use
//! (`log_list.json`, version 3): of them those of tiles can prove what they have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_domain::ct::{HeadError, LogKey};
use gateway_domain::sct::LOG_ID_BYTES;
use protocol::strict_json::{self, JsonError};
use serde::Deserialize;

/// Largest list: the public one has below 200 KiB.
pub const MAX_BYTES: usize = 4 << 20;

/// A log of tiles.
#[derive(Debug, Clone)]
pub struct TiledLog {
    /// As the list describes it.
    pub description: String,
    /// Where its tiles are, with a slash at the end.
    pub monitoring_url: String,
    /// Its key, by which its heads are judged.
    pub key: LogKey,
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogListError {
    /// another JSON
    #[error(transparent)]
    Json(#[from] JsonError),
    /// a key of another form
    #[error("{log}: {what}")]
    Key {
        /// The log.
        log: String,
        /// What is wrong.
        what: HeadError,
    },
}

/// The logs of tiles in a list; keys that later versions of lists add are passed over.
///
/// # Errors
/// If it is of another form, or a key in it cannot be used.
pub fn parse(list: &[u8]) -> Result<Vec<TiledLog>, LogListError> {
    #[derive(Deserialize)]
    struct List {
        operators: Vec<Operator>,
    }
    #[derive(Deserialize)]
    struct Operator {
        #[serde(default)]
        tiled_logs: Vec<Raw>,
    }
    #[derive(Deserialize)]
    struct Raw {
        description: String,
        key: String,
        submission_url: String,
        monitoring_url: String,
    }

    let list: List = strict_json::parse(list, MAX_BYTES)?;
    let raw = list.operators.into_iter().flat_map(|operator| operator.tiled_logs);
    let logs = raw.map(|raw| {
        let wrong = |what| LogListError::Key { log: raw.description.clone(), what };
        let spki = STANDARD.decode(&raw.key).map_err(|_| wrong(HeadError::Key))?;
        let origin = raw.submission_url.trim_start_matches("https://").trim_end_matches('/');
        let key = LogKey::new(&spki, origin).map_err(wrong)?;
        let monitoring_url = format!("{}/", raw.monitoring_url.trim_end_matches('/'));
        Ok(TiledLog { description: raw.description, monitoring_url, key })
    });
    logs.collect()
}

/// The log with this name in promises.
pub fn find<'a>(logs: &'a [TiledLog], id: &[u8; LOG_ID_BYTES]) -> Option<&'a TiledLog> {
    logs.iter().find(|log| log.key.id() == id)
}

#[cfg(test)]
mod tests {
    use gateway_domain::ct::fixtures::spki;
    use p256::ecdsa::SigningKey;

    use super::*;

    #[test]
    fn logs_of_tiles_are_found_by_their_keys_among_others() {
        let spki = spki(&SigningKey::from_slice(&[1; 32]).unwrap());
        let list = serde_json::json!({ "version": "1", "operators": [
            { "name": "old", "logs": [{ "description": "no tiles" }] },
            { "name": "new", "logs": [], "tiled_logs": [{
                "description": "tiles", "log_id": "x", "key": STANDARD.encode(&spki), "mmd": 60,
                "submission_url": "https://log.example/2027/",
                "monitoring_url": "https://mon.log.example/2027" }] },
        ]});
        let logs = parse(list.to_string().as_bytes()).unwrap();
        let id = *LogKey::new(&spki, "").unwrap().id();
        let found = find(&logs, &id).unwrap();
        assert_eq!(found.monitoring_url, "https://mon.log.example/2027/");
        assert!(find(&logs, &[0; 32]).is_none());
        let broken = list.to_string().replace(&STANDARD.encode(&spki), "AAAA");
        assert!(matches!(parse(broken.as_bytes()), Err(LogListError::Key { .. })));
        assert!(matches!(parse(b"{}"), Err(LogListError::Json(_))));
    }
}
