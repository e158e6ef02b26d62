//! dstack's attestation, version 0, in SCALE: quote, event log, run-time events once more, report
//! data, configuration.
//!
//! SCALE is decoded for just this type: `Vec` and `String` are a compact length and their bytes, an
//! enum is its variant's index. The run-time events are in it twice; two lists that differ are
//! refused, so that the one which is replayed is also the one which is read. Sources: SCALE codec
//! specification (Polkadot specification, appendix A.2); dstack, `dstack-attest`.

use serde::Deserialize;

use super::{Converted, ForeignError, Format, Parts};
use crate::digest::ReportData;
use crate::event_log::{
    self, MAX_EVENTS, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, RawEvent, RuntimeEvent,
};
use crate::reader::{ReadError, Reader};
use crate::{quote, strict_json};

/// Variant of the only version.
pub(super) const VERSION: u8 = 0;
/// Largest attestation: quote, log and configuration; a real one has 10 KiB.
pub const MAX_BYTES: usize = 4 << 20;
/// Variant of a TDX quote among dstack's platforms.
const DSTACK_TDX: u8 = 0;
/// Bytes of an event's digest.
const DIGEST_BYTES: usize = 48;
/// Longest configuration; the longest published one has 2 KiB, and nests a description of some KiB.
const MAX_CONFIG_BYTES: usize = 64 * 1024;
/// Bytes of the report data.
const REPORT_DATA_BYTES: usize = 64;

/// Reads the attestation.
pub(super) fn read(bytes: &[u8]) -> Result<Converted, ForeignError> {
    decode(bytes).map_err(ForeignError::at(Format::Scale, "attestation"))?.convert(Format::Scale)
}

/// The attestation of a quote: what dstack's agent answers to `Attest`, and what [`read`] reads.
pub fn encode(
    quote: &[u8],
    event_log: &[RawEvent],
    report_data: &ReportData,
    config: &str,
) -> Vec<u8> {
    let mut writer = vec![VERSION, DSTACK_TDX];
    write_bytes(&mut writer, quote);
    write_length(&mut writer, event_log.len());
    for event in event_log {
        writer.extend(event.imr.to_le_bytes());
        writer.extend(event.event_type.to_le_bytes());
        write_bytes(&mut writer, &hex::decode(&event.digest).unwrap_or_default());
        write_bytes(&mut writer, event.event.as_bytes());
        write_bytes(&mut writer, &hex::decode(&event.event_payload).unwrap_or_default());
    }
    let runtime = || event_log.iter().filter(|event| event.imr == event_log::RUNTIME_REGISTER);
    write_length(&mut writer, runtime().count());
    for event in runtime() {
        write_bytes(&mut writer, event.event.as_bytes());
        write_bytes(&mut writer, &hex::decode(&event.event_payload).unwrap_or_default());
    }
    writer.extend(report_data.0);
    write_bytes(&mut writer, config.as_bytes());
    writer
}

fn write_bytes(writer: &mut Vec<u8>, bytes: &[u8]) {
    write_length(writer, bytes.len());
    writer.extend(bytes);
}

/// A compact integer in its shortest form; the budgets of what is written are far below the form
/// for large ones.
fn write_length(writer: &mut Vec<u8>, length: usize) {
    let value = u32::try_from(length).unwrap_or(u32::MAX) << 2;
    match length {
        0..0x40 => writer.push(value as u8),
        0x40..0x4000 => writer.extend((value as u16 | 1).to_le_bytes()),
        _ => writer.extend((value | 2).to_le_bytes()),
    }
}

/// Takes the attestation apart.
pub(super) fn decode(bytes: &[u8]) -> Result<Parts, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("{} bytes, at most {MAX_BYTES} are accepted", bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    let parts = read_parts(&mut reader).map_err(|error| error.to_string())?;
    reader.finish().map_err(|error| error.to_string())?;
    Ok(parts)
}

