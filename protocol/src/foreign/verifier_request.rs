//! The request that dstack's verifier takes: either an attestation or a quote with its log, and the
//! machine's description.
//!
//! dstack prefers the attestation where both are there; here that is refused, because one of the
//! two would be shown and the other judged. A description beside an attestation replaces the one
//! within, as in dstack.

use serde::Deserialize;

use super::{Converted, ForeignError, Format, MAX_BYTES, Parts, decode_hex, decode_quote, scale};
use crate::event_log::LogInJson;
use crate::strict_json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// Hex or base64.
    #[serde(default)]
    quote: Option<String>,
    #[serde(default)]
    event_log: Option<LogInJson>,
    /// JSON, as text.
    #[serde(default)]
    vm_config: Option<String>,
    /// Hex of an attestation in SCALE.
    #[serde(default)]
    attestation: Option<String>,
    /// Asks dstack's verifier for a longer answer. Read and not used.
    #[serde(default, rename = "debug")]
    _debug: Option<bool>,
}

const FORMAT: Format = Format::VerifierRequest;

/// Reads the JSON.
pub(super) fn read(json: &[u8]) -> Result<Converted, ForeignError> {
    let at = |place| ForeignError::at(FORMAT, place);
    let raw: Raw =
        strict_json::parse(json, MAX_BYTES).map_err(|error| at("JSON")(error.to_string()))?;
    let vm_config = raw.vm_config.unwrap_or_default();
    let parts = match (raw.attestation, raw.quote, raw.event_log) {
        (Some(attestation), None, None) => {
            let bytes = decode_hex(&attestation, scale::MAX_BYTES).map_err(at("attestation"))?;
            let parts = scale::decode(&bytes).map_err(at("attestation"))?;
            if vm_config.is_empty() { parts } else { Parts { vm_config, ..parts } }
        }
        (None, Some(quote), Some(log)) => Parts {
            quote: decode_quote(&quote).map_err(at("quote"))?,
            event_log: log.parse().map_err(|error| at("event_log")(error.to_string()))?,
            vm_config,
            stated_report_data: None,
        },
        (None, Some(_), None) => return Err(at("event_log")("absent beside a quote".into())),
        (None, None, _) => return Err(at("quote")("neither a quote nor an attestation".into())),
        (Some(_), ..) => {
            return Err(at("attestation")(
                "beside a quote or a log; one of the two must be left out".into(),
            ));
        }
    };
    parts.convert(FORMAT)
}

#[cfg(test)]
mod tests {
    use super::super::{ForeignError, Format, read};

    const SCALE: &[u8] =
        include_bytes!("../../../tests/vectors/protocol/dstack-attestation-v0.bin");

    #[test]
    fn an_attestation_in_a_request_is_the_attestation() {
        let request = format!(r#"{{"attestation":"{}","debug":null}}"#, hex::encode(SCALE));
        let converted = read(request.as_bytes(), &[]).unwrap();
        assert_eq!(converted.format, Format::VerifierRequest);
        assert_eq!(converted.evidence, read(SCALE, &[]).unwrap().evidence);
    }

    #[test]
    fn a_description_in_the_request_replaces_the_one_within() {
        let config = r#"{\"os_image_hash\":\"\",\"cpu_count\":3,\"memory_size\":1073741824,\"qemu_version\":\"8.2.2\"}"#;
        let request =
            format!(r#"{{"attestation":"{}","vm_config":"{config}"}}"#, hex::encode(SCALE));
        assert_eq!(read(request.as_bytes(), &[]).unwrap().evidence.claims.shape.vcpus, 3);
    }

    #[test]
    fn both_or_half_of_the_two_are_refused() {
        let place = |text: &str| match read(text.as_bytes(), &[]) {
            Err(ForeignError::Refused { format: Format::VerifierRequest, place, .. }) => place,
            other => panic!("{other:?}"),
        };
        assert_eq!(place(r#"{"attestation":"00","quote":"00","event_log":"[]"}"#), "attestation");
        assert_eq!(place(r#"{"quote":"00"}"#), "event_log");
        assert_eq!(place(r#"{"debug":true}"#), "quote");
    }
}
