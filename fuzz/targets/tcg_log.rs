//! The firmware's log: accepted events belong to a register, have at most one separator each, and
//! padding adds none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::tcg_log;

/// EV_SEPARATOR.
const SEPARATOR: u32 = 4;

fuzz_target!(|dump: &[u8]| {
    let Ok(events) = tcg_log::parse(dump) else { return };
    assert!(events.len() <= tcg_log::MAX_EVENTS);
    let mut separators = [0; tcg_log::REGISTERS];
    for event in &events {
        separators[event.register] += usize::from(event.event_type == SEPARATOR);
    }
    assert!(separators.iter().all(|count| *count <= 1));
    let replayed = tcg_log::replay(&events);
    let ended = [dump, &[0xff; 8]].concat();
    if ended.len() <= tcg_log::MAX_BYTES {
        let again = tcg_log::parse(&ended).expect("a log may be followed by its end mark");
        assert_eq!(tcg_log::replay(&again), replayed);
    }
});
