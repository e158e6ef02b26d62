//! The firmware's event log, as a file for whoever wants to see why a register differs.
//!
//! It only explains: registers are judged by prediction, and this log is as worthless as all the
//! rest.

use protocol::event_log::RawEvent;

use crate::measure::FirmwareEvent;

/// Longest preimage that is shown; a kernel's command line in UTF-16 has at most as much.
const MAX_SHOWN_BYTES: usize = 4096;

/// The list in dstack's JSON form, short preimages as their payload.
pub fn to_json(events: &[FirmwareEvent]) -> Vec<u8> {
    let raw: Vec<RawEvent> = events.iter().map(raw_event).collect();
    serde_json::to_vec_pretty(&raw).expect("strings and numbers serialise")
}

fn raw_event(event: &FirmwareEvent) -> RawEvent {
    let shown = if event.data.len() <= MAX_SHOWN_BYTES { event.data.as_slice() } else { &[] };
    RawEvent {
        imr: u32::try_from(event.register).expect("registers are 0 to 2"),
        event_type: event.event_type,
        digest: hex::encode(event.digest),
        event: event.name.clone(),
        event_payload: hex::encode(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_the_products_reader_takes() {
        let event = |bytes: usize| FirmwareEvent {
            register: 1,
            event_type: 4,
            name: "separator".into(),
            digest: [7; 48],
            data: vec![0; bytes],
        };
        let log =
            protocol::event_log::parse(&to_json(&[event(4), event(MAX_SHOWN_BYTES + 1)])).unwrap();
        assert_eq!(
            (log[0].imr, log[0].event.as_str(), log[0].event_payload.as_str()),
            (1, "separator", "00000000")
        );
        assert_eq!(log[1].event_payload, "");
    }
}
