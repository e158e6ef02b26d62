//! The answer of dstack's guest agent to `GetQuote`: quote, event log as JSON in a string, and the
//! machine's description.
//!
//! Two generations are read: that of 0.3, which names how the report data was made
//! (`hash_algorithm`, `prefix`), and the later one with `report_data` and `vm_config`.

use serde::Deserialize;

use super::{Converted, ForeignError, Format, MAX_BYTES, Parts, decode_hex};
use crate::{event_log, quote, strict_json};

/// Bytes of a quote's report data; the agent takes fewer and fills up.
const MAX_REPORT_DATA_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// Hex.
    quote: String,
    /// A JSON list, as text.
    event_log: String,
    /// Hex.
    #[serde(default)]
    report_data: Option<String>,
    /// JSON, as text.
    #[serde(default)]
    vm_config: String,
    /// Of 0.3: how `report_data` was hashed. Read and not used: the quote says what it is for.
    #[serde(default, rename = "hash_algorithm")]
    _hash_algorithm: String,
    /// Of 0.3: what was put before the content. Read and not used.
    #[serde(default, rename = "prefix")]
    _prefix: String,
}

/// Reads the JSON.
pub(super) fn read(json: &[u8]) -> Result<Converted, ForeignError> {
    const FORMAT: Format = Format::GetQuote;
    let at = |place| ForeignError::at(FORMAT, place);
    let raw: Raw =
        strict_json::parse(json, MAX_BYTES).map_err(|error| at("JSON")(error.to_string()))?;
    let report_data =
        raw.report_data.map(|text| decode_hex(&text, MAX_REPORT_DATA_BYTES)).transpose();
    let parts = Parts {
        quote: decode_hex(&raw.quote, quote::MAX_BYTES).map_err(at("quote"))?,
        event_log: event_log::parse(raw.event_log.as_bytes())
            .map_err(|error| at("event_log")(error.to_string()))?,
        vm_config: raw.vm_config,
        stated_report_data: report_data.map_err(at("report_data"))?,
    };
    parts.convert(FORMAT)
}

#[cfg(test)]
mod tests {
    use super::super::{ForeignError, Format, read};
    use crate::quote::Quote;
    use crate::{digest::Rtmr, event_log};

    const LITE: &[u8] = include_bytes!("../../../tests/vectors/protocol/dstack-getquote.json");
    const OLD: &[u8] =
        include_bytes!("../../../tests/vectors/measurement/dstack-0.3-1cpu-1GiB.json");

    #[test]
    fn both_generations_replay_to_the_fourth_register_of_their_quotes() {
        for file in [LITE, OLD] {
            let converted = read(file, &[]).unwrap();
            assert_eq!(converted.format, Format::GetQuote);
            let quote = Quote::parse(&converted.evidence.quote).unwrap();
            let events = event_log::runtime_events(&converted.evidence.event_log).unwrap();
            assert_eq!(event_log::replay(&events), quote.report.rtmrs[3]);
            assert_ne!(quote.report.rtmrs[3], Rtmr::ZERO);
        }
    }

    #[test]
    fn the_machine_is_claimed_where_the_file_describes_it() {
        let lite = read(LITE, &[]).unwrap();
        let shape = &lite.evidence.claims.shape;
        assert_eq!(
            (shape.vcpus, shape.memory_mib, shape.root_slots, shape.serial_ports),
            (2, 2048, 6, 1)
        );
        assert_eq!((shape.qemu_version.as_str(), shape.pci_hotplug), ("8.2.2", true));
        let report_data = Quote::parse(&lite.evidence.quote).unwrap().report.report_data;
        assert_eq!(lite.stated_report_data.as_deref(), Some(report_data.as_bytes()));
        assert!(!read(OLD, &[]).unwrap().claims_machine());
    }

    #[test]
    fn unknown_keys_and_broken_parts_name_their_place() {
        let text = String::from_utf8(OLD.to_vec()).unwrap();
        let place = |text: String| match read(text.as_bytes(), &[]) {
            Err(ForeignError::Refused { format: Format::GetQuote, place, .. }) => place,
            other => panic!("{other:?}"),
        };
        assert_eq!(place(text.replacen('{', r#"{"more":1,"#, 1)), "JSON");
        assert_eq!(
            place(text.replacen("\"quote\":\"", "\"quote\":\"zz", 1).replacen(
                "\"quote\": \"",
                "\"quote\": \"zz",
                1
            )),
            "quote"
        );
        assert_eq!(place(text.replacen(r#"{\"imr\""#, r#"{\"imx\""#, 1)), "event_log");
    }
}
