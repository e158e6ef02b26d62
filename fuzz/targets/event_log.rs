//! The run-time event log: accepted events survive their JSON, and the register depends on every
//! one of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::digest::Rtmr;
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;

fuzz_target!(|json: &[u8]| {
    let Ok(log) = event_log::parse(json) else { return };
    assert!(log.len() <= event_log::MAX_EVENTS);
    let Ok(events) = event_log::runtime_events(&log) else { return };
    let again: Vec<_> = events.iter().map(RuntimeEvent::to_raw).collect();
    assert_eq!(event_log::runtime_events(&again).as_ref(), Ok(&events));

    let register = event_log::replay(&events);
    let digests: Vec<_> = events.iter().map(RuntimeEvent::digest).collect();
    assert_eq!(register, Rtmr::replay(&digests));
    if let Some(shorter) = events.get(1..) {
        assert_ne!(register, event_log::replay(shorter));
    }
    if event_log::check_boot_order(&events).is_ok() {
        for name in event_name::BOOT {
            assert!(events.iter().filter(|event| event.name == name).count() <= 1);
        }
        for name in event_name::REQUIRED {
            assert!(event_log::find(&events, name).is_some());
        }
    }
});
