//! The status disk: what is accepted is, written again, the same disk but for what lies behind its
//! records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::status;

fuzz_target!(|disk: &[u8]| {
    let Ok(records) = status::decode(disk) else { return };
    assert!(records.len() <= status::MAX_RECORDS);
    let again = status::encode(&records);
    assert_eq!(status::decode(&again).as_ref(), Ok(&records));
});
