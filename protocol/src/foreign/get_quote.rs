//! The answer of dstack's guest agent to `GetQuote`: quote, event log as JSON in a string, and the
//! machine's description.
//!
//! Three generations are read: that of 0.3, which names how the report data was made
//! (`hash_algorithm`, `prefix`), the later one with `report_data` and `vm_config`, and that of 0.6,
//! which carries the attestation of the same quote besides. Quote and log of the answer itself are
//! judged; an attestation that is about another quote is refused.

use serde::Deserialize;

use super::{Converted, ForeignError, Format, MAX_BYTES, Parts, decode_hex, decode_quote, scale};
use crate::event_log::{LogInJson, RUNTIME_REGISTER, RawEvent};
use crate::{quote, strict_json};

/// Bytes of a quote's report data; the agent takes fewer and fills up.
const MAX_REPORT_DATA_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// Hex or base64.
    quote: String,
    event_log: LogInJson,
    /// Hex.
    #[serde(default)]
    report_data: Option<String>,
    /// JSON, as text.
    #[serde(default)]
    vm_config: String,
    /// Of 0.6: hex of the attestation.
    #[serde(default)]
    attestation: Option<String>,
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
        quote: decode_quote(&raw.quote).map_err(at("quote"))?,
        event_log: raw.event_log.parse().map_err(|error| at("event_log")(error.to_string()))?,
        vm_config: raw.vm_config,
        stated_report_data: report_data.map_err(at("report_data"))?,
    };
    if let Some(attestation) = raw.attestation {
        compare(&attestation, &parts).map_err(at("attestation"))?;
    }
    parts.convert(FORMAT)
}

/// Whether an attestation is about the quote beside it and tells the same run-time events. One of
/// another version than 0 is not read: nothing of it is judged.
fn compare(attestation: &str, parts: &Parts) -> Result<(), String> {
    let bytes = decode_hex(attestation, scale::MAX_BYTES)?;
    if bytes.first() != Some(&scale::VERSION) {
        return Ok(());
    }
    let attestation = scale::decode(&bytes)?;
    let exact = |quote: &[u8]| quote::without_padding(quote).unwrap_or(quote).to_vec();
    if exact(&attestation.quote) != exact(&parts.quote) {
        return Err("its quote is not the one beside it".to_owned());
    }
    let told = |log: &[RawEvent]| -> Vec<(String, String)> {
        let runtime = log.iter().filter(|event| event.imr == RUNTIME_REGISTER);
        runtime.map(|event| (event.event.clone(), event.event_payload.clone())).collect()
    };
    match told(&attestation.event_log) == told(&parts.event_log) {
        true => Ok(()),
        false => Err("its run-time events are not those of `event_log`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ForeignError, Format, read, scale};
    use crate::digest::{ReportData, Rtmr};
    use crate::event_log::{self, RawEvent};
    use crate::quote::Quote;

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

    /// The answer of 0.6, made of an older one: with the attestation of the same quote.
    fn of_0_6(change: impl FnOnce(&mut Vec<u8>, &mut Vec<RawEvent>)) -> Vec<u8> {
        let mut answer: serde_json::Value = serde_json::from_slice(LITE).unwrap();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        let mut quote = hex::decode(text("quote")).unwrap();
        let mut log = event_log::parse(text("event_log").as_bytes()).unwrap();
        let report_data = ReportData::from_hex(&text("report_data")).unwrap();
        change(&mut quote, &mut log);
        let attestation = scale::encode(&quote, &log, &report_data, &text("vm_config"));
        answer["attestation"] = hex::encode(attestation).into();
        answer.to_string().into_bytes()
    }

    #[test]
    fn an_answer_with_an_attestation_is_read_as_one_without() {
        let partial = |log: &mut Vec<RawEvent>| log.retain(|event| event.imr == 3);
        for file in [of_0_6(|_, _| {}), of_0_6(|_, log| partial(log))] {
            assert_eq!(read(&file, &[]), read(LITE, &[]));
        }
        let mut newer: serde_json::Value = serde_json::from_slice(LITE).unwrap();
        newer["attestation"] = "82a776657273696f6e01".into(); // MessagePack: not read
        assert_eq!(read(newer.to_string().as_bytes(), &[]), read(LITE, &[]));
    }

    #[test]
    fn an_attestation_of_another_quote_or_log_is_refused() {
        let why = |file: Vec<u8>| match read(&file, &[]) {
            Err(ForeignError::Refused { place: "attestation", what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert!(why(of_0_6(|quote, _| quote[100] ^= 1)).contains("quote is not the one"));
        let last = |log: &mut Vec<RawEvent>| log.pop();
        assert!(why(of_0_6(|_, log| drop(last(log)))).contains("not those of `event_log`"));
    }

    #[test]
    fn quote_and_log_may_be_in_the_forms_that_clients_decode_them_to() {
        let mut answer: serde_json::Value = serde_json::from_slice(LITE).unwrap();
        let log = answer["event_log"].as_str().unwrap().to_owned();
        answer["event_log"] = serde_json::from_str(&log).unwrap();
        let quote = hex::decode(answer["quote"].as_str().unwrap()).unwrap();
        assert_eq!(read(answer.to_string().as_bytes(), &[]), read(LITE, &[]));
        answer["quote"] = format!("0x{}", hex::encode_upper(&quote)).into();
        assert_eq!(read(answer.to_string().as_bytes(), &[]), read(LITE, &[]));
        let base64 = base64::engine::general_purpose::STANDARD;
        answer["quote"] = base64::Engine::encode(&base64, &quote).into();
        assert_eq!(read(answer.to_string().as_bytes(), &[]), read(LITE, &[]));
        answer["event_log"] = 7.into();
        let refused = read(answer.to_string().as_bytes(), &[]).unwrap_err().to_string();
        assert!(refused.contains("a list of events, or the JSON text of one"), "{refused}");
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