fn read_parts(reader: &mut Reader<'_>) -> Result<Parts, ScaleError> {
    variant(reader, "version", VERSION)?;
    variant(reader, "platform", DSTACK_TDX)?;
    let quote = bytes(reader, "quote", quote::MAX_BYTES)?.to_vec();
    let event_log = list(reader, "event log", read_event)?;
    let runtime = list(reader, "run-time events", read_runtime_event)?;
    // Digests that do not fit their payloads are the judgement's to name; here only the lists are
    // compared.
    let of_log = event_log.iter().filter(|event| event.imr == event_log::RUNTIME_REGISTER);
    let same = |(raw, event): (&RawEvent, &RuntimeEvent)| {
        raw.event == event.name && raw.event_payload == hex::encode(&event.payload)
    };
    if of_log.clone().count() != runtime.len() || !of_log.zip(&runtime).all(same) {
        return Err(ScaleError::TwoLists);
    }
    let report_data = reader.take("report data", REPORT_DATA_BYTES)?.to_vec();
    let config = text(reader, "configuration", MAX_CONFIG_BYTES)?;
    Ok(Parts {
        quote,
        event_log,
        vm_config: vm_config(config)?,
        stated_report_data: Some(report_data),
    })
}

/// The configuration is the machine's description, or the guest's whole system configuration with
/// the description in it.
fn vm_config(config: &str) -> Result<String, ScaleError> {
    #[derive(Deserialize)]
    struct SystemConfig {
        // The other keys are addresses for the guest's own use, and differ by version.
        #[serde(default)]
        vm_config: Option<String>,
    }

    if config.is_empty() {
        return Ok(String::new());
    }
    let system: SystemConfig = strict_json::parse(config.as_bytes(), MAX_CONFIG_BYTES)
        .map_err(|error| ScaleError::Config(error.to_string()))?;
    Ok(system.vm_config.unwrap_or_else(|| config.to_owned()))
}

fn read_event(reader: &mut Reader<'_>) -> Result<RawEvent, ScaleError> {
    Ok(RawEvent {
        imr: reader.u32("register")?,
        event_type: reader.u32("event type")?,
        digest: hex::encode(bytes(reader, "digest", DIGEST_BYTES)?),
        event: text(reader, "event name", MAX_NAME_BYTES)?.to_owned(),
        event_payload: hex::encode(bytes(reader, "event payload", MAX_PAYLOAD_BYTES)?),
    })
}

fn read_runtime_event(reader: &mut Reader<'_>) -> Result<RuntimeEvent, ScaleError> {
    let name = text(reader, "event name", MAX_NAME_BYTES)?;
    Ok(RuntimeEvent::new(name, bytes(reader, "event payload", MAX_PAYLOAD_BYTES)?))
}

fn list<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    item: fn(&mut Reader<'_>) -> Result<T, ScaleError>,
) -> Result<Vec<T>, ScaleError> {
    // Nothing is reserved by the stated count: it grows only as far as there are bytes.
    let count = length(reader, field, MAX_EVENTS)?;
    (0..count).map(|_| item(reader)).collect()
}

fn text<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
) -> Result<&'a str, ScaleError> {
    let offset = reader.offset();
    std::str::from_utf8(bytes(reader, field, limit)?)
        .map_err(|_| ScaleError::Text { field, offset })
}

fn bytes<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
) -> Result<&'a [u8], ScaleError> {
    let length = length(reader, field, limit)?;
    Ok(reader.take(field, length)?)
}

fn variant(reader: &mut Reader<'_>, field: &'static str, expected: u8) -> Result<(), ScaleError> {
    match reader.u8(field)? {
        found if found == expected => Ok(()),
        found => Err(ScaleError::Variant { field, found, expected }),
    }
}

/// A compact integer in its shortest form, at most `limit`: the lowest two bits say in how many
/// bytes it is.
fn length(reader: &mut Reader<'_>, field: &'static str, limit: usize) -> Result<usize, ScaleError> {
    let offset = reader.offset();
    let first = reader.u8(field)?;
    let (value, least) = match first & 3 {
        0 => (u32::from(first), 0),
        1 => (u32::from(u16::from_le_bytes([first, reader.u8(field)?])), 1 << 6),
        2 => {
            let [second, third, fourth] = reader.array(field)?;
            (u32::from_le_bytes([first, second, third, fourth]), 1 << 14)
        }
        _ => return Err(ScaleError::Length { field, offset, limit }),
    };
    let value = (value >> 2) as usize;
    if value < least || value > limit {
        return Err(ScaleError::Length { field, offset, limit });
    }
    Ok(value)
}

