//! Evidence in anybody's format, converted once, here, to [`crate::evidence::Evidence`]; nothing
//! behind this edge knows another form.
//!
//! The format is recognised by content alone: a file's name is the sender's to choose. Each format
//! is a module with a strict, bounded decoder; an error says as what the bytes were read and where
//! that failed. Like everything in this crate it only parses: what comes out is a claim. Source of
//! dstack's formats: Dstack-TEE/dstack at 312dc605 (`dstack-attest`, `cc-eventlog`, `verifier`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::event_log::{self, RawEvent};
use crate::evidence::{self, Evidence, EvidenceError};
use crate::launch::LaunchClaims;
use crate::report_data::NONCE_BYTES;
use crate::{quote, strict_json};

mod get_quote;
mod logs;
mod quote_text;
pub mod scale;
mod verifier_request;
mod vm_config;

pub use vm_config::vm_config;

/// Largest file of any format: that of our own envelope, which has the largest parts.
pub const MAX_BYTES: usize = evidence::MAX_BYTES;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own envelope.
    Dstyx,
    /// The answer of dstack's guest agent to `GetQuote`.
    GetQuote,
    /// The request that dstack's verifier takes.
    VerifierRequest,
    /// dstack's attestation, version 0, in SCALE.
    Scale,
    /// A quote as the hardware's quoting service gives it.
    RawQuote,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dstyx => "dstyx evidence",
            Self::GetQuote => "dstack's get-quote JSON",
            Self::VerifierRequest => "dstack's verifier request",
            Self::Scale => "dstack's attestation V0 (SCALE)",
            Self::RawQuote => "a raw quote",
        })
    }
}

/// Why bytes are no evidence that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// of no known format
    #[error("no evidence of a known format: {0}")]
    Unknown(&'static str),
    /// of a known format, and wrong
    #[error("read as {format}: {place}: {what}")]
    Refused {
        /// As what it was read.
        format: Format,
        /// Key or field.
        place: &'static str,
        /// What is wrong.
        what: String,
    },
    /// our own envelope, and wrong
    #[error("read as {format}: {0}", format = Format::Dstyx)]
    Dstyx(#[from] EvidenceError),
    /// an event log beside a quote
    #[error("event log {index}: {what}")]
    Log {
        /// Which of the given files, from 1.
        index: usize,
        /// What is wrong.
        what: String,
    },
    /// an event log beside evidence that has one
    #[error("{0} has an event log of its own; one list is judged, so no other is taken")]
    SecondLog(Format),
}

impl ForeignError {
    fn at(format: Format, place: &'static str) -> impl Fn(String) -> Self {
        move |what| Self::Refused { format, place, what }
    }
}

/// Evidence in our form, and what its own form said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// As what it was read.
    pub format: Format,
    /// In our form. A format without a nonce leaves it zero; one without claims leaves
    /// [`unclaimed`].
    pub evidence: Evidence,
    /// What the sender says that the quote was made for (up to 64 bytes); the quote itself decides.
    pub stated_report_data: Option<Vec<u8>>,
    /// The key of `vm_config` that describes a part which no shape describes: the machine is then
    /// unknown.
    pub undescribed: Option<&'static str>,
}

impl Converted {
    /// Evidence that came in our own envelope.
    pub fn of_ours(evidence: Evidence) -> Self {
        Self { format: Format::Dstyx, evidence, stated_report_data: None, undescribed: None }
    }

    /// Whether the quote's report data is bound to a nonce in our way.
    pub fn has_nonce(&self) -> bool {
        self.format == Format::Dstyx
    }

    /// Whether the sender says what machine it is.
    pub fn claims_machine(&self) -> bool {
        self.evidence.claims.shape != vm_config::unknown_shape()
    }
}

/// Claims of evidence that claims nothing: no image has this hash, and
/// [`crate::shape::Shape::check`] refuses the shape, so that nothing can be predicted for it by
/// accident.
pub fn unclaimed() -> LaunchClaims {
    LaunchClaims {
        os_image_hash: crate::digest::OsImageHash::ZERO,
        shape: vm_config::unknown_shape(),
    }
}

/// Reads evidence of any known format; `logs` are event logs beside a raw quote, each run-time JSON
/// or a CCEL dump.
pub fn read(file: &[u8], logs: &[&[u8]]) -> Result<Converted, ForeignError> {
    let format = recognise(file)?;
    if format != Format::RawQuote && !logs.is_empty() {
        return Err(ForeignError::SecondLog(format));
    }
    match format {
        Format::Dstyx => Ok(Converted::of_ours(evidence::parse(file)?)),
        Format::GetQuote => get_quote::read(file),
        Format::VerifierRequest => verifier_request::read(file),
        Format::Scale => scale::read(file),
        Format::RawQuote => {
            let quote = quote_text::decode(file).unwrap_or_else(|| file.to_vec());
            Parts { quote, event_log: logs::read(logs)?, ..Parts::default() }.convert(format)
        }
    }
}

