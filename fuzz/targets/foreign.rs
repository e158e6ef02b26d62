//! Evidence of others, of whatever format: what is accepted is bounded, and is ours from there on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{event_log, evidence, foreign, quote};

fuzz_target!(|file: &[u8]| {
    let Ok(converted) = foreign::read(file, &[]) else { return };
    let ours = &converted.evidence;
    assert_eq!(foreign::recognise(file), Ok(converted.format));
    assert!(ours.quote.len() <= quote::MAX_BYTES && ours.event_log.len() <= event_log::MAX_EVENTS);
    // Our own parser refuses a shape that nobody claimed; everything else that comes out survives
    // our JSON.
    if converted.claims_machine() {
        assert_eq!(evidence::parse(&ours.to_json()).as_ref(), Ok(ours));
    } else {
        assert!(ours.claims.shape.check().is_err());
    }
});