/// Why bytes are no attestation of version 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ScaleError {
    /// cut off
    #[error(transparent)]
    Read(#[from] ReadError),
    /// another version or platform
    #[error("{field} {found}, only {expected} is read")]
    Variant { field: &'static str, found: u8, expected: u8 },
    /// a length out of range, or in a longer form than it needs
    #[error(
        "{field}: the length at offset {offset} is no compact integer in its shortest form, or above {limit}"
    )]
    Length { field: &'static str, offset: usize, limit: usize },
    /// not UTF-8
    #[error("{field}: the text at offset {offset} is not UTF-8")]
    Text { field: &'static str, offset: usize },
    /// two lists of the same events differ
    #[error("the run-time events of the event log are not those of the list behind it")]
    TwoLists,
    /// not JSON
    #[error("configuration: {0}")]
    Config(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::Quote;

    const REAL: &[u8] = include_bytes!("../../../tests/vectors/protocol/dstack-attestation-v0.bin");

    #[test]
    fn a_real_attestation_has_its_quote_log_and_machine() {
        let converted = read(REAL).unwrap();
        let evidence = &converted.evidence;
        let quote = Quote::parse(&evidence.quote).unwrap();
        let events = event_log::runtime_events(&evidence.event_log).unwrap();
        assert_eq!((evidence.event_log.len(), events.len()), (33, 9));
        assert_eq!(event_log::replay(&events), quote.report.rtmrs[3]);
        let shape = &evidence.claims.shape;
        assert_eq!((shape.vcpus, shape.memory_mib, shape.root_slots), (8, 16384, 6));
        assert_eq!(shape.qemu_version, "8.2.2");
    }

    #[test]
    fn a_real_attestation_is_written_as_it_was() {
        let mut reader = Reader::new(REAL);
        let parts = read_parts(&mut reader).unwrap();
        let report_data = ReportData(parts.stated_report_data.unwrap().try_into().unwrap());
        // Of the configuration only the part about the machine is kept when it is read.
        let config =
            text(&mut Reader::new(&REAL[config_at()..]), "configuration", MAX_CONFIG_BYTES)
                .unwrap();
        assert_eq!(encode(&parts.quote, &parts.event_log, &report_data, config), REAL);
    }

    /// Where the real attestation's configuration starts: it is the last field.
    fn config_at() -> usize {
        let fits = |at: &usize| {
            let mut reader = Reader::new(&REAL[*at..]);
            text(&mut reader, "configuration", MAX_CONFIG_BYTES)
                .is_ok_and(|text| text.starts_with('{'))
                && reader.finish().is_ok()
        };
        (0..REAL.len()).rev().find(fits).unwrap()
    }

    #[test]
    fn a_cut_a_leftover_and_another_variant_are_refused() {
        for length in 0..REAL.len() {
            assert!(decode(&REAL[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[REAL, &[0]].concat()).unwrap_err().contains("left over"));
        assert_eq!(decode(&[1]).map(|_| ()).unwrap_err(), "version 1, only 0 is read");
        assert_eq!(decode(&[0, 2]).map(|_| ()).unwrap_err(), "platform 2, only 0 is read");
    }

    #[test]
    fn two_lists_that_differ_are_refused() {
        let at = REAL.windows(6).rposition(|window| window == b"zfs0sy").unwrap();
        let mut other = REAL.to_vec();
        other[at] = b'x';
        assert!(decode(&other).unwrap_err().contains("list behind it"));
    }

    #[test]
    fn a_length_has_one_form_and_a_limit() {
        let one = |bytes: &[u8]| length(&mut Reader::new(bytes), "list", 100);
        assert_eq!(one(&[0b1010_0000]), Ok(40));
        assert_eq!(one(&[0b1001_0001, 1]), Ok(100));
        assert!(one(&[0b1010_0001, 0]).is_err(), "40 in two bytes");
        assert!(one(&[0b1001_0101, 1]).is_err(), "101");
        assert!(one(&[0xff; 8]).is_err(), "the big form");
    }
}