/// The format, by the first byte and, for JSON, by the keys.
pub fn recognise(file: &[u8]) -> Result<Format, ForeignError> {
    if file.len() > MAX_BYTES {
        return Err(ForeignError::Unknown("it has more than 8 MiB"));
    }
    match file.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(ForeignError::Unknown("it is empty")),
        Some(b'{') => recognise_json(file),
        // A SCALE enum starts with its variant, a quote with its version: 3 (SGX) is for the
        // judgement to refuse.
        Some(_) if file[0] == scale::VERSION => Ok(Format::Scale),
        Some(_) if matches!(file, [3..=5, 0, ..]) => Ok(Format::RawQuote),
        Some(_) if quote_text::decode(file).is_some() => Ok(Format::RawQuote),
        // A MessagePack map of up to 15 entries, or with a length of its own.
        Some(0x80..=0x8f | 0xde | 0xdf) => Err(ForeignError::Unknown(
            "dstack's attestation V1 (MessagePack) is not read; ask the guest for get-quote JSON",
        )),
        Some(_) => Err(ForeignError::Unknown(
            "neither JSON nor a quote of version 4 or 5 (bytes, hex or base64) nor dstack's attestation V0, by its first bytes",
        )),
    }
}

fn recognise_json(file: &[u8]) -> Result<Format, ForeignError> {
    #[derive(Deserialize)]
    struct Keys(
        #[serde(deserialize_with = "strict_json::unique_map")] BTreeMap<String, IgnoredAny>,
    );

    let keys: Keys = strict_json::parse(file, MAX_BYTES).map_err(|_| {
        ForeignError::Unknown("it starts like a JSON object and is none, or repeats a key")
    })?;
    let has = |names: &[&str]| names.iter().any(|name| keys.0.contains_key(*name));
    if has(&["version", "claims", "nonce"]) {
        Ok(Format::Dstyx)
    } else if has(&["report_data", "hash_algorithm", "prefix"]) {
        // From 0.6 on with `attestation` beside the quote; a verifier request has none of these.
        Ok(Format::GetQuote)
    } else if has(&["attestation", "debug", "quote"]) {
        Ok(Format::VerifierRequest)
    } else {
        Err(ForeignError::Unknown("a JSON object without `quote` or `attestation`"))
    }
}

/// What every foreign format comes down to.
#[derive(Debug, Default)]
struct Parts {
    /// The quote, zero bytes behind it allowed.
    quote: Vec<u8>,
    event_log: Vec<RawEvent>,
    /// JSON text of dstack's `vm_config`; empty if there is none.
    vm_config: String,
    stated_report_data: Option<Vec<u8>>,
}

impl Parts {
    fn convert(self, format: Format) -> Result<Converted, ForeignError> {
        if self.quote.len() > quote::MAX_BYTES {
            let what =
                format!("{} bytes, at most {} are accepted", self.quote.len(), quote::MAX_BYTES);
            return Err(ForeignError::Refused { format, place: "quote", what });
        }
        if self.event_log.len() > event_log::MAX_EVENTS {
            let what = format!(
                "{} events, at most {} are accepted",
                self.event_log.len(),
                event_log::MAX_EVENTS
            );
            return Err(ForeignError::Refused { format, place: "event_log", what });
        }
        let (claims, undescribed) = match self.vm_config.as_str() {
            "" => (unclaimed(), None),
            json => {
                vm_config::claims(json.as_bytes()).map_err(ForeignError::at(format, "vm_config"))?
            }
        };
        // Bytes that are no quote stay as they are: the judgement has rows that say what they are.
        let exact = quote::without_padding(&self.quote).map_or(self.quote.len(), <[u8]>::len);
        let mut quote = self.quote;
        quote.truncate(exact);
        let evidence = Evidence {
            quote,
            event_log: self.event_log,
            nonce: [0; NONCE_BYTES],
            claims,
            app_compose: None,
        };
        let stated_report_data = self.stated_report_data;
        Ok(Converted { format, evidence, stated_report_data, undescribed })
    }
}

/// A quote in a JSON text: hex, as dstack's tools write it, or base64.
fn decode_quote(text: &str) -> Result<Vec<u8>, String> {
    match decode_hex(text, quote::MAX_BYTES) {
        Ok(quote) => Ok(quote),
        Err(not_hex) => quote_text::decode(text.as_bytes()).ok_or(not_hex),
    }
}

/// Hex of at most `limit` bytes, in either case, with or without `0x`: dstack's tools write all of
/// these.
fn decode_hex(text: &str, limit: usize) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() > 2 * limit {
        return Err(format!(
            "{} hexadecimal digits, at most {} are accepted",
            digits.len(),
            2 * limit
        ));
    }
    hex::decode(digits).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nothing_known_says_what_it_looks_like() {
        let why = |bytes: &[u8]| match recognise(bytes) {
            Err(ForeignError::Unknown(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(b"").contains("empty"));
        assert!(why(b"\x82\xa1").contains("MessagePack"));
        assert!(why(b"{\"a\":1}").contains("without `quote`"));
        assert!(why(b"{\"quote\":\"\",\"quote\":\"\"}").contains("repeats a key"));
        assert!(why(b"\x04\x01").contains("first bytes"));
    }

    #[test]
    fn a_log_beside_evidence_that_has_one_is_refused() {
        let file = br#"{"quote":"00","event_log":"[]"}"#;
        assert_eq!(read(file, &[b"[]"]), Err(ForeignError::SecondLog(Format::VerifierRequest)));
    }

    #[test]
    fn a_padded_quote_becomes_exact_and_claims_nothing() {
        let padded = include_bytes!("../../tests/vectors/protocol/cos-113-quote.bin");
        let converted = read(padded, &[]).unwrap();
        assert_eq!(converted.format, Format::RawQuote);
        assert!(
            converted.evidence.quote.len() < padded.len()
                && padded.starts_with(&converted.evidence.quote)
        );
        assert!(!converted.claims_machine() && !converted.has_nonce());
        assert!(converted.evidence.claims.shape.check().is_err());
    }
}
