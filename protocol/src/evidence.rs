//! The evidence envelope: what a guest hands to anybody who asks, and what a verifier starts from.
//!
//! Everything in it is a claim. The quote proves registers and report data; the log, the image and
//! the shape are proved or refuted by recomputing those registers.

use serde::{Deserialize, Serialize};

use crate::event_log::{self, RawEvent};
use crate::launch::LaunchClaims;
use crate::quote;
use crate::report_data::NONCE_BYTES;
use crate::strict_json;

/// The only version. In version 1 a container could have a quote with the report data of evidence.
pub const VERSION: u32 = 2;
/// Largest envelope: quote, log and app-compose at their own budgets, in hex and base64.
pub const MAX_BYTES: usize = 8 << 20;

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// not the JSON of an envelope
    #[error("evidence: {0}")]
    Json(#[from] strict_json::JsonError),
    /// the envelope of a guest whose containers could have made it
    #[error(
        "evidence: version 1 is too old: a container of such a guest can make its report data; \
         expected {VERSION}, from an image of today"
    )]
    TooOld,
    /// a value out of range
    #[error("evidence: {field}: {what}")]
    Field {
        /// The key.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// The envelope's JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEvidence {
    /// Always [`VERSION`].
    pub version: u32,
    /// Hex of the quote.
    pub quote: String,
    /// Run-time events, and the firmware's where the guest has them.
    pub event_log: Vec<RawEvent>,
    /// Hex of the 32-byte nonce that the quote's report data binds.
    pub nonce: String,
    /// Image and shape as the host claimed them to the guest.
    pub claims: LaunchClaims,
    /// Base64 of `app-compose.json`, if the app publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_compose: Option<String>,
}

/// An envelope whose syntax and sizes are in order; nothing verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The quote's bytes.
    pub quote: Vec<u8>,
    /// The one list of events that is replayed, read once.
    pub event_log: Vec<RawEvent>,
    /// Nonce of the request.
    pub nonce: [u8; NONCE_BYTES],
    /// Claims about the launch.
    pub claims: LaunchClaims,
    /// The app's file, if published.
    pub app_compose: Option<Vec<u8>>,
}

/// Parses an envelope.
pub fn parse(json: &[u8]) -> Result<Evidence, EvidenceError> {
    let raw: RawEvidence = strict_json::parse(json, MAX_BYTES)?;
    let wrong = |field, what: String| EvidenceError::Field { field, what };
    if raw.version == 1 {
        return Err(EvidenceError::TooOld);
    }
    if raw.version != VERSION {
        return Err(wrong("version", format!("{} is unknown, expected {VERSION}", raw.version)));
    }
    if raw.event_log.len() > event_log::MAX_EVENTS {
        let found = raw.event_log.len();
        return Err(wrong(
            "event_log",
            format!("{found} events, at most {} are accepted", event_log::MAX_EVENTS),
        ));
    }
    if raw.quote.len() > 2 * quote::MAX_BYTES {
        return Err(wrong("quote", format!("more than {} bytes", quote::MAX_BYTES)));
    }
    raw.claims.shape.check().map_err(|error| wrong("claims.shape", error.to_string()))?;
    Ok(Evidence {
        quote: hex::decode(&raw.quote).map_err(|error| wrong("quote", error.to_string()))?,
        event_log: raw.event_log,
        nonce: crate::digest::decode_hex(&raw.nonce)
            .map_err(|error| wrong("nonce", error.to_string()))?,
        claims: raw.claims,
        app_compose: raw.app_compose.map(|text| decode_app_compose(&text)).transpose()?,
    })
}

impl Evidence {
    /// The envelope's JSON.
    pub fn to_json(&self) -> Vec<u8> {
        use base64::Engine as _;
        let raw = RawEvidence {
            version: VERSION,
            quote: hex::encode(&self.quote),
            event_log: self.event_log.clone(),
            nonce: hex::encode(self.nonce),
            claims: self.claims.clone(),
            app_compose: self
                .app_compose
                .as_ref()
                .map(|file| base64::engine::general_purpose::STANDARD.encode(file)),
        };
        serde_json::to_vec(&raw).expect("strings and numbers serialise")
    }
}

impl Evidence {
    /// The envelope's JSON without its large parts, for a sender that does not hold them: what
    /// stands before the items of the event log, between them and the base64 of `app_compose`, and
    /// behind that. An envelope that publishes no file ends with the second.
    pub fn around_the_large_parts(&self) -> [Vec<u8>; 3] {
        const LOG: &str = r#""event_log":["#;
        const END: &str = r#""}"#;
        let app_compose = self.app_compose.is_some().then(Vec::new);
        let small = Self { event_log: Vec::new(), app_compose, ..self.clone() };
        let json = String::from_utf8(small.to_json()).expect("JSON is UTF-8");
        // The quote before it is hexadecimal, so the first one is the key.
        let (before, rest) = json.split_once(LOG).expect("an envelope has a log");
        let (between, behind) = match small.app_compose {
            Some(_) => rest.split_at(rest.len() - END.len()),
            None => (rest, ""),
        };
        [format!("{before}{LOG}").into(), between.into(), behind.into()]
    }
}

fn decode_app_compose(text: &str) -> Result<Vec<u8>, EvidenceError> {
    use base64::Engine as _;
    let wrong = |what: String| EvidenceError::Field { field: "app_compose", what };
    let file = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| wrong(error.to_string()))?;
    match file.len() {
        0..=crate::app_compose::MAX_BYTES => Ok(file),
        found => Err(wrong(format!(
            "{found} bytes, at most {} are accepted",
            crate::app_compose::MAX_BYTES
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::RuntimeEvent;
    use crate::fixtures;

    fn evidence() -> Evidence {
        Evidence {
            quote: vec![1, 2, 3],
            event_log: vec![RuntimeEvent::new("app-id", [7; 20]).to_raw()],
            nonce: [9; NONCE_BYTES],
            claims: fixtures::claims(),
            app_compose: Some(b"{}".to_vec()),
        }
    }

    #[test]
    fn an_envelope_survives_its_json() {
        assert_eq!(parse(&evidence().to_json()), Ok(evidence()));
    }

    #[test]
    fn the_large_parts_fit_between_the_others() {
        let published = evidence();
        let unpublished = Evidence { app_compose: None, ..evidence() };
        for (evidence, file) in [(published, "e30="), (unpublished, "")] {
            let [before, between, behind] = evidence.around_the_large_parts();
            let events = serde_json::to_vec(&evidence.event_log[0]).unwrap();
            let json = [before, events, between, file.into(), behind].concat();
            assert_eq!(json, evidence.to_json());
        }
    }

    #[test]
    fn unknown_keys_versions_and_bad_fields_are_refused() {
        let json = String::from_utf8(evidence().to_json()).unwrap();
        let field = |text: String| match parse(text.as_bytes()) {
            Err(EvidenceError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(json.replace("\"version\":2", "\"version\":3")), "version");
        let older = json.replace("\"version\":2", "\"version\":1");
        assert_eq!(parse(older.as_bytes()), Err(EvidenceError::TooOld));
        assert_eq!(field(json.replace("010203", "01020")), "quote");
        assert_eq!(field(json.replace("e30=", "e30")), "app_compose");
        assert!(matches!(
            parse(json.replacen('{', r#"{"x":1,"#, 1).as_bytes()),
            Err(EvidenceError::Json(_))
        ));
    }
}
