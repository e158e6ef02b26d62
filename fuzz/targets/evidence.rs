//! The evidence envelope: what is accepted survives its own JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::evidence;

fuzz_target!(|json: &[u8]| {
    let Ok(accepted) = evidence::parse(json) else { return };
    assert_eq!(evidence::parse(&accepted.to_json()), Ok(accepted));
});
