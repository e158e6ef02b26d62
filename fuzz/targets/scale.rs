//! dstack's attestation in SCALE: one that is accepted has one reading, is refused when cut or
//! followed by anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::event_log::RUNTIME_REGISTER;
use protocol::foreign::{self, Format, scale};

fuzz_target!(|attestation: &[u8]| {
    let Ok(converted) = foreign::read(attestation, &[]) else { return };
    if converted.format != Format::Scale {
        return;
    }
    assert!(attestation.len() <= scale::MAX_BYTES);
    assert_eq!(converted.stated_report_data.as_ref().map(Vec::len), Some(64));
    // The list that is judged is the only one: its names stand twice in the bytes.
    for event in converted.evidence.event_log.iter().filter(|event| event.imr == RUNTIME_REGISTER) {
        let name = event.event.as_bytes();
        let candidates =
            attestation.windows(name.len().max(1)).filter(|window| *window == name).count();
        assert!(name.is_empty() || candidates >= 2);
    }
    assert!(foreign::read(&attestation[..attestation.len() - 1], &[]).is_err());
    assert!(foreign::read(&[attestation, &[0]].concat(), &[]).is_err());
});
