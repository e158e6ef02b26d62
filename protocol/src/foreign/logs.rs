//! Event logs that come as files beside a raw quote: a run-time log in JSON, a CCEL dump of the
//! firmware, or one of each.
//!
//! A register's events come from one file: two would have to be put in an order that nobody stated.

use super::ForeignError;
use crate::event_log::{self, RawEvent};
use crate::tcg_log::{self, REGISTERS};

/// Signature of the ACPI table that says where the log lies; people take the one for the other.
const ACPI_TABLE: &[u8] = b"CCEL";

/// Joins the logs, in the order in which they are given.
pub(super) fn read(logs: &[&[u8]]) -> Result<Vec<RawEvent>, ForeignError> {
    let mut joined: Vec<RawEvent> = Vec::new();
    for (log, index) in logs.iter().zip(1..) {
        let wrong = |what: String| ForeignError::Log { index, what };
        let events = read_one(log).map_err(wrong)?;
        let twice =
            events.iter().find(|event| joined.iter().any(|earlier| earlier.imr == event.imr));
        if let Some(event) = twice {
            return Err(wrong(format!(
                "it has events of RTMR{}, as a log before it has",
                event.imr
            )));
        }
        joined.extend(events);
        if joined.len() > event_log::MAX_EVENTS {
            let what = format!(
                "{} events together, at most {} are accepted",
                joined.len(),
                event_log::MAX_EVENTS
            );
            return Err(wrong(what));
        }
    }
    Ok(joined)
}

fn read_one(log: &[u8]) -> Result<Vec<RawEvent>, String> {
    if log.starts_with(ACPI_TABLE) {
        return Err(
            "this is the ACPI table CCEL, which only says where the log lies; give the log itself"
                .into(),
        );
    }
    if log.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return read_json(log);
    }
    let events = tcg_log::parse_as_it_is(log).map_err(|error| error.to_string())?;
    Ok(events.into_iter().map(raw).collect())
}

fn read_json(log: &[u8]) -> Result<Vec<RawEvent>, String> {
    let events = event_log::parse(log).map_err(|error| error.to_string())?;
    match events.iter().find(|event| event.imr as usize >= REGISTERS) {
        Some(event) => Err(format!("an event of register {}, expected 0 to 3", event.imr)),
        None => Ok(events),
    }
}

fn raw(event: tcg_log::TcgEvent) -> RawEvent {
    RawEvent {
        imr: u32::try_from(event.register).expect("the log's parser knows registers 0 to 3"),
        event_type: event.event_type,
        digest: event.digest.to_string(),
        event: String::new(),
        event_payload: hex::encode(&event.data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Rtmr, Sha384Digest};
    use crate::quote::Quote;

    const CCEL: &[u8] = include_bytes!("../../../tests/vectors/protocol/cos-113-ccel.bin");

    fn replay(events: &[RawEvent], register: u32) -> Rtmr {
        let digests: Vec<_> = events.iter().filter(|event| event.imr == register).collect();
        let digests: Vec<_> =
            digests.iter().map(|event| Sha384Digest::from_hex(&event.digest).unwrap()).collect();
        Rtmr::replay(&digests)
    }

    #[test]
    fn a_dump_becomes_events_that_replay_to_all_registers_of_its_quote() {
        let quote = include_bytes!("../../../tests/vectors/protocol/cos-113-quote.bin");
        let registers = Quote::parse_padded(quote).unwrap().report.rtmrs;
        let events = read(&[CCEL]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|register| replay(&events, register)), registers);
    }

    #[test]
    fn a_second_separator_is_left_for_the_judgement_to_name() {
        let twice = include_bytes!("../../../tests/vectors/protocol/cos-113-second-separator.bin");
        let events = read(&[twice]).unwrap();
        assert_eq!(
            events.iter().filter(|event| (event.imr, event.event_type) == (0, 4)).count(),
            2
        );
        assert!(matches!(
            tcg_log::parse(twice),
            Err(tcg_log::TcgLogError::SecondSeparator { register: 0, .. })
        ));
    }

    #[test]
    fn a_register_in_two_files_and_the_wrong_file_are_refused() {
        let what = |logs: &[&[u8]]| match read(logs) {
            Err(ForeignError::Log { index, what }) => (index, what),
            other => panic!("{other:?}"),
        };
        assert_eq!(what(&[CCEL, CCEL]).0, 2);
        assert!(what(&[b"CCEL8\0\0\0"]).1.contains("ACPI table"));
        let foreign = br#"[{"imr":4,"event_type":1,"digest":"","event":"","event_payload":""}]"#;
        assert!(what(&[foreign]).1.contains("register 4"));
        assert_eq!(what(&[b"[]", b"?"]).0, 2);
    }
}
