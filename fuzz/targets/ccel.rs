//! Logs beside a raw quote: what is accepted has registers and whole digests, and no register comes
//! from two files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{event_log, foreign, tcg_log};

const QUOTE: &[u8] = include_bytes!("../corpus/quote/v4");

fuzz_target!(|log: &[u8]| {
    let Ok(converted) = foreign::read(QUOTE, &[log]) else { return };
    let events = &converted.evidence.event_log;
    assert!(events.len() <= event_log::MAX_EVENTS);
    assert!(events.iter().all(|event| event.imr < 4));
    assert_eq!(converted.evidence.quote, QUOTE);
    assert_eq!(foreign::read(QUOTE, &[log, log]).is_ok(), events.is_empty());
    // A dump that the strict parser takes too gives the same registers.
    if let Ok(strict) = tcg_log::parse(log) {
        let digests: Vec<_> = strict.iter().map(|event| event.digest.to_string()).collect();
        assert!(events.iter().map(|event| &event.digest).eq(&digests));
    }
});
